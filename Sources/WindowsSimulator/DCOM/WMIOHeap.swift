/// The heap at the end of a class or an instance, [MS-WMIO] 2.2.66: texts, arrays and descriptions by their offsets.
struct WMIOHeap: Sendable {
    static let referenceSize = 4
    /// Refers to nothing.
    static let nowhere = UInt32.max
    /// The high bit of a length is always set, 2.2.67; in a reference it means the dictionary.
    private static let highBit: UInt32 = 0x8000_0000
    /// Names that are not written out, 2.2.80.
    private static let dictionary: [String: UInt32] = [
        "\"": 0, "key": 1, "": 2, "read": 3, "write": 4, "volatile": 5, "provider": 6, "dynamic": 7, "cimwin32": 8,
        "DWORD": 9, "CIMTYPE": 10,
    ]

    private var bytes: [UInt8] = []

    /// Adds an Encoded-String, 2.2.78, and gives its offset.
    mutating func add(_ text: String) -> UInt32 { self.append(Self.encode(text)) }

    /// Adds a qualifier's name, or refers to the dictionary.
    mutating func addName(_ name: String) -> UInt32 {
        Self.dictionary[name].map { $0 | Self.highBit } ?? self.add(name)
    }

    mutating func append(_ item: [UInt8]) -> UInt32 {
        let place = UInt32(self.bytes.count)
        self.bytes += item
        return place
    }

    /// Takes room whose content comes later.
    mutating func reserve(_ count: Int) -> UInt32 { self.append([UInt8](repeating: 0, count: count)) }

    mutating func fill(_ place: UInt32, with item: [UInt8]) {
        self.bytes.replaceSubrange(Int(place)..<Int(place) + item.count, with: item)
    }

    /// Length and content.
    ///
    /// - Parameter slack: bytes at the end that nothing refers to, as Windows leaves them.
    func encoded(slack: Int = 0) -> [UInt8] {
        var encoded: [UInt8] = []
        encoded.append(littleEndian: UInt32(self.bytes.count + slack) | Self.highBit)
        return encoded + self.bytes + [UInt8](repeating: 0x49, count: slack)
    }

    /// One octet for each character if all of them are Latin-1, UTF-16 otherwise, 2.2.78.
    static func encode(_ text: String) -> [UInt8] {
        if text.unicodeScalars.allSatisfy({ $0.value < 0x100 }) {
            return [0] + text.unicodeScalars.map { UInt8($0.value) } + [0]
        }
        var encoded: [UInt8] = [1]
        for unit in text.utf16 { encoded.append(littleEndian: unit) }
        return encoded + [0, 0]
    }
}

/// The NdTable, [MS-WMIO] 2.2.26: for each property whether it is null, and whether its value is inherited.
struct WMIONullFlags: Sendable {
    struct Bits: Sendable, Hashable {
        var isNull: Bool
        var isInherited: Bool
    }

    private(set) var bytes: [UInt8]

    /// - Parameter unused: what fills the octets until bits are set; Windows' classes have ones, its instances zeros.
    init(count: Int, unused: UInt8 = 0) {
        self.bytes = [UInt8](repeating: unused, count: count == 0 ? 0 : (count - 1) / 4 + 1)
    }

    subscript(order: Int) -> Bits {
        get {
            let bits = self.bytes[order / 4] >> (order % 4 * 2)
            return Bits(isNull: bits & 1 != 0, isInherited: bits & 2 != 0)
        }
        set {
            let bits: UInt8 = (newValue.isNull ? 1 : 0) | (newValue.isInherited ? 2 : 0)
            let shift = order % 4 * 2
            self.bytes[order / 4] = self.bytes[order / 4] & ~(3 << shift) | bits << shift
        }
    }
}

/// Values in the value table, [MS-WMIO] 2.2.71.
enum WMIOValue {
    /// Adds a value that is not null; what does not fit inline goes to the heap.
    static func append(
        _ value: CIMValue,
        of property: WMIOClass.Property,
        to table: inout [UInt8],
        heap: inout WMIOHeap
    ) {
        guard case .array(let elements) = value else {
            Self.append(value, type: property.type, to: &table, heap: &heap)
            return
        }
        // The count, the elements or their references, then what those refer to.
        let size = property.type.valueSize
        let place = heap.reserve(4 + elements.count * size)
        var array: [UInt8] = []
        array.append(littleEndian: UInt32(elements.count))
        for element in elements { Self.append(element, type: property.type, to: &array, heap: &heap) }
        heap.fill(place, with: array)
        table.append(littleEndian: place)
    }

    private static func append(_ value: CIMValue, type: CIMType, to table: inout [UInt8], heap: inout WMIOHeap) {
        switch value {
        case .null, .array: table.append(contentsOf: repeatElement(0, count: type.valueSize))
        case .boolean(let flag): table.append(littleEndian: flag ? UInt16.max : 0)
        case .string(let text): table.append(littleEndian: heap.add(text))
        case .datetime(let time, let offset):
            table.append(littleEndian: heap.add(TimeText.cimDateTime(time, offsetMinutes: offset)))
        case .signed(let number): Self.append(UInt64(bitPattern: number), size: type.valueSize, to: &table)
        case .unsigned(let number): Self.append(number, size: type.valueSize, to: &table)
        }
    }

    private static func append(_ bits: UInt64, size: Int, to table: inout [UInt8]) {
        for index in 0..<size { table.append(UInt8(truncatingIfNeeded: bits >> (8 * index))) }
    }
}

extension [UInt8] {
    mutating func append<Number: FixedWidthInteger>(littleEndian number: Number) {
        for index in 0..<Number.bitWidth / 8 { self.append(UInt8(truncatingIfNeeded: number >> (8 * index))) }
    }
}
