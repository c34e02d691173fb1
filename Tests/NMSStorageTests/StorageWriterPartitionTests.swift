import Foundation
import NMSCore
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Testing

@testable import NMSStorage

@Suite struct StorageWriterPartitionTests {
    @Test(.timeLimit(.minutes(1))) func onlyRowsOfADetachedMonthAreBuried() async throws {
        try await withWriter(options: { $0.batchDelay = .milliseconds(200) }) { database, harness, writer in
            let (device, _) = try await database.pool.provisionedDevice()
            // The writer knows the month as one that has its partition.
            harness.deliver(.testing(device: device))
            await harness.settled(1)
            let partition = MetricsMonth(Date())!.partition
            try await database.pool.query("ALTER TABLE metrics DETACH PARTITION \(partition)")
            let rows = (0..<3).map { _ in MetricsResult.testing(device: device) }
            let old = MetricsResult.testing(device: device, at: RFC3339.date(from: "2003-02-28T23:59:59.999Z")!)
            let failed = MetricsResult.testing(device: device, error: .timeout)
            harness.deliver(rows + [old, failed])
            await harness.settled(6)
            #expect(Set(harness.acknowledged.dropFirst()) == [old.jobID, failed.jobID])
            let reason = MetricsPartitionError.unattached(MetricsMonth(Date())!).description
            for row in rows { #expect(harness.entries.contains(.buried(row.jobID, reason: reason))) }
            #expect(try await DeviceRepository(pool: database.pool).device(id: device)?.lastError?.code == .timeout)
            #expect(writer.statistics.databaseFailures == 0)
        }
    }

    /// Bounds other than the month's: the partition is there, and still no place for the row.
    @Test(.timeLimit(.minutes(1))) func onlyTheRowThatNoPartitionTakesIsBuried() async throws {
        try await withWriter(options: { $0.batchDelay = .milliseconds(200) }) { database, harness, _ in
            let (device, _) = try await database.pool.provisionedDevice()
            try await database.pool.query(
                "CREATE TABLE metrics_y2003m02 PARTITION OF metrics FOR VALUES FROM ('2003-02-01') TO ('2003-02-02')"
            )
            let lost = MetricsResult.testing(device: device, at: RFC3339.date(from: "2003-02-15T00:00:00Z")!)
            let found = MetricsResult.testing(device: device, at: RFC3339.date(from: "2003-02-01T12:00:00Z")!)
            harness.deliver(.testing(device: device), lost, found, .testing(device: device))
            await harness.settled(4)
            #expect(harness.acknowledged.count == 3)
            #expect(
                harness.entries.contains {
                    if case .buried(lost.jobID, let reason) = $0 { reason.contains("no partition") } else { false }
                }
            )
        }
    }
}
