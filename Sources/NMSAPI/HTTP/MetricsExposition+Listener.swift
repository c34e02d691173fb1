package import Hummingbird
internal import HummingbirdCore
package import Logging
internal import NIOCore
internal import NMSCore
package import Prometheus

/// Builds the listener of `metrics.listen`: plain HTTP for scrapers on this machine, which need no token.
///
/// It answers `GET /metrics` and nothing else.
/// - Parameters:
///   - host: a loopback address; the configuration admits no other.
///   - port: 0 takes a free one.
///   - onListening: told the port.
package func buildMetricsListener(
    registry: PrometheusRegistry,
    host: String,
    port: Int,
    onListening: @escaping @Sendable (Int) async -> Void = { _ in },
    logger: Logger
) throws -> some ApplicationProtocol {
    // Signs nothing: there is no one to sign in.
    var configuration = APIConfiguration(jwtSecret: Secret(""))
    configuration.maximumConnections = ListenerResponder.maximumConnections
    configuration.maximumBodyBytes = 0
    let server = ServerBuilder(
        configuration: configuration,
        reloader: nil,
        registry: ConnectionRegistry(limit: configuration.maximumConnections),
        logger: logger
    )
    return Application(
        responder: ListenerResponder(exposition: MetricsExposition(registry: registry)),
        server: try server.build(),
        configuration: ApplicationConfiguration(address: .hostname(host, port: port)),
        onServerRunning: { channel in
            let port = channel.localAddress?.port ?? port
            logger.info("metrics are served", metadata: ["host": "\(host)", "port": "\(port)"])
            await onListening(port)
        },
        logger: logger
    )
}

private struct ListenerResponder: HTTPResponder {
    /// Some scrapers, and someone who looks.
    static let maximumConnections = 64

    let exposition: MetricsExposition

    func respond(to request: Request, context: APIContext) async throws -> Response {
        var response = await self.answer(request)
        response.headers[.requestID] = context.state.requestID
        SecurityHeaders(overTLS: false).set(in: &response.headers)
        return request.method == .head ? response.createHeadResponse() : response
    }

    private func answer(_ request: Request) async -> Response {
        guard request.uri.path == MetricsExposition.path else {
            return Envelope.response(ServiceError(.notFound, "There is nothing at this path; metrics are at /metrics"))
        }
        guard request.method == .get || request.method == .head else { return MetricsExposition.wrongMethod() }
        return await self.exposition.response(to: request)
    }
}
