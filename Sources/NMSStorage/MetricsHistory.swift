package import struct Foundation.Date
package import struct Foundation.TimeInterval

/// How a history is summed up: rows as they are, or buckets that start at whole multiples of their length in UTC.
package enum HistoryInterval: String, Sendable, Hashable, CaseIterable {
    case raw
    case oneMinute = "1m"
    case fiveMinutes = "5m"
    case fifteenMinutes = "15m"
    case oneHour = "1h"
    case sixHours = "6h"
    case oneDay = "1d"

    /// The length of a bucket in seconds; nil for rows as they are.
    package var seconds: Int? {
        switch self {
        case .raw: nil
        case .oneMinute: 60
        case .fiveMinutes: 300
        case .fifteenMinutes: 900
        case .oneHour: 3_600
        case .sixHours: 21_600
        case .oneDay: 86_400
        }
    }

    /// Whether buckets are made of whole hours.
    package var isHourly: Bool { (self.seconds ?? 0) >= HistoryHours.length }

    /// How many buckets the time from `from` to `to`, exclusive, touches; nil for rows as they are.
    package func bucketCount(from: Date, to: Date) -> Int? {
        guard let seconds = self.seconds else { return nil }
        guard from < to else { return 0 }
        let length = Double(seconds)
        return Int((to.timeIntervalSince1970 / length).rounded(.up))
            - Int((from.timeIntervalSince1970 / length).rounded(.down))
    }
}

/// Mean, smallest and largest of the values in a bucket that are known; nil when none is.
package struct MetricAggregate: Sendable, Equatable {
    package enum Number: Sendable, Equatable {
        case integer(Int64)
        case decimal(Double)
    }

    package var average: Double?
    package var minimum: Number?
    package var maximum: Number?

    package init(average: Double? = nil, minimum: Number? = nil, maximum: Number? = nil) {
        self.average = average
        self.minimum = minimum
        self.maximum = maximum
    }
}

/// A bucket that has rows.
package struct AggregatedMetrics: Sendable, Equatable {
    /// The bucket's first moment.
    package var timestamp: Date
    /// One for each field that was asked for.
    package var values: [MetricField: MetricAggregate]

    package init(timestamp: Date, values: [MetricField: MetricAggregate]) {
        self.timestamp = timestamp
        self.values = values
    }
}

/// How far the roll-up has come (`metrics_hourly_state`).
package struct RollUpState: Sendable, Equatable {
    /// Hours before this one are rolled up; nil before the beginning.
    package var rolledUpUntil: Date?
    /// Before this, rows were dropped by retention; nil when none were.
    package var completeFrom: Date?

    package init(rolledUpUntil: Date? = nil, completeFrom: Date? = nil) {
        self.rolledUpUntil = rolledUpUntil
        self.completeFrom = completeFrom
    }
}

/// Hours in UTC, and where each part of a history by hours is read from; pure.
struct HistoryHours: Equatable {
    /// In seconds.
    static let length = 3_600

    /// Rows from the start of the request to its first whole hour.
    let head: Range<Date>
    /// Whole hours that are rolled up.
    let rolledUp: Range<Date>
    /// Rows after the last rolled-up hour.
    let tail: Range<Date>
    /// Hours within ``rolledUp`` that got rows since: read from rows.
    let changed: [Date]

    /// - Parameter changed: hours that `metrics_changes` names for the device.
    init(from: Date, to: Date, state: RollUpState, changed: [Date]) {
        // Where rows were dropped, the hours at the ends count whole: their parts can't be told any more.
        let isDropped = { (hour: Date) in state.completeFrom.map { hour < $0 } ?? false }
        let (fromHour, toHour) = (Self.start(of: from), Self.start(of: to))
        let firstWhole = from == fromHour || isDropped(fromHour) ? fromHour : Self.next(after: fromHour)
        let lastWhole = to == toHour || !isDropped(toHour) ? toHour : Self.next(after: toHour)
        guard let until = state.rolledUpUntil, firstWhole < min(lastWhole, until) else {
            self.head = from..<from
            self.rolledUp = from..<from
            self.tail = from..<to
            self.changed = []
            return
        }
        let end = min(lastWhole, until)
        self.head = from..<max(from, firstWhole)
        self.rolledUp = firstWhole..<end
        self.tail = min(end, to)..<to
        let range = self.rolledUp
        self.changed = changed.filter { range.contains($0) && !isDropped($0) }.sorted()
    }

    static func start(of date: Date) -> Date {
        let length = Double(Self.length)
        return Date(timeIntervalSince1970: (date.timeIntervalSince1970 / length).rounded(.down) * length)
    }

    static func next(after hour: Date) -> Date { hour.addingTimeInterval(TimeInterval(Self.length)) }
}
