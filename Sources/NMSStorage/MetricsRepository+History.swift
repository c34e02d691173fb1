package import struct Foundation.Date
internal import Postgres

extension MetricsRepository {
    /// How many buckets are computed at a time, so that no statement reads much more than it answers.
    private static let window = 2_000

    /// Before this, rows were dropped by retention: only intervals of an hour or more know anything; nil when none were.
    package func completeFrom() async throws -> Date? {
        try await self.pool.read("SELECT complete_from FROM metrics_hourly_state").first?.optional("complete_from")
    }

    /// Buckets with rows of `from` <= timestamp < `to`, ascending, at most `limit`; `truncated` when there were more.
    ///
    /// Exact for every row that is committed: intervals of an hour or more are made of the roll-up, and of rows where it
    /// is behind. Where rows were dropped by retention, the hours at both ends count whole.
    ///
    /// - Parameter interval: not ``HistoryInterval/raw``.
    package func aggregated(
        deviceID: Int,
        from: Date,
        to: Date,
        interval: HistoryInterval,
        fields: [MetricField],
        limit: Int
    ) async throws -> (buckets: [AggregatedMetrics], truncated: Bool) {
        guard let id = Int32(exactly: deviceID), limit > 0, from < to, let seconds = interval.seconds else {
            return ([], false)
        }
        // One more than asked for tells whether there are more.
        let buckets =
            interval.isHourly
            ? try await self.hourly(id, from..<to, seconds: seconds, fields: fields, limit: limit + 1)
            : try await self.windowed(id, from..<to, seconds: seconds, fields: fields, limit: limit + 1)
        return (Array(buckets.prefix(limit)), buckets.count > limit)
    }

    private func hourly(
        _ id: Int32,
        _ range: Range<Date>,
        seconds: Int,
        fields: [MetricField],
        limit: Int
    ) async throws -> [AggregatedMetrics] {
        let known = try await self.pool.read(
            MetricsHistoryQueries.state,
            [id, HistoryHours.start(of: range.lowerBound), range.upperBound]
        )
        // What is rolled up between these two statements only makes the second one newer.
        let hours = HistoryHours(
            from: range.lowerBound,
            to: range.upperBound,
            state: try known.first.map(RollUpState.init) ?? RollUpState(),
            changed: try known.first?.value("changed") ?? []
        )
        return try await self.pool.read(
            MetricsHistoryQueries.hourlyBuckets(of: seconds, fields: fields),
            [
                id, hours.head.lowerBound, hours.head.upperBound, hours.rolledUp.lowerBound,
                hours.rolledUp.upperBound, hours.tail.lowerBound, hours.tail.upperBound, hours.changed, limit,
            ]
        ).map { try AggregatedMetrics($0, fields) }
    }

    private func windowed(
        _ id: Int32,
        _ range: Range<Date>,
        seconds: Int,
        fields: [MetricField],
        limit: Int
    ) async throws -> [AggregatedMetrics] {
        let query = MetricsHistoryQueries.buckets(of: seconds, fields: fields)
        let length = Double(seconds)
        var buckets: [AggregatedMetrics] = []
        var start = range.lowerBound
        while start < range.upperBound, buckets.count < limit {
            let rest = limit - buckets.count
            let bucket = (start.timeIntervalSince1970 / length).rounded(.down) * length
            let end = min(
                Date(timeIntervalSince1970: bucket + Double(max(rest, Self.window)) * length),
                range.upperBound
            )
            let rows = try await self.pool.read(query, [id, start, end, rest])
            for row in rows { buckets.append(try AggregatedMetrics(row, fields)) }
            guard end < range.upperBound, buckets.count < limit else { break }
            // Gaps are jumped over, however long.
            let next = try await self.pool.read(MetricsHistoryQueries.firstRow, [[id], end])
            guard let next: Date = try next.first?.optional("timestamp") else { break }
            start = next
        }
        return buckets
    }
}

extension RollUpState {
    init(_ row: PostgresRow) throws {
        self.init(
            rolledUpUntil: try row.optional("rolled_up_until"),
            completeFrom: try row.optional("complete_from")
        )
    }
}

extension AggregatedMetrics {
    fileprivate init(_ row: PostgresRow, _ fields: [MetricField]) throws {
        var values: [MetricField: MetricAggregate] = [:]
        values.reserveCapacity(fields.count)
        for field in fields {
            let number = { (part: String) throws -> MetricAggregate.Number? in
                let name = "\(field.column)_\(part)"
                return field.isPercent
                    ? try row.optional(name).map(MetricAggregate.Number.decimal)
                    : try row.optional(name).map(MetricAggregate.Number.integer)
            }
            values[field] = MetricAggregate(
                average: try row.optional("\(field.column)_avg"),
                minimum: try number("min"),
                maximum: try number("max")
            )
        }
        self.init(timestamp: try row.value("bucket"), values: values)
    }
}
