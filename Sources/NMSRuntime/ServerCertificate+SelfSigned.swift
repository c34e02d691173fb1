import Crypto
import Foundation
import NMSCore
import SwiftASN1
import X509

extension ServerCertificate {
    /// Days that a self-signed certificate is valid: the most that Apple's systems accept from one that a user trusts.
    static let validityDays = 825
    /// Days before its end from which a start renews it.
    static let renewalDays = 30
    /// Clocks of clients may be behind.
    private static let backdating: TimeInterval = 3600
    private static let day: TimeInterval = 86_400

    /// The data directory's certificate, made or renewed if need be.
    static func selfSigned(
        _ directory: DataDirectory,
        names: ServerNames,
        now: Date
    ) throws(StartError) -> ServerCertificate {
        if let present = try self.present(directory, now: now) { return present }
        let (certificate, key) = try self.make(names, now: now, path: directory.certificateFile)
        // The key first: a crash between the two leaves a pair that does not match, which the next start replaces.
        try PrivateFile.write(key, to: directory.privateKeyFile)
        try PrivateFile.write(certificate, to: directory.certificateFile, mode: PrivateFile.publicMode)
        let made = try self.examine(directory.certificateFile, directory.privateKeyFile, isSelfSigned: true, now: now)
        return ServerCertificate(
            certificateFile: made.certificateFile,
            privateKeyFile: made.privateKeyFile,
            isSelfSigned: true,
            isNew: true,
            notValidAfter: made.notValidAfter,
            fingerprint: made.fingerprint
        )
    }

    /// nil when there is none, or none that is of further use.
    private static func present(_ directory: DataDirectory, now: Date) throws(StartError) -> ServerCertificate? {
        // A key that others may read is an error, not a reason to make a new one in silence.
        guard try PrivateFile.read(directory.privateKeyFile) != nil else { return nil }
        let present: ServerCertificate
        do {
            present = try self.examine(
                directory.certificateFile,
                directory.privateKeyFile,
                isSelfSigned: true,
                now: now
            )
        } catch {
            return nil
        }
        return present.notValidAfter.timeIntervalSince(now) > TimeInterval(self.renewalDays) * self.day ? present : nil
    }

    /// PEM of certificate and key.
    private static func make(
        _ names: ServerNames,
        now: Date,
        path: String
    ) throws(StartError) -> (certificate: String, key: String) {
        do {
            let key = P256.Signing.PrivateKey()
            let subject = try DistinguishedName {
                OrganizationName("NMSlite")
                CommonName("NMSlite on \(names.hosts.last ?? "localhost")".prefixed(64))
            }
            let publicKey = Certificate.PublicKey(key.publicKey)
            let certificate = try Certificate(
                version: .v3,
                serialNumber: Certificate.SerialNumber(),
                publicKey: publicKey,
                notValidBefore: now.addingTimeInterval(-self.backdating),
                notValidAfter: now.addingTimeInterval(TimeInterval(self.validityDays) * self.day),
                issuer: subject,
                subject: subject,
                signatureAlgorithm: .ecdsaWithSHA256,
                extensions: try Certificate.Extensions {
                    // Not an authority: it vouches for this server alone, wherever someone trusts it.
                    Critical(BasicConstraints.notCertificateAuthority)
                    Critical(KeyUsage(digitalSignature: true))
                    try ExtendedKeyUsage([.serverAuth])
                    SubjectAlternativeNames(self.generalNames(names))
                    SubjectKeyIdentifier(hash: publicKey)
                },
                issuerPrivateKey: Certificate.PrivateKey(key)
            )
            return (try certificate.serializeAsPEM().pemString + "\n", key.pemRepresentation + "\n")
        } catch {
            throw StartError(
                path: path,
                problem: "a self-signed certificate cannot be made",
                remedy: "Give server.tls.cert_file and server.tls.key_file."
            )
        }
    }

    private static func generalNames(_ names: ServerNames) -> [GeneralName] {
        names.hosts.map { .dnsName($0) }
            + names.addresses.map { .ipAddress(ASN1OctetString(contentBytes: $0.bytes[...])) }
    }
}

extension String {
    /// The first `count` characters: X.520 bounds the length of names.
    fileprivate func prefixed(_ count: Int) -> String { String(self.prefix(count)) }
}
