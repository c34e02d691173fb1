import Crypto
import Foundation
import HTTPTypes
import HummingbirdTesting
import NIOCore
import NIOPosix
import SwiftASN1
import Testing
import X509

@testable import NMSAPI

@Suite struct TransportTests {
    @Test func theAPIAnswersOverTLS() async throws {
        let files = try CertificateFiles()
        defer { files.remove() }
        try await Harness.with(
            through: .ahc(.https),
            configure: { configuration in
                configuration.listenOnLoopback(with: files)
            }
        ) { harness, api in
            let api = try await api.signedIn()
            let reply = try await api.get("/devices")
            #expect(reply.status == 200)
            #expect(reply.header("strict-transport-security") == "max-age=31536000")
            #expect(try await api.call(.patch, "/devices").status == 405)
            #expect(
                try await api.post("/devices", #"{"ip":"\#(String(repeating: "x", count: 1 << 20))"}"#).status == 413
            )
            #expect(harness.log.all.contains { $0.contains("remote=127.0.0.1") })
        }
    }

    @Test(
        .enabled(if: FileManager.default.isExecutableFile(atPath: curl)),
        arguments: [("--http1.1", "1.1"), ("--http2", "2"), ("--tls-max=1.2", "2")]
    )
    func bothVersionsOfHTTPAreSpoken(option: String, version: String) async throws {
        let files = try CertificateFiles()
        defer { files.remove() }
        try await Harness.with(
            through: .ahc(.https),
            configure: { configuration in
                configuration.listenOnLoopback(with: files)
            }
        ) { _, api in
            let port = try required(api.client.port)
            let arguments =
                option.split(separator: "=").map(String.init) + [
                    "--silent", "--show-error", "--cacert", files.certificatePath, "--resolve",
                    "localhost:\(port):127.0.0.1",
                    "--write-out", " %{http_version}", "https://localhost:\(port)/health",
                ]
            let output = try await run(curl, arguments)
            #expect(output.hasPrefix(#"{"#) && output.contains(#""success":true"#))
            #expect(output.hasSuffix(" \(version)"))
        }
    }

    @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: curl)))
    func olderTLSIsRefused() async throws {
        let files = try CertificateFiles()
        defer { files.remove() }
        try await Harness.with(
            through: .ahc(.https),
            configure: { configuration in
                configuration.listenOnLoopback(with: files)
            }
        ) { _, api in
            let port = try required(api.client.port)
            // Security level 0 lets the client itself offer what it would not by default.
            let output = try await run(
                curl,
                ["--silent", "--insecure", "--tlsv1.1", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"]
                    + ["--write-out", "%{http_code}", "https://127.0.0.1:\(port)/health"]
            )
            #expect(output == "000")
        }
    }

    @Test(
        .enabled(if: FileManager.default.isExecutableFile(atPath: curl)),
        arguments: [("1.2", "000"), ("1.3", "200")]
    )
    func theConfiguredVersionOfTLSIsTheLowest(offered: String, status: String) async throws {
        let files = try CertificateFiles()
        defer { files.remove() }
        try await Harness.with(
            through: .ahc(.https),
            configure: { configuration in
                configuration.listenOnLoopback(with: files)
                configuration.tls?.minimumVersion = .v13
            }
        ) { _, api in
            let port = try required(api.client.port)
            let output = try await run(
                curl,
                ["--silent", "--insecure", "--tls-max", offered, "--output", "/dev/null"]
                    + ["--write-out", "%{http_code}", "https://127.0.0.1:\(port)/health"]
            )
            #expect(output == status)
        }
    }

    // What the framework answers by itself, it would answer without the envelope.
    @Test(arguments: [
        ("GET\r\n\r\n", 400), ("GET /health HTTP/9.9\r\n\r\n", 400), ("\u{16}\u{3}\u{1}\u{0}\u{5}\r\n\r\n", 400),
        ("GET /health HTTP/1.1\r\nHost: x\r\nA: \(String(repeating: "x", count: 40_000))\r\n\r\n", 400),
        ("GET /health HTTP/1.1\r\nHost: x\r\nBad Header: x\r\n\r\n", 400),
        ("POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n", 413),
        (
            "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400
        ),
    ])
    func whatIsNoHTTPIsAnsweredWithTheEnvelope(request: String, status: Int) async throws {
        try await Harness.with(
            through: .live,
            configure: { configuration in
                configuration.host = "127.0.0.1"
                configuration.port = 0
                configuration.readTimeout = .milliseconds(500)
            }
        ) { _, api in
            let answer = try await RawClient.exchange(request, port: try required(api.client.port))
            #expect(answer.hasPrefix("HTTP/1.1 \(status) "))
            #expect(answer.lowercased().contains("x-request-id: "))
            let body = try JSONValue.parse(String(answer.split(separator: "\r\n\r\n", maxSplits: 1)[1]))
            #expect(body["success"] == .bool(false))
            #expect(body["error"]["code"] == .string(status == 413 ? "PAYLOAD_TOO_LARGE" : "VALIDATION_ERROR"))
        }
    }

    // Each of these would hold a connection for as long as it likes.
    @Test(arguments: [
        "", "GET /health HT", "GET /health HTTP/1.1\r\nHost: x\r\n",
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{",
    ])
    func slowClientsAreClosed(start: String) async throws {
        try await Harness.with(
            through: .live,
            configure: { configuration in
                configuration.host = "127.0.0.1"
                configuration.port = 0
                // Nothing said is idleness; whatever was begun has to come to its end.
                configuration.readTimeout = start.isEmpty ? .seconds(60) : .milliseconds(200)
                configuration.idleTimeout = start.isEmpty ? .milliseconds(200) : .seconds(60)
            }
        ) { _, api in
            // Returns when the server closes.
            _ = try await RawClient.exchange(start, port: try required(api.client.port))
        }
    }

    @Test func aClientThatDoesNotShakeHandsIsClosed() async throws {
        let files = try CertificateFiles()
        defer { files.remove() }
        try await Harness.with(
            through: .ahc(.https),
            configure: { configuration in
                configuration.listenOnLoopback(with: files)
                configuration.handshakeTimeout = .milliseconds(200)
            }
        ) { _, api in
            let answer = try await RawClient.exchange("", port: try required(api.client.port))
            #expect(answer.isEmpty)
            // Those who did are left alone.
            #expect(try await api.get("/health").status == 200)
        }
    }

    @Test func aCertificateThatCannotBeUsedIsNamed() async throws {
        let files = try CertificateFiles()
        let other = try CertificateFiles()
        defer {
            files.remove()
            other.remove()
        }
        for (certificatePath, privateKeyPath, part) in [
            ("/nowhere.crt", files.keyPath, "cert_file"), (files.certificatePath, "/nowhere.key", "key_file"),
            (files.certificatePath, other.keyPath, "together"),
        ] {
            let tls = APIConfiguration.TLS(
                certificatePath: certificatePath,
                privateKeyPath: privateKeyPath,
                minimumVersion: .v12
            )
            let error = await #expect(throws: APIConfigurationError.self) {
                try await Harness.with(configure: { $0.tls = tls }) { _, _ in }
            }
            #expect(error?.description.contains(part) == true)
        }
    }
}

private let curl = "/usr/bin/curl"

/// Runs a program and returns what it wrote to standard output.
private func run(_ path: String, _ arguments: [String]) async throws -> String {
    let process = Process()
    let output = Pipe()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    process.standardOutput = output
    try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
        process.terminationHandler = { _ in continuation.resume() }
        do {
            try process.run()
        } catch {
            continuation.resume(throwing: error)
        }
    }
    return String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
}

/// Sends bytes and reads until the server closes, five seconds at most.
enum RawClient {
    static func exchange(_ request: String, port: Int) async throws -> String {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        let deadline = channel.channel.eventLoop.scheduleTask(in: .seconds(5)) {
            Issue.record("the server kept the connection")
            channel.channel.close(promise: nil)
        }
        return try await channel.executeThenClose { inbound, outbound in
            var text = ""
            do {
                if !request.isEmpty { try await outbound.write(ByteBuffer(string: request)) }
                for try await buffer in inbound { text += String(buffer: buffer) }
            } catch is IOError {
                // A reset is a way of closing, too.
            } catch is ChannelError {
                // So is closing before the first byte was sent.
            }
            deadline.cancel()
            return text
        }
    }
}

/// A self-signed certificate in a temporary directory.
struct CertificateFiles {
    let directory: URL
    var certificatePath: String { self.directory.appendingPathComponent("server.crt").path }
    var keyPath: String { self.directory.appendingPathComponent("server.key").path }
    var configuration: APIConfiguration.TLS {
        APIConfiguration.TLS(
            certificatePath: self.certificatePath,
            privateKeyPath: self.keyPath,
            minimumVersion: .v12
        )
    }

    init() throws {
        self.directory = FileManager.default.temporaryDirectory.appendingPathComponent("nmsapi-\(UUID())")
        try FileManager.default.createDirectory(at: self.directory, withIntermediateDirectories: true)
        let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
        let name = try DistinguishedName { CommonName("localhost") }
        let certificate = try Certificate(
            version: .v3,
            serialNumber: Certificate.SerialNumber(),
            publicKey: key.publicKey,
            notValidBefore: Date() - 3600,
            notValidAfter: Date() + 3600,
            issuer: name,
            subject: name,
            signatureAlgorithm: .ecdsaWithSHA256,
            extensions: try Certificate.Extensions { SubjectAlternativeNames([.dnsName("localhost")]) },
            issuerPrivateKey: key
        )
        try certificate.serializeAsPEM().pemString.write(
            toFile: self.certificatePath,
            atomically: true,
            encoding: .utf8
        )
        try key.serializeAsPEM().pemString.write(toFile: self.keyPath, atomically: true, encoding: .utf8)
    }

    func remove() { try? FileManager.default.removeItem(at: self.directory) }
}

extension APIConfiguration {
    /// On any free port, over TLS.
    fileprivate mutating func listenOnLoopback(with files: CertificateFiles) {
        self.host = "127.0.0.1"
        self.port = 0
        self.tls = files.configuration
    }
}
