/// Why a text is no acceptable JSON; holds nothing of the text, which may be a secret.
package struct JSONParseError: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Reason: String, Sendable {
        case unexpectedEnd = "the text ends too early"
        case unexpectedByte = "unexpected character"
        case invalidNumber = "malformed number"
        case invalidEscape = "malformed escape sequence"
        case controlCharacter = "unescaped control character in a string"
        case invalidUTF8 = "not valid UTF-8"
        case duplicateKey = "a name occurs twice in one object"
        case tooDeep = "nested too deeply"
        case trailingBytes = "something follows the value"
    }

    package let reason: Reason
    /// In bytes from the start.
    package let offset: Int

    package var description: String { "\(self.reason.rawValue), at byte \(self.offset)" }
}

/// A strict parser: unlike `JSONDecoder` it refuses an object that has a name twice, and bounds the depth.
struct JSONParser {
    /// No request of the API nests deeper than a quarter of this.
    static let maximumDepth = 16

    private let bytes: [UInt8]
    private var position = 0
    private var depth = 0

    static func parse(_ bytes: [UInt8]) throws(JSONParseError) -> JSONValue {
        var parser = JSONParser(bytes: bytes)
        parser.skipSpace()
        let value = try parser.value()
        parser.skipSpace()
        guard parser.position == bytes.count else { throw parser.error(.trailingBytes) }
        return value
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private var current: UInt8? { self.position < self.bytes.count ? self.bytes[self.position] : nil }

    private func error(_ reason: JSONParseError.Reason) -> JSONParseError {
        JSONParseError(reason: reason, offset: self.position)
    }

    /// What is wrong when something else was wanted here.
    private var unexpected: JSONParseError { self.error(self.current == nil ? .unexpectedEnd : .unexpectedByte) }

    private mutating func skipSpace() {
        while let byte = self.current, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
            self.position += 1
        }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard self.current == byte else { return false }
        self.position += 1
        return true
    }

    private mutating func value() throws(JSONParseError) -> JSONValue {
        switch self.current {
        case UInt8(ascii: "{"): return try self.nested { parser throws(JSONParseError) in try parser.object() }
        case UInt8(ascii: "["): return try self.nested { parser throws(JSONParseError) in try parser.array() }
        case UInt8(ascii: "\""): return .string(try self.string())
        case UInt8(ascii: "-")?: return try self.number()
        case let byte? where (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte): return try self.number()
        case UInt8(ascii: "t"): return try self.literal("true", .bool(true))
        case UInt8(ascii: "f"): return try self.literal("false", .bool(false))
        case UInt8(ascii: "n"): return try self.literal("null", .null)
        default: throw self.unexpected
        }
    }

    private mutating func literal(_ text: StaticString, _ value: JSONValue) throws(JSONParseError) -> JSONValue {
        for index in 0..<text.utf8CodeUnitCount {
            guard self.take(text.utf8Start[index]) else { throw self.unexpected }
        }
        return value
    }

    private mutating func nested(
        _ body: (inout Self) throws(JSONParseError) -> JSONValue
    ) throws(JSONParseError) -> JSONValue {
        guard self.depth < Self.maximumDepth else { throw self.error(.tooDeep) }
        self.depth += 1
        self.position += 1
        let value = try body(&self)
        self.depth -= 1
        return value
    }

    private mutating func object() throws(JSONParseError) -> JSONValue {
        var members: [String: JSONValue] = [:]
        self.skipSpace()
        if self.take(UInt8(ascii: "}")) { return .object(members) }
        while true {
            self.skipSpace()
            guard self.current == UInt8(ascii: "\"") else { throw self.unexpected }
            let start = self.position
            let name = try self.string()
            self.skipSpace()
            guard self.take(UInt8(ascii: ":")) else { throw self.unexpected }
            self.skipSpace()
            guard members.updateValue(try self.value(), forKey: name) == nil else {
                throw JSONParseError(reason: .duplicateKey, offset: start)
            }
            self.skipSpace()
            if self.take(UInt8(ascii: "}")) { return .object(members) }
            guard self.take(UInt8(ascii: ",")) else { throw self.unexpected }
        }
    }

    private mutating func array() throws(JSONParseError) -> JSONValue {
        var elements: [JSONValue] = []
        self.skipSpace()
        if self.take(UInt8(ascii: "]")) { return .array(elements) }
        while true {
            self.skipSpace()
            elements.append(try self.value())
            self.skipSpace()
            if self.take(UInt8(ascii: "]")) { return .array(elements) }
            guard self.take(UInt8(ascii: ",")) else { throw self.unexpected }
        }
    }

    private mutating func number() throws(JSONParseError) -> JSONValue {
        let start = self.position
        _ = self.take(UInt8(ascii: "-"))
        // RFC 8259 §6: no leading zeros.
        if !self.take(UInt8(ascii: "0")) { try self.digits() }
        var isInteger = true
        if self.take(UInt8(ascii: ".")) {
            isInteger = false
            try self.digits()
        }
        if self.take(UInt8(ascii: "e")) || self.take(UInt8(ascii: "E")) {
            isInteger = false
            if !self.take(UInt8(ascii: "+")) { _ = self.take(UInt8(ascii: "-")) }
            try self.digits()
        }
        if let byte = self.current, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) {
            throw self.error(.invalidNumber)
        }
        let text = String(decoding: self.bytes[start..<self.position], as: UTF8.self)
        if isInteger, let value = Int(text) { return .integer(value) }
        guard let value = Double(text), value.isFinite else { throw self.error(.invalidNumber) }
        // Beyond 2^53 a Double no longer tells neighbours apart.
        if let exact = Int(exactly: value), abs(value) <= 0x1p53 { return .integer(exact) }
        return .number(value)
    }

    private mutating func digits() throws(JSONParseError) {
        let start = self.position
        while let byte = self.current, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { self.position += 1 }
        guard self.position > start else { throw self.error(.invalidNumber) }
    }

    private mutating func string() throws(JSONParseError) -> String {
        self.position += 1
        var content: [UInt8] = []
        while let byte = self.current {
            switch byte {
            case UInt8(ascii: "\""):
                self.position += 1
                guard let text = String(validating: content, as: UTF8.self) else { throw self.error(.invalidUTF8) }
                return text
            case UInt8(ascii: "\\"):
                self.position += 1
                content.append(contentsOf: String(try self.escaped()).utf8)
            case 0..<0x20: throw self.error(.controlCharacter)
            default:
                content.append(byte)
                self.position += 1
            }
        }
        throw self.error(.unexpectedEnd)
    }

    private mutating func escaped() throws(JSONParseError) -> Unicode.Scalar {
        guard let byte = self.current else { throw self.error(.unexpectedEnd) }
        self.position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte)
        case UInt8(ascii: "b"): return "\u{08}"
        case UInt8(ascii: "f"): return "\u{0C}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"):
            let first = try self.codeUnit()
            if let scalar = Unicode.Scalar(first) { return scalar }
            // RFC 8259 §7: beyond the Basic Multilingual Plane, a pair of surrogates; a lone one means nothing.
            guard (0xD800..<0xDC00).contains(first), self.take(UInt8(ascii: "\\")), self.take(UInt8(ascii: "u")) else {
                throw self.error(.invalidEscape)
            }
            let second = try self.codeUnit()
            guard (0xDC00..<0xE000).contains(second),
                let scalar = Unicode.Scalar(0x10000 + (UInt32(first) - 0xD800) << 10 + (UInt32(second) - 0xDC00))
            else { throw self.error(.invalidEscape) }
            return scalar
        default: throw self.error(.invalidEscape)
        }
    }

    private mutating func codeUnit() throws(JSONParseError) -> UInt16 {
        guard self.position + 4 <= self.bytes.count else { throw self.error(.unexpectedEnd) }
        var unit: UInt16 = 0
        for byte in self.bytes[self.position..<self.position + 4] {
            guard byte < 0x80, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw self.error(.invalidEscape)
            }
            unit = unit << 4 | UInt16(digit)
        }
        self.position += 4
        return unit
    }
}
