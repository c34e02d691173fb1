internal import Foundation

/// Numbers as people read them.
package enum Quantities {
    /// Such as `8.0 GiB`: powers of 1,024, as memory and disks are sold and shown by Windows.
    package static func bytes(_ value: Double?) -> String {
        guard let value else { return "-" }
        return self.scaled(value, by: 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"])
    }

    /// Bytes a second, such as `1.2 MB/s`: powers of 1,000, as lines are sold.
    package static func rate(_ value: Double?) -> String {
        guard let value else { return "-" }
        return self.scaled(value, by: 1000, ["B/s", "kB/s", "MB/s", "GB/s", "TB/s"])
    }

    private static func scaled(_ value: Double, by step: Double, _ units: [String]) -> String {
        var value = value
        var unit = 0
        // 999.96 would be written 1000.0.
        while value >= step - 0.05, unit < units.count - 1 {
            value /= step
            unit += 1
        }
        return (unit == 0 ? String(Int(value.rounded())) : self.decimal(value)) + " " + units[unit]
    }

    /// With one decimal.
    package static func decimal(_ value: Double?) -> String {
        guard let value else { return "-" }
        return String(format: "%.1f", value)
    }

    package static func percent(_ value: Double?) -> String {
        guard let value else { return "-" }
        return self.decimal(value) + "%"
    }

    /// A length of time, such as `45s`, `12m`, `3h` or `9d`.
    package static func age(_ seconds: Double?) -> String {
        guard let seconds else { return "-" }
        switch max(0, seconds) {
        case ..<120: return "\(Int(max(0, seconds)))s"
        case ..<7200: return "\(Int(seconds / 60))m"
        case ..<172_800: return "\(Int(seconds / 3600))h"
        default: return "\(Int(seconds / 86_400))d"
        }
    }

    /// Reads `90`, `90s`, `15m`, `24h`, `30d` or `2w`.
    /// - Returns: seconds; nil when it is none of these, or not positive.
    package static func seconds(_ text: String) -> Double? {
        let units: [Character: Double] = ["s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800]
        let unit = text.last.flatMap { units[$0] }
        guard let number = Int(unit == nil ? text : String(text.dropLast())), (1...1_000_000).contains(number) else {
            return nil
        }
        return Double(number) * (unit ?? 1)
    }
}

/// A course of values in one line.
package enum Sparkline {
    private static let blocks: [Character] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"]
    private static let ascii: [Character] = ["_", ".", "-", "~", "=", "+", "*", "#"]

    /// - Parameters:
    ///   - values: one a column; nil is a gap.
    ///   - top: what a full column means; nil is the greatest of the values.
    package static func text(_ values: [Double?], top: Double?, _ style: TextStyler) -> String {
        let marks = style.isUnicode ? self.blocks : self.ascii
        let top = top ?? values.compactMap { $0 }.max() ?? 0
        return String(
            values.map { value in
                guard let value else { return " " }
                guard top > 0 else { return marks[0] }
                let share = min(1, max(0, value / top))
                return marks[min(marks.count - 1, Int(share * Double(marks.count)))]
            }
        )
    }

    /// Means of what falls into each of `columns` equal parts of a span of time.
    /// - Parameter points: moments and values, in seconds since 1970.
    package static func resampled(
        _ points: [(at: Double, value: Double)],
        from: Double,
        to: Double,
        columns: Int
    ) -> [Double?] {
        guard columns > 0, to > from else { return [] }
        var sums = [(sum: Double, count: Int)](repeating: (0, 0), count: columns)
        for point in points where point.at >= from && point.at < to {
            let column = min(columns - 1, Int((point.at - from) / (to - from) * Double(columns)))
            sums[column].sum += point.value
            sums[column].count += 1
        }
        return sums.map { $0.count > 0 ? $0.sum / Double($0.count) : nil }
    }
}
