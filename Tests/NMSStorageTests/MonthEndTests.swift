import Foundation
import NMSCore
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Synchronization
import Testing

@testable import NMSStorage

/// Ten weeks of polls in some seconds: two month ends, the retention limit, and a long stop.
@Suite struct MonthEndTests {
    private static let retentionDays = 30

    /// A wall clock that is set by hand.
    private final class Calendar: Sendable {
        private let moment: Mutex<Date>

        init(_ text: String) throws { self.moment = Mutex(try #require(RFC3339.date(from: text))) }

        var now: Date { self.moment.withLock { $0 } }

        func advance(_ seconds: TimeInterval) { self.moment.withLock { $0 += seconds } }
    }

    private struct Run {
        let pool: PostgresPool
        let calendar: Calendar
        let harness = WriterHarness()
        let partitions: MetricsPartitions
        let rollUp: HistoryRollUp
        let writer: StorageWriter
        let devices: [Int]
        /// The times of all results that were acknowledged.
        var times: [Date] = []
        var dropped: [MetricsMonth] = []

        init(_ pool: PostgresPool, _ calendar: Calendar) async throws {
            self.pool = pool
            self.calendar = calendar
            self.partitions = MetricsPartitions(pool: pool, logger: .testing)
            self.rollUp = HistoryRollUp(pool.configuration, logger: .testing) { calendar.now }
            var options = StorageWriter.Options()
            options.batchDelay = .milliseconds(1)
            self.writer = StorageWriter(
                pool: pool,
                source: self.harness,
                events: self.harness,
                partitions: self.partitions,
                options: options,
                logger: .testing
            ) { calendar.now }
            var devices: [Int] = []
            for host in 1...3 { devices.append(try await pool.provisionedDevice(host).device) }
            self.devices = devices
        }

        /// What the daily service does, and the roll-up beside it.
        mutating func maintain() async throws {
            while try await self.rollUp.step(self.pool) == .advanced {}
            try await self.partitions.ensureAhead(now: self.calendar.now)
            self.dropped += try await self.partitions.dropExpired(
                now: self.calendar.now,
                retentionDays: MonthEndTests.retentionDays
            )
        }

        mutating func poll(at times: [Date]) async {
            let results = times.flatMap { time in self.devices.map { MetricsResult.testing(device: $0, at: time) } }
            self.harness.deliver(results)
            self.times += results.map(\.timestamp)
            await self.harness.settled(self.times.count)
        }

        /// Polls every six hours, with maintenance once a day.
        mutating func live(days: Int) async throws {
            for _ in 0..<days {
                try await self.maintain()
                let start = self.calendar.now
                await self.poll(at: (0..<4).map { start.addingTimeInterval(Double($0) * 21_600) })
                self.calendar.advance(86_400)
            }
        }

        func months() async throws -> [String] { try await self.partitions.existing().map(\.partition) }

        /// Rows in partitions that are kept, each of a job of its own.
        func checkRows() async throws {
            let kept = self.times.filter { !self.dropped.contains(MetricsMonth($0)!) }
            let row = try await self.pool.query("SELECT count(*) AS rows, count(DISTINCT job_id) AS jobs FROM metrics")[
                0
            ]
            #expect(try row.value("rows", as: Int.self) == kept.count)
            #expect(try row.value("jobs", as: Int.self) == kept.count)
            #expect(self.harness.acknowledged.count == self.times.count)
            #expect(self.writer.statistics.rows == self.times.count)
        }
    }

    @Test(.timeLimit(.minutes(2))) func nothingIsLostButWhatRetentionDrops() async throws {
        try await TestDatabase.with(.migrated) { database in
            for month in try await MetricsPartitions(pool: database.pool, logger: .testing).existing() {
                try await database.pool.query("DROP TABLE \(month.partition)")
            }
            let calendar = try Calendar("2024-12-30T00:30:00Z")
            var run = try await Run(database.pool, calendar)
            let writing = Task { [writer = run.writer] in await writer.run() }
            defer { writing.cancel() }

            // Over New Year: this month and two more are always there.
            try await run.live(days: 4)
            #expect(
                try await run.months() == [
                    "metrics_y2024m12", "metrics_y2025m01", "metrics_y2025m02", "metrics_y2025m03",
                ]
            )
            try await run.checkRows()
            // On the last day of January, retention has reached December; its rows are in the hours.
            try await run.live(days: 40)
            #expect(run.dropped.map(\.partition) == ["metrics_y2024m12"])
            #expect(
                try await run.months()
                    == ["metrics_y2025m01", "metrics_y2025m02", "metrics_y2025m03", "metrics_y2025m04"]
            )
            try await run.checkRows()
            try await run.live(days: 26)
            #expect(run.dropped.map(\.partition) == ["metrics_y2024m12", "metrics_y2025m01"])
            try await run.maintain()
            let hours = try await database.pool.query("SELECT sum(row_count)::bigint AS rows FROM metrics_hourly")[0]
            let rolledUp = run.times.filter { $0 < calendar.now.addingTimeInterval(-3600 - 300) }
            #expect(try hours.value("rows", as: Int.self) == rolledUp.count)
            try await run.checkRows()

            // A late row of a month that is kept, and one of a month that is gone: stored, until retention comes again.
            await run.poll(at: [calendar.now.addingTimeInterval(-20 * 86_400)])
            try await run.checkRows()
            let gone = try #require(RFC3339.date(from: "2025-01-15T12:00:00Z"))
            run.dropped.removeAll { $0 == MetricsMonth(gone) }
            let before = try await database.pool.count("metrics")
            await run.poll(at: [gone])
            #expect(try await database.pool.count("metrics") == before + run.devices.count)

            // Off for three months, beyond all partitions that were made ahead: the next results find theirs.
            calendar.advance(92 * 86_400)
            let start = calendar.now
            await run.poll(at: [start])
            run.dropped = []
            try await run.maintain()
            #expect(
                try await run.months() == [
                    "metrics_y2025m05", "metrics_y2025m06", "metrics_y2025m07", "metrics_y2025m08",
                ]
            )
            #expect(try await database.pool.count("metrics") == run.devices.count)
            #expect(run.writer.statistics.buried == 0)
            #expect(run.writer.statistics.rejected == 0)
            writing.cancel()
            await writing.value
        }
    }
}
