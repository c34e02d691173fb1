internal import NMSCore
internal import NMSStorage
internal import struct Foundation.Date

/// `/devices/{id}/metrics…`.
struct MetricsController: Sendable {
    /// The interval that is chosen by the limit.
    static let automaticInterval = "auto"

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
        var interval: HistoryInterval? = .raw
        if let name = query.take("interval") {
            interval = HistoryInterval(rawValue: name)
            if interval == nil, name != Self.automaticInterval {
                let all = HistoryInterval.allCases.map(\.rawValue) + [Self.automaticInterval]
                query.fail("interval", "interval must be one of \(all.joined(separator: ", "))", name)
            }
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
        return HistoryRequest(from: from, to: to, interval: interval, groups: groups, limit: limit)
    }
}

/// A device's past, ascending.
struct HistoryBody: Encodable, Sendable {
    let deviceID: Int
    let from: Date
    let to: Date
    let interval: String
    let truncated: Bool
    let points: Points

    enum Points: Encodable, Sendable {
        case rows([HistoryPoint])
        case buckets([HistoryBucket])

        func encode(to encoder: any Encoder) throws {
            switch self {
            case .rows(let rows): try rows.encode(to: encoder)
            case .buckets(let buckets): try buckets.encode(to: encoder)
            }
        }
    }

    init(_ history: MetricsHistory) {
        let groups = history.request.groups
        self.deviceID = history.deviceID
        self.from = history.request.from
        self.to = history.request.to
        self.interval = history.interval.rawValue
        self.truncated = history.truncated
        self.points =
            switch history.points {
            case .rows(let rows): .rows(rows.map { HistoryPoint(row: $0, groups: groups) })
            case .buckets(let buckets): .buckets(buckets.map { HistoryBucket(bucket: $0, groups: groups) })
            }
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

/// A bucket with the groups that were asked for: of each number its mean, smallest and largest value.
struct HistoryBucket: Encodable, Sendable {
    let bucket: AggregatedMetrics
    let groups: Set<MetricGroup>

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Name.self)
        try container.encode(self.bucket.timestamp, forKey: Name("timestamp"))
        for group in MetricGroup.allCases where self.groups.contains(group) {
            if group == .processCount {
                try container.encode(self.aggregate(.processCount), forKey: Name(group.rawValue))
                continue
            }
            var numbers = container.nestedContainer(keyedBy: Name.self, forKey: Name(group.rawValue))
            for (name, field) in group.fields { try numbers.encode(self.aggregate(field), forKey: Name(name)) }
        }
    }

    private func aggregate(_ field: MetricField) -> Aggregate {
        Aggregate(aggregate: self.bucket.values[field] ?? MetricAggregate())
    }

    private struct Name: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }

        init(_ name: String) { self.stringValue = name }
        init?(stringValue: String) { self.init(stringValue) }
        init?(intValue: Int) { nil }
    }

    private struct Aggregate: Encodable {
        let aggregate: MetricAggregate

        enum CodingKeys: String, CodingKey { case avg, min, max }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(self.aggregate.average, forKey: .avg)
            try Self.encode(self.aggregate.minimum, forKey: .min, to: &container)
            try Self.encode(self.aggregate.maximum, forKey: .max, to: &container)
        }

        private static func encode(
            _ number: MetricAggregate.Number?,
            forKey key: CodingKeys,
            to container: inout KeyedEncodingContainer<CodingKeys>
        ) throws {
            switch number {
            case .integer(let value): try container.encode(value, forKey: key)
            case .decimal(let value): try container.encode(value, forKey: key)
            case nil: try container.encodeNil(forKey: key)
            }
        }
    }
}
