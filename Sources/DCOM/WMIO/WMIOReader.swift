/// Reads fields one after the other, never past the end of the part it was made for.
struct WMIOReader {
    /// The part; its indices are those of the whole input.
    let bytes: ArraySlice<UInt8>
    /// The index of the whole input's first byte, which offsets in errors count from.
    let base: Int
    private(set) var position: Int

    init(_ bytes: ArraySlice<UInt8>, base: Int) {
        self.bytes = bytes
        self.base = base
        self.position = bytes.startIndex
    }

    var remaining: Int { self.bytes.endIndex - self.position }

    func error(_ problem: WMIOError.Problem, in section: WMIOError.Section) -> WMIOError {
        WMIOError(problem, in: section, at: self.position - self.base)
    }

    private func require(_ count: Int, _ section: WMIOError.Section) throws(WMIOError) {
        guard count <= self.remaining else {
            throw self.error(.truncated(needed: count, available: self.remaining), in: section)
        }
    }

    mutating func uint8(_ section: WMIOError.Section) throws(WMIOError) -> UInt8 {
        try self.require(1, section)
        defer { self.position += 1 }
        return self.bytes[self.position]
    }

    mutating func uint16(_ section: WMIOError.Section) throws(WMIOError) -> UInt16 {
        try self.require(2, section)
        defer { self.position += 2 }
        return UInt16(self.bytes[self.position]) | UInt16(self.bytes[self.position + 1]) << 8
    }

    mutating func uint32(_ section: WMIOError.Section) throws(WMIOError) -> UInt32 {
        let low = try self.uint16(section)
        return UInt32(low) | UInt32(try self.uint16(section)) << 16
    }

    mutating func uint64(_ section: WMIOError.Section) throws(WMIOError) -> UInt64 {
        let low = try self.uint32(section)
        return UInt64(low) | UInt64(try self.uint32(section)) << 32
    }

    /// A number of one to eight bytes.
    mutating func number(_ length: Int, _ section: WMIOError.Section) throws(WMIOError) -> UInt64 {
        var bits: UInt64 = 0
        for byte in try self.take(length, section).reversed() { bits = bits << 8 | UInt64(byte) }
        return bits
    }

    mutating func take(_ count: Int, _ section: WMIOError.Section) throws(WMIOError) -> ArraySlice<UInt8> {
        try self.require(count, section)
        defer { self.position += count }
        return self.bytes[self.position..<self.position + count]
    }

    mutating func skip(_ count: Int, _ section: WMIOError.Section) throws(WMIOError) {
        try self.require(count, section)
        self.position += count
    }

    /// A block that begins with its EncodingLength, which counts itself ([MS-WMIO] 2.2.73): what follows the length.
    mutating func block(
        _ section: WMIOError.Section,
        minimumLength: Int = 4
    ) throws(WMIOError) -> WMIOReader {
        let start = self
        let length = Int(try self.uint32(section))
        guard length >= minimumLength else {
            throw start.error(.tooShort(length: length, minimum: minimumLength), in: section)
        }
        return WMIOReader(try self.take(length - 4, section), base: self.base)
    }

    /// An Encoded-String in place, [MS-WMIO] 2.2.78.
    mutating func string(_ allowance: inout WMIOAllowance) throws(WMIOError) -> String {
        let flag = try self.uint8(.string)
        let rest = self.bytes[self.position...]
        switch flag {
        case WMIOFormat.compressedString:
            guard let end = rest.firstIndex(of: 0) else { throw self.error(.unterminatedString, in: .string) }
            try allowance.charge(2 * (end - self.position), self)
            let text = rest[..<end]
            self.position = end + 1
            guard text.allSatisfy({ $0 < 0x80 }) else {
                return String(String.UnicodeScalarView(text.lazy.map { Unicode.Scalar($0) }))
            }
            return String(decoding: text, as: UTF8.self)
        case WMIOFormat.unicodeString:
            var end = self.position
            while end + 1 < rest.endIndex, rest[end] != 0 || rest[end + 1] != 0 { end += 2 }
            guard end + 1 < rest.endIndex else { throw self.error(.unterminatedString, in: .string) }
            // Code units and at most three bytes of UTF-8 for each.
            try allowance.charge(3 * (end - self.position), self)
            let units = stride(from: self.position, to: end, by: 2).map { UInt16(rest[$0]) | UInt16(rest[$0 + 1]) << 8 }
            self.position = end + 2
            return String(decoding: units, as: UTF16.self)
        default:
            throw self.error(.unexpected(field: "Encoded-String-Flag", value: UInt32(flag)), in: .string)
        }
    }
}

/// The memory that decoding one message may still take, be it an object or an array of objects.
///
/// Items of a heap must not be shared ([MS-WMIO] 2.2.66), so an object's values take little more than its bytes. A
/// hostile object has a thousand references to one long string, or to one embedded object.
struct WMIOAllowance {
    private let limit: Int
    private(set) var remaining: Int

    init(inputLength: Int, limits: WMIOLimits) {
        let (product, overflow) = inputLength.multipliedReportingOverflow(by: limits.memoryPerByte)
        self.limit = overflow ? .max : max(product, limits.memoryFloor)
        self.remaining = self.limit
    }

    mutating func charge(_ bytes: Int, _ reader: WMIOReader) throws(WMIOError) {
        guard bytes <= self.remaining else { throw reader.error(.tooLarge(limit: self.limit), in: .heap) }
        self.remaining -= bytes
    }
}

/// A heap: items at offsets that references give, [MS-WMIO] 2.2.66. May hold garbage between and after them.
struct WMIOHeap {
    let bytes: ArraySlice<UInt8>
    let base: Int

    /// Reads HeapLength and takes the heap.
    init(_ reader: inout WMIOReader) throws(WMIOError) {
        let length = try reader.uint32(.heap) & ~WMIOFormat.heapLengthFlag
        self.bytes = try reader.take(Int(length), .heap)
        self.base = reader.base
    }

    /// A reader of the item that a reference points to.
    func item(_ reference: UInt32, _ section: WMIOError.Section) throws(WMIOError) -> WMIOReader {
        guard reference < self.bytes.count else {
            throw WMIOError(
                .truncated(needed: Int(reference), available: self.bytes.count),
                in: section,
                at: self.bytes.startIndex - self.base
            )
        }
        return WMIOReader(self.bytes[(self.bytes.startIndex + Int(reference))...], base: self.base)
    }

    /// The string that a HeapStringRef points to, in the heap or in the dictionary; nil for NULL.
    func string(_ reference: UInt32, _ allowance: inout WMIOAllowance) throws(WMIOError) -> String? {
        if reference == WMIOFormat.nullReference { return nil }
        guard reference & WMIOFormat.dictionaryFlag != 0 else {
            var item = try self.item(reference, .string)
            return try item.string(&allowance)
        }
        let index = Int(reference & ~WMIOFormat.dictionaryFlag)
        guard index < WMIOFormat.dictionary.count else {
            throw WMIOError(
                .outsideTable(index: index, count: WMIOFormat.dictionary.count),
                in: .string,
                at: self.bytes.startIndex - self.base
            )
        }
        return WMIOFormat.dictionary[index]
    }
}
