import Foundation
import NMSCore
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Synchronization
import Testing

@testable import NMSStorage

/// A database that can be taken away: no connection lives on, no new one is let in.
private struct Outage {
    private let connection: PostgresConnection
    private let name: String

    init(of database: TestDatabase) async throws {
        self.name = database.configuration.database
        var admin = database.configuration
        admin.database = "postgres"
        self.connection = try await PostgresConnection.connect(admin)
        try await self.connection.execute(script: "ALTER DATABASE \(self.name) ALLOW_CONNECTIONS false")
        try await self.connection.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
            [self.name]
        )
    }

    func end() async throws {
        try await self.connection.execute(script: "ALTER DATABASE \(self.name) ALLOW_CONNECTIONS true")
        await self.connection.close()
    }
}

@Suite struct StorageWriterOutageTests {
    /// The queue's ack wait, after which it would deliver a result again.
    private let ackWait = Duration.seconds(30)

    @Test(.timeLimit(.minutes(1))) func tenMinutesWithoutADatabaseLoseNothing() async throws {
        let clock = ManualClock()
        try await withWriter(clock: clock, options: { $0.batchSize = 2 }) { database, harness, writer in
            let (device, _) = try await database.pool.provisionedDevice()
            await clock.waitForSleepers(1)
            let extended = Mutex<[Duration]>([])
            let outage = try await Outage(of: database)
            // Two are being stored, two wait.
            harness.onExtend { extended.withLock { $0.append(clock.now.offset) } }
            harness.deliver((0..<4).map { _ in .testing(device: device) })
            let step = Duration.seconds(5)
            for _ in 0..<120 {
                // The pruner, the extender and the pause before the next try.
                await clock.waitForSleepers(3)
                clock.advance(by: step)
            }
            await clock.waitForSleepers(3)
            #expect(harness.entries.isEmpty)
            #expect(writer.statistics.databaseFailures > 100)
            let times = extended.withLock { $0 }
            #expect(times.count == 4 * 60)
            for (earlier, later) in zip([.zero] + times, times) { #expect(later - earlier + step < self.ackWait) }

            try await outage.end()
            clock.advance(by: step)
            await harness.settled(4)
            #expect(harness.acknowledged.count == 4)
            #expect(try await database.pool.count("metrics") == 4)
            #expect(writer.statistics.rejected == 0)
            #expect(writer.statistics.buried == 0)
        }
    }

    /// A transaction that waits neither fails nor ends.
    @Test(.timeLimit(.minutes(1))) func whatADatabaseThatHangsHoldsIsExtended() async throws {
        let (extensions, continuation) = AsyncStream<Void>.makeStream()
        try await withWriter(options: { $0.extendInterval = .milliseconds(20) }) { database, harness, writer in
            let (device, _) = try await database.pool.provisionedDevice()
            harness.onExtend { continuation.yield() }
            try await database.pool.withTransaction { connection in
                try await connection.query("LOCK TABLE devices IN ACCESS EXCLUSIVE MODE")
                harness.deliver(.testing(device: device))
                for await _ in extensions.prefix(3) {}
                #expect(harness.entries.isEmpty)
            }
            await harness.settled(1)
            #expect(harness.acknowledged.count == 1)
            #expect(writer.statistics.databaseFailures == 0)
        }
    }

    /// A rejection would be one of the five failures after which a result is buried.
    @Test(.timeLimit(.minutes(1))) func stoppingWithoutADatabaseRejectsNothing() async throws {
        let (extensions, continuation) = AsyncStream<Void>.makeStream()
        let harness = WriterHarness()
        try await TestDatabase.with(.migrated) { database in
            let (device, _) = try await database.pool.provisionedDevice()
            var options = StorageWriter.Options()
            options.extendInterval = .milliseconds(20)
            options.shutdownGrace = .milliseconds(20)
            let writer = StorageWriter(
                pool: database.pool,
                source: harness,
                events: harness,
                partitions: MetricsPartitions(pool: database.pool, logger: .testing),
                options: options,
                logger: .testing
            )
            let outage = try await Outage(of: database)
            let task = Task { await writer.run() }
            harness.onExtend { continuation.yield() }
            harness.deliver(.testing(device: device), .testing(device: device))
            for await _ in extensions.prefix(2) {}
            task.cancel()
            await task.value
            #expect(harness.entries.isEmpty)
            #expect(writer.statistics.rejected == 0)
            try await outage.end()
        }
    }
}
