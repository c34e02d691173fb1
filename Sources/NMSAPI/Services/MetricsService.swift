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
    /// Moments that can be asked for, the years 1970 to 9998 in UTC: within what PostgreSQL and four digits of a year
    /// hold, with room for ``defaultSpan`` and for any offset.
    static let moments = Date(timeIntervalSince1970: 0)..<Date(timeIntervalSince1970: 253_370_764_800)

    var from: Date
    var to: Date
    var groups: Set<MetricGroup>
    var limit: Int
}

/// The parts of a row of metrics.
enum MetricGroup: String, CaseIterable {
    case cpu, memory, disk, network
    case processCount = "process_count"
}

/// Rows of a device's past, ascending.
struct MetricsHistory {
    var deviceID: Int
    var request: HistoryRequest
    /// Whether there were more rows than the limit.
    var truncated: Bool
    var rows: [DeviceMetrics]
}

/// Reads metrics (specification §4.4).
package final class MetricsService: Sendable {
    private let metrics: MetricsRepository
    private let devices: DeviceService
    private let latest: TTLCache<Int, DeviceMetrics>

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
    }

    /// The newest row of a device.
    func latest(deviceID: Int) async throws -> DeviceMetrics {
        let row = try await self.latest.value(for: deviceID) { try await self.metrics.latest(deviceID: deviceID) }
        if let row { return row }
        try await self.devices.requireExistence(id: deviceID)
        throw ServiceError(.notFound, "Device \(deviceID) has no metrics yet")
    }

    func history(deviceID: Int, _ request: HistoryRequest) async throws -> MetricsHistory {
        let (rows, truncated) = try await self.metrics.raw(
            deviceID: deviceID,
            from: request.from,
            to: request.to,
            limit: request.limit
        )
        // A row proves its device: rows go when it goes.
        if rows.isEmpty { try await self.devices.requireExistence(id: deviceID) }
        return MetricsHistory(deviceID: deviceID, request: request, truncated: truncated, rows: rows)
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
}
