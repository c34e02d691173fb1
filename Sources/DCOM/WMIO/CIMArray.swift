/// The elements of an array property. nil is NULL, which only strings and objects can be.
///
/// Numbers stay as they were encoded until they are asked for, so that an array takes no more room than in the message.
package struct CIMArray: Sendable, RandomAccessCollection {
    private enum Storage: Sendable {
        /// Little-endian numbers of one type.
        case numbers(CIMType, [UInt8])
        case values([CIMValue?])
    }

    private let storage: Storage

    package init(_ values: [CIMValue?]) {
        self.storage = .values(values)
    }

    /// - Precondition: `bytes` holds a whole number of values of `type`, and those lie in no heap.
    init(_ type: CIMType, _ bytes: [UInt8]) {
        precondition(type.isInline && bytes.count.isMultiple(of: type.encodedLength))
        self.storage = .numbers(type, bytes)
    }

    package var startIndex: Int { 0 }

    package var endIndex: Int {
        switch self.storage {
        case .numbers(let type, let bytes): bytes.count / type.encodedLength
        case .values(let values): values.count
        }
    }

    package subscript(position: Int) -> CIMValue? {
        switch self.storage {
        case .values(let values): return values[position]
        case .numbers(let type, let bytes):
            let start = position * type.encodedLength
            let octets = bytes[start..<start + type.encodedLength]
            return CIMValue(type, octets.reversed().reduce(0) { $0 << 8 | UInt64($1) })
        }
    }
}

extension CIMArray: Equatable {
    package static func == (left: CIMArray, right: CIMArray) -> Bool { left.elementsEqual(right) }
}

extension CIMArray: ExpressibleByArrayLiteral {
    package init(arrayLiteral elements: CIMValue?...) {
        self.init(elements)
    }
}

extension CIMValue {
    /// A value that is written in place, from its bits; nil for types that lie in the heap.
    init?(_ type: CIMType, _ bits: UInt64) {
        switch type {
        case .sint8: self = .sint8(Int8(truncatingIfNeeded: bits))
        case .uint8: self = .uint8(UInt8(truncatingIfNeeded: bits))
        case .sint16: self = .sint16(Int16(truncatingIfNeeded: bits))
        case .uint16: self = .uint16(UInt16(truncatingIfNeeded: bits))
        case .sint32: self = .sint32(Int32(truncatingIfNeeded: bits))
        case .uint32: self = .uint32(UInt32(truncatingIfNeeded: bits))
        case .sint64: self = .sint64(Int64(bitPattern: bits))
        case .uint64: self = .uint64(bits)
        case .real32: self = .real32(Float(bitPattern: UInt32(truncatingIfNeeded: bits)))
        case .real64: self = .real64(Double(bitPattern: bits))
        case .boolean: self = .boolean(bits != 0)
        case .char16: self = .char16(UInt16(truncatingIfNeeded: bits))
        case .string, .datetime, .reference, .object: return nil
        }
    }
}
