import Foundation
import NMSCore
import NMSStorage
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Testing

@testable import NMSAPI

@Suite struct MetricsEndpointTests {
    private let time = Date(timeIntervalSince1970: 1_764_756_300)

    @Test func latestAnswersTheSpecificationsExample() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn(as: "viewer")
            let id = try await harness.dependencies.devices.create(NewDevice(ip: required(IPAddress("192.0.2.1")))).id
            let early = try await api.get("/devices/\(id)/metrics")
            #expect(early.status == 404)
            #expect(early.code == "NOT_FOUND")
            let job = "5b0dcb6a-5a10-4ad7-8e0c-54f6a4d9a7a1"
            try await harness.storeRow(deviceID: id, at: self.time, jobID: job)
            let reply = try await api.get("/devices/\(id)/metrics")
            #expect(reply.status == 200)
            let expected = try JSONValue.parse(
                #"""
                {"device_id":\#(id),"timestamp":"2025-12-03T10:05:00.000Z","cpu":{"usage_percent":45.5},
                 "memory":{"total_bytes":17179869184,"used_bytes":8589934592,"usage_percent":50.0},
                 "disk":{"total_bytes":500107862016,"used_bytes":250053931008,"usage_percent":50.0},
                 "network":{"bytes_sent_per_sec":1048576,"bytes_recv_per_sec":2097152,"utilization_percent":25.0,
                  "packets_sent":1000000,"packets_recv":2000000,"errors":0,"dropped":5},
                 "process_count":142,"collection_duration_ms":830,"job_id":"\#(job)"}
                """#
            )
            #expect(reply.data == expected)
            let none = try await api.get("/devices/99/metrics")
            #expect(none.message.contains("Device 99 does not exist"))
        }
    }

    @Test func listsHaveTheLatestRowsWhenTheyAreAskedFor() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn(as: "viewer")
            let devices = harness.dependencies.devices
            let measured = try await devices.create(NewDevice(ip: required(IPAddress("192.0.2.1")))).id
            _ = try await devices.create(NewDevice(ip: required(IPAddress("192.0.2.2")))).id
            try await harness.storeRow(deviceID: measured, at: self.time.addingTimeInterval(-60))
            try await harness.storeRow(deviceID: measured, at: self.time)
            let list = try await api.get("/devices?include=metrics&sort=id").data["devices"]
            #expect(list[0]["metrics"] == (try await api.get("/devices/\(measured)/metrics").data))
            #expect(list[0]["metrics"]["timestamp"] == .string("2025-12-03T10:05:00.000Z"))
            #expect(list[1]["metrics"] == .null)
            #expect(list[1].names.contains("metrics"))
            // Only when asked for, and nothing else can be.
            #expect(try await api.get("/devices").data["devices"][0].names.contains("metrics") == false)
            #expect(try await api.get("/devices/\(measured)").data.names.contains("metrics") == false)
            #expect(try await api.get("/devices?include=passwords").status == 400)
        }
    }

    @Test func whatIsNotKnownIsNull() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let id = try await api.makeDevice()
            try await harness.database.pool.query(
                "INSERT INTO metrics (device_id, timestamp) VALUES ($1, $2)",
                [id, self.time]
            )
            let data = try await api.get("/devices/\(id)/metrics").data
            #expect(data["cpu"] == .object(["usage_percent": .null]))
            #expect(data["network"].names.count == 7)
            #expect(data.names.isSuperset(of: ["process_count", "job_id", "collection_duration_ms"]))
        }
    }

    @Test func aCachedRowEndsWithTheEventOfANewOne() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let id = try await api.makeDevice()
            func cpu() async throws -> JSONValue {
                try await api.get("/devices/\(id)/metrics").data["cpu"]["usage_percent"]
            }
            try await harness.storeRow(deviceID: id, at: self.time, cpu: 10)
            #expect(try await cpu() == .integer(10))
            try await harness.storeRow(deviceID: id, at: self.time + 1, cpu: 20)
            #expect(try await cpu() == .integer(10))
            harness.source.send(DeviceEvent(.metricsStored, deviceIDs: [id]))
            try await eventually { try await cpu() == .integer(20) }
            // Without an event, its time runs out.
            try await harness.storeRow(deviceID: id, at: self.time + 2, cpu: 30)
            harness.clock.advance(by: 29)
            #expect(try await cpu() == .integer(20))
            harness.clock.advance(by: 2)
            #expect(try await cpu() == .integer(30))
            _ = try await api.delete("/devices/\(id)")
            harness.source.send(DeviceEvent(.deviceDeleted, deviceID: id))
            try await eventually { try await api.get("/devices/\(id)/metrics").status == 404 }
        }
    }

    @Test func aDeviceChangedElsewhereIsReadAnew() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let id = try await api.makeDevice()
            func status() async throws -> JSONValue { try await api.get("/devices/\(id)").data["status"] }
            #expect(try await status() == .string("discovered"))
            try await harness.database.pool.query("UPDATE devices SET status = 'unreachable' WHERE id = $1", [id])
            harness.source.send(DeviceEvent(.statusChanged, deviceID: id, newStatus: .unreachable))
            try await eventually { try await status() == .string("unreachable") }
            try await harness.database.pool.query("UPDATE devices SET status = 'monitoring' WHERE id = $1", [id])
            harness.clock.advance(by: 1)
            #expect(try await status() == .string("monitoring"))
        }
    }

    @Test func historyIsAscendingAndBounded() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let id = try await api.makeDevice()
            for second in 0..<5 {
                try await harness.storeRow(deviceID: id, at: self.time + Double(second), cpu: Double(second))
            }
            let range = "from=2025-12-03T10:05:01Z&to=2025-12-03T11:05:04%2B01:00"
            let reply = try await api.get("/devices/\(id)/metrics/history?\(range)")
            #expect(reply.status == 200)
            let frame = #"""
                {"device_id":\#(id),"from":"2025-12-03T10:05:01.000Z","to":"2025-12-03T10:05:04.000Z","interval":"raw",
                 "truncated":false}
                """#
            #expect(reply.data.without("points") == (try JSONValue.parse(frame)))
            let points = reply.data["points"]
            #expect(points.count == 3)
            #expect((0..<3).map { points[$0]["cpu"]["usage_percent"] } == [.integer(1), .integer(2), .integer(3)])
            #expect(
                points[0].names == ["timestamp", "job_id", "cpu", "memory", "disk", "network", "process_count"]
            )
            let limited = try await api.get(
                "/devices/\(id)/metrics/history?\(range)&limit=2&metrics=cpu,process_count&interval=raw"
            )
            #expect(limited.data["truncated"] == .bool(true))
            #expect(limited.data["points"].count == 2)
            #expect(limited.data["points"][0].names == ["timestamp", "job_id", "cpu", "process_count"])
        }
    }

    @Test func historyIsTheLastHourUnlessAskedOtherwise() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let id = try await api.makeDevice()
            try await harness.storeRow(deviceID: id, at: Date() - 3700)
            try await harness.storeRow(deviceID: id, at: Date() - 60)
            let data = try await api.get("/devices/\(id)/metrics/history").data
            #expect(data["points"].count == 1)
            let from = try #require(RFC3339.date(from: data["from"].text))
            let to = try #require(RFC3339.date(from: data["to"].text))
            #expect(abs(to.timeIntervalSince(from) - 3600) < 0.01)
            #expect(try await api.get("/devices/99/metrics/history").status == 404)
        }
    }

    @Test func historyReachesTheEdgesOfTime() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let id = try await api.makeDevice()
            try await harness.storeRow(deviceID: id, at: self.time)
            for (query, count) in [
                ("from=1970-01-01T00:00:00Z&to=9998-12-31T23:59:59.999Z", 1), ("to=1970-01-01T00:00:00Z", 0),
            ] {
                let reply = try await api.get("/devices/\(id)/metrics/history?\(query)")
                #expect(reply.status == 200, "\(query)")
                #expect(reply.data["points"].count == count, "\(query)")
            }
        }
    }

    @Test func wrongQueriesAreNamed() async throws {
        let wrong = [
            ("interval=2m", "interval"), ("interval=", "interval"), ("limit=0", "limit"), ("limit=10001", "limit"),
            ("from=yesterday", "from"), ("to=1764756300", "to"), ("metrics=gpu", "metrics"),
            ("metrics=cpu,", "metrics"),
            ("from=2025-12-03T10:00:00Z&to=2025-12-03T10:00:00Z", "from"), ("step=5", "step"),
            // Beyond what the database takes with any offset.
            ("to=0001-01-01T00:10:00Z", "to"), ("to=9999-12-31T23:59:59-01:00", "to"),
            ("from=0001-01-01T00:00:00%2B01:00", "from"), ("from=1969-12-31T23:59:59.999Z", "from"),
            ("metrics=cpu,cpu", "metrics"), ("limit=0100", "limit"), ("to=9999-01-01T00:00:00Z", "to"),
        ]
        try await Harness.with { _, api in
            let api = try await api.signedIn()
            let id = try await api.makeDevice()
            for (query, field) in wrong {
                let reply = try await api.get("/devices/\(id)/metrics/history?\(query)")
                #expect(reply.status == 400, "\(query)")
                #expect(reply.code == "VALIDATION_ERROR", "\(query)")
                #expect(reply.details["field"] == .string(field), "\(query)")
            }
        }
    }
}

/// Waits until an asynchronous effect shows, five seconds at most.
func eventually(_ condition: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(5)
    while ContinuousClock.now < deadline {
        if try await condition() { return }
        await Task.yield()
    }
    Issue.record("nothing happened within five seconds")
}
