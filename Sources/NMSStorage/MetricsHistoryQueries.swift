/// SQL of histories and of the roll-up, made of the columns of ``MetricField``.
enum MetricsHistoryQueries {
    /// Buckets and hours are aligned in UTC, whatever the session's time zone.
    private static let epoch = "TIMESTAMPTZ '1970-01-01 00:00:00+00'"

    static func bucket(_ seconds: Int, _ time: String) -> String {
        "date_bin(INTERVAL '\(seconds) seconds', \(time), \(Self.epoch))"
    }

    static let hour = Self.bucket(HistoryHours.length, "timestamp")

    /// What an hour keeps of a column: enough for the exact mean, smallest and largest of any number of hours.
    private static let parts = ["count", "sum", "min", "max"]

    private static func sums(of fields: [MetricField]) -> String {
        fields.flatMap { field in Self.parts.map { "\($0)(\(field.column)) AS \(field.column)_\($0)" } }
            .joined(separator: ", ")
    }

    private static func columns(of fields: [MetricField]) -> [String] {
        fields.flatMap { field in Self.parts.map { "\(field.column)_\($0)" } }
    }

    /// The columns of an answer. What is no integer comes as the nearest `float8`, which costs less to read than
    /// `numeric`.
    private static func answer(_ field: MetricField, average: String, minimum: String, maximum: String) -> String {
        let name = field.column
        let type = field.isPercent ? "::float8" : ""
        return """
            , (\(average))::float8 AS \(name)_avg, min(\(minimum))\(type) AS \(name)_min, \
            max(\(maximum))\(type) AS \(name)_max
            """
    }

    /// Buckets of rows: $1 device, $2 from, $3 to, $4 the most buckets.
    static func buckets(of seconds: Int, fields: [MetricField]) -> String {
        let values = fields.map { field in
            let name = field.column
            return Self.answer(field, average: "avg(\(name))", minimum: name, maximum: name)
        }.joined()
        return """
            SELECT \(Self.bucket(seconds, "timestamp")) AS bucket\(values)
            FROM metrics WHERE device_id = $1 AND timestamp >= $2 AND timestamp < $3
            GROUP BY 1 ORDER BY 1 LIMIT $4
            """
    }

    /// Buckets of whole hours, as ``HistoryHours`` says: $1 device, $2…$3 head, $4…$5 rolled up, $6…$7 tail, $8 changed
    /// hours, $9 the most buckets.
    static func hourlyBuckets(of seconds: Int, fields: [MetricField]) -> String {
        let sums = Self.sums(of: fields)
        let columns = Self.columns(of: fields).joined(separator: ", ")
        let values = fields.map { field in
            let name = field.column
            return Self.answer(
                field,
                average: "sum(\(name)_sum) / NULLIF(sum(\(name)_count), 0)",
                minimum: "\(name)_min",
                maximum: "\(name)_max"
            )
        }.joined()
        func rows(_ from: String, _ to: String) -> String {
            """
            SELECT \(Self.hour) AS hour, \(sums) FROM metrics
            WHERE device_id = $1 AND timestamp >= \(from) AND timestamp < \(to) GROUP BY 1
            """
        }
        return """
            SELECT \(Self.bucket(seconds, "hour")) AS bucket\(values) FROM (
                SELECT hour, \(columns) FROM metrics_hourly
                WHERE device_id = $1 AND hour >= $4 AND hour < $5 AND hour <> ALL ($8::timestamptz[])
                UNION ALL
                \(rows("$2", "$3"))
                UNION ALL
                \(rows("$6", "$7"))
                UNION ALL
                SELECT changed.hour, rows.* FROM unnest($8::timestamptz[]) AS changed (hour) CROSS JOIN LATERAL (
                    SELECT \(sums) FROM metrics
                    WHERE device_id = $1 AND timestamp >= changed.hour
                        AND timestamp < changed.hour + INTERVAL '\(HistoryHours.length) seconds'
                    HAVING count(*) > 0
                ) AS rows
            ) AS hours GROUP BY 1 ORDER BY 1 LIMIT $9
            """
    }

    /// How far the roll-up is, and which of its hours a device has new rows in: $1 device, $2 from, $3 to.
    static let state = """
        SELECT rolled_up_until, complete_from, ARRAY(
            SELECT DISTINCT hour FROM metrics_changes
            WHERE hour >= $2 AND hour < $3 AND hour < rolled_up_until AND $1 = ANY (device_ids)
        ) AS changed
        FROM metrics_hourly_state
        """

    /// Notes the hours of new rows: $1 hours, $2 the devices of each as the text of an array.
    static let noteChanges = """
        INSERT INTO metrics_changes (hour, device_ids)
        SELECT hour, devices::integer[] FROM unnest($1::timestamptz[], $2::text[]) AS stored (hour, devices)
        """

    /// Makes hours anew from their rows, an index scan for each: $1 devices, $2 hours. Hours without rows are left.
    static let rollUp: String = {
        let columns = ["row_count"] + Self.columns(of: MetricField.allCases)
        return """
            INSERT INTO metrics_hourly (device_id, hour, \(columns.joined(separator: ", ")))
            SELECT wanted.device_id, wanted.hour, rows.*
            FROM unnest($1::integer[], $2::timestamptz[]) AS wanted (device_id, hour) CROSS JOIN LATERAL (
                SELECT count(*), \(Self.sums(of: MetricField.allCases)) FROM metrics
                WHERE metrics.device_id = wanted.device_id AND timestamp >= wanted.hour
                    AND timestamp < wanted.hour + INTERVAL '\(HistoryHours.length) seconds'
                HAVING count(*) > 0
            ) AS rows
            ON CONFLICT (device_id, hour) DO UPDATE SET
                \(columns.map { "\($0) = EXCLUDED.\($0)" }.joined(separator: ", "))
            """
    }()

    /// The first row of any of these devices: $1 devices, $2 not before.
    static let firstRow = """
        SELECT min(first.timestamp) AS timestamp FROM unnest($1::integer[]) AS wanted (device_id) CROSS JOIN LATERAL (
            SELECT timestamp FROM metrics WHERE metrics.device_id = wanted.device_id AND timestamp >= $2
            ORDER BY timestamp LIMIT 1
        ) AS first
        """
}
