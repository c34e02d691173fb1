import Foundation
import NMSCore
import NMSStorage
import Testing

@testable import NMSAPI

@Suite struct ProvisioningTests {
    @Test func provisionAnswersTheSpecificationsExampleAndPollsAtOnce() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn(as: "operator")
            let credential = try await api.makeCredential()
            let id = try await api.makeDevice()
            let reply = try await api.post(
                "/devices/\(id)/provision",
                #"{"credential_id":\#(credential),"polling_interval":60}"#
            )
            #expect(reply.status == 200)
            let expected = #"{"device_id":\#(id),"status":"provisioned","message":"Device provisioned for monitoring"}"#
            #expect(reply.data == (try JSONValue.parse(expected)))
            let job = try #require(harness.jobs.all.first)
            #expect(harness.jobs.all.count == 1)
            #expect(job.deviceID == id)
            #expect(job.credentialID == credential)
            #expect(job.interval == 60)
            #expect(job.manual)
            #expect(job.jobID == job.jobID.lowercased())
            #expect(UUID(uuidString: job.jobID) != nil)
            #expect(abs(job.scheduledAt.timeIntervalSince(harness.clock.wall)) < 0.01)
            #expect(harness.events.all.last == DeviceEvent(.deviceUpdated, deviceID: id))
            let device = try await api.get("/devices/\(id)").data
            #expect(device["status"] == .string("provisioned"))
            #expect(device["credential_ids"] == .array([.integer(credential)]))
        }
    }

    @Test func orderedCredentialsReplaceTheChoice() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let first = try await api.makeCredential("a")
            let second = try await api.makeCredential("b")
            let id = try await api.makeDevice()
            _ = try await api.post("/devices/\(id)/provision", #"{"credential_id":\#(first)}"#)
            let reply = try await api.post("/devices/\(id)/provision", #"{"credential_ids":[\#(second),\#(first)]}"#)
            #expect(reply.status == 200)
            #expect(harness.jobs.all.map(\.credentialID) == [first, second])
            let ids = try await api.get("/devices/\(id)").data["credential_ids"]
            #expect(ids == .array([.integer(second), .integer(first)]))
        }
    }

    @Test func wrongChoicesAreRefused() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let credential = try await api.makeCredential()
            let id = try await api.makeDevice()
            let wrong: [(String, String)] = [
                ("{}", "credential_id"), (#"{"credential_id":0}"#, "credential_id"),
                (#"{"credential_id":"1"}"#, "credential_id"), (#"{"credential_id":null}"#, "credential_id"),
                (#"{"credential_ids":[]}"#, "credential_ids"), (#"{"credential_ids":[1,1]}"#, "credential_ids[1]"),
                (#"{"credential_ids":[1,"2"]}"#, "credential_ids[1]"),
                (#"{"credential_id":\#(credential),"credential_ids":[\#(credential)]}"#, "credential_ids"),
                (#"{"credential_id":\#(credential),"polling_interval":1}"#, "polling_interval"),
                (#"{"credential_id":\#(credential),"interval":60}"#, "interval"),
            ]
            for (body, field) in wrong {
                let reply = try await api.post("/devices/\(id)/provision", body)
                #expect(reply.status == 400, "\(body)")
                #expect(reply.details["field"] == .string(field), "\(body)")
            }
            let unknown = try await api.post("/devices/\(id)/provision", #"{"credential_ids":[\#(credential),99]}"#)
            #expect(unknown.status == 404)
            #expect(unknown.details["value"] == .integer(99))
            #expect(try await api.post("/devices/99/provision", #"{"credential_id":\#(credential)}"#).status == 404)
            #expect(harness.jobs.all.isEmpty)
            #expect(try await api.get("/devices/\(id)").data["status"] == .string("discovered"))
        }
    }

    @Test func aCredentialIsOnlySentWhereItMay() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let credential = try await api.makeCredential(more: #","allowed_targets":["192.0.2.0/28"]"#)
            let outside = try await api.makeDevice("192.0.2.77")
            let refused = try await api.post("/devices/\(outside)/provision", #"{"credential_id":\#(credential)}"#)
            #expect(refused.status == 403)
            #expect(refused.code == "TARGET_NOT_ALLOWED")
            #expect(harness.jobs.all.isEmpty)
            let inside = try await api.makeDevice("192.0.2.7")
            #expect(
                try await api.post("/devices/\(inside)/provision", #"{"credential_id":\#(credential)}"#).status == 200
            )
            // Nor does moving the device take it elsewhere.
            let moved = try await api.put("/devices/\(inside)", #"{"ip":"192.0.2.78"}"#)
            #expect(moved.code == "TARGET_NOT_ALLOWED")
            #expect(try await api.put("/devices/\(inside)", #"{"ip":"192.0.2.8"}"#).status == 200)
        }
    }

    @Test func deprovisionEndsMonitoring() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let credential = try await api.makeCredential()
            let id = try await api.makeDevice()
            _ = try await api.post("/devices/\(id)/provision", #"{"credential_id":\#(credential)}"#)
            let reply = try await api.post("/devices/\(id)/deprovision")
            #expect(reply.status == 200)
            #expect(reply.data["device_id"] == .integer(id))
            #expect(reply.data["status"] == .string("discovered"))
            #expect(harness.events.all.last == DeviceEvent(.deviceUpdated, deviceID: id))
            #expect(try await api.get("/devices/\(id)").data["credential_ids"] == .array([]))
            #expect(try await api.post("/devices/99/deprovision").status == 404)
        }
    }

    @Test func pollAsksForOneJob() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let credential = try await api.makeCredential()
            let id = try await api.makeDevice()
            let early = try await api.post("/devices/\(id)/poll")
            #expect(early.status == 409)
            #expect(early.code == "CONFLICT")
            _ = try await api.post("/devices/\(id)/provision", #"{"credential_id":\#(credential)}"#)
            let reply = try await api.post("/devices/\(id)/poll", "{}")
            #expect(reply.status == 202)
            #expect(reply.data.names == ["job_id"])
            let job = try #require(harness.jobs.all.last)
            #expect(harness.jobs.all.count == 2)
            #expect(try reply.data["job_id"].text == job.jobID)
            #expect(job.manual)
            #expect(try await api.post("/devices/99/poll").status == 404)
            let wrong = try await api.post("/devices/\(id)/poll", #"{"now":true}"#)
            #expect(wrong.details["field"] == .string("now"))
        }
    }

    @Test func aBrokenQueueIsSaidForJobsAndSurvivedForEvents() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let credential = try await api.makeCredential()
            let id = try await api.makeDevice()
            harness.jobs.setBroken(true)
            harness.events.setBroken(true)
            let reply = try await api.post("/devices/\(id)/provision", #"{"credential_id":\#(credential)}"#)
            #expect(reply.status == 503)
            #expect(reply.code == "SERVICE_UNAVAILABLE")
            #expect(reply.header("retry-after") != nil)
            #expect(try await api.put("/devices/\(id)", #"{"os":"x"}"#).status == 200)
            harness.jobs.setBroken(false)
            #expect(try await api.post("/devices/\(id)/provision", #"{"credential_id":\#(credential)}"#).status == 200)
        }
    }
}
