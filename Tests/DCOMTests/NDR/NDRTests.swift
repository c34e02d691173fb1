import DCOM
import Testing

@Suite("NDR") struct NDRTests {
    // MARK: - Numbers and alignment

    @Test func `Numbers are aligned to their size, with zeros between`() throws {
        var writer = NDRWriter()
        writer.uint8(0x01)
        writer.uint16(0x0302)
        writer.uint8(0x04)
        writer.uint32(0x0807_0605)
        writer.uint8(0x09)
        writer.uint64(0x1817_1615_1413_1211)
        writer.int8(-1)
        writer.int16(-2)
        writer.int32(-3)
        writer.int64(-4)
        let expected: [UInt8] = [
            0x01, 0, 0x02, 0x03, 0x04, 0, 0, 0, 0x05, 0x06, 0x07, 0x08, 0x09, 0, 0, 0,
            0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0xFF, 0, 0xFE, 0xFF, 0xFD, 0xFF, 0xFF, 0xFF,
            0xFC, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
        ]
        #expect(writer.bytes == expected)

        // A slice that does not begin at 0: alignment counts from its start.
        var reader = NDRReader(([0xAA, 0xBB, 0xCC] + expected)[3...])
        #expect(try reader.uint8() == 1)
        #expect(try reader.uint16() == 0x0302)
        #expect(try reader.uint8() == 4)
        #expect(try reader.uint32() == 0x0807_0605)
        #expect(try reader.uint8() == 9)
        #expect(try reader.uint64() == 0x1817_1615_1413_1211)
        #expect(try reader.int8() == -1)
        #expect(try reader.int16() == -2)
        #expect(try reader.int32() == -3)
        #expect(try reader.int64() == -4)
        #expect(reader.remaining == 0)
        #expect(reader.offset == expected.count)
    }

    @Test func `A number that is cut off is an error, and so is padding`() {
        var reader = NDRReader([1, 2, 3])
        #expect(throws: NDRError.truncated(offset: 0, needed: 4, remaining: 3)) { try reader.uint32() }
        _ = try? reader.uint8()
        #expect(throws: NDRError.truncated(offset: 1, needed: 3, remaining: 2)) { try reader.align(to: 4) }
        #expect(throws: NDRError.self) { try reader.bytes(-1) }
        #expect(throws: NDRError.self) { try reader.bytes(.max) }
    }

    // MARK: - Pointers

    @Test func `Pointers have identifiers of their own, null is 0`() throws {
        var writer = NDRWriter()
        writer.pointer()
        writer.pointer(isNull: true)
        writer.pointer()
        writer.unique(UInt32(7)) { $0.uint32($1) }
        writer.unique(UInt32?.none) { $0.uint32($1) }
        var reader = NDRReader(writer.bytes)
        let first = try reader.pointer()
        #expect(first != 0)
        #expect(try reader.pointer() == 0)
        let second = try reader.pointer()
        #expect(second != 0 && second != first)
        #expect(try reader.unique { (reader) throws(NDRError) in try reader.uint32() } == 7)
        #expect(try reader.unique { (reader) throws(NDRError) in try reader.uint32() } == nil)
        #expect(reader.remaining == 0)
    }

    // MARK: - Arrays

    @Test func `Arrays are read as they were written`() throws {
        var writer = NDRWriter()
        writer.conformantBytes([1, 2, 3])
        writer.conformantVaryingBytes([4, 5])
        writer.conformantArray([UInt16(6), 7, 8]) { $0.uint16($1) }
        writer.conformantVaryingArray([UInt32(9)]) { $0.uint32($1) }
        writer.guid("8a885d04-1ceb-11c9-9fe8-08002b104860")
        var reader = NDRReader(writer.bytes)
        #expect(try Array(reader.conformantBytes()) == [1, 2, 3])
        #expect(try Array(reader.conformantVaryingBytes()) == [4, 5])
        #expect(
            try reader.conformantArray(elementSize: 2) { (reader) throws(NDRError) in try reader.uint16() } == [
                6, 7, 8,
            ]
        )
        #expect(
            try reader.conformantVaryingArray(elementSize: 4) { (reader) throws(NDRError) in try reader.uint32() }
                == [9]
        )
        #expect(try reader.guid() == RPCInterface.ndr.uuid)
    }

    @Test(arguments: [UInt32.max, 0x8000_0000, 0x4000_0001, 5])
    func `A count that the rest cannot hold is refused before anything is allocated`(count: UInt32) {
        var writer = NDRWriter()
        writer.uint32(count)
        writer.zeros(16)
        for elementSize in [4, 8, 1 << 40] {
            var reader = NDRReader(writer.bytes)
            let error = NDRError.countTooLarge(offset: 4, count: count, elementSize: elementSize, remaining: 16)
            #expect(throws: error) { try reader.count(ofElementSize: elementSize) }
        }
        var strings = NDRReader(writer.bytes)
        _ = try? strings.uint32()
        #expect(throws: NDRError.self) { try strings.utf16(Int(count) * 4) }
    }

    @Test func `A varying array begins at 0 and stays within its maximum`() {
        func read(_ words: UInt32...) throws(NDRError) -> [UInt8] {
            var writer = NDRWriter()
            for word in words { writer.uint32(word) }
            writer.bytes([1, 2, 3, 4])
            var reader = NDRReader(writer.bytes)
            return Array(try reader.conformantVaryingBytes())
        }
        #expect((try? read(4, 0, 4)) == [1, 2, 3, 4])
        // The maximum is only a promise of the sender's: it need not fit.
        #expect((try? read(400, 0, 2)) == [1, 2])
        #expect(throws: NDRError.self) { try read(4, 1, 3) }
        #expect(throws: NDRError.self) { try read(3, 0, 4) }
        #expect(throws: NDRError.self) { try read(5, 0, 5) }
        #expect(throws: NDRError.self) { try read(.max, 0, .max) }
    }

    @Test func `An array of more elements than the caller takes is refused`() {
        var writer = NDRWriter()
        writer.conformantArray([UInt8](repeating: 0, count: 11)) { $0.uint8($1) }
        var reader = NDRReader(writer.bytes)
        #expect(throws: NDRError.self) {
            try reader.conformantArray(elementSize: 1, limit: 10) { (reader) throws(NDRError) in try reader.uint8() }
        }
    }

    // MARK: - Strings

    @Test(arguments: ["", "//./root/cimv2", "Größe 𝄞 名前"])
    func `Wide strings are read as they were written`(text: String) throws {
        var writer = NDRWriter()
        writer.uint8(1)
        writer.wideString(text)
        var reader = NDRReader(writer.bytes)
        _ = try reader.uint8()
        #expect(try reader.wideString() == text)
        #expect(reader.remaining == 0)
    }

    @Test func `A string ends at its zero, or with its last unit`() throws {
        var reader = NDRReader([2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0x41, 0, 0x42, 0])
        #expect(try reader.wideString() == "AB")
        reader = NDRReader([3, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0x41, 0, 0, 0, 0x42, 0])
        #expect(try reader.wideString() == "A")
        #expect(reader.remaining == 0)
        // Half a surrogate pair.
        reader = NDRReader([1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x1E, 0xD8])
        #expect(try reader.wideString() == "\u{FFFD}")
    }

    @Test func `No cut of a stub is read to its end`() throws {
        var writer = NDRWriter()
        writer.uint16(1)
        writer.wideString("root")
        writer.conformantBytes([1, 2, 3])
        writer.guid(.null)
        writer.uint64(2)
        func read(_ bytes: ArraySlice<UInt8>) throws(NDRError) {
            var reader = NDRReader(bytes)
            _ = try reader.uint16()
            _ = try reader.wideString()
            _ = try reader.conformantBytes()
            _ = try reader.guid()
            _ = try reader.uint64()
        }
        try read(writer.bytes[...])
        for length in 0..<writer.count { #expect(throws: NDRError.self) { try read(writer.bytes[..<length]) } }
    }
}
