import Crypto
import Foundation
import NMSCore
import SwiftASN1
import Testing
import X509

@testable import NMSRuntime

@Suite struct ServerCertificateTests {
    private let now = Date(timeIntervalSince1970: 1_764_000_000)
    private let day: TimeInterval = 86_400
    private let names = ServerNames(
        hosts: ["localhost", "nms.example"],
        addresses: ["127.0.0.1", "::1", "192.0.2.7"].compactMap { IPAddress($0) }
    )

    private func prepare(_ directory: DataDirectory, after days: Double = 0) throws -> ServerCertificate {
        let now = self.now.addingTimeInterval(days * self.day)
        let certificate = try ServerCertificate.prepare(.defaults, directory: directory, names: self.names, now: now)
        return try #require(certificate)
    }

    private func configuration(_ certificate: String, _ key: String) throws -> Configuration {
        let arguments = ["--server.tls.cert_file", certificate, "--server.tls.key_file", key]
        return try ConfigurationFixture(arguments: arguments).load().configuration
    }

    // MARK: Self-signed

    @Test func itIsMadeOnceForTheMachinesNames() throws {
        let temporary = try TemporaryDirectory()
        let directory = try temporary.dataDirectory()
        let first = try self.prepare(directory)
        #expect(first.isNew && first.isSelfSigned)
        #expect(first.fingerprint.wholeMatch(of: /([0-9A-F]{2}:){31}[0-9A-F]{2}/) != nil)
        #expect(try TemporaryDirectory.mode(of: directory.privateKeyFile) == 0o600)
        #expect(try TemporaryDirectory.mode(of: directory.certificateFile) == 0o644)

        let pem = try String(contentsOfFile: directory.certificateFile, encoding: .utf8)
        let certificate = try Certificate(pemEncoded: pem)
        let alternatives = try #require(try certificate.extensions.subjectAlternativeNames)
        let loopback = try #require(IPAddress("::1"))
        #expect(alternatives.contains(.dnsName("localhost")))
        #expect(alternatives.contains(.dnsName("nms.example")))
        #expect(alternatives.contains(.ipAddress(ASN1OctetString(contentBytes: [127, 0, 0, 1]))))
        #expect(alternatives.contains(.ipAddress(ASN1OctetString(contentBytes: loopback.bytes[...]))))
        #expect(alternatives.contains(.ipAddress(ASN1OctetString(contentBytes: [192, 0, 2, 7]))))
        #expect(certificate.publicKey.isValidSignature(certificate.signature, for: certificate))

        let second = try self.prepare(directory, after: 700)
        #expect(!second.isNew)
        #expect(second.fingerprint == first.fingerprint)
    }

    @Test func itIsRenewedNearItsEnd() throws {
        let temporary = try TemporaryDirectory()
        let directory = try temporary.dataDirectory()
        let first = try self.prepare(directory)
        #expect(try !self.prepare(directory, after: 794).isNew)
        let renewed = try self.prepare(directory, after: 796)
        #expect(renewed.isNew)
        #expect(renewed.fingerprint != first.fingerprint)
        #expect(try self.prepare(directory, after: 5000).isNew)
    }

    @Test func aHalfWrittenPairIsReplacedButAnOpenKeyIsAnError() throws {
        let temporary = try TemporaryDirectory()
        let directory = try temporary.dataDirectory()
        _ = try self.prepare(directory)
        try PrivateFile.write(P256.Signing.PrivateKey().pemRepresentation, to: directory.privateKeyFile)
        #expect(try self.prepare(directory).isNew)
        try FileManager.default.removeItem(atPath: directory.certificateFile)
        #expect(try self.prepare(directory).isNew)
        try TemporaryDirectory.setMode(0o644, of: directory.privateKeyFile)
        let error = try #require(throws: StartError.self) { try self.prepare(directory) }
        #expect(error.remedy.contains("chmod 600"))
    }

    @Test func withoutTLSThereIsNone() throws {
        let temporary = try TemporaryDirectory()
        let configuration = try ConfigurationFixture(arguments: ["--server.tls.enabled", "false"]).load().configuration
        #expect(try ServerCertificate.prepare(configuration, directory: temporary.dataDirectory()) == nil)
    }

    @Test func theMachinesOwnNamesHoldTheLoopback() {
        let names = ServerNames.current()
        #expect(names.hosts.first == "localhost")
        #expect(names.addresses.prefix(2).map(\.description) == ["127.0.0.1", "::1"])
        #expect(names.addresses.dropFirst(2).allSatisfy { !$0.description.hasPrefix("127.") })
        #expect(Set(names.addresses).count == names.addresses.count)
    }

    // MARK: Given files

    @Test func givenFilesAreUsed() throws {
        let temporary = try TemporaryDirectory()
        let made = try self.prepare(temporary.dataDirectory())
        let configuration = try self.configuration(made.certificateFile, made.privateKeyFile)
        let other = try TemporaryDirectory()
        let used = try ServerCertificate.prepare(configuration, directory: other.dataDirectory(), now: self.now)
        #expect(used?.certificateFile == made.certificateFile)
        #expect(used?.fingerprint == made.fingerprint)
        #expect(used?.isSelfSigned == false)
    }

    @Test func everyFaultOfGivenFilesIsNamed() throws {
        let temporary = try TemporaryDirectory()
        let made = try self.prepare(temporary.dataDirectory())
        let certificate = made.certificateFile
        let key = made.privateKeyFile
        let foreign = try temporary.write(P256.Signing.PrivateKey().pemRepresentation, to: "foreign.key")
        let rubbish = try temporary.write("hunter2", to: "rubbish")
        let broken = try temporary.write(
            "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n",
            to: "broken"
        )
        let encrypted = try temporary.write(
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\naHVudGVyMg==\n-----END ENCRYPTED PRIVATE KEY-----\n",
            to: "encrypted"
        )
        let brokenKey = try temporary.write(
            "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n",
            to: "broken.key"
        )
        let cases: [(String, String, TimeInterval, String, String)] = [
            ("/none", key, 0, "/none", "the file does not exist"),
            (certificate, "/none", 0, "/none", "the file does not exist"),
            (rubbish, key, 0, rubbish, "it holds no certificate"),
            (key, key, 0, key, "it holds no certificate"),
            (broken, key, 0, broken, "it is not a PEM certificate"),
            (certificate, certificate, 0, certificate, "it holds no private key"),
            (certificate, encrypted, 0, encrypted, "the private key is encrypted"),
            (certificate, brokenKey, 0, brokenKey, "it is not a PEM private key of a known kind"),
            (certificate, foreign, 0, foreign, "the key does not belong to the certificate in \(certificate)"),
            (certificate, key, 900, certificate, "the certificate expired at"),
            (certificate, key, -1, certificate, "the certificate is not valid before"),
        ]
        for (certificateFile, keyFile, days, path, problem) in cases {
            let configuration = try self.configuration(certificateFile, keyFile)
            let now = self.now.addingTimeInterval(days * self.day)
            let error = try #require(throws: StartError.self) {
                try ServerCertificate.prepare(configuration, directory: temporary.dataDirectory(), now: now)
            }
            #expect(error.path == path)
            #expect(error.problem.hasPrefix(problem))
            #expect(!error.description.contains("hunter2"))
        }
    }

    @Test func theFingerprintIsThatOfTheDER() {
        // SHA-256 of "abc", FIPS 180-2 appendix B.1.
        #expect(
            ServerCertificate.fingerprint(ofDER: Array("abc".utf8))
                == "BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23:B0:03:61:A3:96:17:7A:9C:B4:10:FF:61:F2:00:15:AD"
        )
    }
}
