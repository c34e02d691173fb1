internal import HTTPTypes
internal import NMSStorage

/// What the document says of errors.
enum ErrorSchemas {
    /// Codes that every operation may answer.
    static let common: Set<ServiceError.Code> = [
        .validationError, .payloadTooLarge, .unsupportedMediaType, .rateLimited, .internalError, .serviceUnavailable,
    ]

    /// Every code that an endpoint may answer, in the order of statuses.
    static func codes(of endpoint: Endpoint) -> [ServiceError.Code] {
        var codes = self.common.union(endpoint.operation.errors.keys)
        if case .role(let role) = endpoint.access {
            codes.insert(.unauthorized)
            // Everybody has the least of roles.
            if role != .viewer { codes.insert(.forbidden) }
        }
        if PathParameter(path: endpoint.path) != nil { codes.insert(.notFound) }
        return ServiceError.Code.allCases.filter(codes.contains)
    }

    static func description(of code: ServiceError.Code) -> String {
        switch code {
        case .validationError: "The request is not valid; `details.errors` names every wrong field"
        case .unauthorized: "There is no token, or it is not valid any more"
        case .forbidden: "The caller's role is not enough"
        case .targetNotAllowed: "The address may not be reached from here"
        case .notFound: "There is no such thing"
        case .methodNotAllowed: "The path has other methods"
        case .conflict: "The present state of things does not allow it"
        case .payloadTooLarge: "The body is too large"
        case .unsupportedMediaType: "There is a body whose Content-Type is not application/json"
        case .rateLimited: "Too many requests of this client"
        case .internalError: "Something went wrong on the server; its log has more under the request's id"
        case .serviceUnavailable: "The server can't do this now"
        }
    }

    /// The envelope with one code.
    ///
    /// - Parameter details: what `details` holds; nil is the usual, which may be missing.
    static func envelope(_ code: ServiceError.Code, details: (any ResponseBody.Type)?) -> JSONSchema {
        let words = code.rawValue.split(separator: "_").map { $0.prefix(1) + $0.dropFirst().lowercased() }.joined()
        let name = (words.hasSuffix("Error") ? words : words + "Error") + (details.map { "Of\($0.schemaName)" } ?? "")
        let error = JSONSchema.object(
            [
                ("code", .constant(.string(code.rawValue))),
                ("message", JSONSchema.string().described("A sentence for people.")),
                ("details", details.map { .reference(to: $0) } ?? .named("ErrorDetails", self.details)),
            ],
            optional: details == nil ? ["details"] : []
        )
        return .named(name, .object(["success": .constant(false), "error": error]))
    }

    private static let details = JSONSchema.object(
        [
            "field": JSONSchema.string().described("The first wrong field."),
            "value": Self.value,
            "errors": JSONSchema.array(of: .named("FieldError", Self.fieldError)).described("Every wrong field."),
            "device_ids": JSONSchema.array(of: .id).described("The devices that stand in the way."),
        ],
        optional: ["field", "value", "errors", "device_ids"]
    )

    private static let fieldError = JSONSchema.object(
        [
            "field": JSONSchema.string().described("Elements of arrays as in `ports[3]`."),
            "message": .string(),
            "value": Self.value,
        ],
        optional: ["value"]
    )

    private static let value = JSONSchema(["type": ["string", "number", "boolean", "null"]])
        .described("What was given, shortened; never of a secret.")
}
