internal import Crypto
internal import HTTPTypes
internal import Hummingbird
internal import HummingbirdCore
internal import Metrics
internal import NIOCore
package import NMSCore
package import Prometheus

/// `GET /metrics`: what a Prometheus scrapes, at the root of the API's port.
///
/// Whoever scrapes is a machine without a session: it presents the one static token of `metrics.scrape_token`. A user's
/// access token opens nothing here, whatever the role, and the scrape token opens nothing else. Without one the path
/// doesn't exist.
package struct MetricsExposition: Sendable {
    static let path = "/metrics"
    static let allowedMethods = "GET, HEAD"

    package let registry: PrometheusRegistry
    let scrapeToken: ScrapeToken?

    /// - Parameter scrapeToken: `metrics.scrape_token`; nil leaves the API's port without `/metrics`.
    package init(registry: PrometheusRegistry, scrapeToken: Secret? = nil) {
        self.registry = registry
        self.scrapeToken = scrapeToken.map(ScrapeToken.init)
    }

    func addRoutes(to router: Router<APIContext>) {
        guard let token = self.scrapeToken else { return }
        let path = RouterPath(Self.path)
        let gate = ScrapeGate(exposition: self, token: token)
        for method in [HTTPRequest.Method.get, .head] { router.on(path, method: method, responder: gate) }
        for method in [HTTPRequest.Method.post, .put, .patch, .delete, .options] {
            router.on(path, method: method, responder: WrongMethodResponder())
        }
    }

    /// Every series now, in the format that the client prefers.
    func response(to request: Request) async -> Response {
        let format = ExpositionFormat(accepting: request.headers[.accept])
        let text = await self.registry.render(format)
        return Response(
            status: .ok,
            headers: [.contentType: format.contentType, .cacheControl: "no-store"],
            body: HTTPResponseBody(byteBuffer: ByteBuffer(bytes: text))
        )
    }

    static func wrongMethod() -> Response {
        Envelope.response(
            ServiceError(.methodNotAllowed, "Only \(self.allowedMethods) is possible here"),
            headers: [.allow: self.allowedMethods]
        )
    }
}

extension APIConfiguration {
    /// Where the API counts.
    var metricsFactory: any MetricsFactory { self.exposition?.registry ?? MetricsSystem.factory }
}

/// The token of scrapers. Kept as its hash, so that comparing takes the same time whatever is presented.
struct ScrapeToken: Sendable {
    private let hash: SHA256.Digest

    init(_ token: Secret) { self.hash = SHA256.hash(data: Array(token.exposed.utf8)) }

    // swift-crypto compares digests in constant time.
    func matches(_ presented: String) -> Bool { SHA256.hash(data: Array(presented.utf8)) == self.hash }
}

/// Stands before the exposition.
private struct ScrapeGate: HTTPResponder {
    let exposition: MetricsExposition
    let token: ScrapeToken

    func respond(to request: Request, context: APIContext) async throws -> Response {
        guard let presented = EndpointGate.bearerToken(request), self.token.matches(presented) else {
            throw ServiceError(
                .unauthorized,
                "The scrape token is required: Authorization: Bearer <metrics.scrape_token>"
            )
        }
        return await self.exposition.response(to: request)
    }
}

private struct WrongMethodResponder: HTTPResponder {
    func respond(to request: Request, context: APIContext) async throws -> Response { MetricsExposition.wrongMethod() }
}
