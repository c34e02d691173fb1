package import Logging
internal import NMSCore

/// Writes each event as one JSON object, or as one line of text (specification §12.4).
///
/// Fields: `time`, `level`, `msg`, `logger`, then the metadata under their own names, then `error`. Metadata that would
/// shadow one of these are written as `metadata.<name>`.
package struct JSONLogHandler: LogHandler {
    package var metadata: Logger.Metadata = [:]
    package var metadataProvider: Logger.MetadataProvider?
    package var logLevel: Logger.Level

    private let label: String
    private let format: LogFormat
    private let sink: LogSink
    /// Milliseconds since 1970.
    private let now: @Sendable () -> Int64

    package init(label: String, level: LogLevel, format: LogFormat, sink: LogSink) {
        self.init(label: label, level: level, format: format, sink: sink, now: LogTime.now)
    }

    init(label: String, level: LogLevel, format: LogFormat, sink: LogSink, now: @escaping @Sendable () -> Int64) {
        self.label = label
        self.logLevel = level.loggerLevel
        self.format = format
        self.sink = sink
        self.now = now
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { self.metadata[key] }
        set { self.metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        var merged = self.metadataProvider?.get() ?? [:]
        merged.merge(self.metadata) { _, own in own }
        if let metadata = event.metadata { merged.merge(metadata) { _, own in own } }
        let error = event.error.map { String(describing: $0) }
        let line =
            switch self.format {
            case .json: self.json(event, merged, error)
            case .text: self.text(event, merged, error)
            }
        self.sink.write(line)
    }

    // MARK: Forms

    private static let reserved: Set<String> = ["time", "level", "msg", "logger", "error"]

    private func json(_ event: LogEvent, _ metadata: Logger.Metadata, _ error: String?) -> String {
        var out = JSONText()
        out.raw(
            "{\"time\":\"\(RFC3339.string(millisecondsSince1970: self.now()))\",\"level\":\"\(event.level.specified)\",\"msg\":"
        )
        out.string(event.message.description, limit: JSONText.Limits.message)
        out.raw(",\"logger\":")
        out.string(self.label, limit: JSONText.Limits.key)
        for (key, value) in metadata.sorted(by: { $0.key < $1.key }).prefix(JSONText.Limits.entries) {
            // `error` is taken only when the event carries one.
            let isTaken = Self.reserved.contains(key) && (key != "error" || error != nil)
            out.raw(",")
            out.string(isTaken ? "metadata.\(key)" : key, limit: JSONText.Limits.key)
            out.raw(":")
            out.metadata(value, key: key, depth: 1)
        }
        if let error {
            out.raw(",\"error\":")
            out.string(error, limit: JSONText.Limits.value)
        }
        out.raw("}")
        return out.text
    }

    private func text(_ event: LogEvent, _ metadata: Logger.Metadata, _ error: String?) -> String {
        var out = JSONText()
        out.raw(
            "\(RFC3339.string(millisecondsSince1970: self.now())) \(event.level.specified.uppercased()) \(self.label): "
        )
        var message = JSONText()
        message.string(event.message.description, limit: JSONText.Limits.message)
        // Escaped as in JSON, so that a line stays a line, but without the quotes.
        out.raw(String(message.text.dropFirst().dropLast()))
        for (key, value) in metadata.sorted(by: { $0.key < $1.key }).prefix(JSONText.Limits.entries) {
            var name = JSONText()
            name.string(key, limit: JSONText.Limits.key)
            out.raw(" \(name.text.dropFirst().dropLast())=")
            out.metadata(value, key: key, depth: 1)
        }
        if let error {
            out.raw(" error=")
            out.string(error, limit: JSONText.Limits.value)
        }
        return out.text
    }
}

extension JSONText {
    /// Ends of metadata keys whose values are never written, whatever they hold: a second line of defence behind
    /// `Secret`.
    private static let secretEndings = [
        "password", "passphrase", "secret", "token", "authorization", "master_key", "private_key", "ciphertext",
    ].map { Array($0.utf8) }

    /// Whether a key ends like one of these, in whatever case.
    private static func isSecret(_ key: String) -> Bool {
        self.secretEndings.contains { ending in
            key.utf8.count >= ending.count
                && key.utf8.suffix(ending.count).elementsEqual(ending) { $0 == $1 || $0 | 0x20 == $1 }
        }
    }

    fileprivate mutating func metadata(_ value: Logger.MetadataValue, key: String, depth: Int) {
        guard !Self.isSecret(key) else { return self.raw("\"***\"") }
        switch value {
        case .string(let text): self.string(text, limit: Limits.value)
        case .stringConvertible(let value): self.scalar(value)
        case .array(let values):
            guard depth < Limits.depth else { return self.raw("\"…\"") }
            self.raw("[")
            for (index, element) in values.prefix(Limits.entries).enumerated() {
                if index > 0 { self.raw(",") }
                self.metadata(element, key: "", depth: depth + 1)
            }
            self.raw("]")
        case .dictionary(let values):
            guard depth < Limits.depth else { return self.raw("\"…\"") }
            self.raw("{")
            for (index, entry) in values.sorted(by: { $0.key < $1.key }).prefix(Limits.entries).enumerated() {
                if index > 0 { self.raw(",") }
                self.string(entry.key, limit: Limits.key)
                self.raw(":")
                self.metadata(entry.value, key: entry.key, depth: depth + 1)
            }
            self.raw("}")
        }
    }

    /// Numbers and booleans stay what they are; everything else is described.
    private mutating func scalar(_ value: any CustomStringConvertible) {
        switch value {
        case let value as Bool: self.raw(value ? "true" : "false")
        case let value as any FixedWidthInteger: self.raw(String(describing: value))
        case let value as Double where value.isFinite: self.raw(value.description)
        default: self.string(value.description, limit: Limits.value)
        }
    }
}

extension LogLevel {
    /// swift-log's level from which lines are written.
    package var loggerLevel: Logger.Level {
        switch self {
        case .debug: .debug
        case .info: .info
        case .warn: .warning
        case .error: .error
        }
    }
}

extension Logger.Level {
    /// One of the four names of the specification.
    fileprivate var specified: String {
        switch self {
        case .trace, .debug: "debug"
        case .info, .notice: "info"
        case .warning: "warn"
        case .error, .critical: "error"
        }
    }
}
