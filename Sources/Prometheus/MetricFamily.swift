/// One metric as it is declared: name, meaning, kind and the names of its labels.
///
/// Only what is declared is kept and exposed, so the number of names and labels is decided in one place.
package struct MetricFamily: Sendable, Equatable {
    package enum Kind: Sendable, Equatable {
        /// Only grows while the process lives; its name ends in `_total`.
        case counter
        case gauge
        /// Observations by upper bound, ascending and finite; `+Inf` is added.
        case histogram(bounds: [Double])
    }

    package let name: String
    /// One sentence, for `# HELP`.
    package let help: String
    package let kind: Kind
    /// The labels that every series of it has, in the order in which they are written.
    package let labels: [String]

    private init(_ name: String, _ kind: Kind, _ labels: [String], _ help: String) {
        self.name = name
        self.kind = kind
        self.labels = labels
        self.help = help
    }

    package static func counter(_ name: String, labels: [String] = [], _ help: String) -> Self {
        Self(name, .counter, labels, help)
    }

    package static func gauge(_ name: String, labels: [String] = [], _ help: String) -> Self {
        Self(name, .gauge, labels, help)
    }

    package static func histogram(_ name: String, labels: [String] = [], bounds: [Double], _ help: String) -> Self {
        Self(name, .histogram(bounds: bounds), labels, help)
    }

    /// Seconds, from a read in memory to the time-outs of clients.
    package static let secondsBounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

    /// What the format or its conventions forbid about it; nil when it may be declared.
    var problem: String? {
        guard Self.isName(self.name, colons: true) else { return "the name has a character that names can't have" }
        guard !self.help.isEmpty else { return "there is no help" }
        for label in self.labels {
            guard Self.isName(label, colons: false) else { return "the label \(label) has a character it can't have" }
            // Reserved by the format for its own use.
            guard !label.hasPrefix("__"), label != "le", label != "quantile" else { return "\(label) is reserved" }
        }
        guard Set(self.labels).count == self.labels.count else { return "a label occurs twice" }
        switch self.kind {
        case .counter: return self.name.hasSuffix("_total") ? nil : "a counter's name ends in _total"
        case .gauge: return self.name.hasSuffix("_total") ? "only a counter's name ends in _total" : nil
        case .histogram(let bounds):
            let isAscending = zip(bounds, bounds.dropFirst()).allSatisfy { $0 < $1 }
            guard !bounds.isEmpty, isAscending, bounds.allSatisfy(\.isFinite) else {
                return "bounds are finite and ascending"
            }
            let suffix = ["_total", "_bucket", "_sum", "_count"].first { self.name.hasSuffix($0) }
            return suffix.map { "a histogram's name doesn't end in \($0)" }
        }
    }

    /// `[a-zA-Z_][a-zA-Z0-9_]*`, with colons too in names of metrics.
    private static func isName(_ text: String, colons: Bool) -> Bool {
        guard let first = text.utf8.first, !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) else {
            return false
        }
        return text.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
                true
            case UInt8(ascii: ":"): colons
            default: false
            }
        }
    }
}
