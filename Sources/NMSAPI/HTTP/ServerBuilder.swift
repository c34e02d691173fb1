internal import Hummingbird
internal import HummingbirdCore
internal import HummingbirdHTTP2
internal import Logging
internal import NIOCore

/// Makes the listener: HTTP/1.1, or HTTP/1.1 and HTTP/2 over TLS of the configured version or later (specification
/// §8.4), with every wait and every number bounded.
///
/// HTTP/2 has its limits from swift-nio-http2: 100 streams at once on a connection, at most 200 resets, 200 stream
/// errors and 200 control frames in 30 s, header lists of 16 KB.
struct ServerBuilder: Sendable {
    let configuration: APIConfiguration
    /// nil without TLS.
    let reloader: CertificateReloader?
    let registry: ConnectionRegistry
    let logger: Logger

    func build() throws -> HTTPServerBuilder {
        let (limits, registry, streams) = (self.limits, self.registry, self.streams)
        guard let reloader = self.reloader else {
            return HTTPServerBuilder { responder in
                GuardedChannel(
                    base: HTTP1Channel(responder: responder, configuration: streams),
                    isTLS: false,
                    limits: limits,
                    registry: registry
                )
            }
        }
        let http2 = HTTP2UpgradeChannel.Configuration(
            idleTimeout: self.configuration.idleTimeout,
            gracefulCloseTimeout: .seconds(5),
            streamConfiguration: streams
        )
        return HTTPServerBuilder { responder in
            let channel = try ReloadableChannel(reloader.pair) { pair in
                try HTTP2UpgradeChannel(
                    tlsConfiguration: pair.configuration,
                    configuration: http2,
                    responder: responder
                )
            }
            reloader.onChange { try channel.use($0) }
            return GuardedChannel(base: channel, isTLS: true, limits: limits, registry: registry)
        }
    }

    private var limits: ConnectionLimits {
        ConnectionLimits(
            handshake: TimeAmount(self.configuration.handshakeTimeout),
            read: TimeAmount(self.configuration.readTimeout),
            write: TimeAmount(self.configuration.writeTimeout),
            idle: TimeAmount(self.configuration.idleTimeout)
        )
    }

    private var streams: HTTP1Channel.Configuration {
        let (limits, logger) = (self.limits, self.logger)
        let rules = HTTP1Rules(maximumBodyBytes: self.configuration.maximumBodyBytes)
        let headers = SecurityHeaders(overTLS: self.configuration.tls != nil)
        return HTTP1Channel.Configuration(
            additionalChannelHandlers: [
                RequestDeadlineHandler(limits: limits),
                MalformedRequestHandler(rules: rules, headers: headers, logger: logger),
            ],
            idleTimeout: limits.idle,
            httpDecoderConfiguration: .init(
                maxHeaderFieldSize: HTTPLimits.headerFieldBytes,
                maxHeaderListSize: HTTPLimits.headerListBytes,
                maxHeaderFieldCount: HTTPLimits.headerFields
            )
        )
    }
}
