import ArgumentParser
import Foundation
import Logging
import NMSCore
import NMSQueue
import NMSStorage
import Postgres

/// What the way of results from the queue into the table costs; `scripts/bench-writer` runs it.
@main
struct WriterBench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Fills a queue with results and measures the storage writer that empties it.",
        subcommands: [Prepare.self, Publish.self, Drain.self]
    )

    /// Where PostgreSQL listens: a directory with its socket, database and user being the benchmark's own.
    struct Database: ParsableArguments {
        @Option(help: "The directory of PostgreSQL's socket.")
        var socket: String

        var configuration: PostgresConfiguration {
            PostgresConfiguration(
                host: self.socket,
                database: "bench",
                user: "postgres",
                applicationName: "writerbench"
            )
        }
    }

    /// Where nats-server listens.
    struct Queue: ParsableArguments {
        @Option(help: "The URL of nats-server.")
        var queue: String

        func connect() async throws -> NATSQueue {
            let options = QueueOptions(servers: try QueueOptions.servers(inURL: self.queue))
            return try await NATSQueue.connect(options, logger: .bench)
        }
    }

    /// Makes schema and devices.
    struct Prepare: AsyncParsableCommand {
        @OptionGroup var database: Database
        @Option(help: "How many devices.")
        var devices = 10_000

        func run() async throws {
            try await Migrator(self.database.configuration).up()
            let pool = PostgresPool(self.database.configuration)
            try await MetricsPartitions(pool: pool, logger: .bench).ensureAhead(now: Date())
            try await pool.query(
                """
                INSERT INTO devices (ip, status) SELECT host(inet '10.0.0.0' + n::bigint), 'monitoring'
                FROM generate_series(1, $1::integer) AS n
                """,
                [self.devices]
            )
            try await pool.query("INSERT INTO master_keys (id, is_current) VALUES ('bench', TRUE)")
            try await pool.query(
                """
                INSERT INTO credentials (name, credential_type, username, encrypted_password)
                VALUES ('bench', 'winrm_ntlm', 'bench', 'v1:bench:bench')
                """
            )
            try await pool.query(
                """
                INSERT INTO device_credentials (device_id, credential_id)
                SELECT devices.id, credentials.id FROM devices, credentials
                """
            )
            await pool.close()
        }
    }

    /// Publishes results: of every device in turn, a round every minute, the last round now.
    struct Publish: AsyncParsableCommand {
        @OptionGroup var queue: Queue
        @Option(help: "How many devices, with ids from 1.")
        var devices = 10_000
        @Option(help: "How many results.")
        var results = 200_000
        @Option(help: "Seconds between two results of a device.")
        var interval = 60.0

        func run() async throws {
            let queue = try await self.queue.connect()
            let rounds = (self.results + self.devices - 1) / self.devices
            // Within the hour in which the ids of processed jobs suffice to tell a result that comes twice.
            let interval = min(self.interval, 3_000 / Double(max(rounds, 1)))
            let start = Date().addingTimeInterval(-interval * Double(rounds))
            let began = ContinuousClock.now
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<self.results {
                    // As many at once as the publisher lets.
                    if number >= 512 { try await group.next() }
                    let device = number % self.devices + 1
                    let share = Double(number) / Double(self.devices)
                    let result = Self.result(of: device, at: start.addingTimeInterval(interval * share))
                    group.addTask { try await queue.publish(result) }
                }
                try await group.waitForAll()
            }
            let seconds = (ContinuousClock.now - began) / .seconds(1)
            await queue.shutDown()
            try Self.print(["results": Double(self.results), "seconds": seconds, "cpu": CPU.seconds])
        }

        /// What a poll of a healthy host brings.
        private static func result(of device: Int, at timestamp: Date) -> MetricsResult {
            let job = UUID().uuidString.lowercased()
            func count(_ range: ClosedRange<Int64>) -> Int64 { .random(in: range) }
            let metrics = DeviceMetrics(
                deviceID: device,
                timestamp: timestamp,
                cpu: .init(usagePercent: .random(in: 0...100)),
                memory: .init(
                    totalBytes: 34_359_738_368,
                    usedBytes: count(4_000_000_000...30_000_000_000),
                    usagePercent: .random(in: 0...100)
                ),
                disk: .init(
                    totalBytes: 536_870_912_000,
                    usedBytes: count(90_000_000_000...500_000_000_000),
                    usagePercent: .random(in: 0...100)
                ),
                network: .init(
                    bytesSentPerSec: count(0...90_000_000),
                    bytesRecvPerSec: count(0...90_000_000),
                    utilizationPercent: .random(in: 0...100),
                    packetsSent: count(0...9_000_000_000),
                    packetsRecv: count(0...9_000_000_000),
                    errors: count(0...90),
                    dropped: count(0...90)
                ),
                processCount: .random(in: 40...400),
                collectionDurationMs: .random(in: 2...900),
                jobID: job
            )
            return MetricsResult(
                jobID: job,
                deviceID: device,
                timestamp: timestamp,
                success: true,
                metrics: metrics,
                credentialID: 1,
                identity: HostIdentity(
                    hostname: "host-\(device).example.com",
                    os: "Microsoft Windows Server 2022 Standard",
                    build: "20348"
                )
            )
        }
    }

    /// Lets the storage writer empty the queue.
    struct Drain: AsyncParsableCommand {
        @OptionGroup var database: Database
        @OptionGroup var queue: Queue
        @Option(help: "How many results there are.")
        var results = 200_000
        @Option(help: "Seconds after which it is given up.")
        var limit = 300.0

        func run() async throws {
            let pool = PostgresPool(self.database.configuration)
            try await pool.query("SELECT 1")
            let queue = try await self.queue.connect()
            let writer = StorageWriter(
                pool: pool,
                source: queue,
                events: queue,
                partitions: MetricsPartitions(pool: pool, logger: .bench),
                logger: .bench
            )
            let cpu = CPU.seconds
            let start = ContinuousClock.now
            let writing = Task { await writer.run() }
            while writer.statistics.rows < self.results, (ContinuousClock.now - start) / .seconds(1) < self.limit {
                try await Task.sleep(for: .milliseconds(5))
            }
            let committed = (ContinuousClock.now - start) / .seconds(1)
            // To the end of the last acknowledgement: that work belongs to the writer as well.
            while queue.status.counts.acknowledged < writer.statistics.rows {
                try await Task.sleep(for: .milliseconds(5))
            }
            let settled = (ContinuousClock.now - start) / .seconds(1)
            let used = CPU.seconds - cpu
            let statistics = writer.statistics
            writing.cancel()
            await writing.value
            await queue.shutDown()
            await pool.close()
            try Self.print([
                "rows": Double(statistics.rows), "batches": Double(statistics.batches), "seconds": committed,
                "settled": settled, "cpu": used, "redelivered": Double(queue.status.counts.redelivered),
            ])
        }
    }
}

extension ParsableCommand {
    static func print(_ figures: [String: Double]) throws {
        let data = try JSONSerialization.data(withJSONObject: figures, options: .sortedKeys)
        Swift.print(String(decoding: data, as: UTF8.self))
    }
}

enum CPU {
    /// Of this process until now.
    static var seconds: Double {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
        return seconds(usage.ru_utime) + seconds(usage.ru_stime)
    }
}

extension Logger {
    /// Warnings and errors on standard error.
    static let bench: Logger = {
        var logger = Logger(label: "writerbench") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = .warning
        return logger
    }()
}
