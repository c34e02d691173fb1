internal import NMSCore
internal import struct Foundation.Date

/// `/devices/{id}/metrics…`.
struct MetricsController: Sendable {
    /// The only interval there is: rows as they were stored.
    static let supportedInterval = "raw"

    let metrics: MetricsService

    @Sendable func latest(_ call: EndpointCall) async throws -> Answer {
        .ok(try await self.metrics.latest(deviceID: call.id()))
    }

    @Sendable func history(_ call: EndpointCall) async throws -> Answer {
        let id = try call.id()
        let request = try Self.request(call.query, now: Date())
        return .ok(HistoryBody(try await self.metrics.history(deviceID: id, request)))
    }

    /// `from`, `to`, `interval`, `metrics`, `limit`.
    static func request(_ text: String?, now: Date) throws(ServiceError) -> HistoryRequest {
        var query = try QueryReader(text)
        let to = query.time("to", in: HistoryRequest.moments) ?? now.roundedToMilliseconds
        let from = query.time("from", in: HistoryRequest.moments) ?? to.addingTimeInterval(-HistoryRequest.defaultSpan)
        if let interval = query.take("interval"), interval != Self.supportedInterval {
            query.fail("interval", "interval must be \(Self.supportedInterval), the only one supported", interval)
        }
        var groups = Set(MetricGroup.allCases)
        if let names = query.take("metrics") {
            let wanted = names.split(separator: ",", omittingEmptySubsequences: false)
                .map { MetricGroup(rawValue: String($0)) }
            if wanted.contains(nil) {
                let all = MetricGroup.allCases.map(\.rawValue).joined(separator: ", ")
                query.fail("metrics", "metrics must be some of \(all), separated by commas", names)
            }
            groups = Set(wanted.compactMap(\.self))
        }
        let limit = query.integer(
            "limit",
            1...HistoryRequest.maximumLimit,
            default: HistoryRequest.defaultLimit
        )
        if query.errors.isEmpty, from >= to {
            query.fail("from", "from must be before to", RFC3339.string(from: from))
        }
        try query.finish()
        return HistoryRequest(from: from, to: to, groups: groups, limit: limit)
    }
}

/// Rows of a device's past, ascending.
struct HistoryBody: Encodable, Sendable {
    let deviceID: Int
    let from: Date
    let to: Date
    let interval: String
    let truncated: Bool
    let points: [HistoryPoint]

    init(_ history: MetricsHistory) {
        self.deviceID = history.deviceID
        self.from = history.request.from
        self.to = history.request.to
        self.interval = MetricsController.supportedInterval
        self.truncated = history.truncated
        self.points = history.rows.map { HistoryPoint(row: $0, groups: history.request.groups) }
    }

    enum CodingKeys: String, CodingKey {
        case deviceID = "device_id"
        case from, to, interval, truncated, points
    }
}

/// A row with the groups that were asked for.
struct HistoryPoint: Encodable, Sendable {
    let row: DeviceMetrics
    let groups: Set<MetricGroup>

    enum CodingKeys: String, CodingKey {
        case timestamp
        case jobID = "job_id"
        case cpu, memory, disk, network
        case processCount = "process_count"
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(self.row.timestamp, forKey: .timestamp)
        try container.encode(self.row.jobID, forKey: .jobID)
        if self.groups.contains(.cpu) { try container.encode(self.row.cpu, forKey: .cpu) }
        if self.groups.contains(.memory) { try container.encode(self.row.memory, forKey: .memory) }
        if self.groups.contains(.disk) { try container.encode(self.row.disk, forKey: .disk) }
        if self.groups.contains(.network) { try container.encode(self.row.network, forKey: .network) }
        if self.groups.contains(.processCount) { try container.encode(self.row.processCount, forKey: .processCount) }
    }
}
