/// Writes JSON by hand: a log line must not depend on encoders that allocate, throw or log.
struct JSONText {
    private(set) var text = ""

    /// Bounds that keep one careless value from filling a disk.
    enum Limits {
        /// Characters of the message.
        static let message = 8192
        /// Characters of one metadata value.
        static let value = 4096
        /// Characters of a metadata key.
        static let key = 128
        /// Entries of one object or array.
        static let entries = 64
        /// Objects and arrays inside one another.
        static let depth = 4
    }

    init() { self.text.reserveCapacity(512) }

    mutating func raw(_ text: String) { self.text += text }

    /// A quoted string, cut after `limit` Unicode scalars.
    mutating func string(_ value: String, limit: Int) {
        self.text += "\""
        if value.utf8.count <= limit, value.utf8.allSatisfy(Self.isPlain) {
            self.text += value
            self.text += "\""
            return
        }
        var left = limit
        for scalar in value.unicodeScalars {
            guard left > 0 else {
                self.text += "…"
                break
            }
            left -= 1
            switch scalar {
            case "\"": self.text += "\\\""
            case "\\": self.text += "\\\\"
            case "\n": self.text += "\\n"
            case "\r": self.text += "\\r"
            case "\t": self.text += "\\t"
            // C0, DEL, C1, and the two separators that some readers take for line ends.
            case "\u{0}"..<"\u{20}", "\u{7F}"..."\u{9F}", "\u{2028}", "\u{2029}":
                let digits = String(scalar.value, radix: 16)
                self.text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: self.text.unicodeScalars.append(scalar)
            }
        }
        self.text += "\""
    }

    /// Printable ASCII that stands for itself.
    private static func isPlain(_ byte: UInt8) -> Bool {
        (0x20...0x7E).contains(byte) && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\")
    }
}
