import Foundation
import NMSCore
import NMSStorage
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Testing

@testable import NMSAPI

@Suite struct MetricsHistoryEndpointTests {
    private let day = Date(timeIntervalSince1970: 1_764_720_000)

    /// Runs `body` with a device that has a row every minute of 2025-12-03 but for the hours from 06:00 to 08:00;
    /// `cpu` is the minute's number modulo 60.
    private func with(_ body: @Sendable (Harness, API, _ path: String) async throws -> Void) async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn(as: "viewer")
            let id = try await harness.dependencies.devices.create(NewDevice(ip: required(IPAddress("192.0.2.1")))).id
            try await harness.database.pool.query(
                """
                INSERT INTO metrics (device_id, timestamp, cpu_usage_percent, net_packets_sent, process_count)
                SELECT $1, $2::timestamptz + make_interval(mins => n), n % 60,
                    9007199254740993 + n, CASE WHEN n % 2 = 0 THEN n END
                FROM generate_series(0, 1439) AS n WHERE n NOT BETWEEN 360 AND 479
                """,
                [id, self.day]
            )
            try await body(harness, api, "/devices/\(id)/metrics/history")
        }
    }

    private static let wholeDay = "from=2025-12-03T00:00:00Z&to=2025-12-04T00:00:00Z"

    @Test func bucketsHaveMeanSmallestAndLargest() async throws {
        try await self.with { _, api, path in
            let range = "from=2025-12-03T01:00:00Z&to=2025-12-03T01:10:00Z"
            let reply = try await api.get("\(path)?\(range)&interval=5m&metrics=cpu,process_count")
            #expect(reply.status == 200)
            #expect(reply.data["interval"] == .string("5m"))
            #expect(reply.data["truncated"] == .bool(false))
            let expected = try JSONValue.parse(
                #"""
                [{"timestamp":"2025-12-03T01:00:00.000Z","cpu":{"usage_percent":{"avg":2,"min":0,"max":4}},
                  "process_count":{"avg":62,"min":60,"max":64}},
                 {"timestamp":"2025-12-03T01:05:00.000Z","cpu":{"usage_percent":{"avg":7,"min":5,"max":9}},
                  "process_count":{"avg":67,"min":66,"max":68}}]
                """#
            )
            #expect(reply.data["points"] == expected)
            // Counters beyond what a Double holds stay exact; what nobody measured is null, in its place.
            let point = try await api.get("\(path)?\(range)&interval=1h").data["points"][0]
            #expect(point.names == ["timestamp", "cpu", "memory", "disk", "network", "process_count"])
            #expect(point["network"].names.count == 7)
            #expect(point["network"]["packets_sent"]["min"] == .integer(9_007_199_254_741_053))
            #expect(point["memory"]["total_bytes"] == (try JSONValue.parse(#"{"avg":null,"min":null,"max":null}"#)))
        }
    }

    @Test(arguments: [("1m", 1320), ("5m", 264), ("15m", 88), ("1h", 22), ("6h", 4), ("1d", 1)])
    func gapsStayGaps(interval: String, count: Int) async throws {
        try await self.with { _, api, path in
            let data = try await api.get("\(path)?\(Self.wholeDay)&interval=\(interval)&limit=2000").data
            #expect(data["points"].count == count)
            #expect(data["points"][0]["timestamp"] == .string("2025-12-03T00:00:00.000Z"))
        }
    }

    @Test func automaticTakesTheFinestThatFits() async throws {
        let hour = "from=2025-12-03T01:00:00Z&to=2025-12-03T02:00:00Z"
        let cases: [(String, String, Int)] = [
            // Sixty rows fit; with one less, minutes don't fit either.
            ("\(hour)&limit=60", "raw", 60), ("\(hour)&limit=59", "5m", 12), ("\(hour)&limit=12", "5m", 12),
            ("\(hour)&limit=11", "15m", 4), ("\(hour)&limit=3", "1h", 1), (Self.wholeDay, "5m", 264),
            ("\(Self.wholeDay)&limit=10000", "raw", 1320), ("\(Self.wholeDay)&limit=4", "6h", 4),
            ("\(Self.wholeDay)&limit=1", "1d", 1), ("from=2025-10-01T00:00:00Z&to=2025-12-30T00:00:00Z", "6h", 4),
            // The coarsest when nothing fits.
            ("from=1970-01-01T00:00:00Z&to=2025-12-30T00:00:00Z&limit=10", "1d", 1),
        ]
        try await self.with { _, api, path in
            for (query, interval, count) in cases {
                let data = try await api.get("\(path)?\(query)&interval=auto").data
                #expect(data["interval"] == .string(interval), "\(query)")
                #expect(data["points"].count == count, "\(query)")
                #expect(data["truncated"] == .bool(false), "\(query)")
            }
        }
    }

    @Test func rowsThatDoNotFitAreMinutes() async throws {
        try await self.with { harness, api, path in
            try await harness.database.pool.query(
                """
                INSERT INTO metrics (device_id, timestamp) SELECT id, $1::timestamptz + make_interval(secs => n)
                FROM devices, generate_series(3601, 3650) AS n
                """,
                [self.day]
            )
            let range = "from=2025-12-03T01:00:00Z&to=2025-12-03T02:00:00Z"
            let data = try await api.get("\(path)?\(range)&interval=auto&limit=100").data
            #expect(data["interval"] == .string("1m"))
            #expect(data["points"].count == 60)
        }
    }

    @Test func thePartOfTheFutureCountsForNothing() async throws {
        try await self.with { harness, api, path in
            let from = RFC3339.string(from: harness.clock.wall - 600)
            let data = try await api.get("\(path)?from=\(from)&to=9998-01-01T00:00:00Z&interval=auto").data
            #expect(data["interval"] == .string("raw"))
            let future = try await api.get(
                "\(path)?from=9997-01-01T00:00:00Z&to=9998-01-01T00:00:00Z&interval=auto"
            )
            #expect(future.status == 200)
            #expect(future.data["points"].count == 0)
        }
    }

    @Test func whereRowsWereDroppedAutomaticTakesHours() async throws {
        try await self.with { harness, api, path in
            try await harness.database.pool.query(
                "UPDATE metrics_hourly_state SET complete_from = $1",
                [self.day + 7200]
            )
            for (from, interval) in [("00:30:00", "1h"), ("02:00:00", "raw")] {
                let range = "from=2025-12-03T\(from)Z&to=2025-12-03T03:00:00Z"
                let data = try await api.get("\(path)?\(range)&interval=auto").data
                #expect(data["interval"] == .string(interval))
            }
        }
    }

    @Test func moreThanTheLimitIsCutAndGoesOnFromThere() async throws {
        try await self.with { _, api, path in
            for interval in ["raw", "1m", "5m", "1h"] {
                var from = "2025-12-03T05:58:00Z"
                var times: [String] = []
                for _ in 0..<100 {
                    let data = try await api.get(
                        "\(path)?from=\(from)&to=2025-12-03T08:20:00Z&interval=\(interval)&limit=3"
                    ).data
                    let points = data["points"]
                    times += try (0..<points.count).map { try points[$0]["timestamp"].text }
                    guard data["truncated"] == .bool(true) else { break }
                    #expect(points.count == 3)
                    let seconds = HistoryInterval(rawValue: interval)?.seconds.map(Double.init) ?? 0.001
                    let last = try #require(times.last.flatMap(RFC3339.date))
                    from = RFC3339.string(from: last + seconds)
                }
                // Two minutes before the gap, twenty after it.
                let expected = ["raw": 22, "1m": 22, "5m": 5, "1h": 2]
                #expect(times.count == expected[interval], "\(interval)")
                #expect(times == Set(times).sorted(), "\(interval)")
            }
        }
    }

    @Test func onlyTheTimesThatWereAskedForCount() async throws {
        try await self.with { _, api, path in
            for interval in ["1h", "6h", "1d"] {
                let point = try await api.get(
                    "\(path)?from=2025-12-03T01:10:00Z&to=2025-12-03T01:12:00Z&interval=\(interval)&metrics=cpu"
                ).data["points"][0]
                #expect(
                    point["cpu"]["usage_percent"] == (try JSONValue.parse(#"{"avg":10.5,"min":10,"max":11}"#)),
                    "\(interval)"
                )
            }
        }
    }

    @Test(arguments: ["10m", "1H", "RAW", "Auto", "", "60", "5m,1h"])
    func otherIntervalsAreRefused(interval: String) async throws {
        let error = #expect(throws: ServiceError.self) {
            try HistoryQuery("interval=\(interval)").request(now: self.day)
        }
        #expect(error?.code == .validationError)
        #expect(error?.details?.field == "interval")
        #expect(error?.message.contains("raw, 1m, 5m, 15m, 1h, 6h, 1d, auto") == true)
    }

    @Test func aDeviceThatIsNotThereHasNoHistory() async throws {
        try await Harness.with { _, api in
            let api = try await api.signedIn()
            for interval in ["1m", "1h", "auto"] {
                #expect(try await api.get("/devices/99/metrics/history?interval=\(interval)").status == 404)
            }
        }
    }
}
