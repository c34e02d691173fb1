internal import HTTPTypes
internal import Hummingbird
internal import HummingbirdCore
internal import Logging
internal import NIOCore
internal import NIOHTTP1
internal import NMSStorage
internal import Postgres
internal import Synchronization

extension HTTPField.Name {
    static let requestID = HTTPField.Name(RequestID.headerName)!
    static let contentSecurityPolicyHeader = HTTPField.Name("content-security-policy")!
    static let frameOptions = HTTPField.Name("x-frame-options")!
    static let referrerPolicy = HTTPField.Name("referrer-policy")!
}

/// Gives every request an id: the client's own if it is sane, else a new one.
struct RequestIDMiddleware: RouterMiddleware {
    func handle(
        _ request: Request,
        context: APIContext,
        next: (Request, APIContext) async throws -> Response
    ) async throws -> Response {
        var context = context
        let given = request.headers[values: .requestID]
        if given.count == 1, let accepted = RequestID.accepted(given[0]) { context.state.requestID = accepted }
        let id = context.state.requestID
        context.logger[metadataKey: "request_id"] = "\(id)"
        var response = try await RequestLogContext.$requestID.withValue(id) { try await next(request, context) }
        response.headers[.requestID] = id
        return response
    }
}

/// Headers that tell browsers to keep their hands off.
struct SecurityHeaders: Sendable {
    /// One year (RFC 6797).
    static let strictTransportSecurity = "max-age=31536000"

    let overTLS: Bool

    func set(in headers: inout HTTPFields) {
        if headers[.cacheControl] == nil { headers[.cacheControl] = "no-store" }
        headers[.xContentTypeOptions] = "nosniff"
        headers[.contentSecurityPolicyHeader] = "default-src 'none'; frame-ancestors 'none'"
        headers[.frameOptions] = "DENY"
        headers[.referrerPolicy] = "no-referrer"
        if self.overTLS { headers[.strictTransportSecurity] = Self.strictTransportSecurity }
    }
}

/// ``SecurityHeaders`` on every answer.
struct SecurityHeadersMiddleware: RouterMiddleware {
    let headers: SecurityHeaders

    func handle(
        _ request: Request,
        context: APIContext,
        next: (Request, APIContext) async throws -> Response
    ) async throws -> Response {
        var response = try await next(request, context)
        self.headers.set(in: &response.headers)
        return response
    }
}

/// Answers HEAD as GET, without the body.
struct HeadMiddleware: RouterMiddleware {
    func handle(
        _ request: Request,
        context: APIContext,
        next: (Request, APIContext) async throws -> Response
    ) async throws -> Response {
        let response = try await next(request, context)
        // RFC 9110 §9.3.2: with the length that the body would have. An error has none, either.
        return request.method == .head ? response.createHeadResponse() : response
    }
}

/// Refuses paths that can't be decoded, wherever they lead.
struct PathMiddleware: RouterMiddleware {
    /// The longest path of the table has some 60 bytes.
    static let maximumLength = 2048

    func handle(
        _ request: Request,
        context: APIContext,
        next: (Request, APIContext) async throws -> Response
    ) async throws -> Response {
        let path = request.uri.path
        guard path.utf8.count <= Self.maximumLength else {
            throw ServiceError(.validationError, "The path has more than \(Self.maximumLength) bytes")
        }
        guard let decoded = PercentEncoding.decode(path[...], plusIsSpace: false), !decoded.utf8.contains(0) else {
            throw ServiceError(.validationError, "The path has malformed percent-encoding, or is not UTF-8")
        }
        return try await next(request, context)
    }
}

/// One line per request. The query string is left out: it is the client's, and may be anything.
struct AccessLogMiddleware: RouterMiddleware {
    func handle(
        _ request: Request,
        context: APIContext,
        next: (Request, APIContext) async throws -> Response
    ) async throws -> Response {
        let start = ContinuousClock.now
        let response = try await next(request, context)
        let duration = (ContinuousClock.now - start).components
        let microseconds = duration.seconds * 1_000_000 + duration.attoseconds / 1_000_000_000_000
        context.logger.log(
            level: AccessLogLevel.of(path: request.uri.path, status: response.status.code),
            "request",
            metadata: [
                "method": "\(request.method.rawValue)",
                "path": "\(EchoedValue.shortened(request.uri.path))",
                "status": "\(response.status.code)",
                "duration_ms": "\(Double(microseconds) / 1000)",
                "user": "\(context.state.principal?.username ?? "-")",
                "remote": "\(context.remoteAddress)",
            ]
        )
        return response
    }
}

/// Turns every error, the framework's included, into the envelope.
struct ErrorMiddleware: RouterMiddleware {
    let table: EndpointTable

    func handle(
        _ request: Request,
        context: APIContext,
        next: (Request, APIContext) async throws -> Response
    ) async throws -> Response {
        do {
            return try await next(request, context)
        } catch let error as ServiceError {
            return Envelope.response(error)
        } catch let error as UnhealthyError {
            return error.response
        } catch let error as StorageError {
            let answer = ServiceError(error)
            if answer.code == .internalError { self.log(error, context) }
            return Envelope.response(answer)
        } catch let error as HTTPError where error.status == .notFound {
            return self.unrouted(request)
        } catch is HTTPParserError {
            return Envelope.response(ServiceError(.validationError, "The request is not well-formed HTTP"))
        } catch let error as any HTTPResponseError {
            return Envelope.response(Self.answer(to: error.status))
        } catch {
            self.log(error, context)
            return Envelope.response(Self.answer(to: error))
        }
    }

    /// No endpoint: 405 when the path has others, else 404.
    private func unrouted(_ request: Request) -> Response {
        let methods = self.table.methods(path: request.uri.path)
        guard !methods.isEmpty else {
            return Envelope.response(ServiceError(.notFound, "There is nothing at this path"))
        }
        let allowed = methods.joined(separator: ", ")
        return Envelope.response(
            ServiceError(
                .methodNotAllowed,
                "\(EchoedValue.shortened(request.method.rawValue)) is not possible here; try \(allowed)"
            ),
            headers: [.allow: allowed]
        )
    }

    private static func answer(to status: HTTPResponse.Status) -> ServiceError {
        switch status.code {
        case 413: ServiceError(.payloadTooLarge, "The body is too large")
        case 415: ServiceError(.unsupportedMediaType, "Content-Type must be application/json")
        case 400..<500: ServiceError(.validationError, "The request is not valid")
        default: ServiceError(.internalError, ServiceError.internalMessage)
        }
    }

    /// The answer to an error that no one foresaw.
    static func answer(to error: any Error) -> ServiceError {
        if case PostgresError.invalidParameter = error {
            return ServiceError(.validationError, "The request has a value that the database can't hold")
        }
        let unavailable: Bool =
            switch error {
            case PostgresError.connectionFailed, PostgresError.connectionLost, PostgresError.poolExhausted,
                PostgresError.poolClosed:
                true
            // Connection, resources, operator's intervention (PostgreSQL, Appendix A).
            case PostgresError.server(let error): ["08", "53", "57"].contains(error.sqlState.errorClass)
            case is CancellationError: true
            default: false
            }
        return unavailable
            ? ServiceError(.serviceUnavailable, "The server can't do this now; try again", retryAfter: 2)
            : ServiceError(.internalError, ServiceError.internalMessage)
    }

    private func log(_ error: any Error, _ context: APIContext) {
        context.logger.error("request failed", metadata: ["error": "\(error)"])
    }
}

/// Refuses clients that send more than their share.
final class RateLimitMiddleware: RouterMiddleware {
    private let buckets: Mutex<TokenBuckets>
    private let now: @Sendable () -> ContinuousClock.Instant

    init(requestsPerSecond: Int, now: @escaping @Sendable () -> ContinuousClock.Instant) {
        self.buckets = Mutex(TokenBuckets(rate: requestsPerSecond))
        self.now = now
    }

    func handle(
        _ request: Request,
        context: APIContext,
        next: (Request, APIContext) async throws -> Response
    ) async throws -> Response {
        let now = self.now()
        let wait = self.buckets.withLock { $0.take(client: context.remoteAddress, now: now) }
        if let wait {
            throw ServiceError(
                .rateLimited,
                "Too many requests; slow down",
                retryAfter: max(1, Int(wait.components.seconds) + (wait.components.attoseconds > 0 ? 1 : 0))
            )
        }
        return try await next(request, context)
    }
}
