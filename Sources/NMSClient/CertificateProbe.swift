internal import NIOCore
internal import NIOPosix
internal import NIOSSL
internal import NMSRuntime

/// Looks at the certificate of a server without trusting it: nothing is sent after it.
package enum CertificateProbe {
    /// - Returns: SHA-256 as ``ServerTrust/fingerprint(_:)`` has it; nil when nothing there speaks TLS.
    package static func fingerprint(of address: ServerAddress) async -> String? {
        guard address.isTLS, let context = try? ServerTrust.system.context() else { return nil }
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let promise = loop.makePromise(of: String?.self)
        let timeout = loop.scheduleTask(in: HTTPRequester.connectTimeout) { promise.succeed(nil) }
        let isAddress = (try? SocketAddress(ipAddress: address.host, port: 0)) != nil
        let connected = ClientBootstrap(group: loop).connectTimeout(HTTPRequester.connectTimeout)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let handler = try NIOSSLClientHandler(
                        context: context,
                        serverHostname: isAddress ? nil : address.host,
                        customVerificationCallback: { certificates, verified in
                            let bytes = certificates.first.flatMap { try? $0.toDERBytes() }
                            promise.succeed(bytes.map { ServerCertificate.fingerprint(ofDER: $0) })
                            verified.succeed(.failed)
                        }
                    )
                    try channel.pipeline.syncOperations.addHandler(handler)
                }
            }
            .connect(host: address.host, port: address.port)
        connected.whenSuccess { channel in channel.closeFuture.whenComplete { _ in promise.succeed(nil) } }
        connected.whenFailure { _ in promise.succeed(nil) }
        let found = try? await promise.futureResult.get()
        timeout.cancel()
        return found ?? nil
    }
}
