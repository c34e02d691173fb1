// The first half tells what to read, the second is the stub. Whatever is read, the reader stays within its bytes, and
// no more comes out than is there.

import DCOM
import Driver
import Foundation

exit(
    fuzz { data, size in
        let bytes = array(data, size)
        let operations = bytes[..<(size / 2)]
        let stub = bytes[(size / 2)...]
        var reader = NDRReader(stub)
        for operation in operations {
            let before = reader.offset
            do throws(NDRError) {
                try perform(operation, &reader, stub.count)
            } catch {
                return 0
            }
            precondition(reader.offset >= before && reader.offset + reader.remaining == stub.count)
        }
        return 0
    }
)

func perform(_ operation: UInt8, _ reader: inout NDRReader, _ size: Int) throws(NDRError) {
    switch operation % 18 {
    case 0: _ = try reader.uint8()
    case 1: _ = try reader.uint16()
    case 2: _ = try reader.uint32()
    case 3: _ = try reader.uint64()
    case 4: _ = try reader.int16()
    case 5: _ = try reader.int64()
    case 6: _ = try reader.guid()
    case 7: try reader.align(to: 8)
    case 8: try reader.skip(Int(operation / 18))
    case 9: bound(try reader.count(ofElementSize: 2), size / 2)
    case 10: bound(try reader.conformantBytes().count, size)
    case 11: bound(try reader.conformantVaryingBytes().count, size)
    case 12: bound(try reader.wideString().utf8.count, 2 * size)
    case 13: bound(try reader.utf16(Int(operation / 18)).utf16.count, Int(operation / 18))
    case 14:
        let array = try reader.conformantArray(elementSize: 4) { (reader) throws(NDRError) in try reader.uint32() }
        bound(array.capacity, max(8, size))
    case 15:
        let array = try reader.conformantVaryingArray(elementSize: 1) { (reader) throws(NDRError) in
            try reader.wideString()
        }
        bound(array.count, size)
    case 16: _ = try reader.unique { (reader) throws(NDRError) in try reader.guid() }
    default: _ = try reader.conformantArray(elementSize: 16) { (reader) throws(NDRError) in try reader.guid() }
    }
}

func bound(_ value: Int, _ limit: Int) {
    precondition(value <= limit)
}
