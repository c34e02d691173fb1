package import Hummingbird
internal import HummingbirdCore
internal import Logging
internal import NIOCore
internal import ServiceLifecycle

/// Builds the API server (specification §9): main and the tests use the same one.
///
/// Run it as a service; it listens, follows device events and cleans its caches until a graceful shutdown, when it lets
/// requests finish.
/// - Throws: ``APIConfigurationError`` for a secret that is too short or a certificate that can't be read.
package func buildApplication(
    dependencies: APIDependencies,
    configuration: APIConfiguration
) async throws -> some ApplicationProtocol {
    let services = try await APIServices(dependencies, configuration)
    let table = EndpointTable(services: services)
    let router = Router(context: APIContext.self)
    router.add(middleware: HeadMiddleware())
    router.add(middleware: RequestIDMiddleware())
    router.add(
        middleware: RequestMetricsMiddleware(
            routes: table.endpoints.map { ($0.method, $0.path) } + [(.get, MetricsExposition.path)],
            factory: configuration.metricsFactory
        )
    )
    router.add(
        middleware: SecurityHeadersMiddleware(headers: SecurityHeaders(overTLS: configuration.tls != nil))
    )
    router.add(middleware: AccessLogMiddleware())
    router.add(middleware: ErrorMiddleware(table: table))
    router.add(
        middleware: RateLimitMiddleware(
            requestsPerSecond: configuration.requestsPerSecond,
            now: dependencies.clocks.monotonic
        )
    )
    router.add(middleware: PathMiddleware())
    for endpoint in table.endpoints {
        let gate = EndpointGate(
            endpoint: endpoint,
            auth: services.auth,
            maximumBodyBytes: configuration.maximumBodyBytes
        )
        router.on(RouterPath(endpoint.path), method: endpoint.method, responder: gate)
        // RFC 9110 §9.1: whatever has GET has HEAD.
        if endpoint.method == .get { router.on(RouterPath(endpoint.path), method: .head, responder: gate) }
    }
    if let exposition = configuration.exposition {
        exposition.addRoutes(to: router)
        services.addSamplers(to: exposition.registry, devices: dependencies.devices)
    }
    var background: [any Service] = [
        MaintenanceService(
            services: services,
            eventSource: dependencies.eventSource,
            interval: configuration.cleanupInterval,
            logger: dependencies.logger
        )
    ]
    let reloader = try configuration.tls.map { tls throws(APIConfigurationError) in
        try CertificateReloader(
            tls: tls,
            requests: dependencies.certificateReloads,
            now: dependencies.clocks.wall,
            logger: dependencies.logger
        )
    }
    if let reloader { background.append(reloader) }
    let server = ServerBuilder(
        configuration: configuration,
        reloader: reloader,
        registry: ConnectionRegistry(limit: configuration.maximumConnections),
        logger: dependencies.logger
    )
    return Application(
        responder: router.buildResponder(),
        server: try server.build(),
        configuration: ApplicationConfiguration(
            address: .hostname(configuration.host, port: configuration.port),
            backlog: 1024
        ),
        services: background,
        onServerRunning: { channel in
            let port = channel.localAddress?.port ?? configuration.port
            dependencies.logger.info(
                "the API listens",
                metadata: ["host": "\(configuration.host)", "port": "\(port)", "tls": "\(configuration.tls != nil)"]
            )
            await dependencies.onListening(port)
        },
        logger: dependencies.logger
    )
}
