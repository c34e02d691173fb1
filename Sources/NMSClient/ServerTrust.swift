internal import Foundation
internal import NIOCore
internal import NIOSSL
internal import NMSRuntime
internal import SwiftASN1
internal import X509

/// How a client knows that it speaks with the right server. There is no way to not know.
package enum ServerTrust: Equatable, Sendable {
    /// A chain to an authority of the system's, and a certificate that names the server.
    case system
    /// A chain to an authority of this PEM file, and a certificate that names the server.
    case authorities(file: String)
    /// This very certificate, by SHA-256 as colon-separated upper-case hexadecimal, whatever it names.
    case fingerprint(String)

    private static let digits = 64

    /// Reads `sha256:…`, with or without colons, in any case.
    /// - Throws: ``CommandError``.
    package static func fingerprint(from text: String) throws -> ServerTrust {
        let name = "sha256:"
        let hex = text.lowercased().hasPrefix(name) ? text.dropFirst(name.count).filter { $0 != ":" } : ""
        guard hex.count == Self.digits, hex.allSatisfy({ $0.isASCII && $0.isHexDigit }) else {
            throw CommandError(
                "--fingerprint must be sha256: and \(Self.digits) hexadecimal digits, as the server logs at its start",
                status: ExitStatus.usage
            )
        }
        let pairs = stride(from: 0, to: Self.digits, by: 2).map { offset in
            let start = hex.index(hex.startIndex, offsetBy: offset)
            return hex[start..<hex.index(start, offsetBy: 2)].uppercased()
        }
        return .fingerprint(pairs.joined(separator: ":"))
    }

    /// What a file of certificates stands for: authorities, or a server that vouches for itself alone. Chains can't end
    /// in such a certificate, so it is that one and no other.
    /// - Throws: ``CommandError``.
    package static func authorities(inFile file: String) throws -> ServerTrust {
        guard let certificates = try? NIOSSLCertificate.fromPEMFile(file), !certificates.isEmpty else {
            throw CommandError("--ca-file \(file) can't be read as PEM certificates", status: ExitStatus.usage)
        }
        guard certificates.count == 1, let bytes = try? certificates[0].toDERBytes(),
            let certificate = try? Certificate(derEncoded: bytes), certificate.issuer == certificate.subject,
            case .notCertificateAuthority? = try? certificate.extensions.basicConstraints
        else { return .authorities(file: file) }
        return .fingerprint(ServerCertificate.fingerprint(ofDER: bytes))
    }

    /// The certificate of a server on this machine, if its file can be read; that one and no other.
    package static func local(certificateFile: String) -> ServerTrust? {
        guard let certificate = try? NIOSSLCertificate.fromPEMFile(certificateFile).first,
            let bytes = try? certificate.toDERBytes()
        else { return nil }
        return .fingerprint(ServerCertificate.fingerprint(ofDER: bytes))
    }

    func context() throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["http/1.1"]
        if case .authorities(let file) = self {
            do {
                configuration.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(file))
            } catch {
                throw CommandError("--ca-file \(file) can't be read as PEM certificates", status: ExitStatus.usage)
            }
        }
        return try NIOSSLContext(configuration: configuration)
    }

    func handler(_ context: NIOSSLContext, host: String) throws -> NIOSSLClientHandler {
        // RFC 6066, section 3: no addresses in the server name; without one the certificate must name the address.
        let isAddress = (try? SocketAddress(ipAddress: host, port: 0)) != nil
        let name = isAddress ? nil : host
        guard case .fingerprint(let wanted) = self else {
            return try NIOSSLClientHandler(context: context, serverHostname: name)
        }
        return try NIOSSLClientHandler(
            context: context,
            serverHostname: name,
            customVerificationCallback: { certificates, promise in
                let found = (try? certificates.first?.toDERBytes()).flatMap { bytes in
                    bytes.map { ServerCertificate.fingerprint(ofDER: $0) }
                }
                promise.succeed(found == wanted ? .certificateVerified : .failed)
            }
        )
    }
}
