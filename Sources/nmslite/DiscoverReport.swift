import Foundation
import Synchronization

/// How far a discovery is, as the server says.
struct DiscoveryState: Equatable {
    var status: String
    var scanned: Int
    var total: Int
    var found: Int
    var rate: Double?
    var etaSeconds: Double?

    init(_ document: JSONDocument) {
        self.status = document["status"] as? String ?? "unknown"
        self.scanned = document["scanned"] as? Int ?? 0
        self.total = document["total"] as? Int ?? 0
        self.found = document["found"] as? Int ?? 0
        self.rate = document["rate"] as? Double
        self.etaSeconds = document["eta_seconds"] as? Double
    }

    var isFinished: Bool { ["completed", "cancelled", "failed"].contains(self.status) }
    var percent: Int { self.total > 0 ? min(100, self.scanned * 100 / self.total) : 0 }

    /// Such as `45% 115/254, 3 found, 96/s, 2 s to go`.
    var line: String {
        var parts = ["\(self.percent)% \(self.scanned)/\(self.total)", "\(self.found) found"]
        if self.status == "queued" { parts.append("queued") }
        if let rate, rate > 0, !self.isFinished { parts.append("\(Int(rate.rounded()))/s") }
        if let etaSeconds, !self.isFinished { parts.append("\(Int(etaSeconds.rounded(.up))) s to go") }
        return parts.joined(separator: ", ")
    }

    /// `[######----] 45% …` of at most `width` columns.
    func bar(width: Int) -> String {
        let cells = max(0, min(30, width - self.line.count - 4))
        guard cells >= 5 else { return String(self.line.prefix(width)) }
        let full = cells * self.percent / 100
        return "[" + String(repeating: "#", count: full) + String(repeating: "-", count: cells - full) + "] "
            + self.line
    }
}

/// Shows progress: a bar that is drawn over on a terminal, else a line for every tenth.
final class ProgressDisplay: Sendable {
    private static let tenth = 10

    private let terminal: Terminal
    private let shown = Mutex<(tenth: Int, isDrawn: Bool)>((-1, false))

    init(_ terminal: Terminal) { self.terminal = terminal }

    func show(_ state: DiscoveryState) {
        self.shown.withLock { shown in
            if self.terminal.isInteractive {
                self.terminal.write("\r\u{1B}[K" + state.bar(width: self.terminal.width - 1))
                shown.isDrawn = true
                return
            }
            let tenth = state.percent / Self.tenth
            guard tenth > shown.tenth else { return }
            shown.tenth = tenth
            self.terminal.write(state.line + "\n")
        }
    }

    func end() {
        self.shown.withLock { shown in
            if shown.isDrawn { self.terminal.write("\n") }
            shown.isDrawn = false
        }
    }
}

/// What a discovery found, as a table.
struct DiscoveryReport {
    private static let headings = ["ADDRESS", "NAME", "OS", "DEVICE", "STATUS", "CREDENTIAL"]

    private let rows: [[String]]
    private let summary: [String]

    init(_ document: JSONDocument) {
        let devices = document["devices"] as? [JSONDocument] ?? []
        self.rows = devices.map { device in
            let id = (device["device_id"] as? Int).map { id in
                device["is_new"] as? Bool == true ? "\(id) (new)" : "\(id)"
            }
            return [
                device["ip"] as? String, device["hostname"] as? String, device["os"] as? String, id,
                device["status"] as? String, (device["credential_id"] as? Int).map(String.init),
            ].map { Self.printable($0 ?? "-") }
        }
        var summary = [Self.counts(document)]
        for error in document["errors"] as? [JSONDocument] ?? [] {
            let hosts = error["hosts"] as? Int ?? 0
            let credential = (error["credential_id"] as? Int).map { "credential \($0)" } ?? "a credential"
            let text = error["message"] as? String ?? error["code"] as? String ?? ""
            summary.append(Self.printable("\(credential) did not open \(hosts) hosts: \(text)"))
        }
        self.summary = summary
    }

    func text(_ terminal: Terminal) -> String {
        let widths = Self.headings.indices.map { column in
            ([Self.headings] + self.rows).map { $0[column].count }.max() ?? 0
        }
        func line(_ cells: [String]) -> String {
            let padded = zip(cells, widths).map { cell, width in
                cell + String(repeating: " ", count: width - cell.count)
            }
            return String(padded.joined(separator: "  ").reversed().drop { $0 == " " }.reversed())
        }
        var lines = self.rows.isEmpty ? [] : [terminal.bold(line(Self.headings))] + self.rows.map(line) + [""]
        lines += self.summary
        return lines.joined(separator: "\n")
    }

    private static func counts(_ document: JSONDocument) -> String {
        let state = DiscoveryState(document)
        let counts = document["counts"] as? [String: Int] ?? [:]
        let others = counts.filter { $0.key != "windows" && $0.value > 0 }.sorted { $0.key < $1.key }
            .map { "\($0.value) \($0.key.replacing("_", with: " "))" }
        let new = document["new_devices"] as? Int ?? 0
        let rest = others.isEmpty ? "" : "; " + others.joined(separator: ", ")
        return "\(state.status): \(state.scanned) of \(state.total) addresses, \(state.found) Windows machines, "
            + "\(new) of them new\(rest)"
    }

    /// Hosts choose their names: nothing of theirs may steer a terminal.
    private static func printable(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.filter { scalar in
                    switch scalar.properties.generalCategory {
                    case .control, .format, .surrogate, .privateUse, .lineSeparator, .paragraphSeparator: false
                    default: true
                    }
                }
            )
        )
    }
}
