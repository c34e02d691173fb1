internal import Foundation

/// Reads JSON (RFC 8259) whose form is known: no tree, no boxes, one pass.
///
/// Each method says whether it read what it is for. A false is no judgement on the text: the caller gives up, and
/// leaves it to a decoder that knows all of JSON.
struct PlainJSONReader: ~Copyable {
    /// The bytes of a key.
    struct Key {
        fileprivate let bytes: UnsafeRawBufferPointer

        static func ~= (pattern: StaticString, key: Key) -> Bool {
            pattern.utf8CodeUnitCount == key.bytes.count
                && key.bytes.baseAddress.map { memcmp($0, pattern.utf8Start, key.bytes.count) == 0 } ?? true
        }
    }

    /// What every 64-bit integer holds.
    private static let mostDigits = 18
    /// Integers up to 2^53 and powers of ten up to 22 are exact, and so is their quotient's rounding.
    private static let mostExact: Int64 = 1 << 53
    private static let powersOfTen: [Double] = (0...22).map { pow(10, Double($0)) }

    private let bytes: UnsafeRawBufferPointer
    private var index = 0

    init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
    }

    /// Whether nothing but blanks is left.
    var isAtEnd: Bool {
        mutating get {
            self.skipBlanks()
            return self.index == self.bytes.count
        }
    }

    private mutating func skipBlanks() {
        while self.index < self.bytes.count {
            switch self.bytes[self.index] {
            case 0x20, 0x0A, 0x0D, 0x09: self.index += 1
            default: return
            }
        }
    }

    private var byte: UInt8? { self.index < self.bytes.count ? self.bytes[self.index] : nil }

    private mutating func skip(_ mark: UnicodeScalar) -> Bool {
        self.skipBlanks()
        guard self.byte == UInt8(ascii: mark) else { return false }
        self.index += 1
        return true
    }

    private mutating func skip(word: StaticString) -> Bool {
        self.skipBlanks()
        let count = word.utf8CodeUnitCount
        guard self.index + count <= self.bytes.count, let base = self.bytes.baseAddress,
            memcmp(base + self.index, word.utf8Start, count) == 0
        else { return false }
        self.index += count
        return true
    }

    /// Reads an object; `member` reads the value of each key.
    mutating func object(_ member: (Key, inout PlainJSONReader) -> Bool) -> Bool {
        guard self.skip("{") else { return false }
        if self.skip("}") { return true }
        while true {
            guard let key = self.rawText(), self.skip(":"), member(Key(bytes: key), &self) else { return false }
            if self.skip("}") { return true }
            guard self.skip(",") else { return false }
        }
    }

    mutating func null() -> Bool { self.skip(word: "null") }

    mutating func boolean(_ take: (Bool) -> Void) -> Bool {
        if self.skip(word: "true") {
            take(true)
        } else if self.skip(word: "false") {
            take(false)
        } else {
            return false
        }
        return true
    }

    /// A string without escapes.
    mutating func text(_ take: (String) -> Void) -> Bool {
        guard let bytes = self.rawText(), let text = String(validating: bytes, as: UTF8.self) else { return false }
        take(text)
        return true
    }

    mutating func time(_ take: (Date) -> Void) -> Bool {
        guard let bytes = self.rawText(), let text = String(validating: bytes, as: UTF8.self),
            let date = RFC3339.date(from: text)
        else { return false }
        take(date)
        return true
    }

    private mutating func rawText() -> UnsafeRawBufferPointer? {
        guard self.skip("\"") else { return nil }
        let start = self.index
        while let byte = self.byte {
            self.index += 1
            switch byte {
            case UInt8(ascii: "\""): return UnsafeRawBufferPointer(rebasing: self.bytes[start..<self.index - 1])
            // An escape, or a control character, which JSON forbids here.
            case UInt8(ascii: "\\"), 0..<0x20: return nil
            default: continue
            }
        }
        return nil
    }

    /// An integer of at most 18 digits.
    mutating func integer(_ take: (Int64) -> Void) -> Bool {
        guard let (value, places) = self.decimal(), places == 0 else { return false }
        take(value)
        return true
    }

    /// A number without an exponent.
    mutating func number(_ take: (Double) -> Void) -> Bool {
        self.skipBlanks()
        let start = self.index
        guard let (digits, places) = self.decimal() else { return false }
        if abs(digits) <= Self.mostExact, places < Self.powersOfTen.count, digits != 0 {
            take(Double(digits) / Self.powersOfTen[places])
            return true
        }
        guard let value = Double(String(decoding: self.bytes[start..<self.index], as: UTF8.self)) else { return false }
        take(value)
        return true
    }

    /// The digits of a number as an integer, and how many of them stand behind the point.
    private mutating func decimal() -> (digits: Int64, places: Int)? {
        self.skipBlanks()
        let isNegative = self.byte == UInt8(ascii: "-")
        if isNegative { self.index += 1 }
        let start = self.index
        var value: Int64 = 0
        var point: Int?
        while let byte = self.byte {
            if (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) {
                value = value &* 10 &+ Int64(byte &- UInt8(ascii: "0"))
            } else if byte == UInt8(ascii: "."), point == nil, self.index > start {
                point = self.index
            } else if [UInt8(ascii: "e"), UInt8(ascii: "E"), UInt8(ascii: "."), UInt8(ascii: "-")].contains(byte) {
                return nil
            } else {
                break
            }
            self.index += 1
        }
        let places = point.map { self.index - $0 - 1 } ?? 0
        let count = self.index - start - (point == nil ? 0 : 1)
        let whole = count - places
        // No more digits than fit, none missing, and no zero before others.
        guard count <= Self.mostDigits, whole > 0, point == nil || places > 0,
            whole == 1 || self.bytes[start] != UInt8(ascii: "0")
        else { return nil }
        return (isNegative ? -value : value, places)
    }
}
