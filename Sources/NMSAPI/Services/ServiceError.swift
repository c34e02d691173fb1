internal import NMSStorage

/// Why a service refused, in the words and codes that clients see (specification §9.2, "Error Response").
///
/// Knows nothing of HTTP, and never holds a secret.
package struct ServiceError: Error, Sendable, Equatable {
    package enum Code: String, Sendable, CaseIterable, Encodable {
        case validationError = "VALIDATION_ERROR"
        case unauthorized = "UNAUTHORIZED"
        case forbidden = "FORBIDDEN"
        case targetNotAllowed = "TARGET_NOT_ALLOWED"
        case notFound = "NOT_FOUND"
        case methodNotAllowed = "METHOD_NOT_ALLOWED"
        case conflict = "CONFLICT"
        case payloadTooLarge = "PAYLOAD_TOO_LARGE"
        case unsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE"
        case rateLimited = "RATE_LIMITED"
        case internalError = "INTERNAL_ERROR"
        case serviceUnavailable = "SERVICE_UNAVAILABLE"
    }

    package var code: Code
    /// A sentence for people: what is wrong, with what, what to do.
    package var message: String
    package var details: ErrorDetails?
    /// When to come back, in whole seconds.
    package var retryAfter: Int?

    package init(_ code: Code, _ message: String, details: ErrorDetails? = nil, retryAfter: Int? = nil) {
        self.code = code
        self.message = message
        self.details = details
        self.retryAfter = retryAfter
    }
}

/// One field that is wrong.
package struct FieldError: Sendable, Equatable, Encodable {
    package var field: String
    package var message: String
    /// What was given; nil for secret fields, for unknown ones and for anything but a short scalar.
    package var value: JSONValue?

    package init(field: String, message: String, value: JSONValue? = nil) {
        self.field = field
        self.message = message
        self.value = value
    }
}

/// The `details` of an error; whatever is nil is left out.
package struct ErrorDetails: Sendable, Equatable, Encodable {
    package var field: String?
    package var value: JSONValue?
    /// Every wrong field, the first one included.
    package var errors: [FieldError]?
    /// The devices that stand in the way.
    package var deviceIDs: [Int]?

    package init(
        field: String? = nil,
        value: JSONValue? = nil,
        errors: [FieldError]? = nil,
        deviceIDs: [Int]? = nil
    ) {
        self.field = field
        self.value = value
        self.errors = errors
        self.deviceIDs = deviceIDs
    }

    enum CodingKeys: String, CodingKey {
        case field, value, errors
        case deviceIDs = "device_ids"
    }
}

extension ServiceError {
    /// A validation error of one or more fields; the first one gives the message.
    static func invalid(_ errors: [FieldError]) -> ServiceError {
        let first = errors.first
        return ServiceError(
            .validationError,
            first?.message ?? "The request is not valid",
            details: ErrorDetails(field: first?.field, value: first?.value, errors: errors)
        )
    }

    static func invalid(_ field: String, _ message: String, value: JSONValue? = nil) -> ServiceError {
        .invalid([FieldError(field: field, message: message, value: value)])
    }

    static func notFound(_ kind: String, id: Int, field: String? = nil) -> ServiceError {
        ServiceError(
            .notFound,
            "\(kind) \(id) does not exist",
            details: field.map { ErrorDetails(field: $0, value: .integer(id)) }
        )
    }

    static func targetNotAllowed(_ ip: String, by setting: String) -> ServiceError {
        ServiceError(
            .targetNotAllowed,
            "\(ip) is outside of \(setting)",
            details: ErrorDetails(field: "ip", value: .string(ip))
        )
    }

    /// The answer to what storage refused.
    init(_ error: StorageError) {
        switch error {
        case .duplicate(let field, let value):
            self.init(
                .conflict,
                "\(field) is taken already",
                details: ErrorDetails(field: field, value: .string(value))
            )
        case .inUse(let deviceIDs):
            let named = deviceIDs.prefix(10).map(String.init).joined(separator: ", ")
            let rest = deviceIDs.count > 10 ? " and \(deviceIDs.count - 10) more" : ""
            self.init(
                .conflict,
                "The credential is used by devices: \(named)\(rest). Deprovision them or give them another first",
                details: ErrorDetails(deviceIDs: deviceIDs)
            )
        case .missing(let field, let id):
            self.init(
                .notFound,
                "\(field) \(id) does not exist",
                details: ErrorDetails(field: field, value: .integer(id))
            )
        case .discoveryActive(let id):
            self.init(
                .conflict,
                "Discovery \(id), which is queued or running, has addresses in common with this one; wait for it "
                    + "(GET /discoveries/\(id)) or cancel it (DELETE /discoveries/\(id))",
                details: ErrorDetails(field: "discovery_id", value: .integer(id))
            )
        case .undecryptable, .wrongMasterKey, .masterKeyMissing, .masterKeyRotationRuns, .schemaTooNew:
            self.init(.internalError, Self.internalMessage)
        }
    }

    /// All that a client hears of an unexpected error; the log has the rest, under the request's id.
    static let internalMessage = "Something went wrong on the server; the log has more under this request's id"
}
