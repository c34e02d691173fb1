internal import NMSCore
internal import NMSStorage

/// The body of `POST /devices`.
struct CreateDeviceRequest {
    let new: NewDevice

    init(_ body: JSONValue) throws(ServiceError) {
        var fields = try FieldReader(body)
        let ip = fields.required("ip", .ip)
        let hostname = fields.nullable("hostname", .hostname) ?? nil
        let os = fields.nullable("os", .text()) ?? nil
        let interval = fields.optional("polling_interval", .pollingInterval)
        try fields.finish()
        guard let ip else { throw ServiceError(.validationError, "The request is not valid") }
        self.new = NewDevice(ip: ip, hostname: hostname, os: os, pollingInterval: interval)
    }
}

/// The body of `PUT /devices/{id}`: what is left out stays as it is.
struct UpdateDeviceRequest {
    let changes: DeviceChanges
    let isEmpty: Bool

    init(_ body: JSONValue) throws(ServiceError) {
        var fields = try FieldReader(body)
        self.changes = DeviceChanges(
            ip: fields.optional("ip", .ip),
            hostname: fields.nullable("hostname", .hostname),
            os: fields.nullable("os", .text()),
            pollingInterval: fields.optional("polling_interval", .pollingInterval)
        )
        try fields.finish()
        self.isEmpty = body == .object([:])
    }
}

/// The body of `POST /devices/{id}/provision`.
struct ProvisionRequest {
    /// More than a handful would mean that no one knows which one fits.
    static let maximumCredentials = 16

    /// In the order in which they are to be tried.
    let credentialIDs: [Int]
    /// Which field they came in, for messages.
    let field: String
    let pollingInterval: Int?

    init(_ body: JSONValue) throws(ServiceError) {
        var fields = try FieldReader(body)
        let single = fields.optional("credential_id", .id)
        let several = fields.optional("credential_ids", .ids(atMost: Self.maximumCredentials))
        let interval = fields.optional("polling_interval", .pollingInterval)
        switch (fields.has("credential_id"), fields.has("credential_ids")) {
        case (false, false): fields.note("credential_id", "credential_id (or credential_ids) is required")
        case (true, true): fields.note("credential_ids", "Give either credential_id or credential_ids, not both")
        default: break
        }
        try fields.finish()
        self.credentialIDs = several ?? single.map { [$0] } ?? []
        self.field = several == nil ? "credential_id" : "credential_ids"
        self.pollingInterval = interval
    }
}
