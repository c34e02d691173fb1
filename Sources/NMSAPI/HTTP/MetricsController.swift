internal import NMSCore
internal import NMSStorage
internal import struct Foundation.Date

/// `/devices/{id}/metrics…`.
struct MetricsController: Sendable {
    let metrics: MetricsService

    @Sendable func latest(_ call: Call<NoQuery, NoBody>) async throws -> DeviceMetrics {
        try await self.metrics.latest(deviceID: call.id())
    }

    @Sendable func history(_ call: Call<HistoryQuery, NoBody>) async throws -> HistoryBody {
        let request = try call.query.request(now: Date())
        return HistoryBody(try await self.metrics.history(deviceID: call.id(), request))
    }
}

/// The query of `GET /devices/{id}/metrics/history`.
struct HistoryQuery: RequestQuery {
    /// The interval that is chosen by the limit.
    static let automaticInterval = "auto"

    let from: Date?
    let to: Date?
    /// nil chooses the finest that fits the limit.
    let interval: HistoryInterval?
    let groups: Set<MetricGroup>
    let limit: Int

    init(_ query: inout QueryReader) throws(ServiceError) {
        self.from = query.time("from", "The first moment; without it, an hour before `to`.")
        self.to = query.time("to", "The moment after the last; without it, now.")
        let interval = query.choice(
            "interval",
            IntervalName.self,
            "Rows as they are, buckets of this length, or the finest that fits `limit`.",
            default: .named(.raw)
        )
        self.interval = interval.interval
        let groups = query.choices("metrics", MetricGroup.self, "The groups to answer; without it, all.")
        self.groups = Set(groups ?? MetricGroup.allCases)
        self.limit = query.integer(
            "limit",
            "How many points to answer at most.",
            1...HistoryRequest.maximumLimit,
            default: HistoryRequest.defaultLimit
        )
        if query.errors.isEmpty, let from = self.from, let to = self.to, from >= to {
            query.fail("from", Self.orderMessage, RFC3339.string(from: from))
        }
    }

    /// - Throws: ``ServiceError`` when the time between `from` and `to` is empty, one of them being left out.
    func request(now: Date) throws(ServiceError) -> HistoryRequest {
        let to = self.to ?? now.roundedToMilliseconds
        let from = self.from ?? to.addingTimeInterval(-HistoryRequest.defaultSpan)
        guard from < to else {
            throw .invalid("from", Self.orderMessage, value: .string(RFC3339.string(from: from)))
        }
        return HistoryRequest(from: from, to: to, interval: self.interval, groups: self.groups, limit: self.limit)
    }

    private static let orderMessage = "from must be before to"

    private enum IntervalName: RawRepresentable, CaseIterable {
        case named(HistoryInterval)
        case automatic

        static var allCases: [IntervalName] { HistoryInterval.allCases.map(Self.named) + [.automatic] }

        init?(rawValue: String) {
            guard let found = Self.allCases.first(where: { $0.rawValue == rawValue }) else { return nil }
            self = found
        }

        var rawValue: String {
            switch self {
            case .named(let interval): interval.rawValue
            case .automatic: HistoryQuery.automaticInterval
            }
        }

        var interval: HistoryInterval? {
            switch self {
            case .named(let interval): interval
            case .automatic: nil
            }
        }
    }
}

/// A device's past, ascending.
struct HistoryBody: ResponseBody {
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
