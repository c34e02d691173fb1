/// Durations as the specification writes them, after Go's `time.ParseDuration`: `30s`, `1m30s`, `250ms`, `1.5h`.
package enum DurationText {
    /// Nanoseconds of each unit, longest name first so that `ms` is not read as `m`.
    private static let units: [(name: String, nanoseconds: Int64)] = [
        ("ms", 1_000_000), ("us", 1_000), ("µs", 1_000), ("ns", 1),
        ("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000),
    ]

    /// nil for anything that is not numbers with units, for negative ones, and for what Int64 nanoseconds can't hold.
    package static func parse(_ text: String) -> Duration? {
        if text == "0" { return .zero }
        var rest = Substring(text)
        var total: Int64 = 0
        guard !rest.isEmpty else { return nil }
        while !rest.isEmpty {
            let whole = rest.prefix { $0.isASCII && $0.isNumber }
            rest = rest.dropFirst(whole.count)
            var fraction = Substring()
            if rest.first == "." {
                rest = rest.dropFirst()
                fraction = rest.prefix { $0.isASCII && $0.isNumber }
                rest = rest.dropFirst(fraction.count)
                guard !fraction.isEmpty, fraction.count <= 9 else { return nil }
            }
            guard let number = Int64(whole), let unit = self.units.first(where: { rest.hasPrefix($0.name) })
            else { return nil }
            rest = rest.dropFirst(unit.name.count)
            let (product, productOverflow) = number.multipliedReportingOverflow(by: unit.nanoseconds)
            var part: Int64 = 0
            var scale = unit.nanoseconds
            for digit in fraction {
                scale /= 10
                part += Int64(digit.wholeNumberValue ?? 0) * scale
            }
            let (sum, sumOverflow) = total.addingReportingOverflow(product)
            let (next, nextOverflow) = sum.addingReportingOverflow(part)
            guard !productOverflow, !sumOverflow, !nextOverflow else { return nil }
            total = next
        }
        return .nanoseconds(total)
    }

    /// The shortest text that ``parse(_:)`` reads back, to the nanosecond: `1h30m`, `250ms`, `0s`.
    package static func string(from duration: Duration) -> String {
        let (seconds, attoseconds) = duration.components
        var text = ""
        for (name, count) in [("h", seconds / 3600), ("m", seconds % 3600 / 60), ("s", seconds % 60)] where count > 0 {
            text += "\(count)\(name)"
        }
        var nanoseconds = attoseconds / 1_000_000_000
        for (name, size) in [("ms", Int64(1_000_000)), ("us", 1_000), ("ns", 1)] where nanoseconds >= size {
            text += "\(nanoseconds / size)\(name)"
            nanoseconds %= size
        }
        return text.isEmpty ? "0s" : text
    }
}
