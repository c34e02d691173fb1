import Foundation
import NMSCore
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Testing

@testable import NMSStorage

@Suite struct MetricsMonthTests {
    @Test func namesAndBoundsAreUTC() throws {
        let december = try #require(MetricsMonth(RFC3339.date(from: "2025-12-31T23:59:59.999Z")!))
        #expect(december.partition == "metrics_y2025m12")
        #expect(december.bounds == ("2025-12-01 00:00:00+00", "2026-01-01 00:00:00+00"))
        #expect(december.end == RFC3339.date(from: "2026-01-01T00:00:00Z")!)
        #expect(december.next?.partition == "metrics_y2026m01")
        #expect(MetricsMonth(RFC3339.date(from: "2025-12-01T00:00:00Z")!) == december)
        #expect(MetricsMonth(partition: "metrics_y2025m12") == december)
        for name in ["metrics", "metrics_y2025m13", "metrics_y25m01", "metrics_y2025m1", "metrics_y2025x01", "devices"]
        {
            #expect(MetricsMonth(partition: name) == nil)
        }
        #expect(MetricsMonth(.distantPast) == nil)
        #expect(MetricsMonth(.distantFuture) == nil)
        #expect(MetricsMonth(year: 2199, month: 12)?.next == nil)
    }
}

@Suite struct MetricsPartitionsTests {
    private let now = RFC3339.date(from: "2025-11-15T12:00:00Z")!

    @Test func threeMonthsAreMadeAheadBySeveralInstancesAtOnce() async throws {
        try await TestDatabase.with { database in
            try await Migrator(database.configuration).up()
            try await withThrowingTaskGroup { group in
                for _ in 0..<4 {
                    group.addTask {
                        try await MetricsPartitions(pool: database.pool, logger: .testing).ensureAhead(now: self.now)
                    }
                }
                try await group.waitForAll()
            }
            let partitions = MetricsPartitions(pool: database.pool, logger: .testing)
            #expect(
                try await partitions.existing().map(\.partition)
                    == ["metrics_y2025m11", "metrics_y2025m12", "metrics_y2026m01"]
            )
            // Bounds are UTC even for a session elsewhere.
            let bounds = try await database.pool.query(
                "SELECT pg_get_expr(relpartbound, oid) AS bound FROM pg_class WHERE relname = 'metrics_y2025m12'"
            )
            #expect(
                try bounds[0].value("bound")
                    == "FOR VALUES FROM ('2025-12-01 00:00:00+00') TO ('2026-01-01 00:00:00+00')"
            )
            // Attached partitions have what the parent has.
            let objects = try await database.pool.query(
                """
                SELECT count(*) FILTER (WHERE contype = 'p') AS keys, count(*) FILTER (WHERE contype = 'f') AS references
                FROM pg_constraint WHERE conrelid = 'metrics_y2025m12'::regclass
                """
            )
            #expect(try objects[0].value("keys") == 1)
            #expect(try objects[0].value("references") == 1)
        }
    }

    @Test func makingAPartitionWaitsForNoReader() async throws {
        try await TestDatabase.with(.migrated) { database in
            try await database.pool.withTransaction { reader in
                try await reader.query("SELECT count(*) FROM metrics")
                try await MetricsPartitions(pool: database.pool, logger: .testing)
                    .ensure([MetricsMonth(year: 2030, month: 1)!])
            }
        }
    }

    @Test func wholeMonthsPastRetentionAreDropped() async throws {
        try await TestDatabase.with { database in
            try await Migrator(database.configuration).up()
            let partitions = MetricsPartitions(pool: database.pool, logger: .testing)
            try await partitions.ensure(Set((1...11).map { MetricsMonth(year: 2025, month: $0)! }))
            // 90 days before 15 November is 17 August: July ends before, August after.
            let dropped = try await partitions.dropExpired(now: self.now, retentionDays: 90)
            #expect(dropped.map(\.month) == [1, 2, 3, 4, 5, 6, 7])
            #expect(try await partitions.existing().map(\.month) == [8, 9, 10, 11])
            #expect(try await partitions.dropExpired(now: self.now, retentionDays: 90).isEmpty)
            // It can come back for a row that needs it.
            try await partitions.ensure([MetricsMonth(year: 2025, month: 7)!])
            #expect(try await partitions.existing().map(\.month) == [7, 8, 9, 10, 11])
        }
    }

    @Test func aDetachedPartitionIsToldAndKeepsNothingElseFromBeingDone() async throws {
        try await TestDatabase.with { database in
            try await Migrator(database.configuration).up()
            let partitions = MetricsPartitions(pool: database.pool, logger: .testing)
            let (may, november) = (MetricsMonth(year: 2025, month: 5)!, MetricsMonth(year: 2025, month: 11)!)
            try await partitions.ensure([may, november])
            try await database.pool.query("ALTER TABLE metrics DETACH PARTITION \(november.partition)")
            await #expect(throws: MetricsPartitionError.unattached(november)) {
                try await partitions.ensureAhead(now: self.now)
            }
            #expect(try await partitions.existing().map(\.month) == [5, 12, 1])
            let description = MetricsPartitionError.unattached(november).description
            #expect(description.contains("metrics_y2025m11 exists"))

            let clock = ManualClock()
            let task = Task { await partitions.run(retentionDays: 90, clock: clock) { self.now } }
            await clock.waitForSleepers()
            #expect(try await partitions.existing().map(\.month) == [12, 1])
            // The remedy that the message names.
            let start = try #require(description.firstRange(of: "ALTER TABLE")).lowerBound
            let end = try #require(description.firstRange(of: "), or")).lowerBound
            try await database.pool.query(String(description[start..<end]))
            // Within the hour, not the next day.
            clock.advance(by: .seconds(3600))
            await clock.waitForSleepers()
            try await partitions.ensureAhead(now: self.now)
            #expect(try await partitions.existing().map(\.month) == [11, 12, 1])
            task.cancel()
            await task.value
        }
    }

    @Test(.timeLimit(.minutes(1))) func maintenanceRunsDaily() async throws {
        try await TestDatabase.with { database in
            try await Migrator(database.configuration).up()
            let partitions = MetricsPartitions(pool: database.pool, logger: .testing)
            let clock = ManualClock()
            let start = self.now
            let task = Task {
                await partitions.run(retentionDays: 1, clock: clock) {
                    start.addingTimeInterval(Double(clock.now.offset.components.seconds))
                }
            }
            await clock.waitForSleepers()
            #expect(try await partitions.existing().map(\.month) == [11, 12, 1])
            clock.advance(by: .seconds(86_400 * 20))
            await clock.waitForSleepers()
            #expect(try await partitions.existing().map(\.month) == [12, 1, 2])
            task.cancel()
            await task.value
        }
    }
}

@Suite struct MetricsRepositoryTests {
    @Test func latestAndHistory() async throws {
        try await TestDatabase.with(.migrated) { database in
            let metrics = MetricsRepository(pool: database.pool)
            let (device, _) = try await database.pool.provisionedDevice(1)
            let (other, _) = try await database.pool.provisionedDevice(2)
            #expect(try await metrics.latest(deviceID: device) == nil)
            let start = Date().roundedToMilliseconds
            for second in 0..<5 {
                try await database.pool.query(
                    "INSERT INTO metrics (device_id, timestamp, cpu_usage_percent) VALUES ($1, $2, $3), ($4, $2, 99)",
                    [device, start.addingTimeInterval(Double(second)), Double(second) + 0.25, other]
                )
            }
            #expect(try await metrics.latest(deviceID: device)?.cpu.usagePercent == 4.25)
            #expect(try await metrics.latest(deviceID: device)?.timestamp == start.addingTimeInterval(4))
            #expect(try await metrics.latest(deviceID: device)?.memory.usagePercent == nil)
            let latest = try await metrics.latest(deviceIDs: [device, other, 99, device])
            #expect(latest.mapValues(\.cpu.usagePercent) == [device: 4.25, other: 99])
            #expect(latest[device] == (try await metrics.latest(deviceID: device)))
            #expect(try await metrics.latest(deviceIDs: []).isEmpty)
            func history(_ from: Double, _ to: Double, limit: Int) async throws -> ([Double?], Bool) {
                let (rows, truncated) = try await metrics.raw(
                    deviceID: device,
                    from: start.addingTimeInterval(from),
                    to: start.addingTimeInterval(to),
                    limit: limit
                )
                return (rows.map(\.cpu.usagePercent), truncated)
            }
            #expect(try await history(1, 3, limit: 10) == ([1.25, 2.25], false))
            #expect(try await history(-100, 100, limit: 5) == ([0.25, 1.25, 2.25, 3.25, 4.25], false))
            #expect(try await history(-100, 100, limit: 4) == ([0.25, 1.25, 2.25, 3.25], true))
            #expect(try await history(50, 100, limit: 4) == ([], false))
            #expect(try await metrics.latest(deviceID: 1 << 40) == nil)
        }
    }

    @Test func aRowOfAClockThatWasAheadIsNotTheLatest() async throws {
        try await TestDatabase.with(.migrated) { database in
            let metrics = MetricsRepository(pool: database.pool)
            let (device, _) = try await database.pool.provisionedDevice(1)
            let now = Date().roundedToMilliseconds
            for (ahead, value) in [(0, 1), (60, 2), (61, 3)] as [(Double, Double)] {
                try await database.pool.query(
                    "INSERT INTO metrics (device_id, timestamp, cpu_usage_percent) VALUES ($1, $2, $3)",
                    [device, now.addingTimeInterval(ahead), value]
                )
            }
            #expect(try await metrics.latest(deviceID: device, now: now)?.cpu.usagePercent == 2)
            let later = now.addingTimeInterval(1)
            #expect(try await metrics.latest(deviceID: device, now: later)?.cpu.usagePercent == 3)
        }
    }

    /// Neither reads nor sorts a device's whole history.
    @Test func theIndexIsUsed() async throws {
        try await TestDatabase.with(.migrated) { database in
            let (device, _) = try await database.pool.provisionedDevice(1)
            for host in 2...20 { _ = try await database.pool.provisionedDevice(host) }
            try await database.pool.query(
                """
                INSERT INTO metrics (device_id, timestamp)
                SELECT devices.id, NOW() - make_interval(secs => second) + INTERVAL '1 hour'
                FROM devices, generate_series(1, 1000) AS second
                """
            )
            try await database.pool.query("ANALYZE metrics")
            func plan(_ query: String, _ parameters: [(any PostgresEncodable)?]) async throws -> String {
                try await database.pool.query("EXPLAIN " + query, parameters)
                    .map { try $0.value("QUERY PLAN", as: String.self) }.joined(separator: "\n")
            }
            let now = Date()
            for plan in [
                try await plan(MetricsRepository.latestQuery, [device, now]),
                try await plan(MetricsRepository.rawQuery, [device, now.addingTimeInterval(-60), now, 1001]),
            ] {
                #expect(plan.contains("device_id_timestamp_idx") || plan.contains("idx_metrics_device_time"), "\(plan)")
                #expect(!plan.contains("Seq Scan on metrics"), "\(plan)")
            }
        }
    }
}
