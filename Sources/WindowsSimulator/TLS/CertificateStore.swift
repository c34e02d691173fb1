import Crypto
import NIOSSL
import SSP
import SwiftASN1
import Synchronization
import X509

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// A host's certificate, ready for use.
struct HostCertificate: Sendable {
    let context: NIOSSLContext
    /// The `tls-server-end-point` binding of RFC 5929.
    let channelBindings: ChannelBindings
    let der: [UInt8]
}

/// The fleet's certification authority, and the certificates that it signed.
///
/// One key pair serves all hosts; a host's certificate is signed when it is first asked for.
final class CertificateStore: Sendable {
    /// What is wrong with a certificate.
    enum Variant: Hashable, Sendable {
        case regular
        case expired
        case wrongName
        case untrusted
    }

    private struct Key: Hashable {
        var host: Int
        var variant: Variant
    }

    /// The CA's certificate in PEM, for clients.
    let caPEM: String
    private let authority: Authority
    private let stranger: Authority
    private let hostKey = P256.Signing.PrivateKey()
    private let privateKey: NIOSSLPrivateKey
    private let issued = Mutex<[Key: HostCertificate]>([:])

    init() throws {
        self.authority = try Authority(name: "winsim CA")
        self.stranger = try Authority(name: "winsim CA that nobody knows")
        self.caPEM = try self.authority.certificate.serializeAsPEM().pemString + "\n"
        self.privateKey = try NIOSSLPrivateKey(bytes: Array(self.hostKey.pemRepresentation.utf8), format: .pem)
    }

    func certificate(for host: SimulatedHost, variant: Variant = .regular) throws -> HostCertificate {
        let key = Key(host: host.index, variant: variant)
        return try self.issued.withLock { issued in
            if let known = issued[key] { return known }
            let certificate = try self.issue(host, variant)
            issued[key] = certificate
            return certificate
        }
    }

    private func issue(_ host: SimulatedHost, _ variant: Variant) throws -> HostCertificate {
        let authority = variant == .untrusted ? self.stranger : self.authority
        let name = variant == .wrongName ? "somebody-else.invalid" : host.profile.fullyQualifiedName
        var names: [GeneralName] = [.dnsName(name.lowercased())]
        if variant != .wrongName {
            if name.lowercased() != host.profile.dnsHostName.lowercased() {
                names.append(.dnsName(host.profile.dnsHostName.lowercased()))
            }
            names.append(.ipAddress(ASN1OctetString(contentBytes: ArraySlice(host.address.bytes))))
        }
        let now = Date()
        let certificate = try Certificate(
            version: .v3,
            serialNumber: Certificate.SerialNumber(),
            publicKey: Certificate.PublicKey(self.hostKey.publicKey),
            notValidBefore: now.addingTimeInterval(-86_400 * 30),
            notValidAfter: now.addingTimeInterval(variant == .expired ? -86_400 : 86_400 * 365),
            issuer: authority.certificate.subject,
            subject: DistinguishedName { CommonName(name) },
            signatureAlgorithm: .ecdsaWithSHA256,
            extensions: Certificate.Extensions {
                Critical(BasicConstraints.notCertificateAuthority)
                Critical(KeyUsage(digitalSignature: true))
                try ExtendedKeyUsage([.serverAuth])
                SubjectAlternativeNames(names)
                AuthorityKeyIdentifier(keyIdentifier: authority.keyIdentifier)
            },
            issuerPrivateKey: authority.key
        )
        var serializer = DER.Serializer()
        try serializer.serialize(certificate)
        let der = serializer.serializedBytes
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: [.certificate(try NIOSSLCertificate(bytes: der, format: .der))],
            privateKey: .privateKey(self.privateKey)
        )
        configuration.minimumTLSVersion = .tlsv12
        return HostCertificate(
            context: try NIOSSLContext(configuration: configuration),
            channelBindings: .tlsServerEndPoint(certificateHash: Array(SHA256.hash(data: der))),
            der: der
        )
    }

    /// A key that signs certificates.
    private struct Authority: Sendable {
        let key: Certificate.PrivateKey
        let certificate: Certificate
        let keyIdentifier: ArraySlice<UInt8>

        init(name: String) throws {
            let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
            let subject = try DistinguishedName { CommonName(name) }
            let identifier = SubjectKeyIdentifier(hash: key.publicKey)
            let now = Date()
            self.key = key
            self.keyIdentifier = identifier.keyIdentifier
            self.certificate = try Certificate(
                version: .v3,
                serialNumber: Certificate.SerialNumber(),
                publicKey: key.publicKey,
                notValidBefore: now.addingTimeInterval(-86_400 * 31),
                notValidAfter: now.addingTimeInterval(86_400 * 3_650),
                issuer: subject,
                subject: subject,
                signatureAlgorithm: .ecdsaWithSHA256,
                extensions: Certificate.Extensions {
                    Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
                    Critical(KeyUsage(keyCertSign: true, cRLSign: true))
                    identifier
                },
                issuerPrivateKey: key
            )
        }
    }
}
