import Foundation
import NMSCore
import NMSStorage
import Testing

@testable import NMSAPI

@Suite struct DiscoveryEndpointTests {
    private static func claim(_ harness: Harness, _ id: Int) async throws {
        _ = try #require(try await harness.dependencies.discoveries.claim(id: id, worker: "w"))
    }

    private static func store(_ harness: Harness, _ id: Int, _ hosts: [DiscoveredHost], scanned: Int) async throws {
        var counts = OutcomeCounts()
        counts[.windows] = hosts.count
        counts[.silent] = scanned - hosts.count
        _ = try await harness.dependencies.discoveries.store(
            id: id,
            worker: "w",
            hosts: hosts,
            progress: DiscoveryProgress(
                scanned: scanned,
                total: 256,
                counts: counts,
                checkpoint: DiscoveryCheckpoint(index: scanned, counts: counts),
                rate: 10,
                etaSeconds: 2.5
            )
        )
    }

    @Test func startingQueuesIt() async throws {
        try await Harness.with(configure: { $0.defaultPollingInterval = 90 }) { harness, api in
            let api = try await api.signedIn(as: "operator")
            let reply = try await api.post("/devices/discover", #"{"subnet":"192.168.1.0/24"}"#)
            #expect(reply.status == 202)
            #expect(
                reply.data
                    == (try JSONValue.parse(
                        #"{"discovery_id":1,"status":"queued","subnet":"192.168.1.0/24","addresses":256}"#
                    ))
            )
            #expect(
                harness.discoveryJobs.all == [
                    QueuedDiscovery(subnet: "192.168.1.0/24", discoveryID: 1, publication: 1)
                ]
            )
            let shown = try await api.get("/discoveries/1")
            #expect(shown.status == 200)
            #expect(shown.data["requested_by"] == .string("operator"))
            #expect(shown.data["polling_interval"] == .integer(90))
            #expect(shown.data["ports"] == .null)
            #expect(shown.data["counts"].names == Set(AddressOutcome.allCases.map(\.rawValue)))
            #expect(shown.data["devices"] == .array([]))
            #expect(shown.data["errors"] == .array([]))
            let audit = try await api.signedIn().get("/audit?action=discovery.started")
            #expect(audit.data["total"] == .integer(1))
            #expect(audit.data["entries"][0]["actor"]["username"] == .string("operator"))
        }
    }

    @Test func everyOptionIsKept() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let ids = [try await api.makeCredential("a"), try await api.makeCredential("b")]
            let body = #"""
                {"subnet":"192.168.1.0/24","credential_ids":[\#(ids[1]),\#(ids[0])],"ports":[15985,135],
                 "exclude":["192.168.1.0/30"],"auto_provision":true,"polling_interval":15}
                """#
            #expect(try await api.post("/devices/discover", body).status == 202)
            let data = try await api.get("/discoveries/1").data
            #expect(data["credential_ids"] == .array([.integer(ids[1]), .integer(ids[0])]))
            #expect(data["ports"] == .array([.integer(15_985), .integer(135)]))
            #expect(data["auto_provision"] == .bool(true))
            #expect(data["polling_interval"] == .integer(15))
        }
    }

    static let wrongBodies: [(body: String, field: String)] = [
        (#"{}"#, "subnet"), (#"{"subnet":null}"#, "subnet"), (#"{"subnet":""}"#, "subnet"),
        (#"{"subnet":" "}"#, "subnet"),
        (#"{"subnet":"banana"}"#, "subnet"), (#"{"subnet":"10.0.0.0/33"}"#, "subnet"),
        (#"{"subnet":"10.0.0.0/24,"}"#, "subnet"), (#"{"subnet":"10.0.0.0/9"}"#, "subnet"),
        (#"{"subnet":"10.0.0.0/24","exclude":["x"]}"#, "exclude"),
        (#"{"subnet":"10.0.0.0/24","exclude":[]}"#, "exclude"),
        (#"{"subnet":"10.0.0.0/24","ports":[0]}"#, "ports[0]"), (#"{"subnet":"10.0.0.0/24","ports":[]}"#, "ports"),
        (#"{"subnet":"10.0.0.0/24","credential_ids":[1,1]}"#, "credential_ids[1]"),
        (#"{"subnet":"10.0.0.0/24","auto_provision":true}"#, "auto_provision"),
        (#"{"subnet":"10.0.0.0/24","polling_interval":4}"#, "polling_interval"),
        (#"{"subnet":"10.0.0.0/24","deep":true}"#, "deep"),
    ]

    @Test func wrongFieldsAreNamed() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            for (body, field) in Self.wrongBodies {
                let reply = try await api.post("/devices/discover", body)
                #expect(reply.status == 400, "\(body)")
                #expect(reply.code == "VALIDATION_ERROR", "\(body)")
                #expect(reply.details["field"] == .string(field), "\(body): \(reply.text)")
            }
            #expect(harness.discoveryJobs.all.isEmpty)
            #expect(try await api.get("/discoveries").data["total"] == .integer(0))
        }
    }

    @Test func addressesOutsideOfTargetsAreForbidden() async throws {
        let policy = TargetPolicy(allowed: [try required(CIDRBlock("10.0.0.0/8"))])
        try await Harness.with(targets: policy) { harness, api in
            let api = try await api.signedIn()
            let reply = try await api.post("/devices/discover", #"{"subnet":"192.168.1.0/24"}"#)
            #expect(reply.status == 403)
            #expect(reply.code == "TARGET_NOT_ALLOWED")
            #expect(reply.details["field"] == .string("subnet"))
            #expect(reply.details["value"] == .string("192.168.1.0/24"))
            #expect(try await api.post("/devices/discover", #"{"subnet":"10.1.0.0/24"}"#).status == 202)
        }
    }

    @Test func anUnknownCredentialIsNotFound() async throws {
        try await Harness.with { _, api in
            let api = try await api.signedIn()
            let reply = try await api.post("/devices/discover", #"{"subnet":"10.0.0.0/24","credential_ids":[77]}"#)
            #expect(reply.status == 404)
            #expect(reply.details["field"] == .string("credential_ids"))
            #expect(reply.details["value"] == .integer(77))
        }
    }

    @Test func overlappingOnesAreRefusedWithTheOthersID() async throws {
        try await Harness.with { _, api in
            let api = try await api.signedIn()
            #expect(try await api.post("/devices/discover", #"{"subnet":"10.0.0.0/24"}"#).status == 202)
            for subnet in ["10.0.0.0/24", "10.0.0.128/25", "10.0.0.0/23"] {
                let reply = try await api.post("/devices/discover", #"{"subnet":"\#(subnet)"}"#)
                #expect(reply.status == 409, "\(subnet)")
                #expect(reply.details["field"] == .string("discovery_id"))
                #expect(reply.details["value"] == .integer(1))
            }
            #expect(try await api.post("/devices/discover", #"{"subnet":"10.0.1.0/24"}"#).status == 202)
            #expect(try await api.delete("/discoveries/1").status == 200)
            #expect(try await api.post("/devices/discover", #"{"subnet":"10.0.0.0/24"}"#).status == 202)
        }
    }

    @Test func aQueueThatIsAwayDelaysIt() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            harness.discoveryJobs.setBroken(true)
            let reply = try await api.post("/devices/discover", #"{"subnet":"10.0.0.0/24"}"#)
            #expect(reply.status == 202)
            #expect(try await harness.dependencies.discoveries.overdue().map(\.discoveryID) == [1])
        }
    }

    @Test func progressAndDevicesAreShown() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let credential = try await api.makeCredential()
            _ = try await api.post(
                "/devices/discover",
                #"{"subnet":"10.0.0.0/24","credential_ids":[\#(credential)]}"#
            )
            try await Self.claim(harness, 1)
            let refused = CredentialTrial(credentialID: credential, error: .authFailed, message: "refused")
            try await Self.store(
                harness,
                1,
                [
                    DiscoveredHost(ip: "10.0.0.10", hostname: "b", os: "Windows", credentialID: credential),
                    DiscoveredHost(ip: "10.0.0.9", hostname: "a", trials: [refused]),
                ],
                scanned: 100
            )
            let data = try await api.get("/discoveries/1?limit=1").data
            #expect(data["status"] == .string("running"))
            #expect((data["scanned"], data["total"]) == (.integer(100), .integer(256)))
            #expect((data["rate"], data["eta_seconds"]) == (.integer(10), .number(2.5)))
            #expect(data["counts"]["windows"] == .integer(2))
            #expect((data["found"], data["new_devices"]) == (.integer(2), .integer(2)))
            #expect((data["devices"].count, data["devices_total"]) == (1, .integer(2)))
            #expect(data["devices"][0]["ip"] == .string("10.0.0.9"))
            #expect(data["devices"][0]["status"] == .string("discovered"))
            #expect(data["errors"][0]["code"] == .string("auth_failed"))
            #expect(data["errors"][0]["hosts"] == .integer(1))
            let second = try await api.get("/discoveries/1?offset=1").data["devices"][0]
            #expect(second["credential_id"] == .integer(credential))
            let device = try await api.get("/devices/\(try second["device_id"].number)").data
            #expect(device["credential_ids"] == .array([.integer(credential)]))
        }
    }

    @Test func cancellingTwiceIsNoErrorButWhatIsOverStays() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            _ = try await api.post("/devices/discover", #"{"subnet":"10.0.0.0/24"}"#)
            let reply = try await api.delete("/discoveries/1")
            #expect(reply.status == 200)
            #expect(reply.data["status"] == .string("cancelled"))
            #expect(try await api.delete("/discoveries/1").data == reply.data)
            _ = try await api.post("/devices/discover", #"{"subnet":"10.0.0.0/24"}"#)
            try await Self.claim(harness, 2)
            try await harness.dependencies.discoveries.finish(id: 2, worker: "w", error: nil)
            let late = try await api.delete("/discoveries/2")
            #expect(late.status == 409)
            #expect(late.details["value"] == .string("completed"))
            #expect(try await api.delete("/discoveries/3").status == 404)
        }
    }

    @Test func listsAreFilteredAndSorted() async throws {
        try await Harness.with { _, api in
            let api = try await api.signedIn()
            for number in 1...3 {
                _ = try await api.post("/devices/discover", #"{"subnet":"10.0.\#(number).0/24"}"#)
            }
            _ = try await api.delete("/discoveries/2")
            func ids(_ query: String) async throws -> [JSONValue] {
                let list = try await api.get("/discoveries\(query)").data["discoveries"]
                return (0..<list.count).map { list[$0]["discovery_id"] }
            }
            #expect(try await ids("") == [3, 2, 1])
            #expect(try await ids("?sort=id") == [1, 2, 3])
            #expect(try await ids("?status=cancelled") == [2])
            #expect(try await ids("?limit=1&offset=1") == [2])
            #expect(try await api.get("/discoveries?status=done").status == 400)
        }
    }
}
