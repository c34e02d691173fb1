import NIOCore
import NIOSSL
import Synchronization

/// Makes TLS contexts and keeps them: each loads the system's authorities, which is slow and large.
final class TLSContexts: Sendable {
    private struct Key: Hashable {
        let verifies: Bool
        let caFile: String?
    }

    private let contexts = Mutex<[Key: NIOSSLContext]>([:])

    /// The context for some settings. The first use of a CA file reads it; later changes of the file are not seen.
    func context(for settings: TLSSettings) throws(TLSFailure) -> NIOSSLContext {
        let key = Key(verifies: settings.verification != .none, caFile: settings.caFile)
        if let known = self.contexts.withLock({ $0[key] }) { return known }
        let context = try Self.make(key)
        self.contexts.withLock { $0[key] = context }
        return context
    }

    private static func make(_ key: Key) throws(TLSFailure) -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["http/1.1"]
        // A host that is gone does not answer the goodbye; do not wait the library's five seconds for it.
        configuration.shutdownTimeout = .seconds(1)
        // Names are compared afterwards with a list; the library would know one name only, and that not as an address.
        configuration.certificateVerification = key.verifies ? .noHostnameVerification : .none
        if key.verifies, let path = key.caFile {
            guard let certificates = try? NIOSSLCertificate.fromPEMFile(path), !certificates.isEmpty else {
                throw .invalidCAFile(path)
            }
            configuration.additionalTrustRoots = [.certificates(certificates)]
        }
        do {
            return try NIOSSLContext(configuration: configuration)
        } catch {
            throw .handshake("the TLS context could not be made")
        }
    }
}
