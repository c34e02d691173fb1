import Crypto
import Foundation
import NIOPosix
import NIOSSL
import SSP
import SwiftASN1
import Testing
import X509

@testable import WinRM

/// An authority and a host's certificate, made for one test.
private struct TestPKI {
    let authority: NIOSSLCertificate
    let context: NIOSSLContext
    let leaf: NIOSSLCertificate
    let caFile: String

    init(
        dns: [String] = [],
        addresses: [[UInt8]] = [],
        commonName: String = "srv01",
        validFrom: Date = Date(timeIntervalSinceNow: -3600),
        validTo: Date = Date(timeIntervalSinceNow: 3600)
    ) throws {
        let rootKey = Certificate.PrivateKey(P256.Signing.PrivateKey())
        let rootName = try DistinguishedName { CommonName("Test Authority") }
        let root = try Certificate(
            version: .v3,
            serialNumber: .init(),
            publicKey: rootKey.publicKey,
            notValidBefore: Date(timeIntervalSinceNow: -7200),
            notValidAfter: Date(timeIntervalSinceNow: 7200),
            issuer: rootName,
            subject: rootName,
            signatureAlgorithm: .ecdsaWithSHA256,
            extensions: Certificate.Extensions {
                Critical(BasicConstraints.isCertificateAuthority(maxPathLength: nil))
            },
            issuerPrivateKey: rootKey
        )
        let key = P256.Signing.PrivateKey()
        let names: [GeneralName] =
            dns.map { .dnsName($0) } + addresses.map { .ipAddress(ASN1OctetString(contentBytes: $0[...])) }
        var extensions = try Certificate.Extensions { Critical(BasicConstraints.notCertificateAuthority) }
        if !names.isEmpty {
            try extensions.append(Certificate.Extension(SubjectAlternativeNames(names), critical: false))
        }
        let leaf = try Certificate(
            version: .v3,
            serialNumber: .init(),
            publicKey: Certificate.PrivateKey(key).publicKey,
            notValidBefore: validFrom,
            notValidAfter: validTo,
            issuer: rootName,
            subject: DistinguishedName { CommonName(commonName) },
            signatureAlgorithm: .ecdsaWithSHA256,
            extensions: extensions,
            issuerPrivateKey: rootKey
        )
        self.leaf = try NIOSSLCertificate(bytes: leaf.serializeAsPEM().derBytes, format: .der)
        self.authority = try NIOSSLCertificate(bytes: root.serializeAsPEM().derBytes, format: .der)
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: [.certificate(self.leaf)],
            privateKey: .privateKey(try NIOSSLPrivateKey(bytes: Array(key.derRepresentation), format: .der))
        )
        configuration.minimumTLSVersion = .tlsv12
        self.context = try NIOSSLContext(configuration: configuration)
        self.caFile = NSTemporaryDirectory() + "winrm-test-\(UUID().uuidString).pem"
        try root.serializeAsPEM().pemString.write(toFile: self.caFile, atomically: true, encoding: .utf8)
    }

    func remove() {
        try? FileManager.default.removeItem(atPath: self.caFile)
    }

    func settings(_ names: [String], _ verification: TLSSettings.Verification = .full) -> TLSSettings {
        TLSSettings(verification: verification, expectedNames: names, caFile: self.caFile)
    }
}

@Suite struct TLSTests {
    private static func connect(_ pki: TestPKI, _ settings: TLSSettings) async throws -> WinRMError? {
        defer { pki.remove() }
        return try await LoopbackServer.run(tls: pki.context) { _, _, _ in
            .nothing
        } body: { _, port in
            await failure { try await withConnection(port: port, tls: settings, signIn: nil) { _ in } }
        }
    }

    @Test(arguments: ["srv01.fabrikam.example", "SRV01.Fabrikam.Example.", "web.fabrikam.example", "127.0.0.1"])
    func acceptsNamesInTheCertificate(name: String) async throws {
        let pki = try TestPKI(dns: ["srv01.fabrikam.example", "*.fabrikam.example"], addresses: [[127, 0, 0, 1]])
        #expect(try await Self.connect(pki, pki.settings(["other.example", name])) == nil)
    }

    @Test(arguments: [
        "fabrikam.example", "a.b.fabrikam.example", "srv01", "127.0.0.2", "::1", "", "*.fabrikam.example.org",
    ])
    func refusesOtherNames(name: String) async throws {
        let pki = try TestPKI(dns: ["*.fabrikam.example"], addresses: [[127, 0, 0, 1]])
        #expect(
            try await Self.connect(pki, pki.settings([name]))
                == .tlsFailed(.nameMismatch(expected: [name], presented: ["*.fabrikam.example", "127.0.0.1"]))
        )
    }

    @Test func theCommonNameCountsOnlyWithoutAlternativeNames() async throws {
        let old = try TestPKI(commonName: "srv01.fabrikam.example")
        #expect(try await Self.connect(old, old.settings(["srv01.fabrikam.example"])) == nil)
        let new = try TestPKI(dns: ["web.fabrikam.example"], commonName: "srv01.fabrikam.example")
        guard case .tlsFailed(.nameMismatch)? = try await Self.connect(new, new.settings(["srv01.fabrikam.example"]))
        else {
            Issue.record("accepted")
            return
        }
    }

    @Test func aChainDoesForTheLenient() async throws {
        let pki = try TestPKI(dns: ["other.example"])
        #expect(try await Self.connect(pki, pki.settings(["srv01"], .chain)) == nil)
    }

    @Test func refusesUntrustedAuthorities() async throws {
        for verification in [TLSSettings.Verification.full, .chain] {
            let pki = try TestPKI(dns: ["srv01"])
            let settings = TLSSettings(verification: verification, expectedNames: ["srv01"])
            #expect(try await Self.connect(pki, settings) == .tlsFailed(.untrusted(name: "srv01")))
        }
    }

    @Test func refusesExpiredCertificates() async throws {
        let pki = try TestPKI(dns: ["srv01"], validTo: Date(timeIntervalSinceNow: -60))
        #expect(try await Self.connect(pki, pki.settings(["srv01"], .chain)) == .tlsFailed(.expired(name: "srv01")))
        let early = try TestPKI(dns: ["srv01"], validFrom: Date(timeIntervalSinceNow: 600))
        #expect(
            try await Self.connect(early, early.settings(["srv01"], .chain)) == .tlsFailed(.notYetValid(name: "srv01"))
        )
    }

    @Test func checksNothingIfAskedTo() async throws {
        let pki = try TestPKI(dns: ["x"], validTo: Date(timeIntervalSinceNow: -60))
        #expect(try await Self.connect(pki, TLSSettings(verification: .none, expectedNames: [])) == nil)
    }

    @Test func reportsAMissingCAFile() async throws {
        let pki = try TestPKI()
        let settings = TLSSettings(expectedNames: ["srv01"], caFile: "/nonexistent/ca.pem")
        #expect(try await Self.connect(pki, settings) == .tlsFailed(.invalidCAFile("/nonexistent/ca.pem")))
    }

    @Test func reportsAPortThatDoesNotSpeakTLS() async throws {
        try await LoopbackServer.run { _, _, _ in
            .nothing
        } body: { _, port in
            // The script only sees whole requests; a TLS hello is none, so the handshake runs into its deadline.
            let connector = WinRMConnector(group: .singletonMultiThreadedEventLoopGroup)
            let endpoint = WinRMEndpoint(
                address: "127.0.0.1",
                port: port,
                tls: TLSSettings(verification: .none, expectedNames: [])
            )
            let error = await failure { try await connector.connect(to: endpoint, deadline: .now + .milliseconds(200)) }
            #expect(error == .timedOut(.handshake))
        }
    }

    @Test func bindsTheLoginToTheCertificate() async throws {
        let pki = try TestPKI(dns: ["srv01"])
        defer { pki.remove() }
        let page = try fixture("enumerate-all-at-once.xml")
        let hash = Array(SHA256.hash(data: try pki.leaf.toDERBytes()))
        let strict = NTLMHost(bindings: .tlsServerEndPoint(certificateHash: hash), seals: false) { _, envelope in
            #expect(envelope.contains("<n:Enumerate>"))
            return ("200 ", page)
        }
        try await LoopbackServer.run(tls: pki.context, strict.respond) { _, port in
            try await withConnection(port: port, tls: pki.settings(["srv01"]), signIn: ntlm) { connection in
                let rows = try await connection.enumerate(wql: "q", deadline: .soon)
                #expect(rows.count == 2)
            }
        }
        let other = NTLMHost(bindings: .tlsServerEndPoint(certificateHash: [1]), seals: false) { _, _ in ("200 ", page)
        }
        try await LoopbackServer.run(tls: pki.context, other.respond) { _, port in
            let error = await failure {
                try await withConnection(port: port, tls: pki.settings(["srv01"]), signIn: ntlm) { _ in }
            }
            #expect(error == .authenticationFailed(""))
        }
    }

    @Test func choosesTheHashBySignature() {
        let der = "certificate".bytes
        #expect(
            PeerCertificate.endPointHash(der: der, algorithm: .sha1WithRSAEncryption) == Array(SHA256.hash(data: der))
        )
        #expect(PeerCertificate.endPointHash(der: der, algorithm: .ecdsaWithSHA256) == Array(SHA256.hash(data: der)))
        #expect(
            PeerCertificate.endPointHash(der: der, algorithm: .sha384WithRSAEncryption) == Array(SHA384.hash(data: der))
        )
        #expect(PeerCertificate.endPointHash(der: der, algorithm: .ecdsaWithSHA512) == Array(SHA512.hash(data: der)))
        #expect(PeerCertificate.endPointHash(der: der, algorithm: nil) == Array(SHA256.hash(data: der)))
    }
}
