/// A metric with its series at one moment.
package struct FamilySnapshot: Sendable {
    package let family: MetricFamily
    package let series: [SeriesSnapshot]

    package init(family: MetricFamily, series: [SeriesSnapshot]) {
        self.family = family
        self.series = series
    }
}

package struct SeriesSnapshot: Sendable {
    /// `name="value",…`, escaped, without braces.
    package let labels: String
    package let value: MetricValue

    package init(labels: String, value: MetricValue) {
        self.labels = labels
        self.value = value
    }
}

/// Labels as the formats write them.
enum LabelText {
    static func of(names: [String], values: [String]) -> String {
        zip(names, values).map { "\($0)=\"\(self.escaped($1))\"" }.joined(separator: ",")
    }

    /// Backslash, quote and line feed; everything else stands for itself.
    static func escaped(_ value: String) -> String {
        guard value.utf8.contains(where: { [0x5C, 0x22, 0x0A].contains($0) }) else { return value }
        // By scalars: a line feed behind a carriage return is one character with it, and still has to be escaped.
        var text = String.UnicodeScalarView()
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\\": text.append(contentsOf: "\\\\".unicodeScalars)
            case "\"": text.append(contentsOf: "\\\"".unicodeScalars)
            case "\n": text.append(contentsOf: "\\n".unicodeScalars)
            default: text.append(scalar)
            }
        }
        return String(text)
    }
}

/// Writes metrics as text.
///
/// Prometheus' text format 0.0.4, or OpenMetrics 1.0.0, which differs here in the name of counters' families, the
/// escaping of help and the last line.
package enum TextExposition {
    /// A series takes about this much, a histogram's several times.
    private static let bytesPerSeries = 96

    package static func render(_ families: [FamilySnapshot], _ format: ExpositionFormat) -> [UInt8] {
        var writer = Writer(format: format)
        writer.bytes.reserveCapacity(families.reduce(0) { $0 + ($1.series.count + 2) * self.bytesPerSeries })
        for family in families { writer.append(family) }
        if format == .openMetrics { writer.append("# EOF\n") }
        return writer.bytes
    }

    private struct Writer {
        let format: ExpositionFormat
        var bytes: [UInt8] = []

        mutating func append(_ text: String) { self.bytes.append(contentsOf: text.utf8) }

        mutating func append(_ snapshot: FamilySnapshot) {
            let family = snapshot.family
            let name = self.familyName(family)
            self.append("# HELP \(name) \(self.help(family.help))\n# TYPE \(name) \(family.kind.word)\n")
            for series in snapshot.series {
                switch series.value {
                case .unsigned(let value): self.line(family.name, series.labels, "\(value)")
                case .number(let value): self.line(family.name, series.labels, NumberText.value(value))
                case .histogram(let histogram): self.append(histogram, family.name, series.labels)
                }
            }
        }

        private mutating func append(_ histogram: HistogramSnapshot, _ name: String, _ labels: String) {
            let separator = labels.isEmpty ? "" : ","
            var total: UInt64 = 0
            for (index, count) in histogram.counts.enumerated() {
                total += count
                let bound = index < histogram.bounds.count ? NumberText.bound(histogram.bounds[index]) : "+Inf"
                self.line(name, suffix: "_bucket", "\(labels)\(separator)le=\"\(bound)\"", "\(total)")
            }
            self.line(name, suffix: "_sum", labels, NumberText.value(histogram.sum))
            self.line(name, suffix: "_count", labels, "\(total)")
        }

        private mutating func line(_ name: String, suffix: String = "", _ labels: String, _ value: String) {
            self.append(name)
            self.append(suffix)
            if !labels.isEmpty {
                self.append("{")
                self.append(labels)
                self.append("}")
            }
            self.append(" ")
            self.append(value)
            self.append("\n")
        }

        private func familyName(_ family: MetricFamily) -> String {
            guard self.format == .openMetrics, family.kind == .counter else { return family.name }
            return String(family.name.dropLast("_total".count))
        }

        private func help(_ text: String) -> String {
            let escaped = text.replacing("\\", with: "\\\\").replacing("\n", with: "\\n")
            return self.format == .openMetrics ? escaped.replacing("\"", with: "\\\"") : escaped
        }
    }
}

/// Numbers as both formats read them.
enum NumberText {
    /// Up to here every whole number is a Double of its own.
    private static let exactIntegers = 9_007_199_254_740_992.0

    static func value(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
        if value == value.rounded(), abs(value) < self.exactIntegers { return "\(Int64(value))" }
        return value.description
    }

    /// OpenMetrics wants a decimal point in `le`, and the other format doesn't mind one.
    static func bound(_ value: Double) -> String { value.description }
}

extension MetricFamily.Kind {
    fileprivate var word: String {
        switch self {
        case .counter: "counter"
        case .gauge: "gauge"
        case .histogram: "histogram"
        }
    }
}
