internal import Foundation
internal import Synchronization

/// How far a discovery is, as the server says.
package struct DiscoveryState: Equatable, Sendable {
    package var status: String
    package var scanned: Int
    package var total: Int
    package var found: Int
    package var rate: Double?
    package var etaSeconds: Double?

    package init(_ document: JSONDocument) {
        self.status = document["status"] as? String ?? "unknown"
        self.scanned = document["scanned"] as? Int ?? 0
        self.total = document["total"] as? Int ?? 0
        self.found = document["found"] as? Int ?? 0
        self.rate = document["rate"] as? Double
        self.etaSeconds = document["eta_seconds"] as? Double
    }

    package var isFinished: Bool { ["completed", "cancelled", "failed"].contains(self.status) }
    package var percent: Int { self.total > 0 ? min(100, self.scanned * 100 / self.total) : 0 }

    /// Such as `45% 115/254, 3 found, 96/s, 2 s to go`.
    package var line: String {
        var parts = ["\(self.percent)% \(self.scanned)/\(self.total)", "\(self.found) found"]
        if self.status == "queued" { parts.append("queued") }
        if let rate, rate > 0, !self.isFinished { parts.append("\(Int(rate.rounded()))/s") }
        if let etaSeconds, !self.isFinished { parts.append("\(Int(etaSeconds.rounded(.up))) s to go") }
        return parts.joined(separator: ", ")
    }

    /// `[######----] 45% …` of at most `width` columns.
    package func bar(width: Int) -> String {
        let cells = max(0, min(30, width - self.line.count - 4))
        guard cells >= 5 else { return String(self.line.prefix(width)) }
        let full = cells * self.percent / 100
        return "[" + String(repeating: "#", count: full) + String(repeating: "-", count: cells - full) + "] "
            + self.line
    }
}

/// Shows progress: a bar that is drawn over on a terminal, else a line for every tenth.
package final class ProgressDisplay: Sendable {
    private static let tenth = 10

    private let terminal: Terminal
    private let shown = Mutex<(tenth: Int, isDrawn: Bool)>((-1, false))

    package init(_ terminal: Terminal) { self.terminal = terminal }

    package func show(_ state: DiscoveryState) {
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

    package func end() {
        self.shown.withLock { shown in
            if shown.isDrawn { self.terminal.write("\n") }
            shown.isDrawn = false
        }
    }
}

/// What a discovery found, as a table.
package struct DiscoveryReport {
    private static let headings = ["ADDRESS", "NAME", "OS", "DEVICE", "STATUS", "CREDENTIAL"]

    private let rows: [[String]]
    private let summary: [String]

    package init(_ document: JSONDocument) {
        let devices = document["devices"] as? [JSONDocument] ?? []
        self.rows = devices.map { device in
            let id = (device["device_id"] as? Int).map { id in
                device["is_new"] as? Bool == true ? "\(id) (new)" : "\(id)"
            }
            return [
                device["ip"] as? String, device["hostname"] as? String, device["os"] as? String, id,
                device["status"] as? String, (device["credential_id"] as? Int).map(String.init),
            ].map { $0 ?? "-" }
        }
        var summary = [Self.counts(document)]
        for error in document["errors"] as? [JSONDocument] ?? [] {
            let hosts = error["hosts"] as? Int ?? 0
            let credential = (error["credential_id"] as? Int).map { "credential \($0)" } ?? "a credential"
            let text = error["message"] as? String ?? error["code"] as? String ?? ""
            summary.append(PrintableText.of("\(credential) did not open \(hosts) hosts: \(text)"))
        }
        self.summary = summary
    }

    package func text(_ terminal: Terminal) -> String {
        let table = TextTable(
            columns: Self.headings.map { TextColumn($0) },
            rows: self.rows.map { $0.map { TextCell($0) } }
        )
        var lines = self.rows.isEmpty ? [] : table.lines(terminal.style, width: terminal.tableWidth) + [""]
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
}
