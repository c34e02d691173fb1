/// Reads NDR, little-endian, from a stub (C706, chapter 14; [MS-RPCE] 2.2.4 and 2.2.5).
///
/// Alignment counts from the first byte given to the reader. Every count is held against the bytes that are left
/// before anything is allocated for it. Referents of embedded pointers follow after the structure that holds them:
/// reading them in their order is the caller's business.
package struct NDRReader: Sendable {
    /// All of the stub.
    package let bytes: ArraySlice<UInt8>
    private var index: Int

    package init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        self.index = bytes.startIndex
    }

    package init(_ bytes: [UInt8]) {
        self.init(bytes[...])
    }

    /// Distance of the next byte from the start of the stub.
    package var offset: Int { self.index - self.bytes.startIndex }

    /// Bytes not read yet.
    package var remaining: Int { self.bytes.endIndex - self.index }

    /// What was not read yet.
    package var rest: ArraySlice<UInt8> { self.bytes[self.index...] }

    // MARK: - Octets

    /// Skips to a multiple of `alignment` bytes from the start.
    package mutating func align(to alignment: Int) throws(NDRError) {
        let excess = self.offset % alignment
        if excess != 0 { _ = try self.bytes(alignment - excess) }
    }

    /// The next bytes as they are, without alignment.
    package mutating func bytes(_ count: Int) throws(NDRError) -> ArraySlice<UInt8> {
        guard count >= 0, count <= self.remaining else {
            throw .truncated(offset: self.offset, needed: count, remaining: self.remaining)
        }
        defer { self.index += count }
        return self.bytes[self.index..<self.index + count]
    }

    /// Passes over bytes, without alignment.
    package mutating func skip(_ count: Int) throws(NDRError) {
        _ = try self.bytes(count)
    }

    // MARK: - Numbers, each aligned to its own size

    package mutating func uint8() throws(NDRError) -> UInt8 { try self.number() }
    package mutating func uint16() throws(NDRError) -> UInt16 { try self.number() }
    package mutating func uint32() throws(NDRError) -> UInt32 { try self.number() }
    package mutating func uint64() throws(NDRError) -> UInt64 { try self.number() }
    package mutating func int8() throws(NDRError) -> Int8 { try self.number() }
    package mutating func int16() throws(NDRError) -> Int16 { try self.number() }
    package mutating func int32() throws(NDRError) -> Int32 { try self.number() }
    package mutating func int64() throws(NDRError) -> Int64 { try self.number() }

    private mutating func number<Value: FixedWidthInteger>() throws(NDRError) -> Value {
        let size = MemoryLayout<Value>.size
        try self.align(to: size)
        guard size <= self.remaining else {
            throw .truncated(offset: self.offset, needed: size, remaining: self.remaining)
        }
        var value: Value = 0
        for position in 0..<size {
            value |= Value(truncatingIfNeeded: self.bytes[self.index + position]) << Value(8 * position)
        }
        self.index += size
        return value
    }

    /// A GUID, aligned to 4 bytes.
    package mutating func guid() throws(NDRError) -> GUID {
        try self.align(to: 4)
        let offset = self.offset
        guard let guid = GUID(wire: try self.bytes(GUID.size)) else { throw .invalid(offset: offset, "GUID") }
        return guid
    }

    // MARK: - Pointers

    /// The referent identifier of a unique or full pointer; 0 is null.
    package mutating func pointer() throws(NDRError) -> UInt32 {
        try self.uint32()
    }

    /// A unique pointer whose referent follows at once, as at the top level of a stub; nil when it is null.
    package mutating func unique<Value>(
        _ referent: (inout NDRReader) throws(NDRError) -> Value
    ) throws(NDRError) -> Value? {
        try self.pointer() == 0 ? nil : try referent(&self)
    }

    // MARK: - Arrays

    /// The conformance of an array (its maximum count), refused when that many elements cannot follow.
    ///
    /// - Parameter elementSize: the least that an element takes, 1 or more bytes.
    package mutating func count(ofElementSize elementSize: Int) throws(NDRError) -> Int {
        let count = try self.uint32()
        return try self.bounded(count, elementSize: elementSize)
    }

    /// The variance of an array (offset and actual count), refused when that many elements cannot follow.
    ///
    /// The offset must be 0, as it is in everything that Windows sends.
    package mutating func actualCount(ofElementSize elementSize: Int, maximum: UInt32) throws(NDRError) -> Int {
        let start = try self.uint32()
        let count = try self.uint32()
        guard start == 0 else { throw .invalid(offset: self.offset, "a varying array that begins at element \(start)") }
        guard count <= maximum else {
            throw .invalid(offset: self.offset, "\(count) elements in a varying array of at most \(maximum)")
        }
        return try self.bounded(count, elementSize: elementSize)
    }

    private func bounded(_ count: UInt32, elementSize: Int) throws(NDRError) -> Int {
        precondition(elementSize > 0, "elements take at least a byte")
        guard Int(count) <= self.remaining / elementSize else {
            throw .countTooLarge(
                offset: self.offset,
                count: count,
                elementSize: elementSize,
                remaining: self.remaining
            )
        }
        return Int(count)
    }

    /// A conformant array of bytes.
    package mutating func conformantBytes() throws(NDRError) -> ArraySlice<UInt8> {
        try self.bytes(try self.count(ofElementSize: 1))
    }

    /// A conformant and varying array of bytes.
    package mutating func conformantVaryingBytes() throws(NDRError) -> ArraySlice<UInt8> {
        let maximum = try self.uint32()
        return try self.bytes(try self.actualCount(ofElementSize: 1, maximum: maximum))
    }

    /// A conformant array of anything.
    ///
    /// - Parameters:
    ///   - elementSize: the least that an element takes on the wire.
    ///   - limit: how many elements the caller puts up with, as each may grow in memory.
    package mutating func conformantArray<Element>(
        elementSize: Int,
        limit: Int = .max,
        _ element: (inout NDRReader) throws(NDRError) -> Element
    ) throws(NDRError) -> [Element] {
        let count = try self.count(ofElementSize: elementSize)
        return try self.elements(count, limit: limit, element)
    }

    /// A conformant and varying array of anything.
    package mutating func conformantVaryingArray<Element>(
        elementSize: Int,
        limit: Int = .max,
        _ element: (inout NDRReader) throws(NDRError) -> Element
    ) throws(NDRError) -> [Element] {
        let maximum = try self.uint32()
        let count = try self.actualCount(ofElementSize: elementSize, maximum: maximum)
        return try self.elements(count, limit: limit, element)
    }

    private mutating func elements<Element>(
        _ count: Int,
        limit: Int,
        _ element: (inout NDRReader) throws(NDRError) -> Element
    ) throws(NDRError) -> [Element] {
        guard count <= limit else {
            throw .invalid(offset: self.offset, "an array of \(count) elements where at most \(limit) are taken")
        }
        var result: [Element] = []
        // Elements may be larger in memory than on the wire: no more at once than the bytes that are there.
        result.reserveCapacity(min(count, self.remaining / max(1, MemoryLayout<Element>.stride)))
        for _ in 0..<count { result.append(try element(&self)) }
        return result
    }

    // MARK: - Strings

    /// A `[string] wchar_t*`: a conformant and varying array of UTF-16 units that ends with a zero.
    ///
    /// - Returns: the text up to the first zero; units that are no UTF-16 become U+FFFD.
    package mutating func wideString() throws(NDRError) -> String {
        let maximum = try self.uint32()
        let count = try self.actualCount(ofElementSize: 2, maximum: maximum)
        return try self.utf16(count)
    }

    /// UTF-16 units without a count of their own, up to the first zero among them.
    ///
    /// - Parameter count: how many units to pass over, the zero and what follows it included.
    package mutating func utf16(_ count: Int) throws(NDRError) -> String {
        guard count >= 0, count <= self.remaining / 2 else {
            throw .truncated(offset: self.offset, needed: count, remaining: self.remaining)
        }
        let octets = try self.bytes(2 * count)
        var units: [UInt16] = []
        units.reserveCapacity(count)
        var index = octets.startIndex
        while index < octets.endIndex {
            let unit = UInt16(octets[index]) | UInt16(octets[index + 1]) << 8
            if unit == 0 { break }
            units.append(unit)
            index += 2
        }
        return String(decoding: units, as: UTF16.self)
    }
}
