import Foundation
import NMSCore
import Testing

/// The quick way of reading a result against Foundation's.
@Suite struct MetricsResultParsingTests {
    private static let full = MetricsResult(
        jobID: "0b0f6d1e-7a3c-4a53-9d35-6e2b7a3f9c11",
        deviceID: 17,
        timestamp: Date(timeIntervalSince1970: 1_764_756_300.123),
        success: true,
        error: "a group is missing",
        metrics: DeviceMetrics(
            deviceID: 17,
            timestamp: Date(timeIntervalSince1970: 1_764_756_300.123),
            cpu: .init(usagePercent: 12.345_678_901_234_5),
            memory: .init(totalBytes: 34_359_738_368, usedBytes: 17, usagePercent: 0.1),
            disk: .init(totalBytes: .max, usedBytes: .min, usagePercent: 100),
            network: .init(
                bytesSentPerSec: 0,
                bytesRecvPerSec: -1,
                utilizationPercent: 1e-7,
                packetsSent: 999_999_999_999_999_999,
                packetsRecv: nil,
                errors: 4,
                dropped: 5
            ),
            processCount: 42,
            collectionDurationMs: 7,
            jobID: "0b0f6d1e-7a3c-4a53-9d35-6e2b7a3f9c11"
        ),
        errorCode: .countersMissing,
        credentialID: 3,
        identity: HostIdentity(hostname: "köln-1.example.com", os: "Windows \"Server\"\\", build: nil)
    )

    private func foundation(_ data: Data) -> MetricsResult? {
        try? NMSJSON.decoder().decode(MetricsResult.self, from: data)
    }

    private func quick(_ data: Data) -> MetricsResult? { try? MetricsResult(json: data) }

    @Test func readsWhatIsWritten() throws {
        var plain = Self.full
        plain.identity = HostIdentity(hostname: "host", os: "Windows", build: "20348")
        for result in [
            Self.full, plain,
            MetricsResult(jobID: "", deviceID: -1, timestamp: .init(timeIntervalSince1970: 0), success: false),
            MetricsResult(
                jobID: "x",
                deviceID: 1,
                timestamp: .init(timeIntervalSince1970: 0),
                success: false,
                error: "no\nanswer",
                errorCode: .timeout
            ),
        ] {
            for data in [try NMSJSON.encoder().encode(result), Data(try NMSJSON.encode(result))] {
                #expect(self.quick(data) == self.foundation(data))
                #expect(self.quick(data)?.jobID == result.jobID)
                #expect(self.quick(data)?.metrics?.memory == result.metrics?.memory)
            }
        }
    }

    /// Every number that the columns may hold comes out as the very same value.
    @Test func numbersAreExact() throws {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<2_000 {
            var result = Self.full
            result.metrics?.cpu.usagePercent = Double(bitPattern: .random(in: 0...UInt64.max, using: &generator))
            if result.metrics?.cpu.usagePercent?.isFinite != true { result.metrics?.cpu.usagePercent = 0 }
            result.metrics?.memory.usagePercent = .random(in: 0...100, using: &generator)
            result.metrics?.disk.usagePercent = (Double.random(in: 0...100, using: &generator) * 100).rounded() / 100
            result.metrics?.memory.usedBytes = .random(in: .min ... .max, using: &generator)
            result.metrics?.disk.usedBytes = .random(in: -1000...1000, using: &generator)
            let data = try NMSJSON.encoder().encode(result)
            #expect(self.quick(data)?.metrics == result.metrics)
        }
    }

    /// A text that is cut, or has another byte somewhere, is judged as Foundation judges it.
    @Test func whatIsDamagedIsJudgedTheSame() throws {
        let data = try NMSJSON.encoder().encode(Self.full)
        for length in 0..<data.count { #expect(self.quick(data.prefix(length)) == nil) }
        for index in data.indices {
            for byte in [UInt8(ascii: "0"), UInt8(ascii: "\""), UInt8(ascii: "}"), UInt8(ascii: ","), 0x01, 0x80] {
                var damaged = data
                damaged[index] = byte
                #expect(self.quick(damaged) == self.foundation(damaged), "byte \(byte) at \(index)")
            }
        }
    }

    @Test(arguments: [
        "", "{}", "[]", "null", "{\"job_id\":\"a\"}",
        "{\"job_id\":\"a\",\"device_id\":1,\"timestamp\":\"2025-12-03T10:05:00.000Z\",\"success\":true}",
        " {\"success\" : true ,\n\"device_id\":\t1, \"timestamp\":\"2025-12-03T10:05:00Z\",\"job_id\":\"a\"} ",
        "{\"job_id\":\"a\",\"device_id\":1,\"timestamp\":\"2025-12-03T10:05:00.000Z\",\"success\":true,\"new\":[1,{}]}",
        "{\"job_id\":\"a\",\"device_id\":1,\"timestamp\":\"2025-12-03T10:05:00.000Z\",\"success\":true} x",
        "{\"job_id\":\"a\",\"device_id\":1.0,\"timestamp\":\"2025-12-03T10:05:00.000Z\",\"success\":true}",
        "{\"job_id\":\"a\",\"device_id\":1e2,\"timestamp\":\"2025-12-03T10:05:00.000Z\",\"success\":true}",
        "{\"job_id\":\"a\",\"device_id\":01,\"timestamp\":\"2025-12-03T10:05:00.000Z\",\"success\":true}",
        "{\"job_id\":\"a\",\"device_id\":99999999999999999999,\"timestamp\":\"2025-12-03T10:05:00.000Z\",\"success\":true}",
        "{\"job_id\":\"a\",\"device_id\":1,\"timestamp\":\"2025-02-30T10:05:00.000Z\",\"success\":true}",
        "{\"job_id\":\"a\",\"device_id\":1,\"timestamp\":\"2025-12-03T10:05:00.000Z\",\"success\":1}",
        "{\"job_id\":null,\"device_id\":1,\"timestamp\":\"2025-12-03T10:05:00.000Z\",\"success\":true}",
        "{\"job_id\":\"\\u0041\",\"device_id\":1,\"timestamp\":\"2025-12-03T10:05:00.000Z\",\"success\":true}",
    ])
    func otherFormsAreReadTheSame(_ text: String) {
        let data = Data(text.utf8)
        #expect(self.quick(data) == self.foundation(data))
    }
}
