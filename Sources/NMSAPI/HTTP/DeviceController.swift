internal import NMSCore
internal import NMSStorage
internal import struct Foundation.Date

/// `/devices…`, the metrics of one device excepted.
struct DeviceController: Sendable {
    let devices: DeviceService
    let metrics: MetricsService

    @Sendable func list(_ call: Call<DeviceListQuery, NoBody>) async throws -> DeviceListBody {
        let page = try await self.devices.list(call.query.filter)
        var bodies = page.items.map(DeviceBody.init)
        if call.query.include == .metrics {
            let latest = try await self.metrics.latest(deviceIDs: page.items.map(\.id))
            for index in bodies.indices { bodies[index].metrics = .some(latest[bodies[index].id]) }
        }
        return DeviceListBody(
            devices: bodies,
            total: page.total,
            limit: page.limit,
            offset: page.offset
        )
    }

    @Sendable func create(_ call: Call<NoQuery, CreateDeviceRequest>) async throws -> DeviceBody {
        let device = try await self.devices.create(call.body, audit: call.audit())
        return DeviceBody(device)
    }

    @Sendable func get(_ call: Call<NoQuery, NoBody>) async throws -> DeviceBody {
        DeviceBody(try await self.devices.device(id: call.id()))
    }

    @Sendable func update(_ call: Call<NoQuery, UpdateDeviceRequest>) async throws -> DeviceBody {
        let device = try await self.devices.update(
            id: call.id(),
            call.body,
            audit: call.audit()
        )
        return DeviceBody(device)
    }

    @Sendable func delete(_ call: Call<NoQuery, NoBody>) async throws -> MessageBody {
        try await self.devices.delete(id: call.id(), audit: call.audit())
        return MessageBody(message: "Device deleted")
    }

    @Sendable func provision(_ call: Call<NoQuery, ProvisionRequest>) async throws -> ProvisionBody {
        let device = try await self.devices.provision(
            id: call.id(),
            call.body,
            audit: call.audit()
        )
        return ProvisionBody(
            deviceID: device.id,
            status: device.status,
            message: "Device provisioned for monitoring"
        )
    }

    @Sendable func deprovision(_ call: Call<NoQuery, NoBody>) async throws -> ProvisionBody {
        let device = try await self.devices.deprovision(id: call.id(), audit: call.audit())
        return ProvisionBody(deviceID: device.id, status: device.status, message: "Device is no longer monitored")
    }

    @Sendable func poll(_ call: Call<NoQuery, NoBody>) async throws -> PollBody {
        PollBody(jobID: try await self.devices.poll(id: call.id(), audit: call.audit()))
    }
}

/// The query of `GET /devices`.
struct DeviceListQuery: RequestQuery {
    /// What comes with each device.
    enum Include: String, CaseIterable { case metrics }

    let filter: DeviceFilter
    let include: Include?

    init(_ query: inout QueryReader) throws(ServiceError) {
        var filter = DeviceFilter()
        filter.status = query.choice("status", DeviceStatus.self, "Only devices with this status.")
        filter.search = query.text("search", "Only devices with this text in `ip`, `hostname` or `os`, in any case.")
        (filter.sort, filter.descending) = query.sort(by: DeviceFilter.SortField.self, default: .id)
        (filter.limit, filter.offset) = query.page()
        self.filter = filter
        self.include = query.choice("include", Include.self, "With the latest metrics of each device.")
    }
}

/// A device as clients see it.
struct DeviceBody: ResponseBody {
    static let schema = JSONSchema.object(
        [
            "id": .id,
            "ip": JSONSchema.ip.described("In canonical form (RFC 5952)."),
            "hostname": JSONSchema.string(length: 0...255).orNull.described("Polls set it."),
            "os": JSONSchema.string(length: 0...255).orNull.described("Polls set it."),
            "status": .choice(DeviceStatus.self),
            "polling_interval": JSONSchema.integer(Device.pollingIntervalRange).described("In seconds."),
            "last_seen": JSONSchema.time.orNull.described("The last good poll."),
            "last_error": JSONSchema.named("DeviceError", DeviceError.schema).orNull,
            "credential_ids": JSONSchema.array(of: .id, unique: true)
                .described("In the order in which they are tried; empty unless provisioned."),
            "created_at": .time,
            "updated_at": .time,
            "metrics": JSONSchema.reference(to: DeviceMetrics.self).orNull
                .described("Only in lists with `include=metrics`; null before the first good poll."),
        ],
        optional: ["metrics"]
    )

    static let example: JSONValue = [
        "id": 1, "ip": "192.168.1.10", "hostname": "WIN-SRV01", "os": "Microsoft Windows Server 2022 Standard",
        "status": "monitoring", "polling_interval": 60, "last_seen": "2025-12-03T10:05:00.000Z", "last_error": .null,
        "credential_ids": [1], "created_at": "2025-12-03T10:00:00.000Z", "updated_at": "2025-12-03T10:05:00.000Z",
    ]

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
    @WhenAsked var metrics: DeviceMetrics??

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
        self._metrics = WhenAsked(wrappedValue: nil)
    }

    enum CodingKeys: String, CodingKey {
        case id, ip, hostname, os, status, metrics
        case pollingInterval = "polling_interval"
        case lastSeen = "last_seen"
        case lastError = "last_error"
        case credentialIDs = "credential_ids"
        case createdAt = "created_at"
        case updatedAt = "updated_at"
    }
}

struct DeviceListBody: ResponseBody {
    static let schema = JSONSchema.page("devices", of: .reference(to: DeviceBody.self))
    static let example: JSONValue = ["devices": [DeviceBody.example], "total": 1, "limit": 50, "offset": 0]

    let devices: [DeviceBody]
    let total: Int
    let limit: Int
    let offset: Int
}

/// The answer to provision and deprovision (specification §9.2).
struct ProvisionBody: ResponseBody {
    static let schema = JSONSchema.object([
        "device_id": .id, "status": .choice(DeviceStatus.self), "message": .string(),
    ])

    static let example: JSONValue = [
        "device_id": 1, "status": "provisioned", "message": "Device provisioned for monitoring",
    ]

    let deviceID: Int
    let status: DeviceStatus
    let message: String

    enum CodingKeys: String, CodingKey {
        case deviceID = "device_id"
        case status, message
    }
}

struct PollBody: ResponseBody {
    static let schema = JSONSchema.object(["job_id": JSONSchema.uuid.described("Rows of metrics carry it.")])
    static let example: JSONValue = ["job_id": "3f1f3f5e-8d3b-4b8e-9c39-5f1c0e1d9a11"]

    let jobID: String

    enum CodingKeys: String, CodingKey { case jobID = "job_id" }
}

extension DeviceError {
    static let schema = JSONSchema.object([
        "code": .choice(PollErrorCode.self),
        "message": JSONSchema.string().described("What failed, with what, and what to do."),
        "at": .time,
    ])
}

extension JSONSchema {
    /// A part of a list.
    static func page(_ name: String, of element: JSONSchema) -> JSONSchema {
        .object([
            name: .array(of: element),
            "total": JSONSchema.count.described("How many there are in all."),
            "limit": .integer(ListLimits.range),
            "offset": .integer(ListLimits.offsets),
        ])
    }
}
