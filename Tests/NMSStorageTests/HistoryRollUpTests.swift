import Foundation
import NMSCore
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Testing

@testable import NMSStorage

@Suite struct HistoryRollUpTests {
    private let hour = time("2025-10-01T10:00:00Z")
    private var half: Date { self.hour + 1800 }

    private func with(_ body: (TestDatabase, _ device: Int) async throws -> Void) async throws {
        try await TestDatabase.with { database in
            try await Migrator(database.configuration).up()
            try await database.pool.makePartitions()
            try await body(database, database.pool.provisionedDevice().device)
        }
    }

    /// Mean, smallest and largest process count of the hour, as the API reads it.
    private func answer(_ database: TestDatabase, _ device: Int, hour: Date? = nil) async throws -> MetricAggregate? {
        let hour = hour ?? self.hour
        return try await MetricsRepository(pool: database.pool).aggregated(
            deviceID: device,
            from: hour,
            to: hour + 3600,
            interval: .oneHour,
            fields: [.processCount],
            limit: 10
        ).buckets.first?.values[.processCount]
    }

    private func stored(_ database: TestDatabase, hour: Date? = nil) async throws -> Int? {
        try await database.pool.query(
            "SELECT process_count_sum::bigint AS sum FROM metrics_hourly WHERE hour = $1",
            [hour ?? self.hour]
        ).first?.value("sum")
    }

    private func state(_ database: TestDatabase) async throws -> RollUpState {
        try RollUpState(try await database.pool.query("SELECT * FROM metrics_hourly_state")[0])
    }

    // MARK: Hours

    @Test func anHourIsRolledUpOnceItIsOver() async throws {
        try await self.with { database, device in
            try await database.pool.store([.value(10, device: device, at: self.half)], now: self.half)
            for (late, until) in [(3599.0, self.hour), (3600 + 299, self.hour), (3600 + 300, self.hour + 3600)] {
                try await HistoryRollUp.testing(database, now: self.hour + late).finish(database.pool)
                #expect(try await self.state(database).rolledUpUntil == until)
            }
            #expect(try await self.stored(database) == 10)
            #expect(try await database.pool.count("metrics_changes") == 0)
            // It is what the answer comes from.
            try await database.pool.query("UPDATE metrics_hourly SET process_count_sum = 77")
            #expect(try await self.answer(database, device)?.average == 77)
        }
    }

    @Test func aLateRowCountsAtOnceAndMakesItsHourAnew() async throws {
        try await self.with { database, device in
            let rollUp = HistoryRollUp.testing(database, now: self.hour + 86_400)
            try await database.pool.store([.value(10, device: device, at: self.half)], now: self.half)
            try await rollUp.finish(database.pool)
            try await database.pool.store([.value(30, device: device, at: self.half + 1)], now: self.half)
            let expected = MetricAggregate(average: 20, minimum: .integer(10), maximum: .integer(30))
            #expect(try await self.stored(database) == 10)
            #expect(try await self.answer(database, device) == expected)
            #expect(try await rollUp.step(database.pool) == .idle)
            #expect(try await self.stored(database) == 40)
            #expect(try await self.answer(database, device) == expected)
            // Twice is as once.
            try await database.pool.query(
                "INSERT INTO metrics_changes (hour, device_ids) VALUES ($1, ARRAY[$2::integer, $2, 4711])",
                [self.hour, device]
            )
            try await rollUp.finish(database.pool)
            #expect(try await self.stored(database) == 40)
            #expect(try await rollUp.step(database.pool) == .idle)
        }
    }

    @Test func aRowThatIsCommittedDuringAStepIsNotLost() async throws {
        try await self.with { database, device in
            let rollUp = HistoryRollUp.testing(database, now: self.hour + 86_400)
            try await database.pool.store([.value(10, device: device, at: self.half)], now: self.half)
            try await database.pool.withTransaction { writer in
                let late = try PreparedResult(.value(30, device: device, at: self.half + 1))
                _ = try await BatchTransaction(connection: writer, unreachableAfter: 3, now: self.half).run([late])
                // Waits for nobody, and sees nothing of it.
                try await rollUp.finish(database.pool)
                #expect(try await self.stored(database) == 10)
            }
            #expect(try await self.answer(database, device)?.average == 20)
            try await rollUp.finish(database.pool)
            #expect(try await self.stored(database) == 40)
        }
    }

    @Test func longGapsCostOneStep() async throws {
        try await self.with { database, device in
            let rollUp = HistoryRollUp.testing(database, now: self.hour + 60 * 86_400)
            let results = [0.0, 40 * 86_400].map { MetricsResult.value(1, device: device, at: self.half + $0) }
            try await database.pool.store(results, now: self.half)
            #expect(try await rollUp.finish(database.pool) < 8)
            #expect(try await database.pool.count("metrics_hourly") == 2)
            #expect(try await self.state(database).rolledUpUntil == self.hour + 60 * 86_400 - 3600)
        }
    }

    @Test func anEmptyDatabaseIsUpToDate() async throws {
        try await TestDatabase.with(.migrated) { database in
            let rollUp = HistoryRollUp.testing(database, now: self.hour)
            let steps = try await rollUp.finish(database.pool)
            #expect(steps == 1)
            #expect(try await self.state(database).rolledUpUntil == self.hour - 3600)
        }
    }

    @Test func hoursGoWithTheirDevice() async throws {
        try await self.with { database, device in
            let rollUp = HistoryRollUp.testing(database, now: self.hour + 86_400)
            let other = try await database.pool.provisionedDevice(2).device
            let results = [device, other].map { MetricsResult.value(1, device: $0, at: self.half) }
            try await database.pool.store(results, now: self.half)
            try await rollUp.finish(database.pool)
            try await database.pool.store([.value(5, device: device, at: self.half + 2)], now: self.half)
            #expect(try await DeviceRepository(pool: database.pool).delete(id: device))
            // Its entry of a change is left, and means nothing.
            try await rollUp.finish(database.pool)
            #expect(try await database.pool.count("metrics_hourly") == 1)
            #expect(try await database.pool.count("metrics_changes") == 0)
        }
    }

    // MARK: Crashes and company

    @Test func aStepThatFailsChangesNothing() async throws {
        try await self.with { database, device in
            let pool = database.pool
            let rollUp = HistoryRollUp.testing(database, now: self.hour + 3 * 3600)
            try await pool.store([.value(10, device: device, at: self.half)], now: self.half)
            try await rollUp.finish(pool)
            let more = [0.0, 3600].map { MetricsResult.value(30, device: device, at: self.half + $0 + 1) }
            try await pool.store(more, now: self.half)
            try await pool.query("UPDATE metrics_hourly_state SET rolled_up_until = $1", [self.hour + 3600])
            try await pool.withConnection { connection in
                try await connection.execute(
                    script: """
                        CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql AS
                            $$ BEGIN RAISE EXCEPTION 'crash'; END $$;
                        CREATE TRIGGER crash BEFORE UPDATE ON metrics_hourly_state EXECUTE FUNCTION crash()
                        """
                )
            }
            let answers = [
                try await self.answer(database, device),
                try await self.answer(database, device, hour: self.hour + 3600),
            ]
            #expect(answers.map { $0?.average } == [20, 30])
            // After both the late row and the next hour were rolled up.
            await #expect(throws: PostgresError.self) { try await rollUp.step(pool) }
            #expect(try await self.stored(database) == 10)
            #expect(try await pool.count("metrics_changes") == 2)
            #expect(try await self.answer(database, device) == answers[0])
            try await pool.query("DROP TRIGGER crash ON metrics_hourly_state")
            try await rollUp.finish(pool)
            #expect(try await self.stored(database) == 40)
            #expect(try await self.stored(database, hour: self.hour + 3600) == 30)
            #expect(try await self.answer(database, device) == answers[0])
        }
    }

    @Test func instancesTakeTurns() async throws {
        try await self.with { database, device in
            let rollUp = HistoryRollUp.testing(database, now: self.hour + 3 * 86_400)
            let results = (0..<50).map { MetricsResult.value($0, device: device, at: self.half + Double($0) * 3600) }
            try await database.pool.store(results, now: self.half)
            try await database.pool.withTransaction { other in
                try await other.query("SELECT pg_advisory_xact_lock($1)", [AdvisoryLockKey.historyRollUp.rawValue])
                #expect(try await rollUp.step(database.pool) == .busy)
            }
            try await withThrowingTaskGroup { group in
                for _ in 0..<4 { group.addTask { try await rollUp.finish(database.pool) } }
                for index in 0..<50 {
                    group.addTask {
                        let late = MetricsResult.value(100, device: device, at: self.half + Double(index) * 3600 + 1)
                        try await database.pool.store([late], now: self.half)
                        return 0
                    }
                }
                try await group.waitForAll()
            }
            try await rollUp.finish(database.pool)
            let hours = try await database.pool.query(
                "SELECT process_count_sum::bigint AS sum, row_count FROM metrics_hourly ORDER BY hour"
            )
            #expect(try hours.map { try $0.value("sum") } == (0..<50).map { $0 + 100 })
            #expect(try hours.allSatisfy { try $0.value("row_count") == 2 })
        }
    }

    @Test func writersDoNotWaitForAStep() async throws {
        try await self.with { database, device in
            let pool = database.pool
            let rollUp = HistoryRollUp.testing(database, now: self.hour + 86_400)
            try await pool.store([.value(10, device: device, at: self.half)], now: self.half)
            // A step that has read its rows, and stays there.
            try await pool.withConnection { connection in
                try await connection.execute(
                    script: """
                        CREATE FUNCTION stay() RETURNS trigger LANGUAGE plpgsql AS
                            $$ BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NULL; END $$;
                        CREATE TRIGGER stay AFTER INSERT ON metrics_hourly EXECUTE FUNCTION stay()
                        """
                )
            }
            let step = try await pool.withConnection { holder in
                try await holder.query("SELECT pg_advisory_lock(42)")
                // The beginning and the hour.
                let step = Task { [pool] in [try await rollUp.step(pool), try await rollUp.step(pool)] }
                while try await pool.count("pg_locks WHERE locktype = 'advisory' AND NOT granted") == 0 {
                    await Task.yield()
                }
                var configuration = database.configuration
                configuration.statementTimeout = .seconds(3)
                let writers = PostgresPool(configuration)
                try await writers.store([.value(30, device: device, at: self.half + 1)], now: self.half)
                await writers.close()
                try await holder.query("SELECT pg_advisory_unlock(42)")
                return step
            }
            #expect(try await step.value == [.advanced, .advanced])
            #expect(try await self.answer(database, device)?.average == 20)
            try await rollUp.finish(pool)
            #expect(try await self.stored(database) == 40)
        }
    }

    @Test(.timeLimit(.minutes(1))) func itRunsUntilItIsCancelled() async throws {
        try await self.with { database, device in
            let pool = database.pool
            try await pool.store([.value(10, device: device, at: self.half)], now: self.half)
            let clock = ManualClock()
            let start = self.hour
            let rollUp = HistoryRollUp(database.configuration, logger: .testing, clock: clock) {
                start.addingTimeInterval(Double(clock.now.offset.components.seconds))
            }
            let task = Task { await rollUp.run() }
            while try await self.stored(database) == nil {
                await clock.waitForSleepers(2)
                clock.advance(by: .seconds(600))
            }
            #expect(clock.now.offset >= .seconds(3900))
            task.cancel()
            await task.value
            #expect(try await self.stored(database) == 10)
        }
    }

    // MARK: Upgrade

    @Test func rowsFromBeforeTheRollUpAreCaughtUpInSteps() async throws {
        try await TestDatabase.with { database in
            let pool = database.pool
            try await Migrator(database.configuration, migrations: Array(Migration.all.prefix(1))).up()
            try await pool.makePartitions()
            // By hand: repositories are for the schema of today.
            let made = try await pool.query("INSERT INTO devices (ip) VALUES ('10.0.0.1') RETURNING id")
            let device: Int = try made[0].value("id")
            try await pool.query(
                """
                INSERT INTO metrics (device_id, timestamp, process_count)
                SELECT $1, $2::timestamptz + make_interval(mins => 10 * n), n FROM generate_series(0, 299) AS n
                """,
                [device, self.hour]
            )
            let withHours = Migrator(database.configuration, migrations: Array(Migration.all.prefix(2)))
            try await withHours.up()
            let rollUp = HistoryRollUp.testing(database, now: self.hour + 10 * 86_400)
            for (steps, hours) in [(0, 0), (1, 0), (1, 1), (9, 10), (100, 50)] {
                for _ in 0..<steps { _ = try await rollUp.step(pool) }
                #expect(try await pool.count("metrics_hourly") == hours)
                #expect(try await self.answer(database, device, hour: self.hour + 5 * 3600)?.average == 32.5)
                #expect(try await self.answer(database, device, hour: self.hour + 49 * 3600)?.average == 296.5)
            }
            // And back: the rows stay.
            #expect(try await withHours.down()?.version == 2)
            #expect(try await pool.count("metrics") == 300)
            try await withHours.up()
            try await rollUp.finish(pool)
            #expect(try await self.answer(database, device, hour: self.hour + 5 * 3600)?.average == 32.5)
        }
    }

    // MARK: Retention

    @Test func hoursOutliveTheirRows() async throws {
        try await self.with { database, device in
            let pool = database.pool
            let partitions = MetricsPartitions(pool: pool, logger: .testing)
            let now = time("2025-12-10T00:00:00Z")
            try await pool.store([.value(10, device: device, at: self.half)], now: self.half)
            try await pool.store([.value(30, device: device, at: self.half + 40 * 86_400)], now: self.half)
            // October has rows that are not rolled up, September none at all.
            #expect(try await partitions.dropExpired(now: now, retentionDays: 30).map(\.month) == [9])
            let rollUp = HistoryRollUp.testing(database, now: now, retentionDays: 60)
            try await rollUp.finish(pool)
            // Nor is a late row that is not rolled up yet lost.
            try await pool.store([.value(20, device: device, at: self.half + 1)], now: self.half)
            #expect(try await partitions.dropExpired(now: now, retentionDays: 30).isEmpty)
            try await rollUp.finish(pool)
            #expect(try await partitions.dropExpired(now: now, retentionDays: 30).map(\.month) == [10])
            #expect(try await self.state(database).completeFrom == time("2025-11-01T00:00:00Z"))
            #expect(try await self.answer(database, device)?.average == 15)

            // Too late: its hour can't be made anew, and is not made wrong.
            try await partitions.ensure([MetricsMonth(self.hour)!])
            try await pool.store([.value(99, device: device, at: self.half + 2)], now: self.half)
            #expect(try await self.answer(database, device)?.average == 15)
            try await rollUp.finish(pool)
            #expect(try await self.answer(database, device)?.average == 15)
            #expect(try await pool.count("metrics_changes") == 0)
            #expect(try await partitions.dropExpired(now: now, retentionDays: 30).map(\.month) == [10])

            // Hours go when they are past their own retention, but never before their rows.
            try await HistoryRollUp.testing(database, now: now, retentionDays: 80).purge(pool)
            #expect(try await pool.count("metrics_hourly") == 2)
            try await HistoryRollUp.testing(database, now: now, retentionDays: 1).purge(pool)
            #expect(try await pool.count("metrics_hourly") == 1)
            #expect(try await self.answer(database, device) == nil)
            #expect(try await self.answer(database, device, hour: self.hour + 40 * 86_400)?.average == 30)
        }
    }

    @Test func aMonthThatIsNeverRolledUpIsDroppedInTheEnd() async throws {
        try await self.with { database, device in
            try await database.pool.store([.value(10, device: device, at: self.half)], now: self.half)
            let partitions = MetricsPartitions(pool: database.pool, logger: .testing)
            for (now, months) in [("2025-12-30T00:00:00Z", [9]), ("2026-01-01T00:00:00Z", [10, 11])] {
                #expect(try await partitions.dropExpired(now: time(now), retentionDays: 30).map(\.month) == months)
            }
            // What is lost is not looked for.
            try await HistoryRollUp.testing(database, now: time("2026-01-01T00:00:00Z")).finish(database.pool)
            #expect(try await database.pool.count("metrics_hourly") == 0)
        }
    }
}
