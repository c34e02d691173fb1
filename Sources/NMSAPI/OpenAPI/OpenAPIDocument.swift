internal import HTTPTypes
internal import class Foundation.JSONEncoder
internal import struct Foundation.Data

/// The OpenAPI 3.1 document of the endpoints: made of the declarations that decode their requests.
struct OpenAPIDocument: Sendable {
    /// The version of the API, by semantic versioning; NMSlite has its own.
    static let apiVersion = "1.0.0"
    static let securityScheme = "bearerAuth"

    /// Enough of the document's own shape for a client that asks what it gets.
    static let ownSchema = JSONSchema([
        "type": "object",
        "required": ["openapi", "info", "paths", "components"],
        "properties": ["openapi": ["type": "string", "const": "3.1.0"]],
    ])

    let json: JSONValue
    /// As it is served: members sorted, so that the same endpoints give the same bytes.
    let bytes: [UInt8]

    init(_ endpoints: [Endpoint]) {
        var paths: [String: JSONValue] = [:]
        var schemas: [String: JSONValue] = [:]
        for endpoint in endpoints {
            let writer = OperationWriter(endpoint)
            var item: [String: JSONValue] = [:]
            if case .object(let present) = paths[endpoint.path] { item = present }
            item[endpoint.method.rawValue.lowercased()] = writer.operation()
            paths[endpoint.path] = .object(item)
            schemas.merge(writer.definitions) { first, _ in first }
        }
        self.json = [
            "openapi": "3.1.0",
            "info": Self.info,
            "servers": [["url": "/", "description": "This server"]],
            "tags": .array(
                Operation.Tag.allCases.map { ["name": .string($0.rawValue), "description": .string($0.description)] }
            ),
            "paths": .object(paths),
            "components": [
                "schemas": .object(schemas),
                "headers": .object(ResponseHeader.allCases.reduce(into: [:]) { $0[$1.component] = $1.json }),
                "securitySchemes": .object([
                    Self.securityScheme: [
                        "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                        "description": "The `access_token` of a login or refresh.",
                    ]
                ]),
            ],
        ]
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        // Strings, numbers and booleans always encode.
        let data = (try? encoder.encode(self.json)) ?? Data()
        self.bytes = Array(data) + [UInt8(ascii: "\n")]
    }

    private static let info: JSONValue = [
        "title": "NMSlite",
        "version": .string(Self.apiVersion),
        "summary": "Monitoring of Windows hosts without agents.",
        "description": """
        Every answer is in an envelope: `{"success":true,"data":…}` or \
        `{"success":false,"error":{"code","message","details"}}`. Only this document itself is bare.

        Times are RFC 3339 in UTC with milliseconds. Fields are never left out of an answer: what is not known is null. \
        Unknown fields and query parameters, parameters that come twice and names that occur twice in an object are \
        refused with 400.

        Roles: `viewer` reads, `operator` also writes devices and credentials, `admin` does everything; \
        `x-required-role` is the least that an operation needs. Rules that a schema can't express are in \
        `x-unexpressed-rules`: a request that breaks one of them is answered 400 though it fits its schema.

        Any other method on a path is answered 405 `METHOD_NOT_ALLOWED` with `Allow`, any other path 404 `NOT_FOUND`.
        """,
    ]
}

/// Headers of answers.
enum ResponseHeader: String, CaseIterable {
    case requestID = "X-Request-ID"
    case retryAfter = "Retry-After"
    case authenticate = "WWW-Authenticate"

    /// The name under `components/headers`.
    var component: String { self.rawValue }

    var reference: JSONValue { ["$ref": .string("#/components/headers/\(self.component)")] }

    var json: JSONValue {
        switch self {
        case .requestID:
            [
                "description": "The request's own X-Request-ID if it was sane, else a new one; the log has it, too.",
                "required": true,
                "schema": JSONSchema.string(length: 1...128, pattern: "^[A-Za-z0-9._-]+$").json,
            ]
        case .retryAfter:
            [
                "description": "After how many seconds to try again.",
                "schema": JSONSchema.integer(from: 1).json,
            ]
        case .authenticate:
            [
                "description": "RFC 6750.",
                "required": true,
                "schema": JSONSchema.constant("Bearer realm=\"nmslite\"").with("type", "string").json,
            ]
        }
    }
}
