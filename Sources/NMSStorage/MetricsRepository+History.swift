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
        let rows = try await self.pool.read(
            MetricsHistoryQueries.hourlyBuckets(of: seconds, fields: fields),
            [
                id, hours.head.lowerBound, hours.head.upperBound, hours.rolledUp.lowerBound,
                hours.rolledUp.upperBound, hours.tail.lowerBound, hours.tail.upperBound, hours.changed, limit,
            ]
        )
        return try AggregatedMetrics.all(rows, fields)
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
            buckets += try AggregatedMetrics.all(rows, fields)
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

/// The names of a field's columns in an answer, made once for all of its rows.
private struct AggregateColumns {
    let field: MetricField
    let average: String
    let minimum: String
    let maximum: String

    init(_ field: MetricField) {
        self.field = field
        self.average = "\(field.column)_avg"
        self.minimum = "\(field.column)_min"
        self.maximum = "\(field.column)_max"
    }

    func aggregate(_ row: PostgresRow) throws -> MetricAggregate {
        MetricAggregate(
            average: try row.optional(self.average),
            minimum: try self.number(row, self.minimum),
            maximum: try self.number(row, self.maximum)
        )
    }

    private func number(_ row: PostgresRow, _ column: String) throws -> MetricAggregate.Number? {
        self.field.isPercent
            ? try row.optional(column).map(MetricAggregate.Number.decimal)
            : try row.optional(column).map(MetricAggregate.Number.integer)
    }
}

extension AggregatedMetrics {
    fileprivate static func all(_ rows: PostgresRows, _ fields: [MetricField]) throws -> [AggregatedMetrics] {
        let columns = fields.map(AggregateColumns.init)
        return try rows.map { row in
            var values: [MetricField: MetricAggregate] = Dictionary(minimumCapacity: columns.count)
            for column in columns { values[column.field] = try column.aggregate(row) }
            return AggregatedMetrics(timestamp: try row.value("bucket"), values: values)
        }
    }
}
