/// What `POST /devices/{id}/test` found, step by step, with what can be done.
package struct DiagnosisRecord: Decodable, Sendable {
    package struct Cause: Decodable, Sendable {
        var code: String
        var message: String
    }

    package struct Stage: Decodable, Sendable {
        var stage: String
        var target: String?
        var result: String
        var durationMs: Int
        var detail: [String: String]?
        var cause: Cause?
        var remedy: String?
    }

    package var address: String
    package var credentialId: Int
    package var credentialType: String
    package var endpoint: String
    package var ok: Bool
    package var durationMs: Int
    package var stages: [Stage]

    /// - Parameter width: of the terminal; nil breaks no lines.
    package func text(_ style: TextStyler, width: Int?) -> String {
        let title = PrintableText.of("\(self.address), \(self.endpoint), credential \(self.credentialId)")
        var lines = [style.apply(.bold, to: title)]
        let names = self.stages.map { [$0.stage, $0.target].compactMap { $0 }.joined(separator: " ") }
        let column = names.map(PrintableText.width).max() ?? 0
        for (stage, name) in zip(self.stages, names) {
            let padding = String(repeating: " ", count: column - PrintableText.width(name))
            let time = stage.result == "skipped" ? "" : "  \(stage.durationMs) ms"
            lines.append("  \(Self.mark(stage.result, style))  \(PrintableText.of(name))\(padding)\(time)")
            lines += Self.explanation(stage, style, width: width)
        }
        lines.append("")
        lines.append(self.ok ? style.apply(.green, to: "polls will work") : style.apply(.red, to: "polls will fail"))
        return lines.joined(separator: "\n")
    }

    /// What was seen, what went wrong and what can be done, indented.
    private static func explanation(_ stage: Stage, _ style: TextStyler, width: Int?) -> [String] {
        let indent = String(repeating: " ", count: 11)
        var lines: [String] = []
        func add(_ text: String, _ textStyle: TextStyle?) {
            let room = width.map { max(20, $0 - indent.count) }
            for line in PrintableText.wrapped(PrintableText.of(text), width: room) {
                lines.append(indent + style.apply(textStyle, to: line))
            }
        }
        if let detail = stage.detail, !detail.isEmpty {
            add(detail.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ", "), .dim)
        }
        if let cause = stage.cause { add("\(cause.code): \(cause.message)", stage.result == "failed" ? .red : .yellow) }
        if let remedy = stage.remedy { add("what to do: \(remedy)", nil) }
        if let cause = stage.cause { add(DeviceReport.reference(cause.code), .dim) }
        return lines
    }

    /// Of one width.
    private static func mark(_ result: String, _ style: TextStyler) -> String {
        switch result {
        case "passed": style.apply(.green, to: "passed ")
        case "failed": style.apply(.red, to: "FAILED ")
        case "warning": style.apply(.yellow, to: "warning")
        default: style.apply(.dim, to: "skipped")
        }
    }
}
