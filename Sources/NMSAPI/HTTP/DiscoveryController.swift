internal import NMSCore
internal import NMSStorage
internal import struct Foundation.Date

/// `/devices/discover` and `/discoveries…`.
struct DiscoveryController: Sendable {
    let discoveries: DiscoveryService

    @Sendable func start(_ call: Call<NoQuery, DiscoverRequest>) async throws -> DiscoveryStartedBody {
        DiscoveryStartedBody(try await self.discoveries.start(call.body, audit: call.audit()))
    }

    @Sendable func list(_ call: Call<DiscoveryListQuery, NoBody>) async throws -> DiscoveryListBody {
        let page = try await self.discoveries.list(call.query.filter)
        return DiscoveryListBody(
            discoveries: page.items.map(DiscoveryBody.init),
            total: page.total,
            limit: page.limit,
            offset: page.offset
        )
    }

    @Sendable func get(_ call: Call<DiscoveryQuery, NoBody>) async throws -> DiscoveryDetailBody {
        let id = try call.id()
        let discovery = try await self.discoveries.discovery(id: id)
        return DiscoveryDetailBody(
            discovery,
            hosts: try await self.discoveries.hosts(id: id, limit: call.query.limit, offset: call.query.offset),
            failures: try await self.discoveries.failures(id: id)
        )
    }

    @Sendable func cancel(_ call: Call<NoQuery, NoBody>) async throws -> DiscoveryBody {
        DiscoveryBody(try await self.discoveries.cancel(id: call.id(), audit: call.audit()))
    }
}

/// The query of `GET /discoveries`.
struct DiscoveryListQuery: RequestQuery {
    let filter: DiscoveryFilter

    init(_ query: inout QueryReader) throws(ServiceError) {
        var filter = DiscoveryFilter()
        filter.status = query.choice("status", DiscoveryStatus.self, "Only discoveries with this status.")
        (filter.sort, filter.descending) = query.sort(
            by: DiscoveryFilter.SortField.self,
            default: .id,
            descending: true
        )
        (filter.limit, filter.offset) = query.page()
        self.filter = filter
    }
}

/// The query of `GET /discoveries/{id}`: which part of `devices` is wanted.
struct DiscoveryQuery: RequestQuery {
    let limit: Int
    let offset: Int

    init(_ query: inout QueryReader) throws(ServiceError) { (self.limit, self.offset) = query.page() }
}

/// The answer to `POST /devices/discover`.
struct DiscoveryStartedBody: ResponseBody {
    static let schema = JSONSchema.object([
        "discovery_id": .id, "status": .choice(DiscoveryStatus.self), "subnet": .string(),
        "addresses": JSONSchema.integer(from: 1).described("How many are swept."),
    ])

    static let example: JSONValue = [
        "discovery_id": 1, "status": "queued", "subnet": "192.168.1.0/24", "addresses": 254,
    ]

    let discoveryID: Int
    let status: DiscoveryStatus
    let subnet: String
    let addresses: Int

    init(_ discovery: Discovery) {
        self.discoveryID = discovery.id
        self.status = discovery.status
        self.subnet = discovery.subnet
        self.addresses = discovery.total
    }

    enum CodingKeys: String, CodingKey {
        case discoveryID = "discovery_id"
        case status, subnet, addresses
    }
}

/// A discovery as clients see it.
struct DiscoveryBody: ResponseBody {
    static let properties: [(String, JSONSchema)] = [
        ("discovery_id", .id), ("status", .choice(DiscoveryStatus.self)),
        ("subnet", JSONSchema.string().described("As it was asked for.")),
        ("requested_by", JSONSchema.string().orNull),
        ("credential_ids", .array(of: .id, unique: true)),
        ("ports", JSONSchema.array(of: .integer(1...65_535)).orNull.described("Null: the default ones.")),
        ("auto_provision", .boolean),
        ("polling_interval", JSONSchema.integer(Device.pollingIntervalRange).orNull),
        ("total", JSONSchema.count.described("Addresses in all.")),
        ("scanned", JSONSchema.count.described("Addresses that are done. Never goes back.")),
        ("rate", JSONSchema.number().orNull.described("Addresses per second; null unless running.")),
        ("eta_seconds", JSONSchema.number().orNull.described("Seconds to go; null while that is not known.")),
        (
            "counts",
            JSONSchema.object(AddressOutcome.allCases.map { ($0.rawValue, .count) })
                .described("Addresses by what became of them.")
        ),
        ("found", JSONSchema.count.described("Windows machines.")),
        ("new_devices", JSONSchema.count.described("Those that there was no device of before.")),
        ("error", JSONSchema.string().orNull.described("Why it failed.")),
        ("created_at", .time), ("started_at", JSONSchema.time.orNull), ("finished_at", JSONSchema.time.orNull),
        ("updated_at", .time),
    ]

    static let exampleMembers: [String: JSONValue] = [
        "discovery_id": 1, "status": "running", "subnet": "192.168.1.0/24", "requested_by": "admin",
        "credential_ids": [1], "ports": .null, "auto_provision": false, "polling_interval": 60, "total": 254,
        "scanned": 120, "rate": 96.5, "eta_seconds": 1.4,
        "counts": [
            "windows": 3, "not_windows": 2, "unidentified": 0, "closed": 1, "silent": 114, "unreachable": 0,
            "failed": 0,
        ],
        "found": 3, "new_devices": 3, "error": .null, "created_at": "2025-12-03T10:05:00.000Z",
        "started_at": "2025-12-03T10:05:00.100Z", "finished_at": .null, "updated_at": "2025-12-03T10:05:01.100Z",
    ]

    static let schema = JSONSchema.object(Self.properties)
    static let example = JSONValue.object(Self.exampleMembers)

    let discoveryID: Int
    let status: DiscoveryStatus
    let subnet: String
    @OrNull var requestedBy: String?
    let credentialIDs: [Int]
    @OrNull var ports: [Int]?
    let autoProvision: Bool
    @OrNull var pollingInterval: Int?
    let total: Int
    let scanned: Int
    @OrNull var rate: Double?
    @OrNull var etaSeconds: Double?
    let counts: OutcomeCounts
    let found: Int
    let newDevices: Int
    @OrNull var error: String?
    let createdAt: Date
    @OrNull var startedAt: Date?
    @OrNull var finishedAt: Date?
    let updatedAt: Date

    init(_ discovery: Discovery) {
        self.discoveryID = discovery.id
        self.status = discovery.status
        self.subnet = discovery.subnet
        self._requestedBy = OrNull(wrappedValue: discovery.requestedBy)
        self.credentialIDs = discovery.options.credentialIDs
        self._ports = OrNull(wrappedValue: discovery.options.ports)
        self.autoProvision = discovery.options.autoProvision
        self._pollingInterval = OrNull(wrappedValue: discovery.options.pollingInterval)
        self.total = discovery.total
        self.scanned = discovery.scanned
        self._rate = OrNull(wrappedValue: discovery.rate)
        self._etaSeconds = OrNull(wrappedValue: discovery.etaSeconds)
        self.counts = discovery.counts
        self.found = discovery.hosts
        self.newDevices = discovery.newDevices
        self._error = OrNull(wrappedValue: discovery.error)
        self.createdAt = discovery.createdAt
        self._startedAt = OrNull(wrappedValue: discovery.startedAt)
        self._finishedAt = OrNull(wrappedValue: discovery.finishedAt)
        self.updatedAt = discovery.updatedAt
    }

    enum CodingKeys: String, CodingKey {
        case discoveryID = "discovery_id"
        case status, subnet
        case requestedBy = "requested_by"
        case credentialIDs = "credential_ids"
        case ports
        case autoProvision = "auto_provision"
        case pollingInterval = "polling_interval"
        case total, scanned, rate
        case etaSeconds = "eta_seconds"
        case counts, found
        case newDevices = "new_devices"
        case error
        case createdAt = "created_at"
        case startedAt = "started_at"
        case finishedAt = "finished_at"
        case updatedAt = "updated_at"
    }
}

struct DiscoveryListBody: ResponseBody {
    static let schema = JSONSchema.page("discoveries", of: .reference(to: DiscoveryBody.self))
    static let example: JSONValue = ["discoveries": [DiscoveryBody.example], "total": 1, "limit": 50, "offset": 0]

    let discoveries: [DiscoveryBody]
    let total: Int
    let limit: Int
    let offset: Int
}

/// A discovery with a part of what it found.
struct DiscoveryDetailBody: ResponseBody {
    static let schemaName = "DiscoveryDetail"
    static let schema = JSONSchema.object(
        DiscoveryBody.properties + [
            ("devices", .array(of: .reference(to: FoundDeviceBody.self))),
            ("devices_total", JSONSchema.count.described("How many `devices` there are in all.")),
            (
                "errors",
                JSONSchema.array(of: .reference(to: DiscoveryErrorBody.self))
                    .described("Why credentials did not open hosts, the most frequent reason first.")
            ),
        ]
    )
    static let example = JSONValue.object(
        DiscoveryBody.exampleMembers.merging(
            ["devices": [FoundDeviceBody.example], "devices_total": 3, "errors": [DiscoveryErrorBody.example]],
            uniquingKeysWith: { $1 }
        )
    )

    let discovery: DiscoveryBody
    let devices: [FoundDeviceBody]
    let devicesTotal: Int
    let errors: [DiscoveryErrorBody]

    init(_ discovery: Discovery, hosts: Page<FoundHost>, failures: [DiscoveryTrialFailure]) {
        self.discovery = DiscoveryBody(discovery)
        self.devices = hosts.items.map(FoundDeviceBody.init)
        self.devicesTotal = hosts.total
        self.errors = failures.map(DiscoveryErrorBody.init)
    }

    enum CodingKeys: String, CodingKey {
        case devices
        case devicesTotal = "devices_total"
        case errors
    }

    func encode(to encoder: any Encoder) throws {
        try self.discovery.encode(to: encoder)
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(self.devices, forKey: .devices)
        try container.encode(self.devicesTotal, forKey: .devicesTotal)
        try container.encode(self.errors, forKey: .errors)
    }
}

/// A Windows machine that a discovery found.
struct FoundDeviceBody: ResponseBody {
    static let schemaName = "FoundDevice"
    static let schema = JSONSchema.object([
        "device_id": JSONSchema.id.orNull.described("Null once the device is deleted."),
        "ip": .ip,
        "hostname": JSONSchema.string().orNull,
        "domain": JSONSchema.string().orNull,
        "os": JSONSchema.string().orNull,
        "os_version": JSONSchema.string().orNull,
        "build": JSONSchema.string().orNull,
        "status": JSONSchema.choice(DeviceStatus.self).orNull.described("Of the device, now."),
        "credential_id": JSONSchema.integer(from: 1).orNull.described("The credential that opened it."),
        "is_new": JSONSchema.boolean.described("Whether this discovery inserted the device."),
        "found_at": .time,
        "evidence": JSONSchema(["type": "object"])
            .described("What speaks for a Windows machine, in the host's own words; `reasons` sums it up."),
    ])

    static let example: JSONValue = [
        "device_id": 1, "ip": "192.168.1.10", "hostname": "WIN-SRV01.corp.example", "domain": "corp.example",
        "os": "Microsoft Windows Server 2022 Standard", "os_version": "10.0.20348", "build": "20348",
        "status": "discovered", "credential_id": 1, "is_new": true, "found_at": "2025-12-03T10:05:01.000Z",
        "evidence": ["ports": [["port": 5985, "state": "open"]], "wsman": [], "reasons": ["it told a Windows build"]],
    ]

    @OrNull var deviceID: Int?
    let ip: String
    @OrNull var hostname: String?
    @OrNull var domain: String?
    @OrNull var os: String?
    @OrNull var osVersion: String?
    @OrNull var build: String?
    @OrNull var status: DeviceStatus?
    @OrNull var credentialID: Int?
    let isNew: Bool
    let foundAt: Date
    let evidence: DiscoveryEvidence

    init(_ found: FoundHost) {
        self._deviceID = OrNull(wrappedValue: found.deviceID)
        self.ip = found.host.ip
        self._hostname = OrNull(wrappedValue: found.host.hostname)
        self._domain = OrNull(wrappedValue: found.host.domain)
        self._os = OrNull(wrappedValue: found.host.os)
        self._osVersion = OrNull(wrappedValue: found.host.osVersion)
        self._build = OrNull(wrappedValue: found.host.build)
        self._status = OrNull(wrappedValue: found.deviceStatus)
        self._credentialID = OrNull(wrappedValue: found.host.credentialID)
        self.isNew = found.isNew
        self.foundAt = found.foundAt
        self.evidence = found.host.evidence
    }

    enum CodingKeys: String, CodingKey {
        case deviceID = "device_id"
        case ip, hostname, domain, os
        case osVersion = "os_version"
        case build, status
        case credentialID = "credential_id"
        case isNew = "is_new"
        case foundAt = "found_at"
        case evidence
    }
}

/// Why a credential did not open some of the hosts.
struct DiscoveryErrorBody: ResponseBody {
    static let schemaName = "DiscoveryError"
    static let schema = JSONSchema.object([
        "code": .choice(PollErrorCode.self), "message": JSONSchema.string().described("That of one of the hosts."),
        "credential_id": .integer(from: 1), "hosts": JSONSchema.count.described("How many."),
    ])

    static let example: JSONValue = [
        "code": "auth_failed", "message": "the user name or password is not correct", "credential_id": 1, "hosts": 2,
    ]

    let code: String
    let message: String
    let credentialID: Int
    let hosts: Int

    init(_ failure: DiscoveryTrialFailure) {
        self.code = failure.code
        self.message = failure.message
        self.credentialID = failure.credentialID
        self.hosts = failure.hosts
    }

    enum CodingKeys: String, CodingKey {
        case code, message
        case credentialID = "credential_id"
        case hosts
    }
}
