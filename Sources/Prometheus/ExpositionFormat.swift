/// The formats that a scraper can have.
package enum ExpositionFormat: Sendable, CaseIterable {
    /// Prometheus' text format 0.0.4.
    case text
    /// OpenMetrics 1.0.0.
    case openMetrics

    package var contentType: String {
        switch self {
        case .text: "text/plain; version=0.0.4; charset=utf-8"
        case .openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8"
        }
    }

    /// The format to answer with: OpenMetrics for a client that prefers it to plain text by its `Accept`, else text,
    /// whatever the client says: a scraper that gets a format is better served than one that gets an error.
    package init(accepting accept: String?) {
        var quality: [ExpositionFormat: Double] = [:]
        for range in (accept ?? "").split(separator: ",") {
            let parts = range.split(separator: ";").map { Self.trimmed($0).lowercased() }
            let parameters = parts.dropFirst()
            let weight = parameters.first { $0.hasPrefix("q=") }.map { Double($0.dropFirst(2)) ?? 0 } ?? 1
            let version = parameters.first { $0.hasPrefix("version=") }?.dropFirst("version=".count)
            switch parts.first {
            case "application/openmetrics-text" where version == nil || version == "1.0.0" || version == "0.0.1":
                quality[.openMetrics] = max(quality[.openMetrics] ?? 0, weight)
            case "text/plain", "text/*", "*/*":
                quality[.text] = max(quality[.text] ?? 0, weight)
            default: break
            }
        }
        let openMetrics = quality[.openMetrics] ?? 0
        self = openMetrics > 0 && openMetrics >= quality[.text] ?? 0 ? .openMetrics : .text
    }

    private static func trimmed(_ text: Substring) -> Substring {
        var text = text.drop(while: \.isWhitespace)
        while text.last?.isWhitespace == true { text.removeLast() }
        return text
    }
}
