/// Reads the fixed fields of an NTLM message, and the payloads they point to; never outside the message.
struct NTLMReader {
    /// The longest message that is looked at. Windows reports 2,888 bytes as its largest NTLM token.
    static let maximumMessageSize = 16_384

    static let signature: [UInt8] = Array("NTLMSSP\0".utf8)

    let bytes: [UInt8]
    let name: String

    /// Checks size, signature and message type ([MS-NLMP] 2.2.1).
    init(_ bytes: [UInt8], type: UInt32, name: String, minimumSize: Int) throws(NTLMError) {
        guard bytes.count <= Self.maximumMessageSize else {
            throw .tooLarge(size: bytes.count, limit: Self.maximumMessageSize)
        }
        guard bytes.starts(with: Self.signature) else {
            throw .malformed("\(name): no NTLMSSP signature")
        }
        self.bytes = bytes
        self.name = name
        guard bytes.count >= minimumSize else {
            throw .malformed("\(name): \(bytes.count) bytes, at least \(minimumSize) expected")
        }
        guard try self.uint32(at: 8) == type else {
            throw .unexpectedMessage("\(name) was due, another NTLM message came")
        }
    }

    func slice(at offset: Int, count: Int) throws(NTLMError) -> ArraySlice<UInt8> {
        guard offset >= 0, count >= 0, offset <= self.bytes.count, count <= self.bytes.count - offset else {
            throw .malformed("\(self.name): a field lies outside the message")
        }
        return self.bytes[offset..<offset + count]
    }

    func uint16(at offset: Int) throws(NTLMError) -> UInt16 {
        try self.slice(at: offset, count: 2).reversed().reduce(0) { $0 << 8 | UInt16($1) }
    }

    func uint32(at offset: Int) throws(NTLMError) -> UInt32 {
        try self.slice(at: offset, count: 4).reversed().reduce(0) { $0 << 8 | UInt32($1) }
    }

    func version(at offset: Int) throws(NTLMError) -> NTLMVersion {
        let build = try self.uint16(at: offset + 2)
        let numbers = try Array(self.slice(at: offset, count: NTLMVersion.size))
        return NTLMVersion(major: numbers[0], minor: numbers[1], build: build)
    }

    /// Where a payload lies. An empty payload may have any offset; real clients leave odd ones there.
    struct Field {
        var offset: Int
        var count: Int
    }

    /// Reads Len, MaxLen and BufferOffset of a field and checks that the payload lies between header and end.
    func field(at position: Int, _ label: String, payloadFrom minimumOffset: Int) throws(NTLMError) -> Field {
        let count = Int(try self.uint16(at: position))
        let offset = try self.uint32(at: position + 4)
        guard count > 0 else {
            return Field(offset: 0, count: 0)
        }
        guard offset >= minimumOffset, offset <= self.bytes.count, count <= self.bytes.count - Int(offset) else {
            throw .malformed("\(self.name).\(label): offset \(offset), length \(count) of \(self.bytes.count) bytes")
        }
        return Field(offset: Int(offset), count: count)
    }

    func payload(_ field: Field) -> ArraySlice<UInt8> {
        self.bytes[field.offset..<field.offset + field.count]
    }

    func text(_ field: Field, _ label: String) throws(NTLMError) -> String {
        guard let text = String(utf16LittleEndian: self.payload(field)) else {
            throw .malformed("\(self.name).\(label): odd number of bytes in UTF-16")
        }
        return text
    }
}

/// Lays out a message: a header of known size, then the payloads that its fields point to.
struct NTLMWriter {
    private(set) var header: [UInt8]
    private var payloads: [UInt8] = []
    private let headerSize: Int

    init(type: UInt32, headerSize: Int) {
        self.header = NTLMReader.signature
        self.header.append(littleEndian: type)
        self.headerSize = headerSize
    }

    mutating func append(_ value: UInt32) {
        self.header.append(littleEndian: value)
    }

    mutating func append(_ bytes: [UInt8]) {
        self.header += bytes
    }

    /// Puts a payload behind the ones before it and returns the eight bytes of its field.
    ///
    /// Throws `tooLarge` when the payload does not fit a 16-bit length.
    mutating func place(_ payload: [UInt8]) throws(NTLMError) -> [UInt8] {
        guard let count = UInt16(exactly: payload.count) else {
            throw .tooLarge(size: payload.count, limit: Int(UInt16.max))
        }
        var field: [UInt8] = []
        field.append(littleEndian: count)
        field.append(littleEndian: count)
        field.append(littleEndian: UInt32(self.headerSize + self.payloads.count))
        self.payloads += payload
        return field
    }

    var message: [UInt8] {
        self.header + self.payloads
    }
}
