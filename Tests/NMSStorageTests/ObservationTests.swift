import Foundation
import MetricsTestKit
import NMSCore
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Synchronization
import Testing

@testable import NMSStorage

/// What storage tells of itself.
@Suite struct ObservationTests {
    @Test(.timeLimit(.minutes(1))) func batchesAndBisectionsAreCounted() async throws {
        let metrics = TestMetrics()
        try await withWriter(metrics: metrics, options: { $0.batchDelay = .milliseconds(200) }) {
            database,
            harness,
            writer in
            let (device, _) = try await database.pool.provisionedDevice()
            try await database.pool.query("ALTER TABLE metrics ADD CONSTRAINT unlucky CHECK (process_count <> 13)")
            let start = Date()
            var results = (0..<3).map {
                MetricsResult.testing(device: device, at: start.addingTimeInterval(Double($0)))
            }
            results.append(.testing(device: device) { $0.processCount = 13 })
            harness.deliver(results)
            await harness.settled(4)
            // 4 → 2 + 2, and the second 2 → 1 + 1, of which one is bad.
            #expect(writer.statistics.bisections == 2)
            #expect(writer.statistics.buried == 1 && writer.statistics.rows == 3)
            let sizes = try metrics.expectRecorder("nmslite_writer_batch_results").values
            #expect(sizes == [2, 1])
            let times = try metrics.expectTimer("nmslite_writer_batch_duration_seconds").values
            #expect(times.count == 2 && times.allSatisfy { $0 > 0 })
        }
    }

    @Test func devicesAreCountedByStatus() async throws {
        try await TestDatabase.with(.migrated) { database in
            let devices = DeviceRepository(pool: database.pool)
            #expect(try await devices.countsByStatus() == [:])
            for (number, status) in ["discovered", "monitoring", "monitoring", "unreachable"].enumerated() {
                try await database.pool.query(
                    "INSERT INTO devices (ip, status) VALUES ($1, $2)",
                    ["127.0.0.\(number + 1)", status]
                )
            }
            #expect(try await devices.countsByStatus() == [.discovered: 1, .monitoring: 2, .unreachable: 1])
        }
    }

    @Test func thePoolTellsHowLongCallersWaited() async throws {
        try await TestDatabase.with(.migrated) { database in
            let waits = Mutex<[Duration]>([])
            let pool = PostgresPool(
                database.pool.configuration,
                limits: PostgresPoolLimits(maxOpen: 1),
                onAcquire: { wait in waits.withLock { $0.append(wait) } }
            )
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<2 { group.addTask { try await pool.query("SELECT pg_sleep(0.2)") } }
                try await group.waitForAll()
            }
            await pool.close()
            let sorted = waits.withLock { $0.sorted() }
            #expect(sorted.count == 2)
            // The second had to wait for the first.
            #expect(sorted[1] > .milliseconds(150) && sorted[0] < sorted[1])
        }
    }
}
