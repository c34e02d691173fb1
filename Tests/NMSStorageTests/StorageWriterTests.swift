import Foundation
import NMSCore
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Synchronization
import Testing

@testable import NMSStorage

@Suite struct StorageWriterTests {
    @Test(.timeLimit(.minutes(1))) func aResultBecomesARowAndAState() async throws {
        try await withWriter { database, harness, writer in
            let (device, credential) = try await database.pool.provisionedDevice()
            let time = Date().roundedToMilliseconds
            let job = "0123abcd-0123-4567-89ab-0123456789ab"
            harness.deliver(
                .testing(
                    device: device,
                    job: job,
                    at: time,
                    credential: credential,
                    identity: HostIdentity(hostname: "web.corp", os: "Windows Server 2022", build: "20348")
                )
            )
            await harness.wait {
                $0.contains { if case .published(let event) = $0 { event.event == .metricsStored } else { false } }
            }

            let latest = try await MetricsRepository(pool: database.pool).latest(deviceID: device)
            var expected = MetricsResult.testing(device: device, job: job, at: time).metrics
            // NUMERIC(5,2) rounds half away from zero.
            expected?.cpu.usagePercent = 12.35
            #expect(latest == expected)
            let stored = try await DeviceRepository(pool: database.pool).device(id: device)
            #expect(stored?.status == .monitoring)
            #expect(stored?.hostname == "web.corp")
            #expect(stored?.os == "Windows Server 2022")
            #expect(stored?.lastSeen == time)
            #expect(stored?.lastError == nil)
            let pair = try await database.pool.query("SELECT is_active, last_success FROM device_credentials")[0]
            #expect(try pair.value("is_active"))
            #expect(try pair.value("last_success") == time)
            #expect(
                harness.entries == [
                    .acknowledged(job),
                    .published(DeviceEvent(.statusChanged, deviceID: device, newStatus: .monitoring)),
                    .published(DeviceEvent(.metricsStored, deviceIDs: [device])),
                ]
            )
            #expect(writer.statistics.rows == 1)
        }
    }

    /// The order that everything else relies on: when a result is acknowledged, its row is committed.
    @Test(.timeLimit(.minutes(1))) func aResultIsAcknowledgedOnlyAfterItsRowIsCommitted() async throws {
        let pool = Mutex<PostgresPool?>(nil)
        let seen = Mutex<[Int]>([])
        let harness = WriterHarness { result in
            guard let pool = pool.withLock({ $0 }) else { return }
            let rows = try? await pool.query("SELECT 1 AS one FROM metrics WHERE job_id = $1", [result.jobID])
            seen.withLock { $0.append(rows?.count ?? -1) }
        }
        try await withWriter(harness) { database, harness, _ in
            pool.withLock { $0 = database.pool }
            let (device, _) = try await database.pool.provisionedDevice()
            harness.deliver((0..<20).map { _ in .testing(device: device) })
            await harness.settled(20)
            #expect(seen.withLock { $0 } == Array(repeating: 1, count: 20))
        }
    }

    @Test(.timeLimit(.minutes(1))) func aJobGivesOneRowHoweverOftenItComes() async throws {
        try await withWriter { database, harness, writer in
            let (device, _) = try await database.pool.provisionedDevice()
            let result = MetricsResult.testing(device: device)
            var later = result
            later.timestamp = result.timestamp.addingTimeInterval(1)
            var upper = result
            upper.jobID = result.jobID.uppercased()
            harness.deliver(result, result, later, upper)
            await harness.settled(4)
            harness.deliver(result)
            await harness.settled(5)
            #expect(try await database.pool.count("metrics") == 1)
            #expect(harness.acknowledged.count == 5)
            #expect(writer.statistics.duplicates == 4)
        }
    }

    @Test(.timeLimit(.minutes(1))) func anOldJobGivesOneRowEvenWhenItsIDIsPruned() async throws {
        try await withWriter { database, harness, writer in
            let (device, _) = try await database.pool.provisionedDevice()
            let result = MetricsResult.testing(device: device, at: Date().addingTimeInterval(-86_400 * 3))
            harness.deliver(result)
            await harness.settled(1)
            try await database.pool.query("DELETE FROM processed_jobs")
            harness.deliver(result)
            await harness.settled(2)
            #expect(try await database.pool.count("metrics") == 1)
            #expect(writer.statistics.duplicates == 1)
        }
    }

    @Test(.timeLimit(.minutes(1))) func aRowOfAnyMonthFindsAPartition() async throws {
        try await withWriter { database, harness, _ in
            let (device, _) = try await database.pool.provisionedDevice()
            let dates = [RFC3339.date(from: "2003-02-28T23:59:59.999Z")!, RFC3339.date(from: "2150-12-31T23:59:59Z")!]
            harness.deliver(dates.map { .testing(device: device, at: $0) })
            await harness.settled(2)
            #expect(harness.acknowledged.count == 2)
            let rows = try await database.pool.query(
                "SELECT tableoid::regclass::text AS part FROM metrics ORDER BY timestamp"
            )
            #expect(try rows.map { try $0.value("part", as: String.self) } == ["metrics_y2003m02", "metrics_y2150m12"])
        }
    }

    @Test(.timeLimit(.minutes(1))) func aPartitionThatVanishedIsMadeAnew() async throws {
        try await withWriter { database, harness, _ in
            let (device, _) = try await database.pool.provisionedDevice()
            harness.deliver(.testing(device: device))
            await harness.settled(1)
            let partition = MetricsMonth(Date())!.partition
            try await database.pool.query("DROP TABLE \(partition)")
            harness.deliver(.testing(device: device))
            await harness.settled(2)
            #expect(harness.acknowledged.count == 2)
            #expect(try await database.pool.count("metrics") == 1)
        }
    }

    @Test(.timeLimit(.minutes(1))) func onlyTheBadRowOfABatchIsBuried() async throws {
        try await withWriter(options: { $0.batchDelay = .milliseconds(200) }) { database, harness, writer in
            let (device, _) = try await database.pool.provisionedDevice()
            try await database.pool.query("ALTER TABLE metrics ADD CONSTRAINT unlucky CHECK (process_count <> 13)")
            let start = Date()
            var results = (0..<40).map {
                MetricsResult.testing(device: device, at: start.addingTimeInterval(Double($0)))
            }
            let bad = MetricsResult.testing(device: device) { $0.processCount = 13 }
            results.insert(bad, at: 17)
            results.insert(.testing(device: device, job: "not a UUID"), at: 30)
            harness.deliver(results)
            await harness.settled(42)
            #expect(harness.acknowledged.count == 40)
            let buried = harness.entries.filter { if case .buried = $0 { true } else { false } }
            #expect(buried.count == 2)
            #expect(buried.contains(.buried("not a UUID", reason: "job_id is not a UUID")))
            #expect(
                buried.contains {
                    if case .buried(bad.jobID, let reason) = $0 { reason.contains("unlucky") } else { false }
                }
            )
            #expect(try await database.pool.count("metrics") == 40)
            #expect(writer.statistics.buried == 2)
            #expect(writer.statistics.rows == 40)
        }
    }

    @Test(.timeLimit(.minutes(1))) func valuesAreClampedToTheirColumns() async throws {
        try await withWriter { database, harness, _ in
            let (device, _) = try await database.pool.provisionedDevice()
            harness.deliver(
                .testing(
                    device: device,
                    identity: HostIdentity(hostname: String(repeating: "é", count: 300), os: "a\u{0}b", build: " ")
                ) {
                    $0.cpu.usagePercent = 1e308
                    $0.memory.usagePercent = -5
                    $0.disk.usagePercent = .nan
                    $0.network.utilizationPercent = .infinity
                    $0.memory.totalBytes = .max
                    $0.disk.usedBytes = -1
                    $0.processCount = .max
                    $0.collectionDurationMs = -7
                }
            )
            await harness.settled(1)
            let row = try #require(try await MetricsRepository(pool: database.pool).latest(deviceID: device))
            #expect(row.cpu.usagePercent == 100)
            #expect(row.memory.usagePercent == 0)
            #expect(row.disk.usagePercent == nil)
            #expect(row.network.utilizationPercent == 100)
            #expect(row.memory.totalBytes == .max)
            #expect(row.disk.usedBytes == 0)
            #expect(row.processCount == Int(Int32.max))
            #expect(row.collectionDurationMs == 0)
            let stored = try await DeviceRepository(pool: database.pool).device(id: device)
            #expect(stored?.hostname?.count == 255)
            #expect(stored?.os == "ab")
        }
    }

    @Test(.timeLimit(.minutes(1))) func resultsOfDevicesThatAreGoneAreDropped() async throws {
        try await withWriter { database, harness, writer in
            let (device, _) = try await database.pool.provisionedDevice(1)
            let (idle, _) = try await database.pool.provisionedDevice(2)
            _ = try await DeviceRepository(pool: database.pool).deprovision(id: idle)
            harness.deliver(
                .testing(device: 4711),
                .testing(device: 1 << 40),
                .testing(device: idle),
                .testing(device: device)
            )
            await harness.settled(4)
            #expect(harness.acknowledged.count == 4)
            #expect(try await database.pool.count("metrics") == 1)
            #expect(try await DeviceRepository(pool: database.pool).device(id: idle)?.status == .discovered)
            #expect(writer.statistics.unknownDevices == 2)
            #expect(writer.statistics.unprovisioned == 1)
        }
    }

    @Test(.timeLimit(.minutes(1))) func failuresMakeADeviceUnreachableAndASuccessBringsItBack() async throws {
        try await withWriter { database, harness, _ in
            let (device, credential) = try await database.pool.provisionedDevice()
            let devices = DeviceRepository(pool: database.pool)
            let start = Date().roundedToMilliseconds
            func result(_ second: Double, _ error: PollErrorCode? = nil) -> MetricsResult {
                .testing(device: device, at: start.addingTimeInterval(second), error: error, credential: credential)
            }
            harness.deliver(result(1), result(2, .timeout), result(3, .credentialSuspended), result(4, .accessDenied))
            await harness.settled(4)
            var stored = try await devices.device(id: device)
            #expect(stored?.status == .monitoring)
            #expect(stored?.lastError?.code == .accessDenied)
            #expect(stored?.lastError?.at == start.addingTimeInterval(4))
            #expect(stored?.lastSeen == start.addingTimeInterval(4))
            harness.deliver(result(5, .timeout))
            await harness.settled(5)
            stored = try await devices.device(id: device)
            #expect(stored?.status == .unreachable)
            #expect(stored?.lastSeen == start.addingTimeInterval(4))
            // A late result of earlier changes nothing of the state, but its row is stored.
            harness.deliver(result(4.5))
            await harness.settled(6)
            #expect(try await devices.device(id: device)?.status == .unreachable)
            #expect(try await database.pool.count("metrics") == 2)
            harness.deliver(result(6))
            await harness.settled(7)
            stored = try await devices.device(id: device)
            #expect(stored?.status == .monitoring)
            #expect(stored?.lastError == nil)
            await harness.wait { $0.count >= 7 + 6 }
            let changes = harness.published.filter { $0.event == .statusChanged }.map(\.newStatus)
            #expect(changes == [.monitoring, .unreachable, .monitoring])
        }
    }

    @Test(.timeLimit(.minutes(1))) func theCredentialThatWorkedBecomesTheActiveOne() async throws {
        try await withWriter { database, harness, _ in
            let (device, first) = try await database.pool.provisionedDevice()
            let credentials = CredentialRepository(pool: database.pool, cipher: .testing)
            let second = try await credentials.create(.testing("second")).id
            _ = try await DeviceRepository(pool: database.pool)
                .provision(id: device, credentialIDs: [first, second], pollingInterval: nil)
            harness.deliver(.testing(device: device, credential: second))
            await harness.settled(1)
            #expect(try await credentials.triedBy(device: device).map(\.credential.id) == [second, first])
            // One that the device does not have any more marks nothing.
            harness.deliver(.testing(device: device, credential: 4711))
            await harness.settled(2)
            #expect(try await credentials.triedBy(device: device).map(\.credential.id) == [second, first])
        }
    }

    @Test(.timeLimit(.minutes(1))) func stoppingStoresWhatIsInHand() async throws {
        try await TestDatabase.with(.migrated) { database in
            let harness = WriterHarness()
            let clock = ManualClock()
            let writer = StorageWriter(
                pool: database.pool,
                source: harness,
                events: harness,
                partitions: MetricsPartitions(pool: database.pool, logger: .testing),
                logger: .testing,
                clock: clock
            )
            let (device, _) = try await database.pool.provisionedDevice()
            let task = Task { await writer.run() }
            harness.deliver((0..<3).map { _ in .testing(device: device) })
            // The pruner sleeps, and the batch waits for more; the clock never moves.
            await clock.waitForSleepers(2)
            #expect(harness.entries.isEmpty)
            task.cancel()
            await task.value
            #expect(harness.acknowledged.count == 3)
            #expect(try await database.pool.count("metrics") == 3)
        }
    }

    @Test(.timeLimit(.minutes(1))) func severalWritersShareTheWorkWithoutDuplicates() async throws {
        try await TestDatabase.with(.migrated) { database in
            var devices: [Int] = []
            for host in 1...20 { devices.append(try await database.pool.provisionedDevice(host).device) }
            let results = (0..<400).map { MetricsResult.testing(device: devices[$0 % 20]) }
            let harnesses = (0..<3).map { _ in WriterHarness() }
            var tasks: [Task<Void, Never>] = []
            for harness in harnesses {
                let writer = StorageWriter(
                    pool: database.pool,
                    source: harness,
                    events: harness,
                    partitions: MetricsPartitions(pool: database.pool, logger: .testing),
                    logger: .testing
                )
                tasks.append(Task { await writer.run() })
                harness.deliver(results.shuffled())
            }
            for harness in harnesses { await harness.settled(400) }
            for task in tasks {
                task.cancel()
                await task.value
            }
            #expect(try await database.pool.count("metrics") == 400)
            #expect(harnesses.allSatisfy { $0.acknowledged.count == 400 })
        }
    }

    @Test(.timeLimit(.minutes(1))) func oldJobsArePruned() async throws {
        try await TestDatabase.with(.migrated) { database in
            try await database.pool.query(
                """
                INSERT INTO processed_jobs (job_id, processed_at)
                SELECT gen_random_uuid(), NOW() - make_interval(hours => hour) FROM generate_series(0, 5) AS hour
                """
            )
            let clock = ManualClock()
            let harness = WriterHarness()
            let writer = StorageWriter(
                pool: database.pool,
                source: harness,
                events: harness,
                partitions: MetricsPartitions(pool: database.pool, logger: .testing),
                logger: .testing,
                clock: clock
            )
            let task = Task { await writer.run() }
            await clock.waitForSleepers(1)
            #expect(try await database.pool.count("processed_jobs") == 2)
            task.cancel()
            await task.value
        }
    }
}
