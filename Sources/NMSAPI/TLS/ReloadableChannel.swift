internal import HummingbirdCore
internal import HummingbirdHTTP2
internal import Logging
internal import NIOCore
internal import Synchronization

/// TLS, with a certificate that can be changed: each new connection is set up by the channel of the moment.
///
/// A TLS context of its own for each certificate: sessions of the old one are not resumed under the new one.
final class ReloadableChannel: ServerChildChannel {
    typealias Value = HTTP2UpgradeChannel.Value

    private let current: Mutex<HTTP2UpgradeChannel>
    private let make: @Sendable (CertificatePair) throws -> HTTP2UpgradeChannel

    init(
        _ pair: CertificatePair,
        make: @escaping @Sendable (CertificatePair) throws -> HTTP2UpgradeChannel
    ) throws {
        self.make = make
        self.current = Mutex(try make(pair))
    }

    func use(_ pair: CertificatePair) throws {
        let channel = try self.make(pair)
        self.current.withLock { $0 = channel }
    }

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        self.current.withLock { $0 }.setup(channel: channel, logger: logger)
    }

    func handle(value: Value, logger: Logger) async {
        // What is left to do is the same for every certificate.
        await self.current.withLock { $0 }.handle(value: value, logger: logger)
    }
}
