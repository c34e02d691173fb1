package import Foundation
import NMSCore
import Crypto
import SwiftASN1
import X509

/// The listener's certificate and key: given, or self-signed in the data directory (specification §8.4, design §2).
package struct ServerCertificate: Sendable, Equatable {
    /// PEM; the leaf first.
    package let certificateFile: String
    /// PEM.
    package let privateKeyFile: String
    package let isSelfSigned: Bool
    /// Whether it was made just now.
    package let isNew: Bool
    package let notValidAfter: Date
    /// SHA-256 of the leaf as colon-separated hexadecimal, the way `openssl x509 -fingerprint` and browsers show it.
    package let fingerprint: String

    /// Checks the configured files, or the data directory's, which are made when missing and renewed near their end.
    ///
    /// - Parameters:
    ///   - directory: prepared, and locked by the caller.
    ///   - names: what a self-signed certificate is for.
    ///   - now: injected for tests.
    /// - Returns: nil when `server.tls.enabled` is false.
    /// - Throws: what is wrong with which file.
    package static func prepare(
        _ configuration: Configuration,
        directory: DataDirectory,
        names: ServerNames = .current(),
        now: Date = Date()
    ) throws(StartError) -> ServerCertificate? {
        let tls = configuration.server.tls
        guard tls.enabled else { return nil }
        if let certificateFile = tls.certFile, let keyFile = tls.keyFile {
            return try self.examine(certificateFile, keyFile, isSelfSigned: false, now: now)
        }
        return try self.selfSigned(directory, names: names, now: now)
    }

    // MARK: Given files

    /// Readable, parsed, belonging together, and valid now.
    static func examine(
        _ certificateFile: String,
        _ keyFile: String,
        isSelfSigned: Bool,
        now: Date
    ) throws(StartError) -> ServerCertificate {
        let leaf = try self.leaf(of: certificateFile)
        let key = try self.privateKey(in: keyFile)
        guard key.publicKey == leaf.publicKey else {
            throw StartError(
                path: keyFile,
                problem: "the key does not belong to the certificate in \(certificateFile)",
                remedy:
                    "Name the key that the certificate was made with; the server's certificate stands first in its file."
            )
        }
        guard now < leaf.notValidAfter else {
            throw StartError(
                path: certificateFile,
                problem: "the certificate expired at \(RFC3339.string(from: leaf.notValidAfter))",
                remedy: "Renew it."
            )
        }
        guard now >= leaf.notValidBefore else {
            throw StartError(
                path: certificateFile,
                problem: "the certificate is not valid before \(RFC3339.string(from: leaf.notValidBefore))",
                remedy: "Check this machine's clock, or use another certificate."
            )
        }
        return ServerCertificate(
            certificateFile: certificateFile,
            privateKeyFile: keyFile,
            isSelfSigned: isSelfSigned,
            isNew: false,
            notValidAfter: leaf.notValidAfter,
            fingerprint: try self.fingerprint(of: leaf, path: certificateFile)
        )
    }

    private static func text(of path: String) throws(StartError) -> String {
        let problem: String
        do {
            if let text = try TextFile.read(path) { return text }
            problem = "the file does not exist"
        } catch {
            problem = "the file cannot be read (\(TextFile.reason(error)))"
        }
        throw StartError(path: path, problem: problem, remedy: "Name a PEM file that this user may read.")
    }

    private static func leaf(of path: String) throws(StartError) -> Certificate {
        let text = try self.text(of: path)
        do {
            let documents = try PEMDocument.parseMultiple(pemString: text)
            guard let first = documents.first(where: { $0.discriminator == Certificate.defaultPEMDiscriminator }) else {
                throw StartError(path: path, problem: "it holds no certificate", remedy: "Name a PEM certificate.")
            }
            return try Certificate(pemDocument: first)
        } catch let error as StartError {
            throw error
        } catch {
            // The parser's error may quote the file.
            throw StartError(path: path, problem: "it is not a PEM certificate", remedy: "Name a PEM certificate.")
        }
    }

    private static func privateKey(in path: String) throws(StartError) -> Certificate.PrivateKey {
        let text = try self.text(of: path)
        do {
            // OpenSSL writes "EC PARAMETERS" before an EC key.
            let documents = try PEMDocument.parseMultiple(pemString: text)
            guard let document = documents.first(where: { $0.discriminator.hasSuffix("PRIVATE KEY") }) else {
                throw StartError(path: path, problem: "it holds no private key", remedy: "Name a PEM private key.")
            }
            guard document.discriminator != "ENCRYPTED PRIVATE KEY", !text.contains("Proc-Type: 4,ENCRYPTED") else {
                throw StartError(
                    path: path,
                    problem: "the private key is encrypted",
                    remedy: "Decrypt it (openssl pkey -in … -out …) and protect the file instead."
                )
            }
            return try Certificate.PrivateKey(pemDocument: document)
        } catch let error as StartError {
            throw error
        } catch {
            throw StartError(
                path: path,
                problem: "it is not a PEM private key of a known kind",
                remedy: "Use an RSA, P-256, P-384 or P-521 key, as PKCS #8, PKCS #1 or SEC 1."
            )
        }
    }

    private static func fingerprint(of certificate: Certificate, path: String) throws(StartError) -> String {
        var serializer = DER.Serializer()
        do {
            try serializer.serialize(certificate)
        } catch {
            throw StartError(path: path, problem: "it cannot be encoded again", remedy: "Use another certificate.")
        }
        return self.fingerprint(ofDER: serializer.serializedBytes)
    }

    /// SHA-256 as colon-separated upper-case hexadecimal.
    package static func fingerprint(ofDER bytes: [UInt8]) -> String {
        SHA256.hash(data: bytes).map { byte in
            let digits = String(byte, radix: 16, uppercase: true)
            return digits.count == 1 ? "0" + digits : digits
        }.joined(separator: ":")
    }
}
