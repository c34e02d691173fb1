/// Rows for `COPY … FROM STDIN` in the text format.
package struct PostgresCopyBuffer: Sendable {
    private(set) var bytes: [UInt8] = []
    /// Complete rows.
    package private(set) var rowCount = 0
    private var isAtRowStart = true

    package init() {}

    /// Appends one column's value; nil is NULL.
    /// - Throws: ``PostgresEncodingError``.
    package mutating func append<Value: PostgresTextEncodable>(_ value: Value?) throws {
        if !self.isAtRowStart { self.bytes.append(UInt8(ascii: "\t")) }
        self.isAtRowStart = false
        guard let text = try value.postgresText() else {
            self.bytes.append(contentsOf: [UInt8(ascii: "\\"), UInt8(ascii: "N")])
            return
        }
        if Value.isPlain { return self.bytes.append(contentsOf: text.utf8) }
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\\"): self.bytes.append(contentsOf: [byte, byte])
            case UInt8(ascii: "\t"): self.bytes.append(contentsOf: [UInt8(ascii: "\\"), UInt8(ascii: "t")])
            case UInt8(ascii: "\n"): self.bytes.append(contentsOf: [UInt8(ascii: "\\"), UInt8(ascii: "n")])
            case UInt8(ascii: "\r"): self.bytes.append(contentsOf: [UInt8(ascii: "\\"), UInt8(ascii: "r")])
            default: self.bytes.append(byte)
            }
        }
    }

    package mutating func endRow() {
        self.bytes.append(UInt8(ascii: "\n"))
        self.rowCount += 1
        self.isAtRowStart = true
    }
}
