import Foundation
import NMSCore
import NMSStorage
import Postgres
import PostgresTestSupport
import Testing

@testable import NMSAPI

@Suite struct CredentialEndpointTests {
    /// The specification's example (§9.2).
    private let example = #"""
        {"name":"Windows Admin","credential_type":"winrm_ntlm","username":"administrator","password":"P@ssw0rd123",
         "domain":"CORP","port":5985,"use_ssl":false}
        """#

    @Test func createAnswersInTheSpecificationsShape() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let reply = try await api.post("/credentials", self.example)
            #expect(reply.status == 201)
            let expected = try JSONValue.parse(
                #"""
                {"id":1,"name":"Windows Admin","credential_type":"winrm_ntlm","username":"administrator",
                 "domain":"CORP","port":5985,"use_ssl":false,"tls_verify":"full","allow_unencrypted_basic":false,
                 "allowed_targets":[],"status":"active"}
                """#
            )
            #expect(reply.data.without("created_at", "updated_at") == expected)
            #expect(try RFC3339.date(from: reply.data["created_at"].text) != nil)
            #expect(try reply.data["updated_at"].text.hasSuffix("Z"))
            let again = try await api.get("/credentials/1")
            #expect(again.status == 200)
            #expect(again.data == reply.data)
            let list = try await api.get("/credentials")
            #expect(list.data.without("credentials") == (try JSONValue.parse(#"{"total":1,"limit":50,"offset":0}"#)))
            #expect(list.data["credentials"] == .array([reply.data]))
            let stored = try await harness.dependencies.credentials.decrypted(id: 1)
            #expect(stored?.password == Secret("P@ssw0rd123"))
        }
    }

    @Test func everyFieldTravelsAndNullsAreShown() async throws {
        try await Harness.with { _, api in
            let api = try await api.signedIn()
            let reply = try await api.post(
                "/credentials",
                #"""
                {"name":"b","credential_type":"winrm_basic","username":"u","password":"p","use_ssl":true,
                 "tls_verify":"chain","allowed_targets":["10.0.0.5/24","2001:db8::/32","10.0.0.0/24"],"domain":null}
                """#
            )
            #expect(reply.status == 201)
            #expect(reply.data["domain"] == .null)
            #expect(reply.data.names.contains("domain"))
            #expect(reply.data["port"] == .integer(5986))
            #expect(reply.data["tls_verify"] == .string("chain"))
            #expect(reply.data["allowed_targets"] == .array([.string("10.0.0.0/24"), .string("2001:db8::/32")]))
            let wmi = try await api.post(
                "/credentials",
                #"{"name":"w","credential_type":"wmi","username":"u","password":"p","domain":""}"#
            )
            #expect(wmi.data["port"] == .integer(135))
            #expect(wmi.data["domain"] == .null)
        }
    }

    static let wrongBodies: [(body: String, fields: [String])] = [
        (#"{}"#, ["name", "credential_type", "username", "password"]),
        (
            #"{"name":1,"credential_type":"ssh","username":"","password":""}"#,
            ["name", "credential_type", "username", "password"]
        ),
        (#"{"name":"a","credential_type":"wmi","username":"u","password":"p","colour":1}"#, ["colour"]),
        (#"{"name":"a","credential_type":"wmi","username":"u","password":"p","port":0}"#, ["port"]),
        (#"{"name":"a","credential_type":"wmi","username":"u","password":"p","port":65536}"#, ["port"]),
        (#"{"name":"a","credential_type":"wmi","username":"u","password":"p","port":"1"}"#, ["port"]),
        (#"{"name":"a","credential_type":"wmi","username":"u","password":"p","port":1.5}"#, ["port"]),
        (#"{"name":"a","credential_type":"wmi","username":"u","password":"p","use_ssl":"yes"}"#, ["use_ssl"]),
        (#"{"name":"a","credential_type":"wmi","username":"u","password":"p","use_ssl":null}"#, ["use_ssl"]),
        (#"{"name":"a","credential_type":"wmi","username":"u","password":"p","domain":"A B"}"#, ["domain"]),
        (#"{"name":"a","credential_type":"wmi","username":"u","password":"p","domain":"a/b"}"#, ["domain"]),
        (#"{"name":"a","credential_type":"wmi","username":"u","password":"p","tls_verify":"no"}"#, ["tls_verify"]),
        (
            #"{"name":"a","credential_type":"wmi","username":"u","password":"p","allowed_targets":["10.0.0.0/33"]}"#,
            ["allowed_targets[0]"]
        ),
        (
            #"{"name":"a","credential_type":"wmi","username":"u","password":"p","allowed_targets":["::/0","",1,"::1"]}"#,
            ["allowed_targets[1]", "allowed_targets[2]"]
        ),
        (
            #"{"name":"a","credential_type":"wmi","username":"u","password":"p","allowed_targets":"10.0.0.0/8"}"#,
            ["allowed_targets"]
        ),
        (
            #"{"name":"a\u0000b","credential_type":"wmi","username":"u\nv","password":"p\u0000"}"#,
            ["name", "username", "password"]
        ),
        (#"{"name":"  ","credential_type":"wmi","username":"u","password":"p"}"#, ["name"]),
        (#"{"name":"a","credential_type":"winrm_basic","username":"u","password":"p"}"#, ["use_ssl"]),
        (#"{"name":"a","credential_type":"winrm_basic","username":"u:v","password":"p","use_ssl":true}"#, ["username"]),
    ]

    @Test func wrongFieldsAreNamed() async throws {
        try await Harness.with { _, api in
            let api = try await api.signedIn()
            for (body, fields) in Self.wrongBodies {
                let reply = try await api.post("/credentials", body)
                #expect(reply.status == 400, "\(body)")
                #expect(reply.code == "VALIDATION_ERROR", "\(body)")
                #expect(reply.details["field"] == .string(fields[0]), "\(body)")
                let named = (0..<reply.details["errors"].count).map { reply.details["errors"][$0]["field"] }
                #expect(named == fields.map { .string($0) }, "\(body)")
            }
            #expect(try await api.get("/credentials").data["total"] == .integer(0))
        }
    }

    @Test func namesOfAnyKindWithin255CharactersAreKept() async throws {
        try await Harness.with { _, api in
            let api = try await api.signedIn()
            let name = String(repeating: "ü", count: 254) + "😀"
            let reply = try await api.post(
                "/credentials",
                #"{"name":"\#(name)","credential_type":"wmi","username":"u","password":"p"}"#
            )
            #expect(reply.status == 201)
            #expect(reply.data["name"] == .string(name))
            let long = try await api.post(
                "/credentials",
                #"{"name":"\#(name)x","credential_type":"wmi","username":"u","password":"p"}"#
            )
            #expect(long.status == 400)
        }
    }

    @Test func namesAreUnique() async throws {
        try await Harness.with { _, api in
            let api = try await api.signedIn()
            _ = try await api.post("/credentials", self.example)
            let reply = try await api.post(
                "/credentials",
                self.example.replacing("Windows Admin", with: "windows admin")
            )
            #expect(reply.status == 409)
            #expect(reply.code == "CONFLICT")
            #expect(reply.details["field"] == .string("name"))
        }
    }

    @Test func putChangesOnlyWhatIsGivenAndTellsEveryone() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let before = try await api.post("/credentials", self.example).data
            let reply = try await api.put(
                "/credentials/1",
                #"{"username":"root","domain":null,"port":null,"use_ssl":true}"#
            )
            #expect(reply.status == 200)
            #expect(reply.data["username"] == .string("root"))
            #expect(reply.data["domain"] == .null)
            #expect(reply.data["port"] == .integer(5986))
            #expect(reply.data["name"] == before["name"])
            #expect(harness.events.all == [DeviceEvent(.credentialUpdated, credentialID: 1)])
            #expect(try await harness.dependencies.credentials.decrypted(id: 1)?.password == Secret("P@ssw0rd123"))
            #expect(try await api.put("/credentials/1", #"{"password":"new one"}"#).status == 200)
            #expect(try await harness.dependencies.credentials.decrypted(id: 1)?.password == Secret("new one"))
            // Nothing given, nothing changed, nothing announced.
            #expect(try await api.put("/credentials/1", "{}").status == 200)
            #expect(harness.events.all.count == 2)
            for wrong in [#"{"name":null}"#, #"{"id":2}"#, #"{"status":"active"}"#, #"{"password":null}"#] {
                #expect(try await api.put("/credentials/1", wrong).status == 400)
            }
            // The rule about Basic looks at what would come of it.
            #expect(try await api.put("/credentials/1", #"{"credential_type":"winrm_basic"}"#).status == 200)
            let plain = try await api.put("/credentials/1", #"{"use_ssl":false}"#)
            #expect(plain.status == 400)
            #expect(plain.message.contains("readable over the network"))
            let wanted = #"{"use_ssl":false,"allow_unencrypted_basic":true}"#
            #expect(try await api.put("/credentials/1", wanted).status == 200)
            #expect(try await api.put("/credentials/7", #"{"name":"x"}"#).status == 404)
        }
    }

    @Test func onlyAnAdminOrTheOneWhoKnowsThePasswordWidensTargets() async throws {
        try await Harness.with { _, api in
            let admin = try await api.signedIn()
            let id = try await admin.makeCredential(more: #","allowed_targets":["10.0.0.0/16"]"#)
            let api = try await api.signedIn(as: "operator")
            for wider in [#"[]"#, #"["10.0.0.0/15"]"#, #"["10.0.0.0/16","192.0.2.0/24"]"#, #"["::/0"]"#] {
                let reply = try await api.put("/credentials/\(id)", #"{"allowed_targets":\#(wider)}"#)
                #expect(reply.status == 403)
                #expect(reply.code == "FORBIDDEN")
            }
            #expect(try await api.put("/credentials/\(id)", #"{"allowed_targets":["10.0.1.0/24"]}"#).status == 200)
            let known = #"{"allowed_targets":["10.0.0.0/8"],"password":"P@ssw0rd123"}"#
            #expect(try await api.put("/credentials/\(id)", known).status == 200)
            #expect(try await admin.put("/credentials/\(id)", #"{"allowed_targets":[]}"#).status == 200)
        }
    }

    /// Each with what the credential starts from, the request and the field that is named.
    static let weakenings: [(from: String, request: String, field: String)] = [
        (#","use_ssl":true"#, #""credential_type":"winrm_basic""#, "credential_type"),
        (#","use_ssl":true"#, #""use_ssl":false"#, "use_ssl"),
        (#","use_ssl":true"#, #""tls_verify":"chain""#, "tls_verify"),
        (#","use_ssl":true"#, #""tls_verify":"none""#, "tls_verify"),
        (#","use_ssl":true,"tls_verify":"chain""#, #""tls_verify":"none""#, "tls_verify"),
        (#","use_ssl":true"#, #""allow_unencrypted_basic":true"#, "allow_unencrypted_basic"),
        (
            #","use_ssl":true,"allowed_targets":["10.0.0.0/16"]"#,
            #""allowed_targets":["192.0.2.0/24"],"use_ssl":false"#, "use_ssl"
        ),
    ]

    @Test func onlyAnAdminOrTheOneWhoKnowsThePasswordWeakensACredential() async throws {
        try await Harness.with { _, api in
            let admin = try await api.signedIn()
            let api = try await api.signedIn(as: "operator")
            for (number, (from, request, field)) in Self.weakenings.enumerated() {
                let id = try await admin.makeCredential("c\(number)", more: from)
                let before = try await api.get("/credentials/\(id)").data
                let refused = try await api.put("/credentials/\(id)", "{\(request)}")
                #expect(refused.status == 403, "\(request)")
                #expect(refused.code == "FORBIDDEN", "\(request)")
                #expect(refused.details["field"] == .string(field), "\(request)")
                #expect(refused.message.contains(field), "\(request)")
                #expect(try await api.get("/credentials/\(id)").data == before, "\(request)")
                let known = try await api.put("/credentials/\(id)", #"{\#(request),"password":"own"}"#)
                #expect(known.status == 200, "\(request)")
                let other = try await admin.makeCredential("d\(number)", more: from)
                #expect(try await admin.put("/credentials/\(other)", "{\(request)}").status == 200, "\(request)")
            }
            // What is as strict as before, or stricter, takes nothing more than the role.
            let id = try await admin.makeCredential(more: #","tls_verify":"chain","allow_unencrypted_basic":true"#)
            for request in [
                #"{"use_ssl":false}"#, #"{"use_ssl":true}"#, #"{"tls_verify":"chain"}"#, #"{"tls_verify":"full"}"#,
                #"{"allow_unencrypted_basic":true}"#, #"{"allow_unencrypted_basic":false}"#,
                #"{"credential_type":"wmi"}"#, #"{"credential_type":"winrm_ntlm","name":"renamed"}"#,
            ] {
                #expect(try await api.put("/credentials/\(id)", request).status == 200, "\(request)")
            }
        }
    }

    // The row is judged while it is locked: what someone else made of it in between counts.
    @Test func aWeakeningIsJudgedByTheRowThatIsChanged() async throws {
        try await Harness.with { harness, api in
            let id = try await api.signedIn().makeCredential()
            let api = try await api.signedIn(as: "operator")
            let call = try await harness.database.pool.withTransaction { connection in
                _ = try await connection.query("UPDATE credentials SET use_ssl = true WHERE id = $1", [id])
                let call = Task { try await api.put("/credentials/\(id)", #"{"use_ssl":false}"#) }
                try await eventually {
                    let waiting = try await connection.query(
                        "SELECT pid FROM pg_locks WHERE NOT granted AND transactionid = pg_current_xact_id()::xid"
                    )
                    return !waiting.isEmpty
                }
                return call
            }
            let reply = try await call.value
            #expect(reply.status == 403)
            #expect(try await api.get("/credentials/\(id)").data["use_ssl"] == .bool(true))
        }
    }

    @Test func deleteIsRefusedWhileDevicesUseIt() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let credential = try await api.makeCredential()
            let device = try await api.makeDevice()
            _ = try await api.post("/devices/\(device)/provision", #"{"credential_id":\#(credential)}"#)
            let refused = try await api.delete("/credentials/\(credential)")
            #expect(refused.status == 409)
            #expect(refused.code == "CONFLICT")
            #expect(refused.details["device_ids"] == .array([.integer(device)]))
            #expect(refused.message.contains("\(device)"))
            _ = try await api.post("/devices/\(device)/deprovision")
            let reply = try await api.delete("/credentials/\(credential)")
            #expect(reply.status == 200)
            #expect(reply.json["success"] == .bool(true))
            #expect(harness.events.all.last == DeviceEvent(.credentialUpdated, credentialID: credential))
            #expect(try await api.get("/credentials/\(credential)").status == 404)
            #expect(try await api.delete("/credentials/\(credential)").status == 404)
        }
    }

    @Test func resumeEndsASuspension() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let id = try await api.makeCredential()
            try await harness.database.pool.query("UPDATE credentials SET status = 'suspended', suspended_at = NOW()")
            #expect(try await api.get("/credentials/\(id)").data["status"] == .string("suspended"))
            let reply = try await api.post("/credentials/\(id)/resume")
            #expect(reply.status == 200)
            #expect(reply.data["status"] == .string("active"))
            #expect(harness.events.all == [DeviceEvent(.credentialUpdated, credentialID: id)])
            #expect(try await api.post("/credentials/99/resume").status == 404)
        }
    }

    @Test func listsArePaged() async throws {
        try await Harness.with { _, api in
            let api = try await api.signedIn()
            for name in ["a", "b", "c"] { _ = try await api.makeCredential(name) }
            let page = try await api.get("/credentials?limit=1&offset=1").data
            #expect(page["credentials"].count == 1)
            #expect(page["credentials"][0]["name"] == .string("b"))
            #expect(page["total"] == .integer(3))
            #expect(page["limit"] == .integer(1))
            #expect(page["offset"] == .integer(1))
            for wrong in ["limit=0", "limit=1001", "limit=x", "limit=", "offset=-1", "page=1", "limit=1&limit=2"] {
                #expect(try await api.get("/credentials?\(wrong)").status == 400, "\(wrong)")
            }
        }
    }
}
