import Crypto
import Foundation
import NIOCore
import NIOSSL
import SwiftASN1
import X509

/// Looks at the certificate that a host presented, after the chain was checked by the TLS library.
enum PeerCertificate {
    /// Checks the names if the settings ask for that.
    ///
    /// - Returns: the hash of the certificate for the channel binding `tls-server-end-point` (RFC 5929, section 4.1).
    static func check(_ certificate: NIOSSLCertificate?, _ settings: TLSSettings) throws(TLSFailure) -> [UInt8] {
        guard let certificate, let der = try? certificate.toDERBytes() else { throw .unreadableCertificate }
        let parsed = try? Certificate(derEncoded: der)
        if settings.verification == .full {
            guard let parsed else { throw .unreadableCertificate }
            let presented = try Self.names(of: parsed)
            guard settings.expectedNames.contains(where: { presented.matches($0) }) else {
                throw .nameMismatch(expected: settings.expectedNames, presented: presented.descriptions)
            }
        }
        return Self.endPointHash(der: der, algorithm: parsed?.signatureAlgorithm)
    }

    /// The hash function of the certificate's signature, but SHA-256 for MD5 and SHA-1, and where there is no single
    /// one (RSASSA-PSS, Ed25519, unknown).
    static func endPointHash(der: [UInt8], algorithm: Certificate.SignatureAlgorithm?) -> [UInt8] {
        switch algorithm {
        case .ecdsaWithSHA384, .sha384WithRSAEncryption: Array(SHA384.hash(data: der))
        case .ecdsaWithSHA512, .sha512WithRSAEncryption: Array(SHA512.hash(data: der))
        default: Array(SHA256.hash(data: der))
        }
    }

    // MARK: - Names

    /// The names that a certificate is for.
    struct Names: Hashable {
        var dns: [String] = []
        var addresses: [[UInt8]] = []
        /// Counts only where the certificate has no alternative names at all (RFC 6125, section 6.4.4).
        var commonName: String?

        var descriptions: [String] {
            let addresses = self.addresses.map { Self.text($0) }
            return self.dns + addresses + (self.commonName.map { [$0] } ?? [])
        }

        /// Whether the certificate is for this DNS name or IP address.
        func matches(_ expected: String) -> Bool {
            if let address = PeerCertificate.addressBytes(expected) {
                return self.addresses.contains(address) || self.commonName == expected
            }
            let name = Self.normalized(expected)
            guard !name.isEmpty else { return false }
            return (self.dns + (self.commonName.map { [$0] } ?? [])).contains {
                Self.matches(Self.normalized($0), name)
            }
        }

        /// A pattern may have `*` as its whole first label, which stands for exactly one label (RFC 6125, 6.4.3).
        private static func matches(_ pattern: String, _ name: String) -> Bool {
            if pattern == name { return true }
            guard pattern.hasPrefix("*."), let dot = name.firstIndex(of: ".") else { return false }
            let rest = pattern.dropFirst(2)
            return dot > name.startIndex && rest.contains(".") && rest == name[name.index(after: dot)...]
        }

        private static func normalized(_ name: String) -> String {
            let lower = name.lowercased()
            return lower.hasSuffix(".") ? String(lower.dropLast()) : lower
        }

        private static func text(_ address: [UInt8]) -> String {
            guard let socket = try? SocketAddress(packedIPAddress: ByteBuffer(bytes: address), port: 0) else {
                return "?"
            }
            return socket.ipAddress ?? "?"
        }
    }

    static func names(of certificate: Certificate) throws(TLSFailure) -> Names {
        var names = Names()
        let alternatives: SubjectAlternativeNames?
        do {
            alternatives = try certificate.extensions.subjectAlternativeNames
        } catch {
            throw .unreadableCertificate
        }
        guard let alternatives else {
            names.commonName = Self.commonName(of: certificate)
            return names
        }
        for name in alternatives {
            switch name {
            case .dnsName(let dns): names.dns.append(dns)
            case .ipAddress(let octets): names.addresses.append(Array(octets.bytes))
            default: continue
            }
        }
        return names
    }

    static func commonName(of certificate: Certificate) -> String? {
        for relative in certificate.subject {
            for attribute in relative where attribute.type == .RDNAttributeType.commonName {
                return String(attribute.value)
            }
        }
        return nil
    }

    /// The bytes of an address in text form, nil for anything else.
    static func addressBytes(_ text: String) -> [UInt8]? {
        guard let address = try? SocketAddress(ipAddress: text, port: 0) else { return nil }
        switch address {
        case .v4(let v4): return withUnsafeBytes(of: v4.address.sin_addr) { Array($0) }
        case .v6(let v6): return withUnsafeBytes(of: v6.address.sin6_addr) { Array($0) }
        case .unixDomainSocket: return nil
        }
    }
}

extension TLSFailure {
    /// Takes an error of the TLS library, and says why it did not like a certificate.
    ///
    /// nil if the error is not one of TLS.
    init?(_ error: any Error, certificate: NIOSSLCertificate?, settings: TLSSettings) {
        switch error {
        case NIOSSLError.handshakeFailed, is BoringSSLError, is NIOSSLExtraError: break
        default: return nil
        }
        let text = "\(error)"
        guard text.contains("CERTIFICATE_VERIFY_FAILED") else {
            self = .handshake(Self.reason(text))
            return
        }
        guard let der = try? certificate?.toDERBytes(), let parsed = try? Certificate(derEncoded: der) else {
            self = .untrusted(name: "unreadable")
            return
        }
        let name = PeerCertificate.commonName(of: parsed) ?? "without a common name"
        let now = Date()
        if parsed.notValidAfter < now {
            self = .expired(name: name)
        } else if parsed.notValidBefore > now {
            self = .notYetValid(name: name)
        } else {
            self = .untrusted(name: name)
        }
    }

    /// The library's word for what happened, such as `WRONG_VERSION_NUMBER`.
    private static func reason(_ text: String) -> String {
        guard let range = text.range(of: "OPENSSL_internal:") else {
            return text.contains("EOF during handshake") ? "the host closed the connection" : "unknown reason"
        }
        return String(text[range.upperBound...].prefix { $0.isLetter || $0.isNumber || $0 == "_" })
    }
}
