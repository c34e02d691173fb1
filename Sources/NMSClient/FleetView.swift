package import Foundation

/// What `nmslite top` sorts by.
package enum FleetSort: String, CaseIterable, Sendable {
    case cpu, memory, disk, network, processes, name, address, status, age

    /// The key that chooses it.
    package var key: Character {
        switch self {
        case .cpu: "c"
        case .memory: "m"
        case .disk: "d"
        case .network: "n"
        case .processes: "p"
        case .name: "a"
        case .address: "i"
        case .status: "s"
        case .age: "g"
        }
    }
}

/// The fleet at a glance: what is drawn is a function of these values.
package struct FleetView: Sendable {
    package var devices: [DeviceRecord] = [] {
        didSet { self.arrange() }
    }
    package var sort = FleetSort.cpu {
        didSet { self.arrange() }
    }
    /// From the other end.
    package var isReversed = false {
        didSet { self.arrange() }
    }
    /// The first row that is shown.
    package var offset = 0
    /// When the devices came; nil before the first answer.
    package var fetchedAt: Date?
    /// Why there is no newer answer.
    package var problem: String?
    /// Which server.
    package let title: String

    private var order: [DeviceRecord] = []

    package init(title: String) { self.title = title }

    /// Lines above the rows.
    private static let headerLines = 4
    private static let footerLines = 1

    package static func capacity(height: Int) -> Int { max(1, height - self.headerLines - self.footerLines) }

    /// By rows; stays within the list.
    package mutating func scroll(by rows: Int, height: Int) {
        self.offset = max(0, min(self.offset + rows, self.order.count - Self.capacity(height: height)))
    }

    /// A screen of exactly `height` lines at most, none wider than `width`.
    package func screen(_ style: TextStyler, width: Int, height: Int, now: Date) -> [String] {
        let capacity = Self.capacity(height: height)
        let first = max(0, min(self.offset, self.order.count - capacity))
        let shown = self.order.dropFirst(first).prefix(capacity)
        var lines = self.header(style, width: width, now: now)
        lines += self.table(Array(shown), now: now, width: width, style).lines(style, width: width)
        lines += Array(repeating: "", count: max(0, capacity - shown.count))
        let range = self.order.isEmpty ? "0" : "\(first + 1)-\(first + shown.count)"
        let keys = "q quit  c m d n p a i s g sort by  r reverse  arrows scroll"
        let place = "\(range) of \(self.order.count)"
        let footer = PrintableText.fitted("\(place)  \(keys)", width: width, ellipsis: style.ellipsis)
        lines.append(style.apply(.dim, to: footer))
        return Array(lines.prefix(height))
    }

    /// Everything, for files and pipes.
    package func text(_ style: TextStyler, width: Int?, now: Date) -> String {
        let header = self.header(style, width: width ?? Int.max, now: now)
        let table = self.table(self.order, now: now, width: width ?? Int.max, style).lines(style, width: width)
        return (header + table).joined(separator: "\n")
    }

    // MARK: Parts

    private func header(_ style: TextStyler, width: Int, now: Date) -> [String] {
        let counts = Dictionary(grouping: self.devices, by: \.status).mapValues(\.count)
        let summary = ["monitoring", "unreachable", "provisioned", "discovered"].compactMap { status in
            counts[status].map { "\($0) \(status)" }
        }
        let first = "\(self.title)  \(self.devices.count) devices: \(summary.joined(separator: ", "))"
        func fitted(_ text: String) -> String { PrintableText.fitted(text, width: width, ellipsis: style.ellipsis) }
        return [
            style.apply(.bold, to: fitted(first)), fitted(self.averages), self.state(style, width: width, now: now),
        ]
    }

    private var averages: String {
        let rows = self.devices.compactMap(\.metrics)
        func mean(_ number: (MetricsRecord) -> Double?) -> Double? {
            let values = rows.compactMap(number)
            return values.isEmpty ? nil : values.reduce(0, +) / Double(values.count)
        }
        func sum(_ number: (MetricsRecord) -> Double?) -> Double? {
            let values = rows.compactMap(number)
            return values.isEmpty ? nil : values.reduce(0, +)
        }
        return "mean cpu \(Quantities.percent(mean { $0.cpu.usagePercent })), memory "
            + "\(Quantities.percent(mean { $0.memory.usagePercent })), disk "
            + "\(Quantities.percent(mean { $0.disk.usagePercent }))  network in "
            + "\(Quantities.rate(sum { $0.network.bytesRecvPerSec })), out "
            + "\(Quantities.rate(sum { $0.network.bytesSentPerSec }))"
    }

    private func state(_ style: TextStyler, width: Int, now: Date) -> String {
        let sorted = "sorted by \(self.sort.rawValue)\(self.isReversed ? ", reversed" : "")"
        let age = self.fetchedAt.map { Quantities.age(now.timeIntervalSince($0)) }
        func fitted(_ text: String) -> String { PrintableText.fitted(text, width: width, ellipsis: style.ellipsis) }
        if let problem {
            let since = age.map { "as of \($0) ago: " } ?? ""
            return style.apply(.red, to: fitted(PrintableText.of(since + problem)))
        }
        return style.apply(.dim, to: fitted(age == nil ? "asking the server" : sorted))
    }

    private func table(_ devices: [DeviceRecord], now: Date, width: Int, _ style: TextStyler) -> TextTable {
        TextTable(
            columns: [
                TextColumn("ID", .trailing, expendability: 3), TextColumn("NAME", minimum: 16),
                TextColumn("ADDRESS", expendability: 1), TextColumn("STATUS"),
                TextColumn("CPU", .trailing), TextColumn("MEM", .trailing), TextColumn("DISK", .trailing),
                TextColumn("IN", .trailing), TextColumn("OUT", .trailing),
                TextColumn("PROCS", .trailing, expendability: 5), TextColumn("AGE", .trailing, expendability: 2),
                TextColumn("ERROR", minimum: 8, expendability: 4), TextColumn("OS", minimum: 12, expendability: 6),
            ],
            rows: devices.map { self.row($0, now: now) }
        )
    }

    private func row(_ device: DeviceRecord, now: Date) -> [TextCell] {
        let metrics = device.metrics
        func percent(_ value: Double?) -> TextCell { TextCell(Quantities.percent(value), .ofPercent(value)) }
        return [
            TextCell("\(device.id)"), TextCell(device.hostname ?? device.ip), TextCell(device.ip),
            TextCell(device.status, .ofStatus(device.status)), percent(metrics?.cpu.usagePercent),
            percent(metrics?.memory.usagePercent), percent(metrics?.disk.usagePercent),
            TextCell(Quantities.rate(metrics?.network.bytesRecvPerSec)),
            TextCell(Quantities.rate(metrics?.network.bytesSentPerSec)),
            TextCell(metrics?.processCount.map(String.init)),
            TextCell(Quantities.age(metrics.map { now.timeIntervalSince($0.timestamp) })),
            TextCell(device.lastError?.code, .red), TextCell(device.os),
        ]
    }

    // MARK: Order

    private mutating func arrange() {
        // Measured once each: a comparison of strings is dear with thousands of devices.
        let keyed = self.devices.map { (key: self.key($0), device: $0) }
        let sorted = keyed.sorted { $0.key == $1.key ? $0.device.id < $1.device.id : $0.key < $1.key }
        self.order = sorted.map(\.device)
        if self.isReversed { self.order.reverse() }
    }

    private enum Key: Comparable {
        /// The greatest first; what is not known last.
        case number(Double)
        case text(String)
    }

    private func key(_ device: DeviceRecord) -> Key {
        let metrics = device.metrics
        func greatest(_ value: Double?) -> Key { .number(value.map { -$0 } ?? .infinity) }
        switch self.sort {
        case .cpu: return greatest(metrics?.cpu.usagePercent)
        case .memory: return greatest(metrics?.memory.usagePercent)
        case .disk: return greatest(metrics?.disk.usagePercent)
        case .network:
            let rates = [metrics?.network.bytesRecvPerSec, metrics?.network.bytesSentPerSec].compactMap { $0 }
            return greatest(rates.isEmpty ? nil : rates.reduce(0, +))
        case .processes: return greatest(metrics?.processCount.map(Double.init))
        case .name: return .text((device.hostname ?? device.ip).lowercased())
        case .address: return .text(self.sortable(device.ip))
        case .status:
            let order = ["unreachable", "provisioned", "monitoring", "discovered"]
            return .number(Double(order.firstIndex(of: device.status) ?? order.count))
        // The oldest first: these are the ones that fell behind.
        case .age: return .number(metrics?.timestamp.timeIntervalSince1970 ?? .infinity)
        }
    }

    /// Octets as numbers; IPv6 after IPv4.
    private func sortable(_ ip: String) -> String {
        let octets = ip.split(separator: ".")
        guard octets.count == 4 else { return "~" + ip }
        return octets.map { String(repeating: "0", count: max(0, 3 - $0.count)) + $0 }.joined()
    }
}
