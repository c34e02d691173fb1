internal import HTTPTypes
internal import NMSStorage

/// Writes what the document says of one endpoint.
struct OperationWriter {
    private let endpoint: Endpoint
    private let success: JSONSchema
    private let errors: [(status: Int, codes: [ServiceError.Code], schema: JSONSchema)]
    private let requestBody: JSONSchema?

    init(_ endpoint: Endpoint) {
        self.endpoint = endpoint
        self.success =
            switch endpoint.operation.answer.content {
            case .enveloped:
                .object([
                    "success": .constant(true), "data": endpoint.types.data.map { .reference(to: $0) } ?? .any,
                ])
            case .bare(_, let schema): schema
            }
        let codes = Dictionary(grouping: ErrorSchemas.codes(of: endpoint)) { $0.status.code }
        self.errors = codes.sorted { $0.key < $1.key }.map { status, codes in
            let details = endpoint.operation.errorDetails
            return (status, codes, .anyOf(codes.map { ErrorSchemas.envelope($0, details: details[$0]) }))
        }
        let body = endpoint.types.body
        self.requestBody = body.presence == .none ? nil : .named(body.schemaName, body.schema)
    }

    /// Every named schema that the operation refers to.
    var definitions: [String: JSONValue] {
        let schemas = [self.success] + self.errors.map(\.schema) + [self.requestBody].compactMap(\.self)
        return schemas.reduce(into: [:]) { $0.merge($1.definitions) { first, _ in first } }
    }

    func operation() -> JSONValue {
        let declared = self.endpoint.operation
        var members: [String: JSONValue] = [
            "operationId": .string(declared.id),
            "tags": [.string(declared.tag.rawValue)],
            "summary": .string(declared.summary),
            "description": .string(self.description),
            "responses": self.responses,
            "security": [],
        ]
        if case .role(let role) = self.endpoint.access {
            members["security"] = [.object([OpenAPIDocument.securityScheme: []])]
            members["x-required-role"] = .string(role.rawValue)
        }
        let parameters = self.parameters
        if !parameters.isEmpty { members["parameters"] = .array(parameters) }
        if !declared.rules.isEmpty { members["x-unexpressed-rules"] = .array(declared.rules.map { .string($0) }) }
        if let requestBody {
            let body = self.endpoint.types.body
            members["requestBody"] = [
                "required": .bool(body.presence == .required),
                "content": ["application/json": ["schema": requestBody.json, "example": body.example]],
            ]
        }
        return .object(members)
    }

    private var description: String {
        var parts = [self.endpoint.operation.description]
        switch self.endpoint.access {
        case .open: parts.append("Open to everyone.")
        case .role(let needed):
            let roles = Role.allCases.filter { $0.covers(needed) }.map { "`\($0.rawValue)`" }
            parts.append("For \(roles.joined(separator: ", ")).")
        }
        let rules = self.endpoint.operation.rules
        if !rules.isEmpty {
            let list = rules.map { "- \($0)" }.joined(separator: "\n")
            parts.append("Answered 400 `VALIDATION_ERROR` though the schema allows it, unless:\n\n\(list)")
        }
        return parts.filter { !$0.isEmpty }.joined(separator: "\n\n")
    }

    private var parameters: [JSONValue] {
        var all: [JSONValue] = []
        if let parameter = PathParameter(path: self.endpoint.path) {
            all.append([
                "name": .string(parameter.rawValue), "in": "path", "required": true,
                "description": "Which one.", "schema": parameter.schema.json,
            ])
        }
        for parameter in self.endpoint.types.query.parameters {
            var members: [String: JSONValue] = [
                "name": .string(parameter.name), "in": "query", "required": false,
                "description": .string(parameter.description), "schema": parameter.schema.json,
            ]
            if parameter.schema.keywords["type"] == "array" {
                members["style"] = "form"
                members["explode"] = false
            }
            all.append(.object(members))
        }
        return all
    }

    // MARK: Responses

    private var responses: JSONValue {
        let answer = self.endpoint.operation.answer
        var responses: [String: JSONValue] = ["\(answer.status.code)": self.successResponse]
        if answer.isConditional {
            responses["304"] = [
                "description": "It is the one that `If-None-Match` names",
                "headers": self.headers([.requestID], more: answer.headers),
            ]
        }
        for error in self.errors {
            let declared = self.endpoint.operation.errors
            let words = error.codes.map { "\(declared[$0] ?? ErrorSchemas.description(of: $0)) (`\($0.rawValue)`)" }
            var headers: [ResponseHeader] = [.requestID]
            if error.codes.contains(.unauthorized) { headers.append(.authenticate) }
            if error.codes.contains(.rateLimited) || error.codes.contains(.serviceUnavailable) {
                headers.append(.retryAfter)
            }
            responses["\(error.status)"] = [
                "description": .string(words.joined(separator: "; ") + "."),
                "headers": self.headers(headers),
                "content": ["application/json": ["schema": error.schema.json]],
            ]
        }
        return .object(responses)
    }

    private var successResponse: JSONValue {
        let answer = self.endpoint.operation.answer
        var response: [String: JSONValue] = [
            "description": .string(answer.description + "."),
            "headers": self.headers([.requestID], more: answer.headers),
        ]
        switch answer.content {
        case .enveloped:
            var content: [String: JSONValue] = ["schema": self.success.json]
            if let data = self.endpoint.types.data {
                content["example"] = ["success": true, "data": data.example]
            }
            response["content"] = ["application/json": .object(content)]
        case .bare(let mediaType, let schema): response["content"] = .object([mediaType: ["schema": schema.json]])
        }
        let links = self.endpoint.operation.links
        if !links.isEmpty { response["links"] = .object(Dictionary(links.map(Self.link)) { _, last in last }) }
        return .object(response)
    }

    private func headers(_ headers: [ResponseHeader], more: [String: String] = [:]) -> JSONValue {
        var all: [String: JSONValue] = [:]
        for header in headers { all[header.rawValue] = header.reference }
        for (name, description) in more {
            all[name] = ["description": .string(description), "schema": JSONSchema.string().json]
        }
        return .object(all)
    }

    private static func link(_ link: Link) -> (String, JSONValue) {
        var members: [String: JSONValue] = ["operationId": .string(link.operationID)]
        if !link.parameters.isEmpty { members["parameters"] = .object(link.parameters.mapValues { .string($0) }) }
        if let body = link.body { members["requestBody"] = body }
        return (link.operationID, .object(members))
    }
}
