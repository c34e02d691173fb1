import Foundation
import NMSCore
import Testing

/// The wire contract: these texts are what other instances and other releases read.
@Suite struct MessagesTests {
    let time = Date(timeIntervalSince1970: 1_764_756_300.123)

    func json(_ value: some Encodable) throws -> String {
        let encoder = NMSJSON.encoder()
        encoder.outputFormatting.insert(.sortedKeys)
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }

    @Test func pollJob() throws {
        let job = PollJob(jobID: "j", deviceID: 1, credentialID: 2, scheduledAt: self.time, interval: 60)
        let text = try self.json(job)
        let expected =
            #"{"credential_id":2,"device_id":1,"interval":60,"job_id":"j","manual":false,"#
            + #""scheduled_at":"2025-12-03T10:05:00.123Z"}"#
        #expect(text == expected)
        #expect(try NMSJSON.decoder().decode(PollJob.self, from: Data(text.utf8)) == job)
    }

    @Test func aScheduledJobsIDIsStable() {
        // Computed by another program from the definition: other releases must come to the same.
        let id = PollJob.scheduledID(deviceID: 42, at: self.time)
        #expect(id == "7c94ac5a-44bb-8874-906d-d4aa6101af49")
        // Below a millisecond there is only rounding.
        #expect(PollJob.scheduledID(deviceID: 42, at: self.time.addingTimeInterval(0.000_2)) == id)
    }

    @Test func scheduledJobsIDsAreDistinctUUIDsOfVersionEight() throws {
        var ids: Set<String> = []
        for device in [0, 1, 2, 41, 42, 1 << 40, -1] {
            for step in 0..<1_000 {
                // Both a millisecond and a minute on.
                for distance in [0.001, 60] {
                    let id = PollJob.scheduledID(deviceID: device, at: self.time + Double(step + 1) * distance)
                    ids.insert(id)
                    let uuid = try #require(UUID(uuidString: id)).uuid
                    guard uuid.6 >> 4 == 8, uuid.8 >> 6 == 0b10, id == id.lowercased() else {
                        Issue.record("\(id)")
                        return
                    }
                }
            }
        }
        // Every device at 2,000 instants.
        #expect(ids.count == 14_000)
    }

    @Test func unknownValuesAreNullNotZero() throws {
        let metrics = DeviceMetrics(deviceID: 1, timestamp: self.time)
        let text = try self.json(metrics)
        #expect(text.contains(#""cpu":{"usage_percent":null}"#))
        #expect(text.contains(#""process_count":null"#))
        #expect(text.contains(#""utilization_percent":null"#))
        #expect(!text.contains(":0,") && !text.contains(":0}"))
        #expect(try NMSJSON.decoder().decode(DeviceMetrics.self, from: Data(text.utf8)) == metrics)
    }

    @Test func deviceEvent() throws {
        let event = DeviceEvent(.statusChanged, deviceID: 4, newStatus: .unreachable)
        #expect(try self.json(event) == #"{"device_id":4,"event":"status_changed","new_status":"unreachable"}"#)
        let credential = DeviceEvent(.credentialUpdated, credentialID: 9)
        #expect(try self.json(credential) == #"{"credential_id":9,"event":"credential_updated"}"#)
    }

    @Test func resultsGainFieldsWithoutBreakingOldReaders() throws {
        let text = #"{"job_id":"j","device_id":1,"timestamp":"2025-12-03T10:05:00Z","success":false,"later":[1]}"#
        let result = try NMSJSON.decoder().decode(MetricsResult.self, from: Data(text.utf8))
        #expect(result.jobID == "j" && !result.success && result.errorCode == nil)
    }

    @Test(arguments: [
        "2025-12-03T10:05:00Z", "2025-12-03T10:05:00.000Z", "2025-12-03T12:05:00+02:00",
        "2025-12-03T12:05:00.000+02:00",
    ])
    func times(text: String) {
        #expect(RFC3339.date(from: text) == Date(timeIntervalSince1970: 1_764_756_300))
    }

    @Test func millisecondsSurviveManyRoundTrips() {
        for offset in 0..<1000 {
            let date = Date(timeIntervalSince1970: 1_764_756_300 + Double(offset) / 1000)
            let text = RFC3339.string(from: date)
            #expect(text.hasSuffix(String(format: ".%03dZ", offset)), "\(text)")
            #expect(RFC3339.string(from: RFC3339.date(from: text)!) == text)
        }
    }

    @Test func aSecretNeverShows() {
        let secret = Secret("P@ssw0rd")
        #expect("\(secret) \(String(reflecting: secret)) \(dumped(secret))".contains("P@ss") == false)
        #expect(secret.exposed == "P@ssw0rd")
    }

    private func dumped(_ value: Any) -> String {
        var text = ""
        dump(value, to: &text)
        return text
    }
}
