import Foundation
import Testing

@testable import Prometheus

@Suite struct ProcessMetricsTests {
    @Test func aProgramsNameMayHoldAnything() throws {
        let text =
            "4242 (a) b (c) S 1 4242 4242 0 -1 4194560 500 0 3 0 150 50 7 8 20 0 12 0 987654 223338496 1234 18446744073709551615 1\n"
        let stat = try #require(ProcessStat(parsing: text))
        #expect(stat.cpuTicks == 200)
        #expect(stat.threads == 12)
        #expect(stat.startTicks == 987_654)
        #expect(stat.virtualBytes == 223_338_496)
        #expect(stat.residentPages == 1234)
        #expect(ProcessStat(parsing: "4242 (cut) S 1 2 3") == nil)
        #expect(ProcessStat(parsing: "") == nil)
        #expect(ProcessStat.bootTime(parsing: "cpu 1 2\nctxt 3\nbtime 1700000000\nprocesses 9\n") == 1_700_000_000)
        #expect(ProcessStat.bootTime(parsing: "cpu 1 2") == nil)
    }

    /// This very process, against what can be known of it.
    @Test func theNumbersAreThisProcesss() throws {
        func sample() -> [String: Double] {
            var samples = MetricSamples()
            ProcessMetrics.sample(into: &samples)
            return Dictionary(
                uniqueKeysWithValues: samples.samples.map { sample in
                    switch sample.value {
                    case .unsigned(let value): (sample.name, Double(value))
                    case .number(let value): (sample.name, value)
                    case .histogram: (sample.name, .nan)
                    }
                }
            )
        }
        let before = sample()
        #expect(Set(before.keys) == Set(ProcessMetrics.families.map(\.name)))
        let memory = try #require(before["process_resident_memory_bytes"])
        #expect(memory > 1e6 && memory < 1e11)
        let start = try #require(before["process_start_time_seconds"])
        let age = Date().timeIntervalSince1970 - start
        #expect(age > -2 && age < 3600)
        #expect(before["process_max_fds"] ?? 0 >= 64)

        // Other tests open and close descriptors too: many more stand out.
        let files = (0..<200).compactMap { _ in FileHandle(forReadingAtPath: "/dev/null") }
        let open = (sample()["process_open_fds"] ?? 0) - (before["process_open_fds"] ?? 0)
        #expect(open > 150 && open < 250)
        withExtendedLifetime(files) {}

        var spin = 0.0
        for number in 0..<3_000_000 { spin += Double(number).squareRoot() }
        #expect(spin > 0)
        #expect(sample()["process_cpu_seconds_total"] ?? 0 > before["process_cpu_seconds_total"] ?? .infinity)
    }
}
