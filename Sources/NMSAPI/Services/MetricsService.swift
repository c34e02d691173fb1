internal import NMSCore
package import NMSStorage
internal import struct Foundation.Date

/// What to read of a device's past.
struct HistoryRequest {
    /// The default number of points, and the most.
    static let defaultLimit = 1_000
    static let maximumLimit = 10_000
    /// What is read when `from` is left out, in seconds.
    static let defaultSpan = 3_600.0
    /// How far ahead of our clock rows may be; later than that, no bucket is counted.
    static let clockTolerance = 60.0
    /// Moments that can be asked for, the years 1970 to 9998 in UTC: within what PostgreSQL and four digits of a year
    /// hold, with room for ``defaultSpan`` and for any offset.
    static let moments = Date(timeIntervalSince1970: 0)..<Date(timeIntervalSince1970: 253_370_764_800)

    var from: Date
    var to: Date
    /// nil chooses the finest that fits the limit.
    var interval: HistoryInterval?
    var groups: Set<MetricGroup>
    var limit: Int
}

/// The parts of a row of metrics.
enum MetricGroup: String, CaseIterable {
    case cpu, memory, disk, network
    case processCount = "process_count"

    /// The numbers of the group, by their names in JSON; a group that is one number has an empty name.
    var fields: KeyValuePairs<String, MetricField> {
        switch self {
        case .cpu: ["usage_percent": .cpuUsagePercent]
        case .memory:
            [
                "total_bytes": .memoryTotalBytes, "used_bytes": .memoryUsedBytes,
                "usage_percent": .memoryUsagePercent,
            ]
        case .disk:
            ["total_bytes": .diskTotalBytes, "used_bytes": .diskUsedBytes, "usage_percent": .diskUsagePercent]
        case .network:
            [
                "bytes_sent_per_sec": .netBytesSentPerSec, "bytes_recv_per_sec": .netBytesRecvPerSec,
                "utilization_percent": .netUtilizationPercent, "packets_sent": .netPacketsSent,
                "packets_recv": .netPacketsRecv, "errors": .netErrors, "dropped": .netDropped,
            ]
        case .processCount: ["": .processCount]
        }
    }
}

/// A device's past, ascending.
struct MetricsHistory {
    enum Points {
        case rows([DeviceMetrics])
        case buckets([AggregatedMetrics])

        var isEmpty: Bool {
            switch self {
            case .rows(let rows): rows.isEmpty
            case .buckets(let buckets): buckets.isEmpty
            }
        }
    }

    var deviceID: Int
    var request: HistoryRequest
    /// The interval that was used.
    var interval: HistoryInterval
    /// Whether there were more points than the limit.
    var truncated: Bool
    var points: Points
}

/// Reads metrics (specification §4.4).
package final class MetricsService: Sendable {
    private let metrics: MetricsRepository
    private let devices: DeviceService
    private let latest: TTLCache<Int, DeviceMetrics>
    private let now: @Sendable () -> Date

    /// - Parameter ttl: `cache.metrics_ttl`; new rows end an entry before.
    package init(
        metrics: MetricsRepository,
        devices: DeviceService,
        ttl: Duration,
        clocks: APIClocks = APIClocks()
    ) {
        self.metrics = metrics
        self.devices = devices
        self.latest = TTLCache(ttl: ttl, now: clocks.monotonic)
        self.now = clocks.wall
    }

    /// The newest row of a device.
    func latest(deviceID: Int) async throws -> DeviceMetrics {
        let row = try await self.latest.value(for: deviceID) { try await self.metrics.latest(deviceID: deviceID) }
        if let row { return row }
        try await self.devices.requireExistence(id: deviceID)
        throw ServiceError(.notFound, "Device \(deviceID) has no metrics yet")
    }

    /// The newest row of each of these devices that has one.
    func latest(deviceIDs: [Int]) async throws -> [Int: DeviceMetrics] {
        try await self.metrics.latest(deviceIDs: deviceIDs)
    }

    func history(deviceID: Int, _ request: HistoryRequest) async throws -> MetricsHistory {
        let history = try await self.history(deviceID, request)
        // A row proves its device: rows go when it goes.
        if history.points.isEmpty { try await self.devices.requireExistence(id: deviceID) }
        return history
    }

    private func history(_ deviceID: Int, _ request: HistoryRequest) async throws -> MetricsHistory {
        if let interval = request.interval { return try await self.history(deviceID, request, interval) }
        let chosen = HistoryInterval.automatic(
            from: request.from,
            to: min(request.to, self.now().addingTimeInterval(HistoryRequest.clockTolerance)),
            limit: request.limit,
            completeFrom: try await self.metrics.completeFrom()
        )
        if chosen == .oneMinute {
            // Where minutes fit, the rows may as well.
            let rows = try await self.history(deviceID, request, .raw)
            if !rows.truncated { return rows }
        }
        return try await self.history(deviceID, request, chosen)
    }

    private func history(
        _ deviceID: Int,
        _ request: HistoryRequest,
        _ interval: HistoryInterval
    ) async throws -> MetricsHistory {
        let (points, truncated): (MetricsHistory.Points, Bool)
        switch interval {
        case .raw:
            let found = try await self.metrics.raw(
                deviceID: deviceID,
                from: request.from,
                to: request.to,
                limit: request.limit
            )
            (points, truncated) = (.rows(found.rows), found.truncated)
        case .oneMinute, .fiveMinutes, .fifteenMinutes, .oneHour, .sixHours, .oneDay:
            let found = try await self.metrics.aggregated(
                deviceID: deviceID,
                from: request.from,
                to: request.to,
                interval: interval,
                fields: MetricGroup.allCases.filter(request.groups.contains).flatMap { $0.fields.map(\.value) },
                limit: request.limit
            )
            (points, truncated) = (.buckets(found.buckets), found.truncated)
        }
        return MetricsHistory(
            deviceID: deviceID,
            request: request,
            interval: interval,
            truncated: truncated,
            points: points
        )
    }

    /// Takes note of an event of this or another instance.
    func handle(_ event: DeviceEvent) {
        switch event.event {
        case .metricsStored:
            for id in event.deviceIDs ?? [] { self.latest.invalidate(id) }
        case .deviceDeleted:
            if let id = event.deviceID { self.latest.invalidate(id) }
        case .statusChanged, .deviceUpdated, .credentialUpdated: break
        }
    }

    func forgetAll() { self.latest.invalidateAll() }

    func removeExpired() { self.latest.removeExpired() }

    var cacheStatistics: (hits: UInt64, misses: UInt64) { self.latest.statistics }
}

extension HistoryInterval {
    /// The finest interval whose buckets fit the limit; the coarsest when none does. Rows as they are are not among
    /// them, and nothing under an hour is where rows were dropped.
    static func automatic(from: Date, to: Date, limit: Int, completeFrom: Date?) -> HistoryInterval {
        let isDropped = completeFrom.map { from < $0 } ?? false
        return Self.allCases.first { interval in
            guard let count = interval.bucketCount(from: from, to: to) else { return false }
            return count <= limit && (interval.isHourly || !isDropped)
        } ?? .oneDay
    }
}
