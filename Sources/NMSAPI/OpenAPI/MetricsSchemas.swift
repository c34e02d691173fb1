internal import NMSCore
internal import NMSStorage

extension DeviceMetrics: ResponseBody {
    static let schemaName = "DeviceMetrics"

    static let schema = JSONSchema.object([
        "device_id": .id,
        "timestamp": JSONSchema.time.described("The server's clock when the last sample was complete."),
        "cpu": MetricGroup.cpu.schema,
        "memory": MetricGroup.memory.schema,
        "disk": MetricGroup.disk.schema,
        "network": MetricGroup.network.schema,
        "process_count": MetricGroup.processCount.schema,
        "collection_duration_ms": JSONSchema.count.orNull,
        "job_id": JSONSchema.uuid.orNull.described("The poll that measured this."),
    ])

    static let example: JSONValue = [
        "device_id": 1,
        "timestamp": "2025-12-03T10:05:00.000Z",
        "cpu": ["usage_percent": 45.5],
        "memory": ["total_bytes": 17_179_869_184, "used_bytes": 8_589_934_592, "usage_percent": 50.0],
        "disk": ["total_bytes": 500_107_862_016, "used_bytes": 250_053_931_008, "usage_percent": 50.0],
        "network": [
            "bytes_sent_per_sec": 1_048_576, "bytes_recv_per_sec": 2_097_152, "utilization_percent": 25.0,
            "packets_sent": 1_000_000, "packets_recv": 2_000_000, "errors": 0, "dropped": 5,
        ],
        "process_count": 142,
        "collection_duration_ms": 830,
        "job_id": "3f1f3f5e-8d3b-4b8e-9c39-5f1c0e1d9a11",
    ]
}

extension MetricGroup {
    /// The group as rows have it; each number is null where it is not known.
    var schema: JSONSchema {
        self.schema { $0.hasSuffix("_percent") ? .percentage.orNull : .quantity.orNull }
    }

    /// The group as buckets have it.
    var bucketSchema: JSONSchema {
        self.schema { $0.hasSuffix("_percent") ? .percentageAggregate : .quantityAggregate }
    }

    private func schema(_ number: (String) -> JSONSchema) -> JSONSchema {
        if self == .processCount { return number(self.rawValue) }
        return .object(self.fields.map { ($0.key, number($0.key)) })
    }
}

extension JSONSchema {
    fileprivate static let percentageAggregate = JSONSchema.named(
        "PercentageAggregate",
        .object(["avg": .percentage.orNull, "min": .percentage.orNull, "max": .percentage.orNull])
            .described("Mean, smallest and largest of the values that are known; null when none is.")
    )

    fileprivate static let quantityAggregate = JSONSchema.named(
        "QuantityAggregate",
        .object([
            "avg": JSONSchema.number().with("minimum", 0).orNull, "min": .quantity.orNull, "max": .quantity.orNull,
        ])
        .described("Mean, smallest and largest of the values that are known; null when none is.")
    )
}

extension HistoryBody {
    static let schema = JSONSchema.object([
        "device_id": .id,
        "from": .time,
        "to": .time,
        "interval": JSONSchema.choice(HistoryInterval.self).described("The one that was used."),
        "truncated": JSONSchema.boolean
            .described("Whether there were more points than `limit`: go on from after the last one."),
        "points": .anyOf([
            .array(of: .named("HistoryPoint", Self.point)), .array(of: .named("HistoryBucket", Self.bucket)),
        ]),
    ])

    private static let groups = MetricGroup.allCases.map(\.rawValue)

    private static let point = JSONSchema.object(
        [("timestamp", .time), ("job_id", .uuid.orNull)] + MetricGroup.allCases.map { ($0.rawValue, $0.schema) },
        optional: Set(Self.groups)
    ).described("A row, with the groups that were asked for.")

    private static let bucket = JSONSchema.object(
        [("timestamp", JSONSchema.time)] + MetricGroup.allCases.map { ($0.rawValue, $0.bucketSchema) },
        optional: Set(Self.groups)
    ).described("The rows from `timestamp` on, with the groups that were asked for.")

    static let example: JSONValue = [
        "device_id": 1, "from": "2025-12-03T10:00:00.000Z", "to": "2025-12-03T11:00:00.000Z", "interval": "1h",
        "truncated": false,
        "points": [
            [
                "timestamp": "2025-12-03T10:00:00.000Z",
                "cpu": ["usage_percent": ["avg": 41.25, "min": 3.5, "max": 97.0]],
                "process_count": ["avg": 140.5, "min": 138, "max": 142],
            ]
        ],
    ]
}
