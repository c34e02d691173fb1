import Foundation
import NMSCore
import NMSStorage
import Postgres
import PostgresTestSupport
import Testing

@testable import NMSAPI

@Suite struct DeviceEndpointTests {
    @Test func createAnswersEveryField() async throws {
        try await Harness.with(configure: { $0.defaultPollingInterval = 90 }) { harness, api in
            let api = try await api.signedIn()
            let reply = try await api.post("/devices", #"{"ip":"::ffff:192.0.2.1"}"#)
            #expect(reply.status == 201)
            let expected = try JSONValue.parse(
                #"""
                {"id":1,"ip":"192.0.2.1","hostname":null,"os":null,"status":"discovered","polling_interval":90,
                 "last_seen":null,"last_error":null,"credential_ids":[]}
                """#
            )
            #expect(reply.data.without("created_at", "updated_at") == expected)
            #expect(reply.data.names.isSuperset(of: ["created_at", "updated_at"]))
            #expect(try await api.get("/devices/1").data == reply.data)
            #expect(harness.events.all == [DeviceEvent(.deviceUpdated, deviceID: 1)])
            let full = try await api.post(
                "/devices",
                #"{"ip":"2001:DB8::0001","hostname":"srv-1.corp.example","os":"Windows","polling_interval":5}"#
            )
            #expect(full.status == 201)
            #expect(full.data["ip"] == .string("2001:db8::1"))
            #expect(full.data["hostname"] == .string("srv-1.corp.example"))
            #expect(full.data["polling_interval"] == .integer(5))
        }
    }

    // The specification's example of an error (§9.2), word for word.
    @Test func aWrongAddressIsTheSpecificationsError() async throws {
        try await Harness.with { _, api in
            let api = try await api.signedIn()
            let reply = try await api.post("/devices", #"{"ip":"999.999.999.999"}"#)
            #expect(reply.status == 400)
            #expect(reply.json["success"] == .bool(false))
            #expect(reply.json.names == ["success", "error"])
            #expect(reply.code == "VALIDATION_ERROR")
            #expect(reply.message == "Invalid IP address format")
            #expect(reply.details["field"] == .string("ip"))
            #expect(reply.details["value"] == .string("999.999.999.999"))
        }
    }

    static let wrongBodies: [(body: String, fields: [String])] = [
        (#"{}"#, ["ip"]), (#"{"ip":null}"#, ["ip"]), (#"{"ip":"host"}"#, ["ip"]), (#"{"ip":"10.0.0.1/24"}"#, ["ip"]),
        (#"{"ip":"fe80::1%eth0"}"#, ["ip"]), (#"{"ip":3232235777}"#, ["ip"]), (#"{"ip":"010.0.0.1"}"#, ["ip"]),
        (#"{"ip":"192.0.2.1","polling_interval":4}"#, ["polling_interval"]),
        (#"{"ip":"192.0.2.1","polling_interval":86401}"#, ["polling_interval"]),
        (#"{"ip":"192.0.2.1","polling_interval":"60"}"#, ["polling_interval"]),
        (#"{"ip":"192.0.2.1","polling_interval":null}"#, ["polling_interval"]),
        (#"{"ip":"192.0.2.1","hostname":"a b"}"#, ["hostname"]), (#"{"ip":"192.0.2.1","hostname":"-a"}"#, ["hostname"]),
        (#"{"ip":"192.0.2.1","hostname":"a..b"}"#, ["hostname"]), (#"{"ip":"192.0.2.1","hostname":""}"#, ["hostname"]),
        (#"{"ip":"192.0.2.1","os":"a\tb"}"#, ["os"]), (#"{"ip":"192.0.2.1","id":7}"#, ["id"]),
        (#"{"ip":"x","hostname":5,"zz":1,"aa":1}"#, ["ip", "hostname", "aa", "zz"]),
    ]

    @Test func wrongFieldsAreNamed() async throws {
        try await Harness.with { _, api in
            let api = try await api.signedIn()
            for (body, fields) in Self.wrongBodies {
                let reply = try await api.post("/devices", body)
                #expect(reply.status == 400, "\(body)")
                #expect(reply.code == "VALIDATION_ERROR", "\(body)")
                #expect(reply.details["field"] == .string(fields[0]), "\(body)")
                let named = (0..<reply.details["errors"].count).map { reply.details["errors"][$0]["field"] }
                #expect(named == fields.map { .string($0) }, "\(body)")
            }
        }
    }

    @Test func addressesAreUniqueAndWithinThePolicy() async throws {
        let policy = TargetPolicy(allowed: [CIDRBlock("192.0.2.0/24"), CIDRBlock("2001:db8::/32")].compactMap(\.self))
        try await Harness.with(targets: policy) { harness, api in
            let api = try await api.signedIn()
            let id = try await api.makeDevice("192.0.2.1")
            let twice = try await api.post("/devices", #"{"ip":"::ffff:c000:201"}"#)
            #expect(twice.status == 409)
            #expect(twice.code == "CONFLICT")
            #expect(twice.details["field"] == .string("ip"))
            let other = try await api.makeDevice("192.0.2.2")
            #expect(try await api.put("/devices/\(other)", #"{"ip":"192.0.2.1"}"#).status == 409)
            for outside in ["192.0.3.1", "0.0.0.0", "224.0.0.1", "::1", "ff02::1"] {
                let reply = try await api.post("/devices", #"{"ip":"\#(outside)"}"#)
                #expect(reply.status == 403, "\(outside)")
                #expect(reply.code == "TARGET_NOT_ALLOWED")
                #expect(try await api.put("/devices/\(id)", #"{"ip":"\#(outside)"}"#).status == 403)
            }
            // A device from before the policy is not polled.
            try await harness.database.pool.query("UPDATE devices SET ip = '198.51.100.1' WHERE id = $1", [id])
            let credential = try await api.makeCredential()
            let reply = try await api.post("/devices/\(id)/provision", #"{"credential_id":\#(credential)}"#)
            #expect(reply.code == "TARGET_NOT_ALLOWED")
            #expect(harness.jobs.all.isEmpty)
        }
    }

    @Test func putChangesOnlyWhatIsGivenAndTheNextReadShowsIt() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let id = try await api.makeDevice()
            #expect(try await api.get("/devices/\(id)").data["os"] == .null)
            let reply = try await api.put("/devices/\(id)", #"{"os":"Windows","hostname":"h","polling_interval":30}"#)
            #expect(reply.status == 200)
            #expect(try await api.get("/devices/\(id)").data == reply.data)
            #expect(reply.data["os"] == .string("Windows"))
            #expect(reply.data["ip"] == .string("192.0.2.1"))
            let cleared = try await api.put("/devices/\(id)", #"{"hostname":null}"#)
            #expect(cleared.data["hostname"] == .null)
            #expect(cleared.data["os"] == .string("Windows"))
            #expect(try await api.get("/devices/\(id)").data["hostname"] == .null)
            #expect(harness.events.all.count == 3)
            #expect(try await api.put("/devices/\(id)", "{}").data == cleared.data)
            #expect(harness.events.all.count == 3)
            for wrong in [#"{"ip":null}"#, #"{"polling_interval":null}"#, #"{"status":"monitoring"}"#] {
                #expect(try await api.put("/devices/\(id)", wrong).status == 400)
            }
            #expect(try await api.put("/devices/999", #"{"os":"x"}"#).status == 404)
        }
    }

    @Test func deleteRemovesAndTells() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let id = try await api.makeDevice()
            _ = try await api.get("/devices/\(id)")
            let reply = try await api.delete("/devices/\(id)")
            #expect(reply.status == 200)
            #expect(reply.json["success"] == .bool(true))
            #expect(harness.events.all.last == DeviceEvent(.deviceDeleted, deviceID: id))
            let gone = try await api.get("/devices/\(id)")
            #expect(gone.status == 404)
            #expect(gone.code == "NOT_FOUND")
            #expect(try await api.delete("/devices/\(id)").status == 404)
        }
    }

    @Test func idsMustBePositiveIntegers() async throws {
        try await Harness.with { _, api in
            let api = try await api.signedIn()
            for id in ["x", "0", "-1", "1.5", "2147483648", "99999999999999999999", "%31x", "+1", "01"] {
                let reply = try await api.get("/devices/\(id)")
                #expect(reply.status == 400, "\(id)")
                #expect(reply.details["field"] == .string("id"), "\(id)")
            }
        }
    }

    @Test func listsFilterSortAndPage() async throws {
        try await Harness.with { _, api in
            let api = try await api.signedIn()
            for (ip, host) in [("192.0.2.10", "alpha"), ("192.0.2.9", "beta"), ("2001:db8::1", "100%")] {
                let hostname = host.contains("%") ? "null" : "\"\(host)\""
                let os = host.contains("%") ? "\"100% real\"" : "null"
                _ = try await api.post("/devices", #"{"ip":"\#(ip)","hostname":\#(hostname),"os":\#(os)}"#)
            }
            func ips(_ query: String) async throws -> [String] {
                let devices = try await api.get("/devices?\(query)").data["devices"]
                return try (0..<devices.count).map { try devices[$0]["ip"].text }
            }
            let all = try await api.get("/devices").data
            #expect(all.without("devices") == (try JSONValue.parse(#"{"total":3,"limit":50,"offset":0}"#)))
            #expect(try await ips("search=ALPH") == ["192.0.2.10"])
            #expect(try await ips("search=%25") == ["2001:db8::1"])
            #expect(try await ips("search=192.0.2.") == ["192.0.2.10", "192.0.2.9"])
            #expect(try await ips("sort=ip") == ["192.0.2.9", "192.0.2.10", "2001:db8::1"])
            #expect(try await ips("sort=-id&limit=2") == ["2001:db8::1", "192.0.2.9"])
            #expect(try await ips("status=monitoring") == [])
            #expect(try await ips("status=discovered&offset=2") == ["2001:db8::1"])
            for wrong in ["status=up", "sort=colour", "sort=--id", "search=", "x=1", "limit=1e2", "search=%00"] {
                let reply = try await api.get("/devices?\(wrong)")
                #expect(reply.status == 400, "\(wrong)")
                #expect(reply.code == "VALIDATION_ERROR")
            }
        }
    }
}
