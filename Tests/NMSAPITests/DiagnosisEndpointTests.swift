import Foundation
import HummingbirdTesting
import NIOCore
import NIOPosix
import NMSCore
import NMSStorage
import Postgres
import PostgresTestSupport
import Synchronization
import Testing

@testable import NMSAPI

/// Answers at once, or waits until it is cancelled, and remembers what it was asked.
final class ScriptedDiagnosis: DeviceDiagnosing {
    private struct State {
        var requests: [DiagnosisRequest] = []
        var changed: [Int] = []
        var isStalled = false
        var cancelled = 0
        var report = DiagnosisReport(
            endpoint: "WinRM HTTP port 5985",
            durationMs: 12,
            stages: [
                DiagnosisStage(.tcp, target: "5985", result: .passed, durationMs: 1),
                DiagnosisStage(
                    .authenticate,
                    result: .failed,
                    durationMs: 11,
                    facts: [DiagnosisFact("computer", "srv01")],
                    cause: DiagnosisStage.Cause(code: .authFailed, message: "the host refused user name or password"),
                    remedy: "Check the password."
                ),
                DiagnosisStage(.class, target: "Win32_LogicalDisk"),
            ]
        )
    }

    private let state = Mutex(State())

    var requests: [DiagnosisRequest] { self.state.withLock { $0.requests } }
    var changed: [Int] { self.state.withLock { $0.changed } }
    var cancelled: Int { self.state.withLock { $0.cancelled } }
    func stall() { self.state.withLock { $0.isStalled = true } }
    func answer(_ stages: [DiagnosisStage]) { self.state.withLock { $0.report.stages = stages } }

    func diagnose(_ request: DiagnosisRequest) async throws -> DiagnosisReport {
        let (isStalled, report) = self.state.withLock { state in
            state.requests.append(request)
            return (state.isStalled, state.report)
        }
        guard isStalled else { return report }
        do { try await Task.sleep(for: .seconds(60)) } catch {
            self.state.withLock { $0.cancelled += 1 }
            throw error
        }
        return report
    }

    func credentialChanged(id: Int) { self.state.withLock { $0.changed.append(id) } }
}

@Suite struct DiagnosisEndpointTests {
    @Test func everyFieldIsThere() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn(as: "operator")
            let (device, credential) = (try await api.makeDevice(), try await api.makeCredential())
            let reply = try await api.post("/devices/\(device)/test", #"{"credential_id":\#(credential)}"#)
            #expect(reply.status == 200)
            let expected = try JSONValue.parse(
                #"""
                {"device_id":\#(device),"address":"192.0.2.1","credential_id":\#(credential),
                 "credential_type":"winrm_ntlm","endpoint":"WinRM HTTP port 5985","ok":false,"duration_ms":12,"stages":[
                  {"stage":"tcp","target":"5985","result":"passed","duration_ms":1,"detail":null,"cause":null,
                   "remedy":null},
                  {"stage":"authenticate","target":null,"result":"failed","duration_ms":11,
                   "detail":{"computer":"srv01"},
                   "cause":{"code":"auth_failed","message":"the host refused user name or password"},
                   "remedy":"Check the password."},
                  {"stage":"class","target":"Win32_LogicalDisk","result":"skipped","duration_ms":0,"detail":null,
                   "cause":null,"remedy":null}]}
                """#
            )
            #expect(reply.data == expected, "\(reply.text)")
            let request = try #require(harness.diagnosis.requests.first)
            #expect(request.address.description == "192.0.2.1" && request.credential.password.exposed == "P@ssw0rd123")
            #expect(!reply.text.contains("P@ssw0rd123"))
        }
    }

    @Test func allIsWellWhenNothingFailed() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let (device, credential) = (try await api.makeDevice(), try await api.makeCredential())
            harness.diagnosis.answer([
                DiagnosisStage(.tcp, result: .passed), DiagnosisStage(.identify, result: .warning),
            ])
            let reply = try await api.post("/devices/\(device)/test", #"{"credential_id":\#(credential)}"#)
            #expect(reply.data["ok"] == .bool(true))
        }
    }

    /// Without a body, and without a credential in it, the first of the device's own is taken.
    @Test(arguments: [nil, "{}"])
    func theDevicesOwnCredentialIsTaken(body: String?) async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let device = try await api.makeDevice()
            let (first, second) = (try await api.makeCredential("a"), try await api.makeCredential("b"))
            let none = try await api.post("/devices/\(device)/test", body)
            #expect(none.status == 409 && none.code == "CONFLICT")
            #expect(none.message.contains("credential_id") && none.message.contains("provision"))
            _ = try await api.post("/devices/\(device)/provision", #"{"credential_ids":[\#(second),\#(first)]}"#)
            let reply = try await api.post("/devices/\(device)/test", body)
            #expect(try reply.data["credential_id"].number == second)
            #expect(harness.diagnosis.requests.map(\.credential.credential.id) == [second])
        }
    }

    @Test func whatDoesNotExistIsSaid() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let device = try await api.makeDevice()
            #expect(try await api.post("/devices/99/test").status == 404)
            let reply = try await api.post("/devices/\(device)/test", #"{"credential_id":77}"#)
            #expect(reply.status == 404 && reply.details["field"] == .string("credential_id"))
            for body in [#"{"credential_id":0}"#, #"{"credential_id":"1"}"#, #"{"credential":1}"#, "[]"] {
                #expect(try await api.post("/devices/\(device)/test", body).status == 400, "\(body)")
            }
            #expect(harness.diagnosis.requests.isEmpty)
        }
    }

    /// An operator cannot have a password sent where it may not go.
    @Test func targetsAreRespected() async throws {
        let allowed = try #require(CIDRBlock("192.0.2.0/24"))
        try await Harness.with(targets: TargetPolicy(allowed: [allowed])) { harness, api in
            let api = try await api.signedIn(as: "operator")
            let device = try await api.makeDevice()
            let elsewhere = try await api.makeCredential("x", more: #","allowed_targets":["198.51.100.0/24"]"#)
            let reply = try await api.post("/devices/\(device)/test", #"{"credential_id":\#(elsewhere)}"#)
            #expect(reply.status == 403 && reply.code == "TARGET_NOT_ALLOWED")
            #expect(reply.message.contains("allowed_targets of credential \(elsewhere)"))
            // The policy was another when this one was added.
            try await harness.database.pool.query("UPDATE devices SET ip = '203.0.113.9' WHERE id = $1", [device])
            let credential = try await api.makeCredential("y")
            let outside = try await api.post("/devices/\(device)/test", #"{"credential_id":\#(credential)}"#)
            #expect(outside.status == 403 && outside.message.contains("targets.allow"))
            #expect(harness.diagnosis.requests.isEmpty)
        }
    }

    @Test func aFewAtOnceAndNoMore() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let (device, credential) = (try await api.makeDevice(), try await api.makeCredential())
            harness.diagnosis.stall()
            let body = #"{"credential_id":\#(credential)}"#
            let running = (0..<DiagnosisService.concurrentDiagnoses).map { _ in
                Task { try await api.post("/devices/\(device)/test", body) }
            }
            try await eventually { harness.diagnosis.requests.count == DiagnosisService.concurrentDiagnoses }
            let reply = try await api.post("/devices/\(device)/test", body)
            #expect(reply.status == 429 && reply.code == "RATE_LIMITED" && reply.header("retry-after") == "10")
            // Whoever gives up makes room.
            for task in running { task.cancel() }
            for task in running { _ = await task.result }
            try await eventually { harness.diagnosis.cancelled == running.count }
            #expect(harness.diagnosis.requests.count == DiagnosisService.concurrentDiagnoses)
        }
    }

    /// A client that hangs up leaves nobody behind who signs in for it.
    @Test func aClientThatGoesAwayEndsItsTest() async throws {
        try await Harness.with(through: .live) { harness, api in
            let admin = try await api.signedIn()
            let (device, credential) = (try await admin.makeDevice(), try await admin.makeCredential())
            harness.diagnosis.stall()
            let port = try #require(api.client.port)
            let request = #"{"credential_id":\#(credential)}"#
            let token = try #require(admin.token)
            let head =
                "POST /api/v1/devices/\(device)/test HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer \(token)\r\n"
                + "Content-Type: application/json\r\nContent-Length: \(request.utf8.count)\r\n\r\n"
            let client = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connect(host: "127.0.0.1", port: port).get()
            try await client.writeAndFlush(ByteBuffer(string: head + request))
            try await eventually { harness.diagnosis.requests.count == 1 }
            try await client.close()
            try await eventually { harness.diagnosis.cancelled == 1 }
            try await eventually {
                try await harness.dependencies.audit.list(AuditFilter()).items.first?.action
                    == AuditAction.deviceTested.rawValue
            }
        }
    }

    @Test func testsAreAudited() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn(as: "operator")
            let (device, credential) = (try await api.makeDevice(), try await api.makeCredential())
            _ = try await api.post("/devices/\(device)/test", #"{"credential_id":\#(credential)}"#)
            let entry = try #require(try await harness.dependencies.audit.list(AuditFilter()).items.first)
            #expect(entry.action == AuditAction.deviceTested.rawValue && entry.target.id == "\(device)")
            let changes = String(decoding: try JSONEncoder().encode(entry.changes), as: UTF8.self)
            #expect(changes.contains("auth_failed") && changes.contains("credential_id"), "\(changes)")
        }
    }

    @Test func aChangedCredentialIsPassedOn() async throws {
        try await Harness.with { harness, _ in
            harness.source.send(DeviceEvent(.credentialUpdated, credentialID: 5))
            try await eventually { harness.diagnosis.changed == [5] }
        }
    }
}
