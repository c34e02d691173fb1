package import Foundation
internal import NMSCore

/// A device's past as `GET /devices/{id}/metrics/history` tells it.
package struct HistoryRecord: Sendable {
    package let from: Date
    package let to: Date
    package let interval: String
    /// Of each number, as `cpu.usage_percent`: moments in seconds since 1970, and values (means, where buckets are).
    package let series: [String: [(at: Double, value: Double)]]

    /// - Throws: ``CommandError`` for what is no history.
    package init(_ data: Data) throws {
        let document = try APIClient.object(data)
        guard let from = (document["from"] as? String).flatMap(RFC3339.date(from:)),
            let to = (document["to"] as? String).flatMap(RFC3339.date(from:)),
            let points = document["points"] as? [JSONDocument]
        else { throw CommandError("the server answered a history without a span of time") }
        self.from = from
        self.to = to
        self.interval = document["interval"] as? String ?? "raw"
        var series: [String: [(at: Double, value: Double)]] = [:]
        for point in points {
            guard let moment = (point["timestamp"] as? String).flatMap(RFC3339.date(from:)) else { continue }
            for (group, numbers) in point {
                guard let numbers = numbers as? JSONDocument else {
                    if let value = Self.number(point[group]) {
                        series[group, default: []].append((moment.timeIntervalSince1970, value))
                    }
                    continue
                }
                if let value = Self.number(numbers) {
                    series[group, default: []].append((moment.timeIntervalSince1970, value))
                }
                for (name, value) in numbers {
                    guard let value = Self.number(value) else { continue }
                    series["\(group).\(name)", default: []].append((moment.timeIntervalSince1970, value))
                }
            }
        }
        self.series = series
    }

    /// A value, or the mean of a bucket's.
    private static func number(_ value: Any?) -> Double? {
        if let document = value as? JSONDocument { return (document["avg"] as? NSNumber)?.doubleValue }
        return (value as? NSNumber)?.doubleValue
    }

    /// Seconds between two points that follow each other.
    /// - Parameter polling: seconds between polls, for rows as they are.
    func step(polling: Int) -> Double {
        self.interval == "raw" ? Double(polling) : Quantities.seconds(self.interval) ?? Double(polling)
    }
}

/// A device's latest numbers with their course.
package struct MetricsReport: Sendable {
    private static let labelWidth = 11
    private static let maximumColumns = 120

    let device: DeviceRecord
    let metrics: MetricsRecord
    let history: HistoryRecord?

    package var timestamp: Date { self.metrics.timestamp }

    package init(device: DeviceRecord, metrics: MetricsRecord, history: HistoryRecord?) {
        self.device = device
        self.metrics = metrics
        self.history = history
    }

    package func lines(_ style: TextStyler, width: Int, now: Date) -> [String] {
        let age = Quantities.age(now.timeIntervalSince(self.metrics.timestamp))
        let status = style.apply(.ofStatus(self.device.status), to: self.device.status)
        let title = PrintableText.of("\(self.device.hostname ?? self.device.ip) (\(self.device.ip))")
        var lines = [
            "\(style.apply(.bold, to: title))  device \(self.device.id)  \(status)  measured \(age) ago", "",
        ]
        let cpu = self.metrics.cpu.usagePercent
        lines += self.row("CPU", Quantities.percent(cpu), .ofPercent(cpu), "cpu.usage_percent", 100, style, width)
        for (label, group, space) in [("Memory", "memory", self.metrics.memory), ("Disk", "disk", self.metrics.disk)] {
            let used = "\(Quantities.bytes(space.usedBytes)) of \(Quantities.bytes(space.totalBytes))"
            let percent = space.usagePercent
            lines += self.row(
                label,
                "\(Quantities.percent(percent))  \(used)",
                .ofPercent(percent),
                "\(group).usage_percent",
                100,
                style,
                width
            )
        }
        let network = self.metrics.network
        let received = Quantities.rate(network.bytesRecvPerSec)
        lines += self.row("Net in", received, nil, "network.bytes_recv_per_sec", nil, style, width)
        let sent = Quantities.rate(network.bytesSentPerSec)
        lines += self.row("Net out", sent, nil, "network.bytes_sent_per_sec", nil, style, width)
        let processes = self.metrics.processCount.map(String.init) ?? "-"
        lines += self.row("Processes", processes, nil, "process_count", nil, style, width)
        lines.append(self.counters)
        if let history {
            lines += ["", style.apply(.dim, to: self.span(history))]
        }
        return lines
    }

    /// One line for every sample, for files and pipes.
    package var line: String {
        let network = self.metrics.network
        return [
            RFC3339.string(from: self.metrics.timestamp), self.device.name,
            "cpu=\(Quantities.percent(self.metrics.cpu.usagePercent))",
            "memory=\(Quantities.percent(self.metrics.memory.usagePercent))",
            "disk=\(Quantities.percent(self.metrics.disk.usagePercent))",
            "in=\(Quantities.rate(network.bytesRecvPerSec).replacing(" ", with: ""))",
            "out=\(Quantities.rate(network.bytesSentPerSec).replacing(" ", with: ""))",
            "processes=\(self.metrics.processCount.map(String.init) ?? "-")",
        ].joined(separator: " ")
    }

    private var counters: String {
        let network = self.metrics.network
        func count(_ value: Double?) -> String { value.map { String(Int($0)) } ?? "-" }
        return self.label("Network") + "utilization \(Quantities.percent(network.utilizationPercent)), errors "
            + "\(count(network.errors)), dropped \(count(network.dropped))"
    }

    /// A number, and under it its course with its mean and its extremes.
    private func row(
        _ label: String,
        _ value: String,
        _ style: TextStyle?,
        _ series: String,
        _ top: Double?,
        _ styler: TextStyler,
        _ width: Int
    ) -> [String] {
        var lines = [self.label(label) + styler.apply(style, to: value)]
        guard let history, let points = history.series[series], !points.isEmpty else { return lines }
        let (from, to) = (history.from.timeIntervalSince1970, history.to.timeIntervalSince1970)
        let steps = Int((to - from) / history.step(polling: self.device.pollingInterval))
        let columns = min(steps, width - Self.labelWidth, Self.maximumColumns)
        let values = Sparkline.resampled(points, from: from, to: to, columns: max(1, columns))
        let indent = String(repeating: " ", count: Self.labelWidth)
        lines.append(indent + styler.apply(.cyan, to: Sparkline.text(values, top: top, styler)))
        let numbers = points.map(\.value)
        let mean = numbers.reduce(0, +) / Double(numbers.count)
        let shown = [("min", numbers.min()), ("avg", mean), ("max", numbers.max())].map { name, number in
            "\(name) \(self.written(number, series))"
        }
        lines.append(indent + styler.apply(.dim, to: shown.joined(separator: "  ")))
        return lines
    }

    private func written(_ value: Double?, _ series: String) -> String {
        if series.hasSuffix("_percent") { return Quantities.percent(value) }
        if series.hasSuffix("_per_sec") { return Quantities.rate(value) }
        return value.map { String(Int($0.rounded())) } ?? "-"
    }

    private func label(_ text: String) -> String {
        text + String(repeating: " ", count: max(1, Self.labelWidth - text.count))
    }

    private func span(_ history: HistoryRecord) -> String {
        let unit = history.interval == "raw" ? "every poll" : "means of \(history.interval)"
        return "\(RFC3339.string(from: history.from)) to \(RFC3339.string(from: history.to)), \(unit)"
    }
}
