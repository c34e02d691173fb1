import Foundation
import HTTPTypes
import NMSCore
import NMSStorage
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Testing

@testable import NMSAPI

/// `GET /audit`, and what every endpoint leaves there.
@Suite struct AuditEndpointTests {
    // MARK: Who may read

    @Test(arguments: [Role.viewer, .operator]) func onlyAdminsReadIt(_ role: Role) async throws {
        try await Harness.with { _, api in
            let reply = try await api.signedIn(as: role.rawValue).get("/audit")
            #expect(reply.status == 403)
            #expect(reply.code == "FORBIDDEN")
            #expect(try await api.get("/audit").status == 401)
        }
    }

    // MARK: What is written

    @Test func everyRequestThatChangesSomethingLeavesOneEntry() async throws {
        try await Harness.with { harness, open in
            let api = try await open.signedIn(as: "operator")
            let credential = try await api.makeCredential("Backup")
            let device = try await api.makeDevice("192.0.2.9")
            let steps: [(HTTPRequest.Method, String, String?, action: String)] = [
                (.put, "/credentials/\(credential)", #"{"port":5985}"#, "credential.updated"),
                (.post, "/credentials/\(credential)/resume", nil, "credential.resumed"),
                (.put, "/devices/\(device)", #"{"hostname":"web-1"}"#, "device.updated"),
                (.post, "/devices/\(device)/provision", #"{"credential_id":\#(credential)}"#, "device.provisioned"),
                (.post, "/devices/\(device)/poll", nil, "device.poll_requested"),
                (.post, "/devices/\(device)/deprovision", nil, "device.deprovisioned"),
                (.delete, "/devices/\(device)", nil, "device.deleted"),
                (.delete, "/credentials/\(credential)", nil, "credential.deleted"),
                (.post, "/auth/logout", nil, "session.logout"),
            ]
            for (number, step) in steps.enumerated() {
                let headers = ["x-request-id": "step-\(number)"]
                let reply = try await api.call(step.0, step.1, step.2, headers: headers)
                #expect((200...202).contains(reply.status), "\(step.action): \(reply.text)")
            }
            let entries = try await Self.entries(try await open.signedIn())
            // The reader's own login came last.
            let expected =
                ["session.login", "credential.created", "device.created"] + steps.map(\.action) + ["session.login"]
            #expect(try entries.map { try $0["action"].text } == expected)
            for (number, step) in steps.enumerated() {
                let entry = entries[number + 3]
                #expect(entry["request_id"] == .string("step-\(number)"), "\(step.action)")
                #expect(entry["actor"]["username"] == .string("operator"), "\(step.action)")
                #expect(entry["actor"]["role"] == .string("operator"), "\(step.action)")
                #expect(entry["actor"]["type"] == .string("user"), "\(step.action)")
            }
            let updated = entries[5]
            #expect(updated["target"] == ["type": "device", "id": .string(String(device)), "name": "192.0.2.9"])
            #expect(updated["changes"] == ["hostname": ["from": .null, "to": "web-1"]])
            let job = try required(harness.jobs.all.last).jobID
            #expect(entries[7]["changes"]["job_id"]["to"] == .string(job))
        }
    }

    @Test func refusedRequestsLeaveNone() async throws {
        try await Harness.with { _, open in
            let (viewer, api) = (try await open.signedIn(as: "viewer"), try await open.signedIn())
            let credential = try await api.makeCredential("Backup")
            let device = try await api.makeDevice("192.0.2.9")
            _ = try await api.post("/devices/\(device)/provision", #"{"credential_id":\#(credential)}"#)
            let before = try await api.get("/audit").data["total"].number
            let refused: [(API, HTTPRequest.Method, String, String?, Int)] = [
                (viewer, .post, "/devices", #"{"ip":"192.0.2.10"}"#, 403),
                (api, .post, "/devices", #"{"ip":"192.0.2.9"}"#, 409),
                (api, .post, "/devices", #"{"ip":"nonsense"}"#, 400),
                (api, .put, "/devices/4711", #"{"hostname":"a"}"#, 404),
                (api, .delete, "/credentials/\(credential)", nil, 409),
                (api, .put, "/credentials/\(credential)", #"{"credential_type":"winrm_basic"}"#, 400),
                (api, .put, "/devices/\(device)", "{}", 200),
                (api, .put, "/credentials/\(credential)", "{}", 200),
                (api, .post, "/devices/4711/poll", nil, 404),
                (api, .get, "/devices/\(device)", nil, 200),
            ]
            for (caller, method, path, body, status) in refused {
                #expect(try await caller.call(method, path, body).status == status, "\(method) \(path)")
            }
            #expect(try await api.get("/audit").data["total"].number == before)
        }
    }

    @Test func aPollThatTheQueueDoesNotTakeWasAskedForAllTheSame() async throws {
        try await Harness.with { harness, open in
            let api = try await open.signedIn()
            let device = try await Self.provisioned(api)
            harness.jobs.setBroken(true)
            #expect(try await api.post("/devices/\(device)/poll").status == 503)
            let entries = try await api.get("/audit?action=device.poll_requested").data
            #expect(entries["total"] == .integer(1) && entries["entries"][0]["target"]["id"] == .string("\(device)"))
        }
    }

    @Test func whatCantBeAuditedIsNotDone() async throws {
        try await Harness.with { harness, open in
            let api = try await open.signedIn()
            let device = try await Self.provisioned(api)
            let published = harness.jobs.all.count
            try await harness.database.pool.query("ALTER TABLE audit_log ADD CONSTRAINT broken CHECK (FALSE) NOT VALID")
            #expect(try await api.post("/devices/\(device)/poll").status == 500)
            #expect(harness.jobs.all.count == published)
            #expect(try await api.put("/devices/\(device)", #"{"hostname":"a"}"#).status == 500)
            #expect(try await api.get("/devices/\(device)").data["hostname"] == .null)
            #expect(try await api.post("/auth/logout").status == 500)
            #expect(try await api.get("/devices").status == 200)
        }
    }

    @Test func noPasswordGetsIn() async throws {
        try await Harness.with { harness, open in
            let api = try await open.signedIn()
            let body = #"""
                {"name":"c","credential_type":"winrm_ntlm","username":"u","password":"First-Secret-1","domain":"corp"}
                """#
            let id = try await api.post("/credentials", body).data["id"].number
            #expect(try await api.put("/credentials/\(id)", #"{"password":"Second-Secret-2"}"#).status == 200)
            #expect(try await api.put("/credentials/\(id)", #"{"password":"Third-Secret-3","name":"d"}"#).status == 200)
            // A password where the name belongs, and wrong passwords.
            _ = try await open.post("/auth/login", #"{"username":"Typed-Secret-4","password":"x"}"#)
            _ = try await open.post("/auth/login", #"{"username":"admin","password":"Wrong-Secret-5"}"#)
            _ = try await open.post("/auth/refresh", #"{"refresh_token":"Not-A-Token-6"}"#)
            let token = try required(api.token)
            let isChanged = try await harness.dependencies.users.setPassword(username: "viewer", passwordHash: "Hash-7")
            #expect(isChanged)
            let text = try await harness.database.pool.query("SELECT audit_log::text AS row FROM audit_log")
                .map { try $0.value("row", as: String.self) }.joined()
            #expect(text.contains("session.login_failed"))
            for secret in ["Secret-", "Token-6", "Hash-7", Harness.adminPassword, token] {
                #expect(!text.localizedCaseInsensitiveContains(secret), "\(secret)")
            }
            let entries = try await Self.entries(api, "action=credential.updated")
            #expect(entries.map { $0["changes"]["password"] } == [["changed": true], ["changed": true]])
            #expect(entries[1]["changes"]["name"] == ["from": "c", "to": "d"])
        }
    }

    // MARK: Logins

    @Test func failedLoginsAreWrittenOnceThenAsANumber() async throws {
        try await Harness.with { harness, open in
            for name in ["admin", "nobody"] {
                for _ in 1...5 {
                    let reply = try await open.post("/auth/login", #"{"username":"\#(name)","password":"wrong"}"#)
                    #expect(reply.status == 401)
                }
            }
            let api = try await open.signedIn()
            let first = try await Self.entries(api, "action=session.login_failed")
            #expect(first.count == 2)
            #expect(first.allSatisfy { $0["changes"]["attempts"]["to"] == 1 })
            #expect(first.allSatisfy { $0["actor"]["type"] == "anonymous" && $0["actor"]["username"] == .null })
            #expect(first[0]["target"]["name"] == "admin")
            #expect(first[1]["target"] == ["type": "user", "id": .null, "name": .null])
            let auth = try await APIServices(
                harness.dependencies,
                APIConfiguration(jwtSecret: Harness.jwtSecret)
            ).auth
            // Another instance has counted nothing.
            try await auth.recordCountedFailures()
            #expect(try await Self.entries(api, "action=session.login_failed").count == 2)
        }
    }

    @Test func whatWasOnlyCountedIsWrittenWhenItsTimeHasCome() async throws {
        try await Harness.with { harness, open in
            let services = try await APIServices(
                harness.dependencies,
                APIConfiguration(jwtSecret: Harness.jwtSecret)
            )
            let origin = AuditContext(actor: .anonymous, remoteAddress: "192.0.2.1", requestID: "r")
            func fail() async {
                _ = try? await services.auth.login(
                    username: "Admin",
                    password: Secret("wrong"),
                    address: "192.0.2.1",
                    origin: origin
                )
            }
            for _ in 1...4 { await fail() }
            try await services.auth.recordCountedFailures()
            harness.clock.advance(by: 301)
            try await services.auth.recordCountedFailures()
            try await services.auth.recordCountedFailures()
            let api = try await open.signedIn()
            let entries = try await Self.entries(api, "action=session.login_failed")
            #expect(entries.map { $0["changes"]["attempts"]["to"] } == [1, 3])
            #expect(entries.allSatisfy { $0["target"]["name"] == "admin" && $0["remote_address"] == "192.0.2.1" })
            #expect(entries.map { $0["request_id"] } == ["r", .null])
        }
    }

    @Test func aSpentRefreshTokenIsTheSystemsEntry() async throws {
        try await Harness.with { _, open in
            let login = try await open.post(
                "/auth/login",
                #"{"username":"viewer","password":"\#(Harness.adminPassword)"}"#
            )
            let token = try login.data["refresh_token"].text
            for status in [200, 401, 401] {
                let reply = try await open.post("/auth/refresh", #"{"refresh_token":"\#(token)"}"#)
                #expect(reply.status == status)
            }
            let entries = try await Self.entries(
                try await open.signedIn(),
                "action=session.reuse_detected"
            )
            #expect(entries.count == 1)
            #expect(entries.first?["actor"]["type"] == "system")
            #expect(entries.first?["target"]["name"] == "viewer")
        }
    }

    // MARK: Reading

    @Test func pagesAndFilters() async throws {
        try await Harness.with { _, open in
            let api = try await open.signedIn()
            let operate = try await open.signedIn(as: "operator")
            var ids: [Int] = []
            for host in 1...5 { ids.append(try await operate.makeDevice("192.0.2.\(host)")) }
            _ = try await api.delete("/devices/\(ids[0])")
            let page = try await api.get("/audit?limit=2&offset=1&target_type=device")
            #expect(page.data.names == ["entries", "total", "limit", "offset"])
            #expect(page.data["total"] == 6)
            #expect(page.data["limit"] == 2)
            #expect(page.data["offset"] == 1)
            #expect(page.data["entries"][0]["target"]["name"] == "192.0.2.5")
            #expect(page.data["entries"][1]["target"]["name"] == "192.0.2.4")
            let members: Set<String> = [
                "id", "at", "actor", "action", "target", "changes", "remote_address", "request_id",
            ]
            #expect(page.data["entries"][0].names == members)
            func total(_ query: String) async throws -> Int {
                try await api.get("/audit?\(query)").data["total"].number
            }
            #expect(try await total("user=OPERATOR&target_type=device") == 5)
            #expect(try await total("target_id=\(ids[0])&target_type=device") == 2)
            #expect(try await total("action=device.deleted") == 1)
            #expect(try await total("from=2020-01-01T00:00:00Z&target_type=device") == 6)
            #expect(try await total("to=2020-01-01T00:00:00Z") == 0)
            #expect(try await api.get("/audit?offset=1000").data["entries"].count == 0)
        }
    }

    @Test(arguments: [
        "limit=0", "limit=1001", "offset=-1", "action=device.exploded", "target_type=house", "user=", "from=yesterday",
        "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "unknown=1", "target_id=",
    ]) func wrongQueriesAreRefused(_ query: String) async throws {
        try await Harness.with { _, open in
            let reply = try await open.signedIn().get("/audit?\(query)")
            #expect(reply.status == 400)
            #expect(reply.code == "VALIDATION_ERROR")
        }
    }

    // MARK: Support

    /// Oldest first.
    private static func entries(_ api: API, _ query: String = "") async throws -> [JSONValue] {
        let reply = try await api.get("/audit?limit=1000&from=2020-01-01T00:00:00Z&\(query)")
        guard case .array(let entries) = reply.data["entries"] else { throw HarnessError.missing }
        // Users that the harness made are no requests'.
        return entries.reversed().filter { $0["action"] != "user.created" }
    }

    private static func provisioned(_ api: API) async throws -> Int {
        let credential = try await api.makeCredential("c")
        let device = try await api.makeDevice("192.0.2.9")
        _ = try await api.post("/devices/\(device)/provision", #"{"credential_id":\#(credential)}"#)
        return device
    }
}

@Suite struct AuditedFailuresTests {
    private let start = ContinuousClock.now
    private let ada = AuditedFailures.User(id: 1, username: "Ada")

    @Test func theFirstIsWrittenAtOnceTheOthersTogether() {
        var failures = AuditedFailures()
        let first = failures.note(username: "ada", user: self.ada, address: "192.0.2.1", now: self.start)
        #expect(first == .init(user: self.ada, address: "192.0.2.1", attempts: 1))
        for second in 1...9 {
            let now = self.start + .seconds(second)
            #expect(failures.note(username: "ada", user: self.ada, address: "192.0.2.1", now: now) == nil)
        }
        #expect(failures.takeEnded(now: self.start + .seconds(299)).isEmpty)
        #expect(
            failures.takeEnded(now: self.start + .seconds(300)) == [
                .init(user: self.ada, address: "192.0.2.1", attempts: 9)
            ]
        )
        #expect(failures.takeEnded(now: self.start + .seconds(900)).isEmpty)
    }

    @Test func whatWasCountedIsInTheNextEntry() {
        var failures = AuditedFailures()
        for _ in 1...3 { _ = failures.note(username: "a", user: nil, address: "192.0.2.1", now: self.start) }
        let later = failures.note(username: "a", user: nil, address: "192.0.2.1", now: self.start + .seconds(301))
        #expect(later?.attempts == 3)
        #expect(failures.takeEnded(now: self.start + .seconds(1000)).isEmpty)
    }

    @Test func oneNetworkIsOneClientAndNamesAreApart() {
        var failures = AuditedFailures()
        #expect(failures.note(username: "a", user: nil, address: "2001:db8::1", now: self.start) != nil)
        #expect(failures.note(username: "a", user: nil, address: "2001:db8::2", now: self.start) == nil)
        #expect(failures.note(username: "b", user: nil, address: "2001:db8::2", now: self.start) != nil)
        #expect(failures.note(username: "a", user: nil, address: "2001:db8:1::1", now: self.start) != nil)
    }

    /// Names that exist are treated as those that don't.
    @Test func existingNamesAreCountedAlike() {
        var (known, unknown) = (AuditedFailures(), AuditedFailures())
        for second in 0..<700 {
            let now = self.start + .seconds(second)
            let one = known.note(username: "ada", user: self.ada, address: "192.0.2.1", now: now)
            let other = unknown.note(username: "ada", user: nil, address: "192.0.2.1", now: now)
            #expect(one?.attempts == other?.attempts)
        }
    }

    @Test func anAttackerCanWriteOnlySoMuch() {
        var failures = AuditedFailures()
        var written = 0
        var attempts = 0
        for second in 0..<900 {
            let now = self.start + .seconds(second)
            for host in 0..<40 {
                let address = "10.\(second % 250).\(host).\(second / 250)"
                if let due = failures.note(username: "n\(host)", user: nil, address: address, now: now) {
                    written += 1
                    attempts += due.attempts
                }
            }
            if second % 60 == 59 {
                for summary in failures.takeEnded(now: now) {
                    written += 1
                    attempts += summary.attempts
                }
            }
        }
        for summary in failures.takeEnded(now: self.start + .seconds(1300)) {
            written += 1
            attempts += summary.attempts
        }
        #expect(attempts == 900 * 40)
        #expect(written <= 3 * 2 * (AuditedFailures.maximumKeys + 1))
    }
}
