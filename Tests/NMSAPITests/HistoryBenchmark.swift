import Bcrypt
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Logging
import NIOCore
import NMSCore
import NMSStorage
import NMSStorageTestSupport
import Postgres
import Testing

@testable import NMSAPI

/// The server that `scripts/bench-history` started.
private enum BenchmarkServer {
    /// The directory of its socket.
    static let socket = ProcessInfo.processInfo.environment["NMSLITE_BENCH_POSTGRES"]
}

/// How long histories take over a large database; run by `scripts/bench-history`, which starts the server.
@Suite(.serialized, .enabled(if: BenchmarkServer.socket != nil)) struct HistoryBenchmark {
    private static let devices = number("NMSLITE_BENCH_DEVICES", 500)
    private static let days = number("NMSLITE_BENCH_DAYS", 90)
    /// Between two polls of a device.
    private static let interval = number("NMSLITE_BENCH_INTERVAL", 1_300)
    /// Requests of each kind to devices that were not asked for since the server's start.
    private static let samples = 40
    /// The most that p95 may be, in milliseconds.
    private static let limits = (cold: 500.0, warm: 100.0)

    private static func number(_ name: String, _ value: Int) -> Int {
        ProcessInfo.processInfo.environment[name].flatMap(Int.init) ?? value
    }

    private static var configuration: PostgresConfiguration {
        PostgresConfiguration(
            host: BenchmarkServer.socket ?? "",
            database: "bench",
            user: "postgres",
            sslMode: .disable,
            statementTimeout: .seconds(3_600)
        )
    }

    // MARK: Filling

    @Test func prepare() async throws {
        try await Migrator(Self.configuration).up()
        let pool = PostgresPool(Self.configuration)
        if try await pool.query("SELECT NOT EXISTS (SELECT 1 FROM metrics) AS is_empty")[0].value("is_empty") {
            try await self.fill(pool)
        }
        let end = try await Self.end(pool)
        let rollUp = HistoryRollUp(Self.configuration, logger: Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() })
        {
            end
        }
        var steps: [Double] = []
        while true {
            let start = ContinuousClock.now
            guard try await rollUp.step(pool) == .advanced else { break }
            steps.append(Self.milliseconds(ContinuousClock.now - start))
        }
        try await pool.query("VACUUM (ANALYZE) metrics_hourly")
        let sizes = try await pool.query(
            """
            SELECT (SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits
                WHERE inhparent = 'metrics'::regclass)::bigint AS rows,
                pg_total_relation_size('metrics_hourly') AS hours,
                (SELECT count(*) FROM metrics_hourly) AS hour_count,
                (SELECT sum(reltuples) FROM pg_class JOIN pg_inherits ON oid = inhrelid
                    WHERE inhparent = 'metrics'::regclass)::bigint AS row_count
            """
        )[0]
        let rowCount: Int = try sizes.value("row_count")
        let hourCount: Int = try sizes.value("hour_count")
        print(
            "BENCH rows \(rowCount), \(try sizes.value("rows", as: Int.self) >> 20) MiB; hours \(hourCount),",
            "\(try sizes.value("hours", as: Int.self) >> 20) MiB; \(steps.count) steps of the roll-up,",
            Self.summary(steps)
        )
        await pool.close()
    }

    private func fill(_ pool: PostgresPool) async throws {
        let end = Calendar.utc.startOfDay(for: Date())
        let start = end.addingTimeInterval(-Double(Self.days) * 86_400)
        var months: Set<MetricsMonth> = []
        for day in 0...Self.days { months.insert(try required(MetricsMonth(start + Double(day) * 86_400))) }
        try await MetricsPartitions(pool: pool, logger: Logger(label: "bench")).ensure(months)
        try await pool.query(
            """
            INSERT INTO devices (ip, status)
            SELECT '10.' || n / 65536 || '.' || n / 256 % 256 || '.' || n % 256, 'monitoring'
            FROM generate_series(0, $1::integer - 1) AS n
            """,
            [Self.devices]
        )
        for day in 0..<Self.days {
            try await pool.withTransaction { connection in
                // References to devices are right, and checking each takes longer than all else.
                try await connection.query("SET LOCAL session_replication_role = replica")
                try await connection.query(
                    Self.fillDay,
                    [start + Double(day) * 86_400, Self.interval, Self.devices]
                )
            }
        }
        try await pool.query("VACUUM (ANALYZE) metrics")
    }

    /// Rows of a day in the order in which they would come, polls spread over the interval.
    private static let fillDay = """
        INSERT INTO metrics (
            device_id, timestamp, cpu_usage_percent, memory_total_bytes, memory_used_bytes, memory_usage_percent,
            disk_total_bytes, disk_used_bytes, disk_usage_percent, net_bytes_sent_per_sec, net_bytes_recv_per_sec,
            net_utilization_percent, net_packets_sent, net_packets_recv, net_errors, net_dropped, process_count,
            collection_duration_ms, job_id
        )
        SELECT device, at + make_interval(secs => device * $2::float8 / $3::integer), (h % 10001) / 100.0, 17179869184,
            h * 1717986, h % 9973 / 100.0, 500107862016, h * 50010786, h % 9941 / 100.0, h * 131, h * 257,
            h % 9901 / 100.0, n * 1000 + h, n * 2000 + h, n / 1000, n / 500, h % 400, h % 900, gen_random_uuid()
        FROM generate_series($1::timestamptz, $1 + INTERVAL '1 day' - INTERVAL '1 microsecond', make_interval(secs => $2::float8))
            AS at
        CROSS JOIN LATERAL (SELECT extract(epoch FROM at)::bigint / 60 - 29000000 AS n) AS minute
        CROSS JOIN generate_series(1, $3::integer) AS device
        CROSS JOIN LATERAL (SELECT (device * 7919 + n * 104729) % 10007 AS h) AS hash
        ORDER BY 2
        """

    /// The midnight after the last row.
    private static func end(_ pool: PostgresPool) async throws -> Date {
        let rows = try await pool.query(
            "SELECT timestamp FROM metrics WHERE device_id = 1 ORDER BY timestamp DESC LIMIT 1"
        )
        return Calendar.utc.startOfDay(for: try rows[0].value("timestamp")) + 86_400
    }

    // MARK: Measuring

    @Test func measure() async throws {
        let pool = PostgresPool(Self.configuration)
        try await self.withAPI(pool) { client, token in
            let end = try await Self.end(pool)
            func time(_ device: Int, _ query: String) async throws -> Double {
                let start = ContinuousClock.now
                let response = try await client.executeRequest(
                    uri: "/api/v1/devices/\(device)/metrics/history?to=\(RFC3339.string(from: end))&\(query)",
                    method: .get,
                    headers: [.authorization: "Bearer \(token)"],
                    body: nil
                )
                let time = Self.milliseconds(ContinuousClock.now - start)
                #expect(response.status == .ok)
                #expect(response.body.readableBytes > 10_000)
                return time
            }
            let quarter = "interval=auto&from=\(RFC3339.string(from: end - 90 * 86_400))"
            let lastDay = "interval=raw&limit=10000&from=\(RFC3339.string(from: end - 86_400))"
            // The first request of all also brings the connection and the catalogue.
            for (name, query, first) in [("90 days auto", quarter, 0), ("24 hours raw", lastDay, 5)] {
                let devices = (0..<Self.samples).map { ($0 * Self.devices / Self.samples + first) % Self.devices + 1 }
                var (cold, warm): ([Double], [Double]) = ([], [])
                for device in devices { cold.append(try await time(device, query)) }
                for _ in 0..<5 {
                    for device in devices { warm.append(try await time(device, query)) }
                }
                print("BENCH \(name): cold \(Self.summary(cold)); warm \(Self.summary(warm))")
                #expect(Self.percentile(95, cold) < Self.limits.cold, "\(name)")
                #expect(Self.percentile(95, warm) < Self.limits.warm, "\(name)")
            }
        }
        await pool.close()
    }

    private func withAPI(
        _ pool: PostgresPool,
        _ body: @Sendable (any TestClientProtocol, String) async throws -> Void
    ) async throws {
        let users = UserRepository(pool: pool)
        let hasher = try PasswordHasher(cost: 4)
        let hash = try await hasher.hash(Harness.adminPassword)
        _ = try await users.createFirst(username: "admin", passwordHash: hash, role: .admin)
        let key = try required(MasterKey(bytes: Array(repeating: 7, count: 32)))
        let dependencies = APIDependencies(
            users: users,
            sessions: SessionRepository(pool: pool),
            credentials: CredentialRepository(pool: pool, cipher: CredentialCipher(key: key)),
            devices: DeviceRepository(pool: pool),
            metrics: MetricsRepository(pool: pool),
            audit: AuditRepository(pool: pool),
            discoveries: DiscoveryRepository(pool: pool),
            hasher: hasher,
            jobs: Recorder<PollJob>(),
            discoveryJobs: Recorder<QueuedDiscovery>(),
            discoveryTargets: BlockTargets(policy: TargetPolicy()),
            events: Recorder<DeviceEvent>(),
            eventSource: EventSource(),
            logger: Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() }
        )
        let application = try await buildApplication(
            dependencies: dependencies,
            configuration: APIConfiguration(jwtSecret: Harness.jwtSecret)
        )
        try await application.test(.router) { client in
            let api = try await API(client: client).signedIn()
            try await body(client, try required(api.token))
        }
    }

    private static func milliseconds(_ duration: Duration) -> Double { duration / .milliseconds(1) }

    private static func percentile(_ percent: Int, _ values: [Double]) -> Double {
        values.isEmpty ? 0 : values.sorted()[(values.count * percent + 99) / 100 - 1]
    }

    private static func summary(_ values: [Double]) -> String {
        [50, 95, 100].map {
            "p\($0) \(Self.percentile($0, values).formatted(.number.precision(.fractionLength(1)))) ms"
        }
        .joined(separator: ", ")
    }
}

extension Calendar {
    fileprivate static var utc: Calendar {
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = .gmt
        return calendar
    }
}
