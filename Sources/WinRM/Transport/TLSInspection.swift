import Crypto
package import Foundation
package import NIOCore
import NIOPosix
import NIOSSL
import NIOTLS
import SwiftASN1
import X509

/// What a host's certificate says, whether it is trusted or not.
package struct CertificateSummary: Sendable, Hashable {
    /// A host can put any text into its certificate: what is longer is cut.
    package static let maximumTextLength = 256
    /// Names beyond this many are left out.
    package static let maximumNames = 32

    /// Distinguished names (RFC 4514).
    package var subject: String
    package var issuer: String
    /// DNS names and addresses that it is for; the common name where there are none.
    package var names: [String]
    package var notBefore: Date
    package var notAfter: Date
    /// Issued in its own name: trusting it means trusting itself.
    package var isSelfSigned: Bool
    /// SHA-256 of the certificate in DER, in lower-case hexadecimal.
    package var fingerprint: String

    init?(_ certificate: NIOSSLCertificate?) {
        guard let der = try? certificate?.toDERBytes(), let parsed = try? Certificate(derEncoded: der) else {
            return nil
        }
        func shortened(_ text: String) -> String { String(text.prefix(Self.maximumTextLength)) }
        self.subject = shortened(parsed.subject.description)
        self.issuer = shortened(parsed.issuer.description)
        let names = (try? PeerCertificate.names(of: parsed))?.descriptions ?? []
        self.names = names.prefix(Self.maximumNames).map(shortened)
        self.notBefore = parsed.notValidBefore
        self.notAfter = parsed.notValidAfter
        self.isSelfSigned = parsed.subject == parsed.issuer
        self.fingerprint = SHA256.hash(data: der).map { String(format: "%02x", $0) }.joined()
    }
}

/// A TCP connection for one look at the certificate behind a port.
///
/// Nothing is verified, so that also certificates that would be refused can be shown, and nothing but the handshake is
/// ever sent.
package struct TLSInspection: Sendable {
    private let endpoint: WinRMEndpoint
    private let channel: any Channel

    /// - Throws: `.timedOut`, `.connectionRefused`, `.hostUnreachable`, `.connectionReset`, `.cancelled`; `.misuse` if the
    ///   address is not one.
    package static func open(
        _ endpoint: WinRMEndpoint,
        group: any EventLoopGroup,
        deadline: ContinuousClock.Instant
    ) async throws(WinRMError) -> TLSInspection {
        guard let address = try? SocketAddress(ipAddress: endpoint.address, port: endpoint.port) else {
            throw .misuse("\(endpoint.address) is not an IP address")
        }
        let remaining = ContinuousClock.now.duration(to: deadline)
        guard remaining > .zero else { throw .timedOut(.connecting) }
        do {
            let channel = try await ClientBootstrap(group: group).connectTimeout(TimeAmount(remaining))
                .connect(to: address).get()
            return TLSInspection(endpoint: endpoint, channel: channel)
        } catch {
            throw WinRMError(connectError: error)
        }
    }

    /// Shakes hands; once only.
    ///
    /// - Throws: `.tlsFailed`, `.timedOut`, `.connectionReset`, `.cancelled`.
    package func certificate(deadline: ContinuousClock.Instant) async throws(WinRMError) -> CertificateSummary {
        let channel = self.channel
        let seen = channel.eventLoop.makePromise(of: CertificateSummary.self)
        let remaining = max(ContinuousClock.now.duration(to: deadline), .zero)
        let timer = channel.eventLoop.scheduleTask(in: TimeAmount(remaining)) {
            seen.fail(WinRMError.timedOut(.handshake))
        }
        defer { timer.cancel() }
        let endpoint = self.endpoint
        channel.eventLoop.execute {
            do { try Self.shakeHands(channel, endpoint, seen) } catch { seen.fail(error) }
        }
        do {
            return try await withTaskCancellationHandler {
                try await seen.futureResult.get()
            } onCancel: {
                seen.fail(WinRMError.cancelled)
            }
        } catch let error as WinRMError {
            throw error
        } catch {
            throw WinRMError(channelError: error, isReceiving: true)
        }
    }

    package func close() async { try? await self.channel.close() }

    private static func shakeHands(
        _ channel: any Channel,
        _ endpoint: WinRMEndpoint,
        _ seen: EventLoopPromise<CertificateSummary>
    ) throws {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["http/1.1"]
        configuration.shutdownTimeout = .seconds(1)
        configuration.certificateVerification = .none
        let context = try NIOSSLContext(configuration: configuration)
        let pipeline = channel.pipeline.syncOperations
        // Before TLS, whose handshake begins as soon as it is there.
        try pipeline.addHandler(CertificateObserver(seen: seen))
        try pipeline.addHandler(WinRMConnector.tlsHandler(context, endpoint), position: .first)
    }
}

/// Waits for the end of a handshake.
private final class CertificateObserver: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let seen: EventLoopPromise<CertificateSummary>

    init(seen: EventLoopPromise<CertificateSummary>) { self.seen = seen }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted? = event as? TLSUserEvent {
            let certificate = try? context.pipeline.syncOperations.nioSSL_peerCertificate()
            if let summary = CertificateSummary(certificate) {
                self.seen.succeed(summary)
            } else {
                self.seen.fail(WinRMError.tlsFailed(.unreadableCertificate))
            }
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {}

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        let settings = TLSSettings(verification: .none, expectedNames: [])
        if let failure = TLSFailure(error, certificate: nil, settings: settings) {
            self.seen.fail(WinRMError.tlsFailed(failure))
        } else {
            self.seen.fail(WinRMError(channelError: error, isReceiving: true))
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.seen.fail(WinRMError.connectionReset("the host closed it at once"))
        context.fireChannelInactive()
    }
}
