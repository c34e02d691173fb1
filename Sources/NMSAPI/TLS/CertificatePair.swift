internal import Crypto
internal import NIOCore
internal import NIOSSL
internal import NMSCore
internal import struct Foundation.Data
internal import struct Foundation.Date
internal import class Foundation.FileManager

/// What the files of `server.tls` hold at one moment: read once, so that what is judged is what is used.
struct CertificateContents: Sendable {
    private let certificate: [UInt8]?
    private let privateKey: [UInt8]?
    private let tls: APIConfiguration.TLS
    /// Equal for equal contents; a missing file has one, too.
    let digest: [UInt8]

    /// Chains have some 10 KB.
    private static let maximumBytes = 1 << 20

    init(readFrom tls: APIConfiguration.TLS) {
        self.tls = tls
        self.certificate = Self.read(tls.certificatePath)
        self.privateKey = Self.read(tls.privateKeyPath)
        var hash = SHA256()
        for part in [self.certificate, self.privateKey] {
            hash.update(data: Array("\(part?.count ?? -1):".utf8))
            hash.update(data: part ?? [])
        }
        self.digest = Array(hash.finalize())
    }

    private static func read(_ path: String) -> [UInt8]? {
        guard let data = FileManager.default.contents(atPath: path), data.count <= self.maximumBytes else { return nil }
        return Array(data)
    }

    /// Checks that the two can serve.
    ///
    /// - Throws: ``APIConfigurationError`` that names file and remedy; it quotes neither file.
    func pair(now: Date) throws(APIConfigurationError) -> CertificatePair {
        let chain = try self.chain()
        guard let privateKey = self.privateKey,
            let key = try? NIOSSLPrivateKey(bytes: privateKey, format: .pem)
        else {
            throw APIConfigurationError(
                "server.tls.key_file \(self.tls.privateKeyPath) can't be read as PEM; "
                    + "it must hold an unencrypted private key that this user may read"
            )
        }
        let leaf = chain[0]
        let end = Date(timeIntervalSince1970: Double(leaf.notValidAfter))
        guard now < end else {
            throw APIConfigurationError(
                "server.tls.cert_file \(self.tls.certificatePath) expired at \(RFC3339.string(from: end)); renew it"
            )
        }
        let start = Date(timeIntervalSince1970: Double(leaf.notValidBefore))
        guard now >= start else {
            throw APIConfigurationError(
                "server.tls.cert_file \(self.tls.certificatePath) is not valid before "
                    + "\(RFC3339.string(from: start)); check this machine's clock"
            )
        }
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) },
            privateKey: .privateKey(key)
        )
        configuration.minimumTLSVersion =
            switch self.tls.minimumVersion {
            case .v12: .tlsv12
            case .v13: .tlsv13
            }
        // Few clients say goodbye in their turn, and a shutdown waits for those who don't.
        configuration.shutdownTimeout = .seconds(1)
        do {
            // Made once here only to see that key and certificate belong together.
            _ = try NIOSSLContext(configuration: configuration)
            return CertificatePair(
                configuration: configuration,
                fingerprint: try Self.fingerprint(leaf),
                notValidAfter: end
            )
        } catch {
            throw APIConfigurationError(
                "server.tls: \(self.tls.certificatePath) and \(self.tls.privateKeyPath) can't be used together; "
                    + "name the key that the first certificate of the file was made with: \(error)"
            )
        }
    }

    private func chain() throws(APIConfigurationError) -> [NIOSSLCertificate] {
        let path = self.tls.certificatePath
        guard let certificate = self.certificate else {
            throw APIConfigurationError("server.tls.cert_file \(path) can't be read; this user must be allowed to")
        }
        guard let chain = try? NIOSSLCertificate.fromPEMBytes(certificate) else {
            throw APIConfigurationError(
                "server.tls.cert_file \(path) can't be read as PEM; it must hold the certificate and its chain"
            )
        }
        guard !chain.isEmpty else { throw APIConfigurationError("server.tls.cert_file \(path) holds no certificate") }
        return chain
    }

    /// SHA-256 as colon-separated hexadecimal, the way browsers show it.
    private static func fingerprint(_ certificate: NIOSSLCertificate) throws -> String {
        SHA256.hash(data: try certificate.toDERBytes()).map { byte in
            let digits = String(byte, radix: 16, uppercase: true)
            return byte < 16 ? "0" + digits : digits
        }.joined(separator: ":")
    }
}

/// A certificate with its key, ready to serve.
struct CertificatePair: Sendable {
    let configuration: TLSConfiguration
    /// Of the leaf.
    let fingerprint: String
    /// Of the leaf.
    let notValidAfter: Date

    /// From how many days before its end a certificate is warned of: two weeks are time enough to renew one by hand.
    static let warningDays = 14

    /// Whole days until the end, rounded down, when it is time to warn; else nil.
    func daysToWarnOf(now: Date) -> Int? {
        let days = self.notValidAfter.timeIntervalSince(now) / 86_400
        return days < Double(Self.warningDays) ? max(0, Int(days)) : nil
    }
}
