/// The little of DER that SPNEGO needs (X.690): definite lengths, one-byte tags. No recursion: callers descend.
enum DER {
    enum Tag {
        static let octetString: UInt8 = 0x04
        static let objectIdentifier: UInt8 = 0x06
        static let enumerated: UInt8 = 0x0a
        static let sequence: UInt8 = 0x30
        /// InitialContextToken, RFC 2743 section 3.1.
        static let application0: UInt8 = 0x60

        static func context(_ number: UInt8) -> UInt8 {
            0xa0 | number
        }
    }

    struct Element {
        var tag: UInt8
        var content: ArraySlice<UInt8>
        /// Tag, length and content as they came.
        var encoded: ArraySlice<UInt8>
    }

    // Four length octets already cover more than any token.
    private static let maximumLengthOctets = 4

    /// Takes the next element off the front of `bytes`. Throws `malformed`.
    static func read(_ bytes: inout ArraySlice<UInt8>, _ label: String) throws(NTLMError) -> Element {
        let whole = bytes
        guard let tag = bytes.popFirst(), tag & 0x1f != 0x1f, let first = bytes.popFirst() else {
            throw .malformed("\(label): no DER element")
        }
        var count = Int(first)
        if first >= 0x80 {
            let octets = Int(first & 0x7f)
            guard (1...Self.maximumLengthOctets).contains(octets), bytes.count >= octets else {
                throw .malformed("\(label): DER length")
            }
            count = bytes.prefix(octets).reduce(0) { $0 << 8 | Int($1) }
            bytes = bytes.dropFirst(octets)
        }
        guard count <= bytes.count else {
            throw .malformed("\(label): DER element of \(count) bytes, \(bytes.count) left")
        }
        let content = bytes.prefix(count)
        bytes = bytes.dropFirst(count)
        return Element(tag: tag, content: content, encoded: whole[whole.startIndex..<content.endIndex])
    }

    /// Takes the next element, which must have this tag.
    static func read(
        _ bytes: inout ArraySlice<UInt8>,
        tag: UInt8,
        _ label: String
    ) throws(NTLMError) -> Element {
        let element = try Self.read(&bytes, label)
        guard element.tag == tag else {
            throw .malformed("\(label): DER tag \(element.tag) instead of \(tag)")
        }
        return element
    }

    /// Reads the one element that fills `bytes`.
    static func only(_ bytes: ArraySlice<UInt8>, tag: UInt8, _ label: String) throws(NTLMError) -> ArraySlice<UInt8> {
        var rest = bytes
        let element = try Self.read(&rest, tag: tag, label)
        guard rest.isEmpty else {
            throw .malformed("\(label): bytes after the DER element")
        }
        return element.content
    }

    static func encode(_ tag: UInt8, _ content: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = [tag]
        if content.count < 0x80 {
            bytes.append(UInt8(content.count))
        } else {
            var octets: [UInt8] = []
            var count = content.count
            while count > 0 {
                octets.insert(UInt8(count & 0xff), at: 0)
                count >>= 8
            }
            bytes.append(0x80 | UInt8(octets.count))
            bytes += octets
        }
        return bytes + content
    }
}
