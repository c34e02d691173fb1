import Foundation
import NMSCore
import Postgres
import PostgresTestSupport

@testable import NMSStorage

/// The same numbers each time (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { self.state = seed }

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var value = self.state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}

func time(_ text: String) -> Date { RFC3339.date(from: text)! }

extension HistoryRollUp {
    /// A roll-up whose clock stands still.
    static func testing(_ database: TestDatabase, now: Date, retentionDays: Int = 400) -> HistoryRollUp {
        var options = Options()
        options.retentionDays = retentionDays
        return HistoryRollUp(database.configuration, options: options, logger: .testing) { now }
    }

    /// Steps until there is nothing to do; returns how many there were.
    @discardableResult
    func finish(_ pool: PostgresPool) async throws -> Int {
        var steps = 0
        while try await self.step(pool) != .idle { steps += 1 }
        return steps
    }
}

extension PostgresPool {
    /// Stores results as the storage writer does, in batches.
    func store(_ results: [MetricsResult], now: Date) async throws {
        for start in stride(from: 0, to: results.count, by: 300) {
            let batch = try results[start...].prefix(300).map { try PreparedResult($0) }
            let outcome = try await self.withTransaction { connection in
                try await BatchTransaction(connection: connection, unreachableAfter: 3, now: now).run(batch)
            }
            guard outcome.rows == batch.count else { throw HistoryFailure.notStored(outcome) }
        }
    }

    /// Partitions of the months from September to December 2025.
    func makePartitions() async throws {
        try await MetricsPartitions(pool: self, logger: .testing)
            .ensure(Set((9...12).map { MetricsMonth(year: 2025, month: $0)! }))
    }
}

enum HistoryFailure: Error { case notStored(BatchOutcome) }

extension MetricsResult {
    /// A row with the value in every column that holds one.
    static func value(_ value: Int, device: Int, at timestamp: Date) -> MetricsResult {
        let count = Int64(value)
        return .testing(device: device, at: timestamp) { metrics in
            metrics.cpu.usagePercent = Double(value)
            metrics.memory = .init(totalBytes: count, usedBytes: count, usagePercent: Double(value))
            metrics.network.packetsSent = count
            metrics.processCount = value
        }
    }

    /// Anything that a row can hold, a third of it unknown.
    static func random(device: Int, at timestamp: Date, _ random: inout SeededGenerator) -> MetricsResult {
        var metrics = DeviceMetrics(deviceID: device, timestamp: timestamp)
        func percent() -> Double? {
            .random(in: 0..<3, using: &random) < 1 ? nil : Double(Int.random(in: 0...10_000, using: &random)) / 100
        }
        func count() -> Int64? {
            switch Int.random(in: 0..<6, using: &random) {
            case 0, 1: nil
            case 2: .random(in: .max - 1_000...(.max), using: &random)
            default: .random(in: 0...1 << 40, using: &random)
            }
        }
        metrics.cpu.usagePercent = percent()
        metrics.memory = .init(totalBytes: count(), usedBytes: count(), usagePercent: percent())
        metrics.disk = .init(totalBytes: count(), usedBytes: count(), usagePercent: percent())
        metrics.network = .init(
            bytesSentPerSec: count(),
            bytesRecvPerSec: count(),
            utilizationPercent: percent(),
            packetsSent: count(),
            packetsRecv: count(),
            errors: count(),
            dropped: count()
        )
        metrics.processCount = Bool.random(using: &random) ? nil : Int.random(in: 0...Int(Int32.max), using: &random)
        return .testing(device: device, at: timestamp) { $0 = metrics }
    }
}

/// The straightforward computation that answers are compared with.
enum PlainHistory {
    static func buckets(
        _ results: [MetricsResult],
        device: Int,
        from: Date,
        to: Date,
        seconds: Int,
        fields: [MetricField]
    ) -> [AggregatedMetrics] {
        let rows = results.compactMap(\.metrics).filter {
            $0.deviceID == device && $0.timestamp >= from && $0.timestamp < to
        }
        let groups = Dictionary(grouping: rows) { row in
            Int((row.timestamp.timeIntervalSince1970 / Double(seconds)).rounded(.down)) * seconds
        }
        return groups.sorted { $0.key < $1.key }.map { start, rows in
            AggregatedMetrics(
                timestamp: Date(timeIntervalSince1970: Double(start)),
                values: Dictionary(uniqueKeysWithValues: fields.map { ($0, Self.aggregate($0, rows)) })
            )
        }
    }

    private static func aggregate(_ field: MetricField, _ rows: [DeviceMetrics]) -> MetricAggregate {
        if field.isPercent {
            let values = rows.compactMap { Self.percent(field, $0) }
            guard !values.isEmpty else { return MetricAggregate() }
            // In hundredths, which are integers.
            let sum = values.reduce(0) { $0 + Int(($1 * 100).rounded()) }
            return MetricAggregate(
                average: Double(sum) / Double(values.count) / 100,
                minimum: values.min().map(MetricAggregate.Number.decimal),
                maximum: values.max().map(MetricAggregate.Number.decimal)
            )
        }
        let values = rows.compactMap { Self.integer(field, $0) }
        guard !values.isEmpty else { return MetricAggregate() }
        let sum = values.reduce(Int128(0)) { $0 + Int128($1) }
        return MetricAggregate(
            average: Double(sum) / Double(values.count),
            minimum: values.min().map(MetricAggregate.Number.integer),
            maximum: values.max().map(MetricAggregate.Number.integer)
        )
    }

    private static func percent(_ field: MetricField, _ row: DeviceMetrics) -> Double? {
        switch field {
        case .cpuUsagePercent: row.cpu.usagePercent
        case .memoryUsagePercent: row.memory.usagePercent
        case .diskUsagePercent: row.disk.usagePercent
        case .netUtilizationPercent: row.network.utilizationPercent
        default: nil
        }
    }

    private static func integer(_ field: MetricField, _ row: DeviceMetrics) -> Int64? {
        switch field {
        case .memoryTotalBytes: row.memory.totalBytes
        case .memoryUsedBytes: row.memory.usedBytes
        case .diskTotalBytes: row.disk.totalBytes
        case .diskUsedBytes: row.disk.usedBytes
        case .netBytesSentPerSec: row.network.bytesSentPerSec
        case .netBytesRecvPerSec: row.network.bytesRecvPerSec
        case .netPacketsSent: row.network.packetsSent
        case .netPacketsRecv: row.network.packetsRecv
        case .netErrors: row.network.errors
        case .netDropped: row.network.dropped
        case .processCount: row.processCount.map(Int64.init)
        default: nil
        }
    }
}

extension AggregatedMetrics {
    /// Equal, means to fifteen digits.
    func isClose(to other: AggregatedMetrics) -> Bool {
        guard self.timestamp == other.timestamp, self.values.keys == other.values.keys else { return false }
        return self.values.allSatisfy { field, value in
            guard let expected = other.values[field], value.minimum == expected.minimum,
                value.maximum == expected.maximum, (value.average == nil) == (expected.average == nil)
            else { return false }
            let (found, wanted) = (value.average ?? 0, expected.average ?? 0)
            return abs(found - wanted) <= abs(wanted) * 1e-15 + 1e-12
        }
    }
}
