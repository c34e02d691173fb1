package import struct Foundation.Date
package import NMSCore
package import Postgres

/// Reads metrics rows.
package struct MetricsRepository: Sendable {
    let pool: PostgresPool

    package init(pool: PostgresPool) { self.pool = pool }

    /// The newest row of a device; rows of a clock that was ahead are not it until their time comes.
    package func latest(deviceID: Int, now: Date = Date()) async throws -> DeviceMetrics? {
        guard let id = Int32(exactly: deviceID) else { return nil }
        return try await self.pool.read(Self.latestQuery, [id, ClockTolerance.latest(now: now)]).first.map(Self.metrics)
    }

    /// The newest row of each of these devices that has one, by the device's number.
    package func latest(deviceIDs: [Int], now: Date = Date()) async throws -> [Int: DeviceMetrics] {
        let ids = deviceIDs.compactMap { Int32(exactly: $0) }
        guard !ids.isEmpty else { return [:] }
        let rows = try await self.pool.read(Self.latestOfManyQuery, [ids, ClockTolerance.latest(now: now)])
        return Dictionary(try rows.map { try Self.metrics($0) }.map { ($0.deviceID, $0) }) { first, _ in first }
    }

    /// Rows with `from` <= timestamp < `to`, ascending, at most `limit`; `truncated` when there were more.
    package func raw(
        deviceID: Int,
        from: Date,
        to: Date,
        limit: Int
    ) async throws -> (rows: [DeviceMetrics], truncated: Bool) {
        guard let id = Int32(exactly: deviceID), limit > 0 else { return ([], false) }
        // One more than asked for tells whether there are more.
        let rows = try await self.pool.read(Self.rawQuery, [id, from, to, limit + 1])
        return (try rows.prefix(limit).map(Self.metrics), rows.count > limit)
    }

    // MARK: Statements

    static let latestQuery = """
        SELECT \(Self.columns) FROM metrics WHERE device_id = $1 AND timestamp <= $2 ORDER BY timestamp DESC LIMIT 1
        """

    /// One look into the index a device, the newest partition first.
    static let latestOfManyQuery = """
        SELECT latest.* FROM unnest($1::int4[]) AS wanted (id) CROSS JOIN LATERAL (
            SELECT \(Self.columns) FROM metrics
            WHERE device_id = wanted.id AND timestamp <= $2 ORDER BY timestamp DESC LIMIT 1
        ) latest
        """

    static let rawQuery = """
        SELECT \(Self.columns) FROM metrics WHERE device_id = $1 AND timestamp >= $2 AND timestamp < $3
        ORDER BY timestamp LIMIT $4
        """

    /// Percentages as `float8`, which costs less to read than `numeric`.
    private static let columns =
        (["device_id", "timestamp", "collection_duration_ms", "job_id"]
        + MetricField.allCases.map { $0.isPercent ? "\($0.column)::float8 AS \($0.column)" : $0.column })
        .joined(separator: ", ")

    private static func metrics(_ row: PostgresRow) throws -> DeviceMetrics {
        DeviceMetrics(
            deviceID: try row.value("device_id"),
            timestamp: try row.value("timestamp"),
            cpu: .init(usagePercent: try row.optional("cpu_usage_percent")),
            memory: .init(
                totalBytes: try row.optional("memory_total_bytes"),
                usedBytes: try row.optional("memory_used_bytes"),
                usagePercent: try row.optional("memory_usage_percent")
            ),
            disk: .init(
                totalBytes: try row.optional("disk_total_bytes"),
                usedBytes: try row.optional("disk_used_bytes"),
                usagePercent: try row.optional("disk_usage_percent")
            ),
            network: .init(
                bytesSentPerSec: try row.optional("net_bytes_sent_per_sec"),
                bytesRecvPerSec: try row.optional("net_bytes_recv_per_sec"),
                utilizationPercent: try row.optional("net_utilization_percent"),
                packetsSent: try row.optional("net_packets_sent"),
                packetsRecv: try row.optional("net_packets_recv"),
                errors: try row.optional("net_errors"),
                dropped: try row.optional("net_dropped")
            ),
            processCount: try row.optional("process_count"),
            collectionDurationMs: try row.optional("collection_duration_ms"),
            jobID: try row.optional("job_id")
        )
    }
}
