import Foundation
import NMSCore
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Testing

@testable import NMSStorage

@Suite struct HistoryHoursTests {
    private let noon = time("2025-12-03T12:00:00Z")
    private func at(_ minutes: Double) -> Date { self.noon.addingTimeInterval(minutes * 60) }

    private func hours(_ from: Double, _ to: Double, until: Double?, from completeFrom: Double? = nil) -> HistoryHours {
        HistoryHours(
            from: self.at(from),
            to: self.at(to),
            state: RollUpState(rolledUpUntil: until.map(self.at), completeFrom: completeFrom.map(self.at)),
            changed: [self.at(120), self.at(-60), self.at(60), self.at(600)]
        )
    }

    @Test func wholeHoursAreRolledUpAndTheRestIsRows() {
        let hours = self.hours(10, 310, until: 1_000)
        #expect(hours.head == self.at(10)..<self.at(60))
        #expect(hours.rolledUp == self.at(60)..<self.at(300))
        #expect(hours.tail == self.at(300)..<self.at(310))
        #expect(hours.changed == [self.at(60), self.at(120)])
        // As far as it has come.
        #expect(self.hours(0, 310, until: 120).head.isEmpty)
        #expect(self.hours(0, 310, until: 120).rolledUp == self.at(0)..<self.at(120))
        #expect(self.hours(0, 310, until: 120).tail == self.at(120)..<self.at(310))
    }

    @Test(
        arguments: [(10, 50, 1_000.0), (10, 110, 1_000), (10, 310, 60), (0, 300, 0), (0, 300, nil)]
            as [(Double, Double, Double?)]
    )
    func withoutARolledUpHourAllIsRows(from: Double, to: Double, until: Double?) {
        let hours = self.hours(from, to, until: until)
        #expect(hours.head.isEmpty && hours.rolledUp.isEmpty && hours.changed.isEmpty)
        #expect(hours.tail == self.at(from)..<self.at(to))
    }

    @Test func whereRowsWereDroppedHoursCountWhole() {
        let hours = self.hours(-50, 190, until: 1_000, from: 120)
        #expect(hours.head.isEmpty)
        #expect(hours.rolledUp == self.at(-60)..<self.at(180))
        #expect(hours.tail == self.at(180)..<self.at(190))
        #expect(hours.changed == [self.at(120)])
        #expect(self.hours(10, 50, until: 1_000, from: 60).rolledUp == self.at(0)..<self.at(60))
        #expect(self.hours(10, 50, until: 1_000, from: 60).tail.isEmpty)
    }

    @Test func bucketsAreCountedByTheirEdges() {
        #expect(HistoryInterval.oneMinute.bucketCount(from: self.at(0), to: self.at(60)) == 60)
        #expect(HistoryInterval.oneMinute.bucketCount(from: self.at(0.5), to: self.at(60.5)) == 61)
        #expect(HistoryInterval.oneDay.bucketCount(from: self.at(0), to: self.at(1_440)) == 2)
        #expect(HistoryInterval.oneDay.bucketCount(from: self.at(0), to: self.at(0)) == 0)
        #expect(HistoryInterval.raw.bucketCount(from: self.at(0), to: self.at(60)) == nil)
        #expect(HistoryInterval.allCases.filter(\.isHourly) == [.oneHour, .sixHours, .oneDay])
    }
}

@Suite struct MetricsHistoryTests {
    /// Rows over a border of months, dense and sparse, with gaps and unknown values; some of them late.
    private struct Fixture {
        static let start = time("2025-09-20T00:00:00Z")
        static let days = 40.0
        var random = SeededGenerator(seed: 20_251_203)
        let devices: [Int]

        mutating func results(_ count: Int) -> [MetricsResult] {
            (0..<count).map { _ in
                let device = self.devices.randomElement(using: &self.random)!
                // Most rows lie in a few crowded days.
                let day =
                    Int.random(in: 0..<4, using: &self.random) == 0
                    ? Double.random(in: 0..<Self.days, using: &self.random)
                    : [3, 10, 11, 39].randomElement(using: &self.random)!
                        + Double.random(in: 0..<1, using: &self.random)
                let date = Self.start.addingTimeInterval((day * 86_400 * 1000).rounded() / 1000)
                return .random(device: device, at: date.roundedToMilliseconds, &self.random)
            }
        }

        mutating func range(_ interval: HistoryInterval) -> (from: Date, to: Date) {
            var (low, high) = (
                Double.random(in: -1..<Self.days + 1, using: &self.random),
                Double.random(in: -1..<Self.days + 1, using: &self.random)
            )
            // Sometimes within an hour or two, sometimes on the edges of buckets.
            if Int.random(in: 0..<4, using: &self.random) == 0 {
                high = low + .random(in: 0.001..<0.1, using: &self.random)
            }
            if low > high { swap(&low, &high) }
            var (from, to) = (low * 86_400, high * 86_400)
            if Bool.random(using: &self.random), let seconds = interval.seconds {
                from = (from / Double(seconds)).rounded(.down) * Double(seconds)
                to = (to / Double(seconds)).rounded(.up) * Double(seconds)
            }
            return (
                Self.start.addingTimeInterval(from).roundedToMilliseconds,
                Self.start.addingTimeInterval(max(to, from + 1)).roundedToMilliseconds
            )
        }
    }

    @Test(.timeLimit(.minutes(3))) func everyAnswerIsThatOfAPlainComputation() async throws {
        try await TestDatabase.with { database in
            let pool = database.pool
            try await Migrator(database.configuration).up()
            try await pool.makePartitions()
            let devices = try await [pool.provisionedDevice(1).device, pool.provisionedDevice(2).device]
            var fixture = Fixture(devices: devices)
            let now = Fixture.start.addingTimeInterval((Fixture.days - 0.5) * 86_400)
            let rollUp = HistoryRollUp.testing(database, now: now)

            var stored = fixture.results(1_500)
            try await pool.store(stored, now: now)
            try await self.compare(stored, &fixture, database, "before the roll-up")
            for _ in 0..<120 { _ = try await rollUp.step(pool) }
            try await self.compare(stored, &fixture, database, "in the middle of it")
            var late = fixture.results(300)
            try await pool.store(late, now: now)
            stored += late
            try await self.compare(stored, &fixture, database, "late rows in the middle")
            try await rollUp.finish(pool)
            try await self.compare(stored, &fixture, database, "rolled up")
            late = fixture.results(300)
            try await pool.store(late, now: now)
            stored += late
            try await self.compare(stored, &fixture, database, "late rows afterwards")
            try await rollUp.finish(pool)
            try await self.compare(stored, &fixture, database, "rolled up again")
            #expect(try await pool.count("metrics") == stored.count)
            // Only the hours that are not over have entries left.
            #expect(
                try await pool.count("metrics_changes WHERE hour < (SELECT rolled_up_until FROM metrics_hourly_state)")
                    == 0
            )
            #expect(try await pool.count("metrics_hourly") > 500)
        }
    }

    private func compare(
        _ stored: [MetricsResult],
        _ fixture: inout Fixture,
        _ database: TestDatabase,
        _ when: Comment
    ) async throws {
        let metrics = MetricsRepository(pool: database.pool)
        for interval in HistoryInterval.allCases {
            guard let seconds = interval.seconds else { continue }
            for _ in 0..<12 {
                let device = fixture.devices.randomElement(using: &fixture.random)!
                let (from, to) = fixture.range(interval)
                let limit = [1, 7, 100, 10_000].randomElement(using: &fixture.random)!
                let fields = MetricField.allCases.filter { _ in Bool.random(using: &fixture.random) }
                let (found, truncated) = try await metrics.aggregated(
                    deviceID: device,
                    from: from,
                    to: to,
                    interval: interval,
                    fields: fields,
                    limit: limit
                )
                let expected = PlainHistory.buckets(
                    stored,
                    device: device,
                    from: from,
                    to: to,
                    seconds: seconds,
                    fields: fields
                )
                #expect(truncated == (expected.count > limit), when)
                #expect(found.count == min(expected.count, limit), when)
                for (found, expected) in zip(found, expected) where !found.isClose(to: expected) {
                    Issue.record("\(when): \(interval) \(from)…\(to): \(found) is not \(expected)")
                    return
                }
            }
        }
    }

    @Test func aJobThatComesTwiceCountsOnce() async throws {
        try await TestDatabase.with { database in
            let pool = database.pool
            try await Migrator(database.configuration).up()
            try await pool.makePartitions()
            let device = try await pool.provisionedDevice().device
            let at = time("2025-10-01T10:30:00Z")
            let result = MetricsResult.value(10, device: device, at: at)
            try await pool.store([result, .value(20, device: device, at: at + 60)], now: at)
            await #expect(throws: HistoryFailure.self) { try await pool.store([result], now: at) }
            try await HistoryRollUp.testing(database, now: at + 7200).finish(pool)
            let (buckets, _) = try await MetricsRepository(pool: pool).aggregated(
                deviceID: device,
                from: at - 3600,
                to: at + 3600,
                interval: .oneDay,
                fields: [.processCount],
                limit: 10
            )
            #expect(
                buckets == [
                    AggregatedMetrics(
                        timestamp: time("2025-10-01T00:00:00Z"),
                        values: [
                            .processCount: MetricAggregate(average: 15, minimum: .integer(10), maximum: .integer(20))
                        ]
                    )
                ]
            )
        }
    }

    /// Neither a whole partition nor a whole roll-up is read for one device.
    @Test func theIndexesAreUsed() async throws {
        try await TestDatabase.with { database in
            let pool = database.pool
            try await Migrator(database.configuration).up()
            try await pool.makePartitions()
            for host in 1...20 { _ = try await pool.provisionedDevice(host) }
            try await pool.query(
                """
                INSERT INTO metrics (device_id, timestamp) SELECT devices.id, minute FROM devices,
                    generate_series(TIMESTAMPTZ '2025-10-01', '2025-10-02', '1 minute') AS minute
                """
            )
            let counts = MetricField.allCases.map { "\($0.column)_count" }
            try await pool.query(
                """
                INSERT INTO metrics_hourly (device_id, row_count, hour, \(counts.joined(separator: ", ")))
                SELECT devices.id, 1, hour, \(counts.map { _ in "0" }.joined(separator: ", ")) FROM devices,
                    generate_series(TIMESTAMPTZ '2025-01-01', '2025-06-01', '1 hour') AS hour
                """
            )
            try await pool.query("ANALYZE metrics")
            try await pool.query("ANALYZE metrics_hourly")
            let plan = try await pool.query(
                "EXPLAIN \(MetricsHistoryQueries.hourlyBuckets(of: 21_600, fields: MetricField.allCases))",
                [
                    1, time("2025-10-01T01:00:00Z"), time("2025-10-01T02:00:00Z"), time("2025-02-01T00:00:00Z"),
                    time("2025-03-01T00:00:00Z"), time("2025-10-01T05:00:00Z"), time("2025-10-01T06:00:00Z"), [Date](),
                    1001,
                ]
            ).map { try $0.value("QUERY PLAN", as: String.self) }.joined(separator: "\n")
            #expect(plan.contains("metrics_hourly_pkey"), "\(plan)")
            // Of the partitions only that with rows counts: reading an empty one is free.
            #expect(!plan.contains("Seq Scan on metrics_y2025m10"), "\(plan)")
            #expect(!plan.contains("Seq Scan on metrics_hourly"), "\(plan)")
            let rollUp = try await pool.query(
                "EXPLAIN \(MetricsHistoryQueries.rollUp)",
                [[1, 2, 3], Array(repeating: time("2025-10-01T07:00:00Z"), count: 3)]
            ).map { try $0.value("QUERY PLAN", as: String.self) }.joined(separator: "\n")
            #expect(!rollUp.contains("Seq Scan on metrics_y2025m10"), "\(rollUp)")
        }
    }
}
