import Logging
import NMSRuntime

/// Renews the data directory's self-signed certificate while the server runs; the API sees that its files changed.
struct CertificateRenewal: Sendable {
    /// A start renews it 30 days before its end: a day more or less is nothing.
    static let interval: Duration = .seconds(86_400)

    /// Makes a new one when it is time to.
    let prepare: @Sendable () throws -> ServerCertificate?
    let logger: Logger

    func run() async throws {
        while true {
            try await Task.sleep(for: Self.interval)
            do {
                guard let certificate = try self.prepare(), certificate.isNew else { continue }
                self.logger.notice(
                    "the self-signed certificate was renewed",
                    metadata: ["file": "\(certificate.certificateFile)", "sha256": "\(certificate.fingerprint)"]
                )
            } catch {
                self.logger.error("the self-signed certificate can't be renewed", metadata: ["error": "\(error)"])
            }
        }
    }
}
