/// Character classes of XML 1.0 (fifth edition), sections 2.2 and 2.3.
enum XMLCharacters {
    /// Flags of the ASCII characters.
    private struct Flags: OptionSet {
        let rawValue: UInt8
        static let nameStart = Flags(rawValue: 1)
        static let name = Flags(rawValue: 2)
        static let space = Flags(rawValue: 4)
    }

    private static let ascii: [UInt8] = {
        var table = [UInt8](repeating: 0, count: 128)
        let nameAndStart = Flags.nameStart.union(.name).rawValue
        for byte in UInt8(ascii: "a")...UInt8(ascii: "z") { table[Int(byte)] = nameAndStart }
        for byte in UInt8(ascii: "A")...UInt8(ascii: "Z") { table[Int(byte)] = nameAndStart }
        for byte in UInt8(ascii: "0")...UInt8(ascii: "9") { table[Int(byte)] = Flags.name.rawValue }
        table[Int(UInt8(ascii: "_"))] = nameAndStart
        table[Int(UInt8(ascii: "-"))] = Flags.name.rawValue
        table[Int(UInt8(ascii: "."))] = Flags.name.rawValue
        for byte: UInt8 in [0x20, 0x09, 0x0A, 0x0D] { table[Int(byte)] = Flags.space.rawValue }
        return table
    }()

    /// White space of production 3.
    @inline(__always)
    static func isSpace(_ byte: UInt8) -> Bool {
        byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09
    }

    /// Whether an ASCII byte may stand in a name without a colon.
    @inline(__always)
    static func isNameByte(_ byte: UInt8) -> Bool {
        byte < 0x80 && Self.ascii[Int(byte)] & Flags.name.rawValue != 0
    }

    /// Whether an ASCII byte may start a name without a colon.
    @inline(__always)
    static func isNameStartByte(_ byte: UInt8) -> Bool {
        byte < 0x80 && Self.ascii[Int(byte)] & Flags.nameStart.rawValue != 0
    }

    /// Production 4 (NameStartChar) for scalars beyond ASCII.
    static func isNameStart(_ scalar: UInt32) -> Bool {
        switch scalar {
        case 0xC0...0xD6, 0xD8...0xF6, 0xF8...0x2FF, 0x370...0x37D, 0x37F...0x1FFF, 0x200C...0x200D,
            0x2070...0x218F, 0x2C00...0x2FEF, 0x3001...0xD7FF, 0xF900...0xFDCF, 0xFDF0...0xFFFD, 0x10000...0xEFFFF:
            true
        default:
            false
        }
    }

    /// Production 4a (NameChar) for scalars beyond ASCII.
    static func isName(_ scalar: UInt32) -> Bool {
        switch scalar {
        case 0xB7, 0x300...0x36F, 0x203F...0x2040: true
        default: Self.isNameStart(scalar)
        }
    }

    /// Production 2 (Char).
    static func isCharacter(_ scalar: UInt32) -> Bool {
        switch scalar {
        case 0x9, 0xA, 0xD, 0x20...0xD7FF, 0xE000...0xFFFD, 0x10000...0x10FFFF: true
        default: false
        }
    }

    /// The offset of the first byte sequence that is not UTF-8 or not a `Char`, nil if there is none.
    static func firstInvalidOffset(in bytes: [UInt8]) -> Int? {
        bytes.withUnsafeBufferPointer { buffer in
            var index = 0
            let count = buffer.count
            while index < count {
                let byte = buffer[index]
                if byte < 0x80 {
                    if byte < 0x20 && byte != 0x0A && byte != 0x0D && byte != 0x09 { return index }
                    index += 1
                } else if let (scalar, length) = Self.decode(buffer, at: index),
                    scalar & 0xFFFE != 0xFFFE || scalar > 0xFFFF
                {
                    index += length
                } else {
                    return index
                }
            }
            return nil
        }
    }

    /// The scalar at an offset and its length in bytes; nil if the bytes there are not well-formed UTF-8
    /// (Unicode, table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF).
    @inline(__always)
    static func decode(_ buffer: UnsafeBufferPointer<UInt8>, at index: Int) -> (scalar: UInt32, length: Int)? {
        let first = buffer[index]
        let remaining = buffer.count - index
        func continuation(_ offset: Int) -> UInt32? {
            let byte = buffer[index + offset]
            return byte & 0xC0 == 0x80 ? UInt32(byte & 0x3F) : nil
        }
        switch first {
        case 0x00...0x7F:
            return (UInt32(first), 1)
        case 0xC2...0xDF:
            guard remaining >= 2, let second = continuation(1) else { return nil }
            return (UInt32(first & 0x1F) << 6 | second, 2)
        case 0xE0...0xEF:
            guard remaining >= 3, let second = continuation(1), let third = continuation(2) else { return nil }
            let scalar = UInt32(first & 0x0F) << 12 | second << 6 | third
            guard scalar >= 0x800, !(0xD800...0xDFFF).contains(scalar) else { return nil }
            return (scalar, 3)
        case 0xF0...0xF4:
            guard remaining >= 4, let second = continuation(1), let third = continuation(2),
                let fourth = continuation(3)
            else { return nil }
            let scalar = UInt32(first & 0x07) << 18 | second << 12 | third << 6 | fourth
            guard (0x10000...0x10FFFF).contains(scalar) else { return nil }
            return (scalar, 4)
        default:
            return nil
        }
    }
}
