package import Foundation

/// A calendar month in UTC: what one partition of `metrics` holds (specification §5.3).
package struct MetricsMonth: Sendable, Hashable, Comparable {
    package let year: Int
    /// 1…12.
    package let month: Int

    /// The years that partitions are made for; a row of any other year is not a real measurement.
    package static let years = 2000...2199

    /// nil for a month or a year outside the range.
    package init?(year: Int, month: Int) {
        guard Self.years.contains(year), (1...12).contains(month) else { return nil }
        self.year = year
        self.month = month
    }

    /// The month that a moment lies in; nil outside ``years``.
    package init?(_ date: Date) {
        // Every row asks for its month: by arithmetic, which takes a fortieth of a calendar's time. A month before the
        // years that begin in March, of which 400 have 146,097 days; 1970-01-01 is day 719,468 since 0000-03-01.
        let days = (date.timeIntervalSince1970 / 86_400).rounded(.down)
        guard Self.days.contains(days) else { return nil }
        let shifted = Int(days) + 719_468
        let dayOfEra = shifted % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let fromMarch = (5 * dayOfYear + 2) / 153
        let month = fromMarch < 10 ? fromMarch + 3 : fromMarch - 9
        self.init(year: shifted / 146_097 * 400 + yearOfEra + (month <= 2 ? 1 : 0), month: month)
    }

    /// Days since 1970 that any of ``years`` may have, and some more on either side.
    private static let days = 0.0...100_000.0

    /// Reads `metrics_y2025m01`; nil for anything else.
    init?(partition: some StringProtocol) {
        guard partition.hasPrefix("metrics_y"), partition.utf8.count == "metrics_y2025m01".utf8.count else {
            return nil
        }
        let parts = partition.dropFirst("metrics_y".count).split(separator: "m", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[0].count == 4, let year = Int(parts[0]), let month = Int(parts[1]) else {
            return nil
        }
        self.init(year: year, month: month)
    }

    package var next: MetricsMonth? {
        self.month == 12
            ? MetricsMonth(year: self.year + 1, month: 1) : MetricsMonth(year: self.year, month: self.month + 1)
    }

    /// `metrics_y2025m01`.
    package var partition: String { "metrics_y\(self.year)m\(self.month < 10 ? "0" : "")\(self.month)" }

    /// The first moment of the month.
    package var start: Date { Self.calendar.date(from: .init(year: self.year, month: self.month)) ?? .distantPast }

    /// The first moment after the month.
    package var end: Date {
        let next = (year: self.month == 12 ? self.year + 1 : self.year, month: self.month % 12 + 1)
        return Self.calendar.date(from: .init(year: next.year, month: next.month)) ?? .distantFuture
    }

    /// `2025-01-01 00:00:00+00`: the bounds must not depend on the session's time zone.
    static func bound(year: Int, month: Int) -> String { "\(year)-\(month < 10 ? "0" : "")\(month)-01 00:00:00+00" }

    /// The partition's bounds, the upper one exclusive.
    var bounds: (from: String, to: String) {
        (
            Self.bound(year: self.year, month: self.month),
            Self.bound(year: self.month == 12 ? self.year + 1 : self.year, month: self.month % 12 + 1)
        )
    }

    package static func < (lhs: MetricsMonth, rhs: MetricsMonth) -> Bool {
        (lhs.year, lhs.month) < (rhs.year, rhs.month)
    }

    private static let calendar: Calendar = {
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = .gmt
        return calendar
    }()
}
