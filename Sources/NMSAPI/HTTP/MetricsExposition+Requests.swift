internal import HTTPTypes
internal import Hummingbird
internal import Metrics

/// Counts and times requests by endpoint.
///
/// A request for no endpoint counts as `unmatched`, whatever its path, and a method that no endpoint has as `other`: what
/// clients make up must not make series.
struct RequestMetricsMiddleware: RouterMiddleware {
    static let unmatchedRoute = "unmatched"
    static let otherMethod = "other"

    private let routes: [String: [String: RouteMetrics]]
    private let unmatched: [String: RouteMetrics]
    private let other: RouteMetrics
    private let inFlight: Meter

    /// - Parameter routes: method and path of every endpoint, as the router knows them.
    init(routes: [(method: HTTPRequest.Method, path: String)], factory: any MetricsFactory) {
        var byPath: [String: [String: RouteMetrics]] = [:]
        for (method, path) in routes {
            let metrics = RouteMetrics(method: method.rawValue, route: path, factory: factory)
            byPath[RouterPath(path).description, default: [:]][method.rawValue] = metrics
        }
        self.routes = byPath
        func unmatched(_ method: String) -> RouteMetrics {
            RouteMetrics(method: method, route: Self.unmatchedRoute, factory: factory)
        }
        let methods = [HTTPRequest.Method.get, .head, .post, .put, .patch, .delete, .options].map(\.rawValue)
        self.unmatched = Dictionary(uniqueKeysWithValues: methods.map { ($0, unmatched($0)) })
        self.other = unmatched(Self.otherMethod)
        self.inFlight = Meter(label: "nmslite_http_requests_in_flight", factory: factory)
    }

    func handle(
        _ request: Request,
        context: APIContext,
        next: (Request, APIContext) async throws -> Response
    ) async throws -> Response {
        let start = ContinuousClock.now
        self.inFlight.increment()
        defer { self.inFlight.decrement() }
        do {
            let response = try await next(request, context)
            self.count(request, context, status: response.status.code, since: start)
            return response
        } catch {
            self.count(request, context, status: 500, since: start)
            throw error
        }
    }

    private func count(_ request: Request, _ context: APIContext, status: Int, since start: ContinuousClock.Instant) {
        let metrics = self.metrics(method: request.method.rawValue, route: context.endpointPath)
        metrics.count(status: status, duration: ContinuousClock.now - start)
    }

    private func metrics(method: String, route: String?) -> RouteMetrics {
        // HEAD is GET without the body, and is told with it.
        if let route, let methods = self.routes[route], let known = methods[method == "HEAD" ? "GET" : method] {
            return known
        }
        return self.unmatched[method] ?? self.other
    }
}

/// The series of one endpoint, looked up once.
private struct RouteMetrics: Sendable {
    /// Of `2xx` to `5xx`; a final answer has no other class.
    private let counters: [Counter]
    private let duration: Metrics.Timer

    init(method: String, route: String, factory: any MetricsFactory) {
        let labels = [("method", method), ("route", route)]
        self.counters = (2...5).map { digit in
            let status = [("status", "\(digit)xx")]
            return Counter(label: "nmslite_http_requests_total", dimensions: labels + status, factory: factory)
        }
        self.duration = Metrics.Timer(
            label: "nmslite_http_request_duration_seconds",
            dimensions: labels,
            factory: factory
        )
    }

    func count(status: Int, duration: Duration) {
        self.counters[min(max(status / 100, 2), 5) - 2].increment()
        self.duration.record(duration: duration)
    }
}
