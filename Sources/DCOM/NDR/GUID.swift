/// A UUID in Microsoft's structure ([MS-DTYP] 2.3.4): the first three fields are numbers, little-endian on the wire.
package struct GUID: Hashable, Sendable {
    /// Size on the wire in bytes.
    package static let size = 16
    /// All zeros.
    package static let null = GUID(0, 0, 0, 0)

    package let data1: UInt32
    package let data2: UInt16
    package let data3: UInt16
    /// The last eight bytes in their order, the first in the highest byte.
    package let data4: UInt64

    package init(_ data1: UInt32, _ data2: UInt16, _ data3: UInt16, _ data4: UInt64) {
        self.data1 = data1
        self.data2 = data2
        self.data3 = data3
        self.data4 = data4
    }

    /// Reads the little-endian wire form ([MS-DTYP] 2.3.4.2).
    ///
    /// - Parameter wire: exactly 16 bytes; nil otherwise.
    package init?(wire: some Collection<UInt8>) {
        guard wire.count == Self.size else { return nil }
        var index = wire.startIndex
        func next<Value: FixedWidthInteger>(_: Value.Type) -> Value {
            var value: Value = 0
            for position in 0..<MemoryLayout<Value>.size {
                value |= Value(truncatingIfNeeded: wire[index]) << Value(8 * position)
                wire.formIndex(after: &index)
            }
            return value
        }
        self.init(next(UInt32.self), next(UInt16.self), next(UInt16.self), next(UInt64.self).byteSwapped)
    }

    /// A version 4 UUID (RFC 9562, section 5.4) of these bytes.
    ///
    /// - Parameter random: exactly 16 bytes, from the caller's source of randomness; nil otherwise.
    package init?(random: [UInt8]) {
        guard let bits = GUID(wire: random) else { return nil }
        self.init(
            bits.data1,
            bits.data2,
            bits.data3 & 0x0FFF | 0x4000,
            bits.data4 & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
        )
    }

    /// Reads the text form, with or without braces, in either case; nil for anything else.
    package init?(_ text: some StringProtocol) {
        var digits = Array(text.utf8)
        if digits.first == UInt8(ascii: "{"), digits.last == UInt8(ascii: "}"), digits.count == 38 {
            digits = Array(digits[1..<37])
        }
        guard digits.count == 36 else { return nil }
        var high: UInt64 = 0
        var low: UInt64 = 0
        for (index, digit) in digits.enumerated() {
            if [8, 13, 18, 23].contains(index) {
                guard digit == UInt8(ascii: "-") else { return nil }
                continue
            }
            let value: UInt8
            switch digit {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = digit - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): value = digit - UInt8(ascii: "a") + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"): value = digit - UInt8(ascii: "A") + 10
            default: return nil
            }
            if index < 18 { high = high << 4 | UInt64(value) } else { low = low << 4 | UInt64(value) }
        }
        self.init(
            UInt32(truncatingIfNeeded: high >> 32),
            UInt16(truncatingIfNeeded: high >> 16),
            UInt16(truncatingIfNeeded: high),
            low
        )
    }

    /// The 16 bytes of the wire form.
    package var wire: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Self.size)
        bytes.appendLittleEndian(self.data1)
        bytes.appendLittleEndian(self.data2)
        bytes.appendLittleEndian(self.data3)
        bytes.appendLittleEndian(self.data4.byteSwapped)
        return bytes
    }
}

extension GUID: ExpressibleByStringLiteral {
    /// A constant of the source; a malformed one is a programming error and traps.
    package init(stringLiteral text: String) {
        guard let guid = GUID(text) else { preconditionFailure("\(text) is not a GUID") }
        self = guid
    }
}

extension GUID: CustomStringConvertible {
    /// Lower case, without braces.
    package var description: String {
        func hex(_ value: some FixedWidthInteger & UnsignedInteger, _ width: Int) -> String {
            let digits = String(value, radix: 16)
            return String(repeating: "0", count: width - digits.count) + digits
        }
        return [
            hex(self.data1, 8), hex(self.data2, 4), hex(self.data3, 4), hex(self.data4 >> 48, 4),
            hex(self.data4 & 0xFFFF_FFFF_FFFF, 12),
        ].joined(separator: "-")
    }
}

extension [UInt8] {
    /// Appends a number, lowest byte first.
    mutating func appendLittleEndian<Value: FixedWidthInteger>(_ value: Value) {
        var rest = value
        for _ in 0..<MemoryLayout<Value>.size {
            self.append(UInt8(truncatingIfNeeded: rest))
            rest >>= Value(Value.bitWidth > 8 ? 8 : 0)
        }
    }

    /// Writes a number over existing bytes, lowest byte first.
    mutating func overwriteLittleEndian<Value: FixedWidthInteger>(_ value: Value, at offset: Int) {
        for position in 0..<MemoryLayout<Value>.size {
            self[offset + position] = UInt8(truncatingIfNeeded: value >> Value(8 * position))
        }
    }
}
