internal import HTTPTypes
internal import Hummingbird
internal import HummingbirdCore
internal import Logging
internal import NIOCore
internal import NIOHTTP1
internal import NMSStorage
internal import struct Foundation.UUID

/// Who may call an endpoint.
enum Access: Sendable, Equatable {
    /// Anyone, without a token.
    case open
    /// Users whose role covers this one.
    case role(Role)
}

/// One line of the API: what is called how, by whom, with what.
struct Endpoint: Sendable {
    let method: HTTPRequest.Method
    /// With `{id}` or `{uuid}` for a path parameter.
    let path: String
    let access: Access
    /// For the document.
    let operation: Operation
    let types: EndpointTypes
    let handler: @Sendable (EndpointCall) async throws -> Response

    /// An endpoint that answers in the envelope: its handler's types say what it takes and gives.
    init<Query: RequestQuery, Body: RequestBody, Data: ResponseBody>(
        _ method: HTTPRequest.Method,
        _ path: String,
        _ access: Access,
        _ operation: Operation,
        handler: @escaping @Sendable (Call<Query, Body>) async throws -> Data
    ) {
        let types = EndpointTypes(query: Query.self, body: Body.self, data: Data.self)
        let parameter = PathParameter(path: path)
        self.init(method, path, access, operation, types) { call in
            let data = try await handler(try Call(call, parameter))
            return try Envelope.response(status: operation.answer.status, data: data)
        }
    }

    /// An endpoint that answers in a way of its own.
    init(
        raw method: HTTPRequest.Method,
        _ path: String,
        _ access: Access,
        _ operation: Operation,
        handler: @escaping @Sendable (Call<NoQuery, NoBody>) async throws -> Response
    ) {
        let types = EndpointTypes(query: NoQuery.self, body: NoBody.self, data: nil)
        let parameter = PathParameter(path: path)
        self.init(method, path, access, operation, types) { try await handler(try Call($0, parameter)) }
    }

    private init(
        _ method: HTTPRequest.Method,
        _ path: String,
        _ access: Access,
        _ operation: Operation,
        _ types: EndpointTypes,
        handler: @escaping @Sendable (EndpointCall) async throws -> Response
    ) {
        self.method = method
        self.path = path
        self.access = access
        self.operation = operation
        self.types = types
        self.handler = handler
    }

    /// Whether a request's path is this endpoint's, by the router's rules (repeated and trailing slashes don't count).
    func matches(path: [Substring]) -> Bool {
        let own = self.path.split(separator: "/")
        return own.count == path.count && zip(own, path).allSatisfy { $0.hasPrefix("{") || $0 == $1 }
    }
}

/// What an endpoint takes and gives.
struct EndpointTypes: Sendable {
    let query: any RequestQuery.Type
    let body: any RequestBody.Type
    /// nil for answers without the envelope.
    let data: (any ResponseBody.Type)?
}

/// What a path has in braces.
enum PathParameter: String, Sendable, CaseIterable {
    /// The id of a row.
    case id
    /// A UUID in lower case.
    case uuid

    /// nil when the path has none.
    init?(path: String) {
        guard let found = Self.allCases.first(where: { path.contains("{\($0.rawValue)}") }) else { return nil }
        self = found
    }

    var schema: JSONSchema {
        switch self {
        case .id: .id
        case .uuid: .uuid
        }
    }

    /// - Throws: ``ServiceError`` when `text` does not fit the schema.
    func check(_ text: String) throws(ServiceError) {
        let echoed = EchoedValue.of(.string(text))
        switch self {
        case .id:
            guard let id = StrictInteger.parse(text), (1...Int(Int32.max)).contains(id) else {
                throw .invalid("id", "id must be an integer from 1 to \(Int32.max)", value: echoed)
            }
        case .uuid:
            guard text.utf8.count == 36, text == text.lowercased(), UUID(uuidString: text) != nil else {
                throw .invalid("uuid", "uuid must be a UUID in lower case", value: echoed)
            }
        }
    }
}

/// A request that has passed the gate.
struct EndpointCall: Sendable {
    /// The query string as it came, without the question mark.
    let query: String?
    let headers: HTTPFields
    let context: APIContext
    /// nil at open endpoints.
    let principal: Principal?
    /// `.object([:])` when there was none.
    let body: JSONValue
}

/// A request that has passed the gate, decoded.
struct Call<Query: RequestQuery, Body: RequestBody>: Sendable {
    let query: Query
    let body: Body
    let headers: HTTPFields
    let context: APIContext
    /// nil at open endpoints.
    let principal: Principal?

    /// - Throws: ``ServiceError`` that names everything that is wrong with path, query and body.
    init(_ call: EndpointCall, _ parameter: PathParameter?) throws(ServiceError) {
        var errors: [FieldError] = []
        func attempt<Value>(_ read: () throws(ServiceError) -> Value) throws(ServiceError) -> Value? {
            do throws(ServiceError) {
                return try read()
            } catch {
                guard error.code == .validationError, let found = error.details?.errors else { throw error }
                errors += found
                return nil
            }
        }
        if let parameter {
            let text = call.context.parameters.get(parameter.rawValue) ?? ""
            _ = try attempt { () throws(ServiceError) in try parameter.check(text) }
        }
        let query = try attempt { () throws(ServiceError) in try Query(call.query) }
        let body = try attempt { () throws(ServiceError) in try Body(call.body) }
        guard errors.isEmpty, let query, let body else { throw .invalid(errors) }
        self.query = query
        self.body = body
        self.headers = call.headers
        self.context = call.context
        self.principal = call.principal
    }

    /// The `{id}` of the path.
    func id() throws(ServiceError) -> Int {
        let text = self.context.parameters.get(PathParameter.id.rawValue) ?? ""
        try PathParameter.id.check(text)
        return Int(text) ?? 0
    }

    /// The `{uuid}` of the path.
    func uuid() throws(ServiceError) -> String {
        let text = self.context.parameters.get(PathParameter.uuid.rawValue) ?? ""
        try PathParameter.uuid.check(text)
        return text
    }

    /// The caller; only where the table asks for a role.
    func caller() throws(ServiceError) -> Principal {
        guard let principal = self.principal else { throw ServiceError(.unauthorized, "A bearer token is required") }
        return principal
    }
}

/// Stands before an endpoint: token, role, then body, in that order.
struct EndpointGate: HTTPResponder {
    let endpoint: Endpoint
    let auth: AuthService
    let maximumBodyBytes: Int

    func respond(to request: Request, context: APIContext) async throws -> Response {
        var context = context
        let principal = try await self.authorize(request, context)
        if let principal { context.logger[metadataKey: "user"] = "\(principal.username)" }
        let body = try await RequestBodyReader(endpoint: self.endpoint, limit: self.maximumBodyBytes).read(request)
        let call = EndpointCall(
            query: request.uri.query,
            headers: request.headers,
            context: context,
            principal: principal,
            body: body
        )
        return try await self.endpoint.handler(call)
    }

    private func authorize(_ request: Request, _ context: APIContext) async throws -> Principal? {
        guard case .role(let needed) = self.endpoint.access else { return nil }
        guard let token = Self.bearerToken(request) else {
            throw ServiceError(.unauthorized, "A bearer token is required: Authorization: Bearer <access_token>")
        }
        let principal = try await self.auth.validate(token)
        context.state.principal = principal
        guard principal.role.covers(needed) else {
            throw ServiceError(
                .forbidden,
                "The role \(principal.role.rawValue) may not do this; \(needed.rawValue) is needed"
            )
        }
        return principal
    }

    /// RFC 6750 §2.1; the scheme compares without case. More than one header is none.
    static func bearerToken(_ request: Request) -> String? {
        let values = request.headers[values: .authorization]
        guard values.count == 1 else { return nil }
        let value = values[0].utf8
        let space = UInt8(ascii: " ")
        guard let end = value.firstIndex(of: space), value[..<end].elementsEqual("bearer".utf8, by: { $0 | 0x20 == $1 })
        else { return nil }
        let token = value[end...].drop { $0 == space }
        guard !token.isEmpty, !token.contains(space) else { return nil }
        return String(Substring(token))
    }
}

/// Reads a body as strict JSON.
struct RequestBodyReader {
    let endpoint: Endpoint
    let limit: Int

    func read(_ request: Request) async throws -> JSONValue {
        let tooLarge = ServiceError(.payloadTooLarge, "The body has more than \(self.limit) bytes")
        if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > self.limit { throw tooLarge }
        let buffer: ByteBuffer
        do {
            buffer = try await request.body.collect(upTo: self.limit)
        } catch is NIOTooManyBytesError {
            throw tooLarge
        } catch let error where !(error is HTTPParserError || error is CancellationError) {
            // The client is gone, or gave the stream up: nobody reads this, and it is no failure of the server's.
            throw ServiceError(.validationError, "The body did not arrive whole")
        }
        guard buffer.readableBytes > 0 else {
            if self.endpoint.types.body.presence != .required { return .object([:]) }
            throw ServiceError(.validationError, "A JSON object is required as the body")
        }
        try Self.checkMediaType(request.headers[.contentType])
        do throws(JSONParseError) {
            return try JSONParser.parse(Array(buffer.readableBytesView))
        } catch {
            throw ServiceError(.validationError, "The body is not acceptable JSON: \(error)")
        }
    }

    /// `application/json`, with UTF-8 as the only charset (RFC 8259 §8.1).
    private static func checkMediaType(_ header: String?) throws(ServiceError) {
        let wrong = ServiceError(.unsupportedMediaType, "Content-Type must be application/json")
        guard let header else { throw wrong }
        let parts = header.split(separator: ";", omittingEmptySubsequences: false)
            .map { $0.trimmingPrefix(while: \.isWhitespace).lowercased() }
        guard let type = parts.first, type.split(separator: " ") == ["application/json"] else { throw wrong }
        for parameter in parts.dropFirst() {
            let pair = parameter.split(separator: "=", maxSplits: 1)
            guard let name = pair.first, name == "charset" else { continue }
            guard pair.count == 2, pair[1].trimmingPrefix("\"").hasPrefix("utf-8") else { throw wrong }
        }
    }
}
