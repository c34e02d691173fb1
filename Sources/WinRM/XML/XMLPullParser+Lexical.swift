/// Names, quoted values, references and bytes.
extension XMLPullParser {
    /// A `QName`: prefix (empty if there is none) and local part.
    mutating func parseQualifiedName() throws(XMLError)
        -> (qualified: Range<Int>, prefix: Range<Int>, local: Range<Int>)
    {
        let first = try self.parseNCName()
        guard self.position < self.bytes.count, self.bytes[self.position] == UInt8(ascii: ":") else {
            return (first, first.lowerBound..<first.lowerBound, first)
        }
        self.position += 1
        let local = try self.parseNCName()
        let qualified = first.lowerBound..<local.upperBound
        guard qualified.count <= self.limits.maximumNameLength else {
            throw XMLError(.limitExceeded("bytes of a name"), at: first.lowerBound)
        }
        if self.position < self.bytes.count, self.bytes[self.position] == UInt8(ascii: ":") {
            throw XMLError(.malformed("a name with two colons"), at: self.position)
        }
        return (qualified, first, local)
    }

    mutating func parseNCName() throws(XMLError) -> Range<Int> {
        let start = self.position
        var index = start
        let end = self.bytes.count
        while index < end {
            let byte = self.bytes[index]
            if byte < 0x80 {
                guard index == start ? XMLCharacters.isNameStartByte(byte) : XMLCharacters.isNameByte(byte) else {
                    break
                }
                index += 1
            } else {
                let position = index
                guard
                    let (scalar, length) = self.bytes.withUnsafeBufferPointer({ XMLCharacters.decode($0, at: position) }
                    ),
                    position == start ? XMLCharacters.isNameStart(scalar) : XMLCharacters.isName(scalar)
                else { break }
                index += length
            }
        }
        guard index > start else {
            if start == end { throw XMLError(.unexpectedEnd, at: start) }
            throw XMLError(.malformed("a character that cannot stand in a name"), at: start)
        }
        guard index - start <= self.limits.maximumNameLength else {
            throw XMLError(.limitExceeded("bytes of a name"), at: start)
        }
        self.position = index
        return start..<index
    }

    mutating func parseEquals() throws(XMLError) {
        self.skipSpace()
        guard self.position < self.bytes.count else { throw XMLError(.unexpectedEnd, at: self.position) }
        guard self.bytes[self.position] == UInt8(ascii: "=") else {
            throw XMLError(.malformed("an attribute without a value"), at: self.position)
        }
        self.position += 1
        self.skipSpace()
    }

    /// A quoted literal without any processing.
    mutating func parseQuoted() throws(XMLError) -> Range<Int> {
        guard self.position < self.bytes.count else { throw XMLError(.unexpectedEnd, at: self.position) }
        let quote = self.bytes[self.position]
        guard quote == UInt8(ascii: "\"") || quote == UInt8(ascii: "'") else {
            throw XMLError(.malformed("an attribute value without quotes"), at: self.position)
        }
        let start = self.position + 1
        guard let end = self.bytes[start...].firstIndex(of: quote) else {
            throw XMLError(.unexpectedEnd, at: self.bytes.count)
        }
        self.position = end + 1
        return start..<end
    }

    /// Production 10.
    mutating func parseAttributeValue() throws(XMLError) -> (Range<Int>, TextDecoding) {
        let value = try self.parseQuoted()
        guard value.count <= self.limits.maximumAttributeLength else {
            throw XMLError(.limitExceeded("bytes of an attribute value"), at: value.lowerBound)
        }
        let after = self.position
        var decoding = TextDecoding.none
        var index = value.lowerBound
        while index < value.upperBound {
            switch self.bytes[index] {
            case UInt8(ascii: "<"):
                throw XMLError(.malformed("< in an attribute value"), at: index)
            case UInt8(ascii: "&"):
                decoding = .attribute
                self.position = index
                _ = try self.parseReference()
                index = self.position
                continue
            case 0x09, 0x0A, 0x0D:
                decoding = .attribute
            default:
                break
            }
            index += 1
        }
        guard index == value.upperBound else {
            throw XMLError(.malformed("a reference that is not closed"), at: value.upperBound)
        }
        self.position = after
        return (value, decoding)
    }

    /// Productions 66 and 68 at the position of an `&`; goes behind the `;`.
    mutating func parseReference() throws(XMLError) -> UInt32 {
        guard let (scalar, end) = try self.reference(at: self.position) else {
            throw XMLError(.unknownEntity, at: self.position)
        }
        self.position = end
        return scalar
    }

    /// The longest reference that is looked at: `&#x10FFFF;` with some leading zeros.
    private static let maximumReferenceLength = 16

    /// The scalar that the reference at an `&` stands for and the offset behind it; nil for an unknown entity.
    func reference(at start: Int) throws(XMLError) -> (scalar: UInt32, end: Int)? {
        let window = self.bytes[start...].prefix(Self.maximumReferenceLength)
        guard let semicolon = window.firstIndex(of: UInt8(ascii: ";")) else {
            if start + window.count == self.bytes.count { throw XMLError(.unexpectedEnd, at: self.bytes.count) }
            throw XMLError(.malformed("a reference that is not closed"), at: start)
        }
        let name = start + 1..<semicolon
        let end = semicolon + 1
        guard self.bytes[start + 1] == UInt8(ascii: "#") else {
            if self.equals(name, "lt") { return (0x3C, end) }
            if self.equals(name, "gt") { return (0x3E, end) }
            if self.equals(name, "amp") { return (0x26, end) }
            if self.equals(name, "quot") { return (0x22, end) }
            if self.equals(name, "apos") { return (0x27, end) }
            return nil
        }
        let isHexadecimal = self.bytes[start + 2] == UInt8(ascii: "x")
        let digits = self.bytes[start + (isHexadecimal ? 3 : 2)..<max(semicolon, start + (isHexadecimal ? 3 : 2))]
        var scalar: UInt32 = 0
        for digit in digits {
            guard let value = Self.digit(digit, isHexadecimal: isHexadecimal) else {
                throw XMLError(.malformed("a character reference"), at: start)
            }
            scalar = scalar * (isHexadecimal ? 16 : 10) + value
            guard scalar <= 0x10FFFF else { throw XMLError(.invalidCharacter, at: start) }
        }
        guard !digits.isEmpty else { throw XMLError(.malformed("a character reference"), at: start) }
        guard XMLCharacters.isCharacter(scalar) else { throw XMLError(.invalidCharacter, at: start) }
        return (scalar, end)
    }

    private static func digit(_ byte: UInt8, isHexadecimal: Bool) -> UInt32? {
        switch byte {
        case 0x30...0x39: UInt32(byte - 0x30)
        case 0x41...0x46 where isHexadecimal: UInt32(byte - 0x41 + 10)
        case 0x61...0x66 where isHexadecimal: UInt32(byte - 0x61 + 10)
        default: nil
        }
    }

    // MARK: - Bytes

    @discardableResult
    mutating func skipSpace() -> Bool {
        let start = self.position
        while self.position < self.bytes.count, XMLCharacters.isSpace(self.bytes[self.position]) { self.position += 1 }
        return self.position > start
    }

    func starts(with text: StaticString) -> Bool {
        let end = self.position + text.utf8CodeUnitCount
        return end <= self.bytes.count && self.equals(self.position..<end, text)
    }

    func find(_ text: StaticString, from start: Int) -> Int? {
        let length = text.utf8CodeUnitCount
        guard length > 0, self.bytes.count >= length else { return nil }
        return self.bytes.withUnsafeBufferPointer { buffer in
            text.withUTF8Buffer { wanted in
                var index = start
                while index <= buffer.count - length {
                    if buffer[index] == wanted[0], (1..<length).allSatisfy({ buffer[index + $0] == wanted[$0] }) {
                        return index
                    }
                    index += 1
                }
                return nil
            }
        }
    }
}
