/// Writes NDR, little-endian: the mirror image of ``NDRReader``.
///
/// Alignment counts from the first byte written; the padding is zeros.
package struct NDRWriter: Sendable {
    /// What was written so far.
    package private(set) var bytes: [UInt8] = []
    private var nextReferent = Self.firstReferent

    /// Where Windows begins to count referent identifiers, and how far apart they are.
    private static let firstReferent: UInt32 = 0x0002_0000
    private static let referentStep: UInt32 = 4

    /// - Parameter capacity: bytes to make room for.
    package init(capacity: Int = 0) {
        self.bytes.reserveCapacity(capacity)
    }

    package var count: Int { self.bytes.count }

    // MARK: - Octets

    package mutating func align(to alignment: Int) {
        let excess = self.bytes.count % alignment
        if excess != 0 { self.bytes.append(contentsOf: repeatElement(0, count: alignment - excess)) }
    }

    /// Bytes as they are, without alignment or count.
    package mutating func bytes(_ octets: some Collection<UInt8>) {
        self.bytes.append(contentsOf: octets)
    }

    package mutating func zeros(_ count: Int) {
        self.bytes.append(contentsOf: repeatElement(0, count: count))
    }

    // MARK: - Numbers, each aligned to its own size

    package mutating func uint8(_ value: UInt8) { self.bytes.append(value) }
    package mutating func uint16(_ value: UInt16) { self.number(value) }
    package mutating func uint32(_ value: UInt32) { self.number(value) }
    package mutating func uint64(_ value: UInt64) { self.number(value) }
    package mutating func int8(_ value: Int8) { self.number(value) }
    package mutating func int16(_ value: Int16) { self.number(value) }
    package mutating func int32(_ value: Int32) { self.number(value) }
    package mutating func int64(_ value: Int64) { self.number(value) }

    private mutating func number<Value: FixedWidthInteger>(_ value: Value) {
        self.align(to: MemoryLayout<Value>.size)
        self.bytes.appendLittleEndian(value)
    }

    /// A GUID, aligned to 4 bytes.
    package mutating func guid(_ guid: GUID) {
        self.align(to: 4)
        self.bytes.append(contentsOf: guid.wire)
    }

    /// Replaces a number written before, for instance a length that was not known then.
    package mutating func overwrite(_ value: UInt32, at offset: Int) {
        self.bytes.overwriteLittleEndian(value, at: offset)
    }

    // MARK: - Pointers

    /// A unique or full pointer: 0 for null, else an identifier that no other pointer of this stub has.
    package mutating func pointer(isNull: Bool = false) {
        guard !isNull else { return self.uint32(0) }
        self.uint32(self.nextReferent)
        self.nextReferent &+= Self.referentStep
    }

    /// A unique pointer with its referent at once, as at the top level of a stub; nil is null.
    package mutating func unique<Value>(_ value: Value?, _ referent: (inout NDRWriter, Value) -> Void) {
        self.pointer(isNull: value == nil)
        if let value { referent(&self, value) }
    }

    // MARK: - Arrays

    /// The conformance (maximum count) or another count of an array.
    package mutating func count(_ count: Int) {
        self.uint32(UInt32(count))
    }

    /// A conformant array of bytes.
    package mutating func conformantBytes(_ octets: some Collection<UInt8>) {
        self.count(octets.count)
        self.bytes(octets)
    }

    /// A conformant and varying array of bytes.
    package mutating func conformantVaryingBytes(_ octets: some Collection<UInt8>) {
        self.count(octets.count)
        self.uint32(0)
        self.count(octets.count)
        self.bytes(octets)
    }

    /// A conformant array of anything.
    package mutating func conformantArray<Element>(
        _ elements: some Collection<Element>,
        _ body: (inout NDRWriter, Element) -> Void
    ) {
        self.count(elements.count)
        for element in elements { body(&self, element) }
    }

    /// A conformant and varying array of anything.
    package mutating func conformantVaryingArray<Element>(
        _ elements: some Collection<Element>,
        _ body: (inout NDRWriter, Element) -> Void
    ) {
        self.count(elements.count)
        self.uint32(0)
        self.conformantArray(elements, body)
    }

    // MARK: - Strings

    /// A `[string] wchar_t*`: a conformant and varying array of UTF-16 units with a zero at the end.
    package mutating func wideString(_ text: String) {
        let count = text.utf16.count + 1
        self.count(count)
        self.uint32(0)
        self.count(count)
        self.utf16(text)
        self.bytes.appendLittleEndian(UInt16(0))
    }

    /// UTF-16 units without count, alignment or terminating zero.
    package mutating func utf16(_ text: String) {
        for unit in text.utf16 { self.bytes.appendLittleEndian(unit) }
    }
}
