// [MS-NLMP] section 2.2: every multi-byte value is little-endian, every string UTF-16LE without a terminator.

extension [UInt8] {
    mutating func append(littleEndian value: some FixedWidthInteger & UnsignedInteger) {
        for shift in stride(from: 0, to: value.bitWidth, by: 8) {
            self.append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }

    mutating func append(utf16 text: String) {
        for unit in text.utf16 {
            self.append(littleEndian: unit)
        }
    }

    init(utf16 text: String) {
        self.init()
        self.append(utf16: text)
    }
}

extension String {
    /// Decodes UTF-16LE; unpaired surrogates become U+FFFD. Nil when the number of bytes is odd.
    init?(utf16LittleEndian bytes: some RandomAccessCollection<UInt8>) {
        guard bytes.count.isMultiple(of: 2) else {
            return nil
        }
        var units: [UInt16] = []
        units.reserveCapacity(bytes.count / 2)
        var index = bytes.startIndex
        while index != bytes.endIndex {
            let next = bytes.index(after: index)
            units.append(UInt16(bytes[index]) | UInt16(bytes[next]) << 8)
            index = bytes.index(after: next)
        }
        self.init(decoding: units, as: UTF16.self)
    }
}
