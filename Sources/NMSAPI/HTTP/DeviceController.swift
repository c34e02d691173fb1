internal import NMSCore
internal import NMSStorage
internal import struct Foundation.Date

/// `/devices…`, metrics excepted.
struct DeviceController: Sendable {
    let devices: DeviceService

    @Sendable func list(_ call: EndpointCall) async throws -> Answer {
        let page = try await self.devices.list(Self.filter(call.query))
        return .ok(
            DeviceListBody(
                devices: page.items.map(DeviceBody.init),
                total: page.total,
                limit: page.limit,
                offset: page.offset
            )
        )
    }

    @Sendable func create(_ call: EndpointCall) async throws -> Answer {
        .created(DeviceBody(try await self.devices.create(CreateDeviceRequest(call.body))))
    }

    @Sendable func get(_ call: EndpointCall) async throws -> Answer {
        .ok(DeviceBody(try await self.devices.device(id: call.id())))
    }

    @Sendable func update(_ call: EndpointCall) async throws -> Answer {
        .ok(DeviceBody(try await self.devices.update(id: call.id(), UpdateDeviceRequest(call.body))))
    }

    @Sendable func delete(_ call: EndpointCall) async throws -> Answer {
        try await self.devices.delete(id: call.id())
        return .ok(MessageBody(message: "Device deleted"))
    }

    @Sendable func provision(_ call: EndpointCall) async throws -> Answer {
        let device = try await self.devices.provision(id: call.id(), ProvisionRequest(call.body))
        return .ok(
            ProvisionBody(
                deviceID: device.id,
                status: device.status,
                message: "Device provisioned for monitoring"
            )
        )
    }

    @Sendable func deprovision(_ call: EndpointCall) async throws -> Answer {
        let device = try await self.devices.deprovision(id: call.id())
        return .ok(
            ProvisionBody(deviceID: device.id, status: device.status, message: "Device is no longer monitored")
        )
    }

    @Sendable func poll(_ call: EndpointCall) async throws -> Answer {
        .accepted(PollBody(jobID: try await self.devices.poll(id: call.id())))
    }

    /// `status`, `search`, `sort` (a field, descending with a leading minus), `limit`, `offset`.
    private static func filter(_ text: String?) throws(ServiceError) -> DeviceFilter {
        var query = try QueryReader(text)
        var filter = DeviceFilter()
        filter.status = query.choice("status", DeviceStatus.self)
        filter.search = query.text("search")
        if let sort = query.take("sort") {
            let field = sort.hasPrefix("-") ? String(sort.dropFirst()) : sort
            if let known = DeviceFilter.SortField(rawValue: field) {
                filter.sort = known
                filter.descending = sort.hasPrefix("-")
            } else {
                let names = DeviceFilter.SortField.allCases.map(\.rawValue).joined(separator: ", ")
                query.fail("sort", "sort must be one of \(names), with a leading - for descending order", sort)
            }
        }
        filter.limit = query.integer("limit", ListLimits.range, default: ListLimits.defaultLimit)
        filter.offset = query.integer("offset", ListLimits.offsets, default: 0)
        try query.finish()
        return filter
    }
}

/// A device as clients see it.
struct DeviceBody: Encodable, Sendable {
    let id: Int
    let ip: String
    @OrNull var hostname: String?
    @OrNull var os: String?
    let status: DeviceStatus
    let pollingInterval: Int
    @OrNull var lastSeen: Date?
    @OrNull var lastError: DeviceError?
    let credentialIDs: [Int]
    let createdAt: Date
    let updatedAt: Date

    init(_ device: Device) {
        self.id = device.id
        self.ip = device.ip
        self._hostname = OrNull(wrappedValue: device.hostname)
        self._os = OrNull(wrappedValue: device.os)
        self.status = device.status
        self.pollingInterval = device.pollingInterval
        self._lastSeen = OrNull(wrappedValue: device.lastSeen)
        self._lastError = OrNull(wrappedValue: device.lastError)
        self.credentialIDs = device.credentialIDs
        self.createdAt = device.createdAt
        self.updatedAt = device.updatedAt
    }

    enum CodingKeys: String, CodingKey {
        case id, ip, hostname, os, status
        case pollingInterval = "polling_interval"
        case lastSeen = "last_seen"
        case lastError = "last_error"
        case credentialIDs = "credential_ids"
        case createdAt = "created_at"
        case updatedAt = "updated_at"
    }
}

struct DeviceListBody: Encodable, Sendable {
    let devices: [DeviceBody]
    let total: Int
    let limit: Int
    let offset: Int
}

/// The answer to provision and deprovision (specification §9.2).
struct ProvisionBody: Encodable, Sendable {
    let deviceID: Int
    let status: DeviceStatus
    let message: String

    enum CodingKeys: String, CodingKey {
        case deviceID = "device_id"
        case status, message
    }
}

struct PollBody: Encodable, Sendable {
    let jobID: String

    enum CodingKeys: String, CodingKey { case jobID = "job_id" }
}
