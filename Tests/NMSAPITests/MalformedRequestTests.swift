import Foundation
import HummingbirdTesting
import NIOCore
import NIOPosix
import Testing

@testable import NMSAPI

/// Bytes that no client library sends, over a real connection: what the framework would answer by itself, or not at
/// all, has the envelope and an id, too.
@Suite struct MalformedRequestTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let bytes: String
        var status = 400
        var code = "VALIDATION_ERROR"

        var testDescription: String { self.name }

        init(_ name: String, _ bytes: String, status: Int = 400, code: String = "VALIDATION_ERROR") {
            self.name = name
            self.bytes = bytes
            self.status = status
            self.code = code
        }

        /// A whole request without body, after which the server closes.
        static func line(_ line: String, _ fields: [String] = [], status: Int, code: String) -> Case {
            let fields = (["Host: x", "Connection: close"] + fields).map { $0 + "\r\n" }.joined()
            return Case(line, "\(line) HTTP/1.1\r\n\(fields)\r\n", status: status, code: code)
        }

        static func refused(_ line: String, _ fields: [String] = []) -> Case {
            .line(line, fields, status: 400, code: "VALIDATION_ERROR")
        }
    }

    static let post = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    static let large = String(repeating: "x", count: (1 << 20) + 1)

    static let cases: [Case] = [
        Case("no version", "GET\r\n\r\n"),
        Case("no such version", "GET /health HTTP/9.9\r\nHost: x\r\n\r\n"),
        Case("HTTP/2 by name", "GET /health HTTP/2.0\r\nHost: x\r\n\r\n"),
        Case("HTTP/2 by preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        Case("HTTP/0.9", "GET /health\r\n\r\n"),
        Case("TLS", "\u{16}\u{3}\u{1}\u{0}\u{5}\r\n\r\n"),
        Case("lower-case method", "get /health HTTP/1.1\r\nHost: x\r\n\r\n"),
        Case("method that is no token", "G@T /health HTTP/1.1\r\nHost: x\r\n\r\n"),
        Case("space in the target", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n"),
        Case("NUL in the target", "GET /a\u{0}b HTTP/1.1\r\nHost: x\r\n\r\n"),
        Case("long field", "GET /health HTTP/1.1\r\nHost: x\r\nA: \(String(repeating: "x", count: 40_000))\r\n\r\n"),
        Case(
            "many fields",
            "GET /health HTTP/1.1\r\nHost: x\r\n\((0..<150).map { "A\($0): x\r\n" }.joined())\r\n"
        ),
        Case(
            "long list of fields",
            "GET /health HTTP/1.1\r\nHost: x\r\n"
                + "\((0..<40).map { "A\($0): \(String(repeating: "x", count: 1000))\r\n" }.joined())\r\n"
        ),
        Case("field name with a space", "GET /health HTTP/1.1\r\nHost: x\r\nBad Header: x\r\n\r\n"),
        Case("field without a colon", "GET /health HTTP/1.1\r\nHost: x\r\nBad\r\n\r\n"),
        Case("NUL in a field", "GET /health HTTP/1.1\r\nHost: x\r\nA: \u{0}\r\n\r\n"),
        Case("no Host", "GET /health HTTP/1.1\r\n\r\n"),
        Case("two Hosts", "GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"),
        Case(
            "length and chunks",
            MalformedRequestTests.post + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        Case("two lengths", MalformedRequestTests.post + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
        Case("length that is no number", MalformedRequestTests.post + "Content-Length: two\r\n\r\n{}"),
        Case("negative length", MalformedRequestTests.post + "Content-Length: -2\r\n\r\n{}"),
        Case("another coding", MalformedRequestTests.post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        Case("chunks in HTTP/1.0", "POST /health HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        Case("bad chunk", MalformedRequestTests.post + "Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
        Case("chunk without end", MalformedRequestTests.post + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}xx"),
        Case("no JSON", MalformedRequestTests.post + "Content-Length: 1\r\nConnection: close\r\n\r\n{"),
        Case(
            "large length",
            MalformedRequestTests.post + "Content-Length: 2000000\r\n\r\n",
            status: 413,
            code: "PAYLOAD_TOO_LARGE"
        ),
        Case(
            "large chunk",
            MalformedRequestTests.post
                + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n\(String(large.count, radix: 16))\r\n"
                + "\(large)\r\n0\r\n\r\n",
            status: 413,
            code: "PAYLOAD_TOO_LARGE"
        ),
        .refused("GET /%zz"), .refused("GET /%"), .refused("GET /%a"), .refused("GET /a%00"),
        .refused("GET /%c0%af"), .refused("GET /%ff"), .refused("GET /\(String(repeating: "x", count: 3000))"),
        .line("GET /nothing", status: 404, code: "NOT_FOUND"),
        .line("GET http://x/nothing", status: 404, code: "NOT_FOUND"),
        .line("GET /../health", status: 404, code: "NOT_FOUND"),
        .line("OPTIONS *", status: 404, code: "NOT_FOUND"),
        .line("OPTIONS /health", status: 405, code: "METHOD_NOT_ALLOWED"),
        .line("TRACE /health", status: 405, code: "METHOD_NOT_ALLOWED"),
        .line("PATCH /health", status: 405, code: "METHOD_NOT_ALLOWED"),
        // The parser has a list of methods.
        .line("BREW /health", status: 400, code: "VALIDATION_ERROR"),
        .line("CONNECT example.com:443", status: 404, code: "NOT_FOUND"),
        .line("GET http://x/health", status: 200, code: ""),
        .line("GET http://x/health?", status: 200, code: ""),
        .line("GET //health//", status: 200, code: ""),
        Case("HTTP/1.0", "GET /health HTTP/1.0\r\n\r\n", status: 200, code: ""),
    ]

    @Test(arguments: [false, true])
    func everyAnswerHasTheEnvelope(isWarm: Bool) async throws {
        try await Self.withServer { harness, port in
            for test in Self.cases {
                // Also as the second request of a connection.
                let first = isWarm ? "GET /health HTTP/1.1\r\nHost: x\r\n\r\n" : ""
                let answers = RawAnswer.all(in: try await RawClient.exchange(first + test.bytes, port: port))
                #expect(answers.count == (isWarm ? 2 : 1), "\(test.name): \(answers)")
                guard let answer = answers.last else { continue }
                #expect(answer.status == test.status, "\(test.name)")
                #expect(answer.code == test.code, "\(test.name)")
                #expect(answer.body["success"] == .bool(test.status < 400), "\(test.name)")
                let id = try #require(answer.fields["x-request-id"], "\(test.name)")
                #expect(harness.log.all.contains { $0.contains("request_id=\(id)") }, "\(test.name)")
                for (name, value) in Self.securityFields { #expect(answer.fields[name] == value, "\(test.name)") }
                if test.status == 405 { #expect(answer.fields["allow"] == "GET", "\(test.name)") }
            }
        }
    }

    private static let securityFields = [
        "cache-control": "no-store", "x-content-type-options": "nosniff", "x-frame-options": "DENY",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'", "referrer-policy": "no-referrer",
        "content-type": "application/json; charset=utf-8",
    ]

    @Test func whoWaitsForLeaveToSendABodyGetsIt() async throws {
        try await Self.withServer { _, port in
            let head = Self.post + "Connection: close\r\nExpect: 100-Continue\r\n"
            let answer = try await RawClient.exchange(head + "Content-Length: 2\r\n\r\n{}", port: port)
            #expect(answer.hasPrefix("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 "))
            // Not for what is refused anyway.
            let refused = try await RawClient.exchange(head + "Content-Length: 2000000\r\n\r\n", port: port)
            #expect(refused.hasPrefix("HTTP/1.1 413 "))
        }
    }

    @Test func headIsGetWithoutTheBody() async throws {
        try await Self.withServer { _, port in
            func answer(_ line: String) async throws -> String {
                try await RawClient.exchange("\(line) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", port: port)
            }
            let get = try #require(RawAnswer.all(in: try await answer("GET /health")).first)
            let head = try await answer("HEAD /health")
            #expect(head.hasPrefix("HTTP/1.1 200 ") && head.hasSuffix("\r\n\r\n"))
            #expect(RawAnswer.all(in: head).first?.fields["content-length"] == get.fields["content-length"])
            for (path, status) in [("/nothing", 404), ("/api/v1/auth/login", 405), ("/api/v1/devices", 401)] {
                let error = try await answer("HEAD \(path)")
                #expect(error.hasPrefix("HTTP/1.1 \(status) ") && error.hasSuffix("\r\n\r\n"), "\(path)")
                #expect(RawAnswer.all(in: error).first?.fields["x-request-id"] != nil)
            }
        }
    }

    @Test(arguments: [
        ("HTTP/1.1", "Connection: close", true), ("HTTP/1.1", "Connection: Close", true),
        ("HTTP/1.1", "Connection: x, close", true), ("HTTP/1.0", "A: b", true),
        ("HTTP/1.0", "Connection: keep-alive", false), ("HTTP/1.1", "A: b", false),
        ("HTTP/1.1", "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\nUpgrade: h2c", true),
        ("HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket", true),
    ])
    func theConnectionStaysOpenAsTheClientSays(version: String, field: String, closes: Bool) async throws {
        try await Self.withServer { _, port in
            let request = "GET /health \(version)\r\nHost: x\r\n\(field)\r\n\r\n"
            let answers = RawAnswer.all(in: try await RawClient.exchange(request + request, port: port))
            #expect(answers.count == (closes ? 1 : 2))
            #expect(answers.allSatisfy { ($0.fields["connection"] == "close") == closes })
        }
    }

    // What follows it belongs to the tunnel that there is not.
    @Test func connectIsTheLastRequestOfItsConnection() async throws {
        try await Self.withServer { _, port in
            let requests = "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n"
            let answers = RawAnswer.all(in: try await RawClient.exchange(requests, port: port))
            #expect(answers.map(\.status) == [404])
            #expect(answers.first?.fields["connection"] == "close")
        }
    }

    @Test func aClientThatGoesInTheMiddleOfABodyIsNoFailure() async throws {
        try await Self.withServer { harness, port in
            let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connect(host: "127.0.0.1", port: port).get()
            try await channel.writeAndFlush(ByteBuffer(string: Self.post + "Content-Length: 50\r\n\r\n{"))
            try await channel.close()
            try await eventually { harness.log.all.contains { $0.contains("path=/api/v1/auth/login") } }
            #expect(!harness.log.all.contains { $0.hasPrefix("error") || $0.contains("status=5") })
        }
    }

    // The answer comes before the body ends, and the rest of the body is no HTTP.
    @Test func anAnswerIsNotFollowedByABareOne() async throws {
        try await Self.withServer { _, port in
            let request =
                "POST /api/v1/devices HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nzz\r\n"
            let answers = RawAnswer.all(in: try await RawClient.exchange(request, port: port))
            #expect(answers.map(\.code) == ["UNAUTHORIZED"])
        }
    }

    /// Over plain TCP, with short time-outs.
    private static func withServer(_ body: @Sendable (Harness, Int) async throws -> Void) async throws {
        try await Harness.with(
            through: .live,
            configure: { configuration in
                configuration.host = "127.0.0.1"
                configuration.port = 0
                configuration.readTimeout = .milliseconds(500)
                configuration.idleTimeout = .milliseconds(500)
            }
        ) { harness, api in try await body(harness, try required(api.client.port)) }
    }
}

/// One of the answers that came over a connection.
struct RawAnswer: Sendable {
    let status: Int
    /// Names in lower case.
    let fields: [String: String]
    let body: JSONValue

    var code: String { (try? self.body["error"]["code"].text) ?? "" }

    /// Reads answers by their length; a remainder that is none counts as one more.
    static func all(in text: String) -> [RawAnswer] {
        var answers: [RawAnswer] = []
        var rest = text[...]
        while let end = rest.firstRange(of: "\r\n\r\n") {
            let lines = rest[..<end.lowerBound].split(separator: "\r\n").map(String.init)
            let status = lines.first?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
            var fields: [String: String] = [:]
            for line in lines.dropFirst() {
                let parts = line.split(separator: ":", maxSplits: 1)
                if parts.count == 2 { fields[parts[0].lowercased()] = parts[1].trimmingCharacters(in: .whitespaces) }
            }
            rest = rest[end.upperBound...]
            let body = String(
                decoding: rest.utf8.prefix(fields["content-length"].flatMap { Int($0) } ?? 0),
                as: UTF8.self
            )
            rest = rest.dropFirst(body.count)
            answers.append(
                RawAnswer(status: status, fields: fields, body: (try? JSONValue.parse(body)) ?? .null)
            )
        }
        if !rest.isEmpty { answers.append(RawAnswer(status: -1, fields: [:], body: .string(String(rest)))) }
        return answers
    }
}
