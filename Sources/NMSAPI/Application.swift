package import Hummingbird
internal import HummingbirdCore
internal import HummingbirdHTTP2
internal import Logging
internal import NIOCore
internal import NIOSSL

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
    router.add(middleware: RequestIDMiddleware())
    router.add(middleware: SecurityHeadersMiddleware(overTLS: configuration.tls != nil))
    router.add(middleware: AccessLogMiddleware())
    router.add(middleware: ErrorMiddleware(table: table))
    router.add(
        middleware: RateLimitMiddleware(
            requestsPerSecond: configuration.requestsPerSecond,
            now: dependencies.clocks.monotonic
        )
    )
    for endpoint in table.endpoints {
        let gate = EndpointGate(
            endpoint: endpoint,
            auth: services.auth,
            maximumBodyBytes: configuration.maximumBodyBytes
        )
        router.on(RouterPath(endpoint.path), method: endpoint.method, responder: gate)
    }
    return Application(
        responder: router.buildResponder(),
        server: try makeServer(configuration),
        configuration: ApplicationConfiguration(
            address: .hostname(configuration.host, port: configuration.port),
            backlog: 1024
        ),
        services: [
            MaintenanceService(
                services: services,
                eventSource: dependencies.eventSource,
                interval: configuration.cleanupInterval,
                logger: dependencies.logger
            )
        ],
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

/// HTTP/1.1, or HTTP/1.1 and HTTP/2 over TLS of the configured version or later (specification §8.4), with every wait
/// bounded.
private func makeServer(_ configuration: APIConfiguration) throws -> HTTPServerBuilder {
    let readTimeout = TimeAmount(configuration.readTimeout)
    let writeTimeout = TimeAmount(configuration.writeTimeout)
    let streams = HTTP1Channel.Configuration(
        additionalChannelHandlers: [
            RequestDeadlineHandler(readTimeout: readTimeout, writeTimeout: writeTimeout),
            MalformedRequestHandler(),
        ],
        idleTimeout: TimeAmount(configuration.idleTimeout),
        httpDecoderConfiguration: .init(
            maxHeaderFieldSize: 16 * 1024,
            maxHeaderListSize: 32 * 1024,
            maxHeaderFieldCount: 100
        )
    )
    guard let tls = configuration.tls else { return .http1(configuration: streams) }
    let tlsConfiguration = try makeTLSConfiguration(tls)
    let handshakeTimeout = TimeAmount(configuration.handshakeTimeout)
    let http2 = HTTP2UpgradeChannel.Configuration(
        idleTimeout: configuration.idleTimeout,
        gracefulCloseTimeout: .seconds(5),
        streamConfiguration: streams
    )
    return HTTPServerBuilder { responder in
        HandshakeDeadlineChannel(
            base: try HTTP2UpgradeChannel(
                tlsConfiguration: tlsConfiguration,
                configuration: http2,
                responder: responder
            ),
            timeout: handshakeTimeout
        )
    }
}

private func makeTLSConfiguration(_ tls: APIConfiguration.TLS) throws -> TLSConfiguration {
    let chain: [NIOSSLCertificate]
    do {
        chain = try NIOSSLCertificate.fromPEMFile(tls.certificatePath)
    } catch {
        throw APIConfigurationError("server.tls.cert_file \(tls.certificatePath) can't be read as PEM: \(error)")
    }
    guard !chain.isEmpty else {
        throw APIConfigurationError("server.tls.cert_file \(tls.certificatePath) holds no certificate")
    }
    let key: NIOSSLPrivateKey
    do {
        key = try NIOSSLPrivateKey(file: tls.privateKeyPath, format: .pem)
    } catch {
        throw APIConfigurationError("server.tls.key_file \(tls.privateKeyPath) can't be read as PEM")
    }
    var configuration = TLSConfiguration.makeServerConfiguration(
        certificateChain: chain.map { .certificate($0) },
        privateKey: .privateKey(key)
    )
    configuration.minimumTLSVersion =
        switch tls.minimumVersion {
        case .v12: .tlsv12
        case .v13: .tlsv13
        }
    do {
        // Made once here only to see that key and certificate belong together.
        _ = try NIOSSLContext(configuration: configuration)
    } catch {
        throw APIConfigurationError(
            "server.tls: \(tls.certificatePath) and \(tls.privateKeyPath) can't be used together: \(error)"
        )
    }
    return configuration
}
