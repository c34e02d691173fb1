import Foundation
import HTTPTypes
import NMSCore
import NMSStorage
import Postgres
import PostgresTestSupport
import Testing

@testable import NMSAPI

@Suite struct EnvelopeTests {
    struct Case: Sendable {
        let name: String
        var method: HTTPRequest.Method = .post
        var path = "/devices"
        var body: String?
        var headers: [String: String] = [:]
        let status: Int
        let code: String
    }

    static let cases: [Case] = [
        Case(name: "malformed", body: "{", status: 400, code: "VALIDATION_ERROR"),
        Case(name: "array", body: "[]", status: 400, code: "VALIDATION_ERROR"),
        Case(name: "string", body: "\"x\"", status: 400, code: "VALIDATION_ERROR"),
        Case(name: "twice", body: #"{"ip":"192.0.2.1","ip":"192.0.2.2"}"#, status: 400, code: "VALIDATION_ERROR"),
        Case(
            name: "deep",
            body: #"{"ip":\#(String(repeating: "[", count: 500))\#(String(repeating: "]", count: 500))}"#,
            status: 400,
            code: "VALIDATION_ERROR"
        ),
        Case(name: "no body", status: 400, code: "VALIDATION_ERROR"),
        Case(name: "no type", body: "{}", headers: ["content-type": ""], status: 415, code: "UNSUPPORTED_MEDIA_TYPE"),
        Case(
            name: "xml",
            body: "{}",
            headers: ["content-type": "text/xml"],
            status: 415,
            code: "UNSUPPORTED_MEDIA_TYPE"
        ),
        Case(
            name: "latin-1",
            body: "{}",
            headers: ["content-type": "application/json; charset=iso-8859-1"],
            status: 415,
            code: "UNSUPPORTED_MEDIA_TYPE"
        ),
        Case(
            name: "utf-8",
            body: #"{"ip":"192.0.2.1"}"#,
            headers: ["content-type": "Application/JSON ; Charset=\"UTF-8\""],
            status: 201,
            code: ""
        ),
        Case(
            name: "too large",
            body: #"{"ip":"\#(String(repeating: "x", count: 1 << 20))"}"#,
            status: 413,
            code: "PAYLOAD_TOO_LARGE"
        ),
        Case(name: "unknown path", method: .get, path: "/nothing", status: 404, code: "NOT_FOUND"),
        Case(name: "root", method: .get, path: "//", status: 404, code: "NOT_FOUND"),
        Case(name: "bad escape in the path", method: .get, path: "/%zz", status: 400, code: "VALIDATION_ERROR"),
        Case(name: "bad escape in an id", method: .get, path: "/devices/%zz", status: 400, code: "VALIDATION_ERROR"),
        Case(
            name: "bad escape in the query",
            method: .get,
            path: "/devices?search=%zz",
            status: 400,
            code: "VALIDATION_ERROR"
        ),
        Case(name: "wrong method", method: .patch, path: "/devices", status: 405, code: "METHOD_NOT_ALLOWED"),
        Case(name: "wrong method below", method: .post, path: "/devices/1", status: 405, code: "METHOD_NOT_ALLOWED"),
        Case(
            name: "own method",
            method: HTTPRequest.Method("BREW")!,
            path: "/devices",
            status: 405,
            code: "METHOD_NOT_ALLOWED"
        ),
    ]

    @Test func everyAnswerHasTheEnvelopeAndAnID() async throws {
        try await Harness.with { _, api in
            let api = try await api.signedIn()
            for test in Self.cases {
                let reply = try await api.call(test.method, test.path, test.body, headers: test.headers)
                #expect(reply.status == test.status, "\(test.name)")
                #expect(reply.code == test.code, "\(test.name)")
                #expect(reply.json["success"] == .bool(test.status < 400), "\(test.name)")
                #expect(reply.header("content-type") == "application/json; charset=utf-8", "\(test.name)")
                #expect(reply.header("x-request-id")?.isEmpty == false, "\(test.name)")
                #expect(reply.header("cache-control") == "no-store", "\(test.name)")
                #expect(reply.header("x-content-type-options") == "nosniff", "\(test.name)")
            }
        }
    }

    @Test func a405NamesWhatIsAllowed() async throws {
        try await Harness.with { _, api in
            let rows: [(HTTPRequest.Method, String, String)] = [
                (.patch, "/devices", "GET, POST"), (.post, "/devices/1", "GET, PUT, DELETE"),
                (.get, "/devices/1/poll", "POST"), (.delete, "//health", "GET"),
            ]
            for (method, path, allowed) in rows {
                let reply = try await api.call(method, path)
                #expect(reply.header("allow") == allowed)
            }
        }
    }

    @Test func saneRequestIDsAreTaken() async throws {
        try await Harness.with { harness, api in
            let taken = try await api.call(.get, "/health", headers: ["x-request-id": "Abc.1_2-3"])
            #expect(taken.header("x-request-id") == "Abc.1_2-3")
            #expect(harness.log.all.contains { $0.contains("request_id=Abc.1_2-3") && $0.contains("status=200") })
            for strange in ["a b", "a\"b", String(repeating: "x", count: 129), "ü"] {
                let reply = try await api.call(.get, "/health", headers: ["x-request-id": strange])
                #expect(reply.header("x-request-id") != strange)
                #expect(UUID(uuidString: reply.header("x-request-id") ?? "") != nil)
            }
        }
    }

    @Test func clientsThatAskTooOftenAreToldToWait() async throws {
        try await Harness.with(configure: { $0.requestsPerSecond = 3 }) { harness, api in
            for _ in 0..<3 { #expect(try await api.get("/health").status == 200) }
            let reply = try await api.get("/health")
            #expect(reply.status == 429)
            #expect(reply.code == "RATE_LIMITED")
            #expect(reply.header("retry-after") == "1")
            #expect(reply.header("x-request-id") != nil)
            harness.clock.advance(by: 1)
            #expect(try await api.get("/health").status == 200)
        }
    }

    @Test func theLogHasOneLinePerRequest() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn(as: "viewer")
            _ = try await api.get("/devices?search=private")
            let lines = harness.log.all.filter { $0.contains("path=/api/v1/devices") }
            #expect(lines.count == 1)
            for part in [
                "info request", "method=GET", "status=200", "user=viewer", "remote=", "duration_ms=", "request_id=",
            ] {
                #expect(lines.first?.contains(part) == true, "\(part)")
            }
            #expect(lines.first?.contains("private") == false)
        }
    }

    @Test func brokenStorageIsSaidWithoutInternals() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            try await harness.database.pool.query("ALTER TABLE devices RENAME TO hidden")
            let internalError = try await api.get("/devices")
            #expect(internalError.status == 500)
            #expect(internalError.code == "INTERNAL_ERROR")
            #expect(!internalError.text.contains("hidden") && !internalError.text.contains("relation"))
            #expect(harness.log.all.contains { $0.hasPrefix("error request failed") && $0.contains("42P01") })
            await harness.database.close()
            harness.clock.advance(by: 2)
            let gone = try await api.get("/devices")
            #expect(gone.status == 503)
            #expect(gone.code == "SERVICE_UNAVAILABLE")
        }
    }

    @Test func aValueThatTheDatabaseCannotHoldIsTheRequests() async throws {
        let answer = ErrorMiddleware.answer(to: PostgresError.invalidParameter(position: 1, reason: "too far away"))
        #expect(answer.code == .validationError)
        #expect(!answer.message.contains("far"))
    }

    @Test func healthTellsEachComponent() async throws {
        let components = [
            HealthComponent("database") { ComponentHealth(.up) },
            HealthComponent("queue") { ComponentHealth(.degraded, message: "reconnecting") },
        ]
        try await Harness.with(health: components) { _, api in
            let expected = try JSONValue.parse(
                #"""
                {"status":"healthy","components":{"database":{"status":"up","message":null},
                 "queue":{"status":"degraded","message":"reconnecting"}}}
                """#
            )
            #expect(try await api.get("/health").data == expected)
            #expect(try await api.call(.get, "//health").data == expected)
        }
        try await Harness.with(health: components + [HealthComponent("nats") { ComponentHealth(.down) }]) { _, api in
            let reply = try await api.get("/health")
            #expect(reply.status == 503)
            #expect(reply.code == "SERVICE_UNAVAILABLE")
            #expect(reply.details["status"] == .string("unhealthy"))
            #expect(reply.details["components"]["nats"]["status"] == .string("down"))
            #expect(reply.details["components"]["database"]["status"] == .string("up"))
        }
    }

    @Test func aComponentThatHangsIsDown() async throws {
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self)
        let service = HealthService(
            components: [
                HealthComponent("stuck") {
                    for await _ in stream {}
                    return ComponentHealth(.up)
                }
            ],
            timeout: .milliseconds(20)
        )
        #expect(await service.report().components["stuck"]?.status == .down)
        continuation.finish()
    }

    // What goes in as a secret comes out nowhere: in no answer, and in no line of the log.
    @Test func secretsAreNeverAnsweredOrLogged() async throws {
        try await Harness.with { harness, api in
            let secret = "S3cr3t-in-transit"
            var texts: [String] = []
            let login = try await api.post("/auth/login", #"{"username":"admin","password":"correct horse battery"}"#)
            var admin = api
            admin.token = try login.data["access_token"].text
            let refresh = try login.data["refresh_token"].text
            texts.append(try await api.post("/auth/login", #"{"username":"admin","password":"\#(secret)"}"#).text)
            texts.append(try await api.post("/auth/login", #"{"username":"admin","password":{"a":"\#(secret)"}}"#).text)
            let create = #"{"name":"c","credential_type":"winrm_ntlm","username":"u","password":"\#(secret)"}"#
            texts.append(try await admin.post("/credentials", create).text)
            texts.append(try await admin.post("/credentials", create).text)
            texts.append(try await admin.post("/credentials", create.replacing("\"u\"", with: "5")).text)
            texts.append(try await admin.post("/credentials", create.replacing("password", with: "pasword")).text)
            texts.append(try await admin.post("/credentials", create.replacing("}", with: "]")).text)
            texts.append(try await admin.put("/credentials/1", #"{"password":"\#(secret)\u0000"}"#).text)
            texts.append(try await admin.put("/credentials/1", #"{"password":"\#(secret)2"}"#).text)
            texts.append(try await admin.get("/credentials").text)
            texts.append(try await admin.get("/devices?password=\(secret)").text)
            let stored = try await harness.database.pool.query("SELECT encrypted_password FROM credentials")
            let ciphertext: String = try stored[0].value("encrypted_password")
            let token = try required(admin.token)
            _ = try await api.post("/auth/refresh", #"{"refresh_token":"\#(refresh)"}"#)
            texts.append(try await api.post("/auth/refresh", #"{"refresh_token":"\#(refresh)"}"#).text)
            let all = texts + harness.log.all
            for hidden in [secret, ciphertext, token, refresh, Harness.adminPassword, Harness.jwtSecret.exposed] {
                #expect(!all.contains { $0.contains(hidden) })
            }
            #expect(!(texts + harness.log.all).contains { $0.contains("$2b$") })
        }
    }
}
