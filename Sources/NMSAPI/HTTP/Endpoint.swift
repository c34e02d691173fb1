internal import HTTPTypes
internal import Hummingbird
internal import HummingbirdCore
internal import Logging
internal import NIOCore
internal import NMSStorage

/// Who may call an endpoint.
enum Access: Sendable, Equatable {
    /// Anyone, without a token.
    case open
    /// Users whose role covers this one.
    case role(Role)
}

/// One line of the API: what is called how, by whom, with what.
struct Endpoint: Sendable {
    enum Body: Sendable {
        /// Nothing, or an empty object.
        case none
        /// A JSON object.
        case json
    }

    let method: HTTPRequest.Method
    /// With `{id}` for a path parameter.
    let path: String
    let access: Access
    let body: Body
    let handler: @Sendable (EndpointCall) async throws -> Answer

    init(
        _ method: HTTPRequest.Method,
        _ path: String,
        _ access: Access,
        body: Body = .none,
        handler: @escaping @Sendable (EndpointCall) async throws -> Answer
    ) {
        self.method = method
        self.path = path
        self.access = access
        self.body = body
        self.handler = handler
    }

    /// Whether a request's path is this endpoint's, by the router's rules (repeated and trailing slashes don't count).
    func matches(path: [Substring]) -> Bool {
        let own = self.path.split(separator: "/")
        return own.count == path.count && zip(own, path).allSatisfy { $0.hasPrefix("{") || $0 == $1 }
    }
}

/// A request that has passed the gate.
struct EndpointCall: Sendable {
    /// The query string as it came, without the question mark.
    let query: String?
    let context: APIContext
    /// nil at open endpoints.
    let principal: Principal?
    /// `.object([:])` when there was none.
    let body: JSONValue

    /// The `{id}` of the path.
    func id() throws(ServiceError) -> Int {
        let text = self.context.parameters.get("id") ?? ""
        guard text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }), let id = Int32(text),
            id > 0
        else {
            throw .invalid(
                "id",
                "id must be an integer from 1 to \(Int32.max)",
                value: EchoedValue.of(.string(text))
            )
        }
        return Int(id)
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
        let call = EndpointCall(query: request.uri.query, context: context, principal: principal, body: body)
        return try Envelope.response(try await self.endpoint.handler(call))
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
    private static func bearerToken(_ request: Request) -> String? {
        let values = request.headers[values: .authorization]
        guard values.count == 1 else { return nil }
        let parts = values[0].split(separator: " ", omittingEmptySubsequences: true)
        guard parts.count == 2, parts[0].lowercased() == "bearer" else { return nil }
        return String(parts[1])
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
        }
        guard buffer.readableBytes > 0 else {
            if self.endpoint.body == .none { return .object([:]) }
            throw ServiceError(.validationError, "A JSON object is required as the body")
        }
        try Self.checkMediaType(request.headers[.contentType])
        let value: JSONValue
        do throws(JSONParseError) {
            value = try JSONParser.parse(Array(buffer.readableBytesView))
        } catch {
            throw ServiceError(.validationError, "The body is not acceptable JSON: \(error)")
        }
        if self.endpoint.body == .none {
            // Nothing is expected: every field is one too many.
            try FieldReader(value).finish()
        }
        return value
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
