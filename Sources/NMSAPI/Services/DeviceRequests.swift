internal import NMSCore
internal import NMSStorage

/// The body of `POST /devices`.
struct CreateDeviceRequest: RequestBody {
    static let example: JSONValue = ["ip": "192.168.1.10", "hostname": "win-srv01", "polling_interval": 60]

    let new: NewDevice

    init(_ fields: inout FieldReader) throws(ServiceError) {
        let ip = fields.required("ip", .ip)
        let hostname = fields.nullable("hostname", .hostname.described("Polls set it as well.")) ?? nil
        let os = fields.nullable("os", .text().described("Polls set it as well.")) ?? nil
        let interval = fields.optional(
            "polling_interval",
            .pollingInterval.described("In seconds; without it, the server's `polling.default_interval`.")
        )
        try fields.finish()
        guard let ip else { throw ServiceError(.validationError, "The request is not valid") }
        self.new = NewDevice(ip: ip, hostname: hostname, os: os, pollingInterval: interval)
    }
}

/// The body of `PUT /devices/{id}`: what is left out stays as it is.
struct UpdateDeviceRequest: RequestBody {
    static let example: JSONValue = ["polling_interval": 300]

    let changes: DeviceChanges
    let isEmpty: Bool

    init(_ fields: inout FieldReader) throws(ServiceError) {
        self.changes = DeviceChanges(
            ip: fields.optional("ip", .ip),
            hostname: fields.nullable("hostname", .hostname),
            os: fields.nullable("os", .text()),
            pollingInterval: fields.optional("polling_interval", .pollingInterval.described("In seconds."))
        )
        self.isEmpty = fields.isEmpty
        try fields.finish()
    }
}

/// The body of `POST /devices/{id}/provision`.
struct ProvisionRequest: RequestBody {
    static let example: JSONValue = ["credential_id": 1, "polling_interval": 60]

    /// More than a handful would mean that no one knows which one fits.
    static let maximumCredentials = 16

    /// In the order in which they are to be tried.
    let credentialIDs: [Int]
    /// Which field they came in, for messages.
    let field: String
    let pollingInterval: Int?

    init(_ fields: inout FieldReader) throws(ServiceError) {
        let single = fields.optional("credential_id", .id)
        let several = fields.optional(
            "credential_ids",
            .ids(atMost: Self.maximumCredentials).described("In the order in which they are to be tried.")
        )
        let interval = fields.optional(
            "polling_interval",
            .pollingInterval.described("In seconds; without it, the device keeps its own.")
        )
        fields.exactlyOne(of: "credential_id", or: "credential_ids")
        try fields.finish()
        self.credentialIDs = several ?? single.map { [$0] } ?? []
        self.field = several == nil ? "credential_id" : "credential_ids"
        self.pollingInterval = interval
    }
}
