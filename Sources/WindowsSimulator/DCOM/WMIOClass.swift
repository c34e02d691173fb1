/// A CIM class as [MS-WMIO] encodes it: what a `ClassPart` (2.2.15) says, before it is bytes.
struct WMIOClass: Sendable, Hashable {
    /// A qualifier of a class or a property, 2.2.60.
    struct Qualifier: Sendable, Hashable {
        /// WBEM_FLAVOR_… bits of 2.2.62.
        struct Flavor: OptionSet, Sendable, Hashable {
            let rawValue: UInt8

            static let propagateToInstance = Self(rawValue: 0x01)
            static let propagateToDerivedClass = Self(rawValue: 0x02)
            static let notOverridable = Self(rawValue: 0x10)
            static let propagated = Self(rawValue: 0x20)
        }

        /// Qualifiers are flags or texts here.
        enum Value: Sendable, Hashable {
            case boolean(Bool)
            case string(String)
        }

        var name: String
        var value: Value
        var flavor: Flavor = []
    }

    struct Property: Sendable, Hashable {
        var name: String
        var type: CIMType
        var isArray = false
        /// The class that declared it: 0 is the root of the hierarchy, the number of superclasses is the class itself.
        var origin = 0
        /// What instances have that set no value of their own.
        var defaultValue = CIMValue.null
        /// Besides CIMTYPE, which every property has.
        var qualifiers: [Qualifier] = []

        /// Bytes in the value table, 2.2.29. Strings and arrays lie in the heap.
        var valueSize: Int { self.isArray ? WMIOHeap.referenceSize : self.type.valueSize }
    }

    var name: String
    /// The nearest superclass first.
    var superclasses: [String] = []
    /// Whether the superclasses are named; queries with a column list may leave them out, [MS-WMI] 2.2.4.1.
    var showsSuperclasses = true
    var qualifiers: [Qualifier] = []
    /// In the order of their declaration, inherited ones first.
    var properties: [Property]

    func isInherited(_ property: Property) -> Bool { property.origin < self.superclasses.count }

    /// Octets of the NdTable, 2.2.26: two bits for each property.
    var ndTableSize: Int { self.properties.isEmpty ? 0 : (self.properties.count - 1) / 4 + 1 }

    var valueTableSize: Int { self.properties.reduce(0) { $0 + $1.valueSize } }

    /// The block with its length.
    ///
    /// - Parameters:
    ///   - slack: bytes at the heap's end that nothing refers to.
    ///   - garbage: bytes after the heap that mean nothing. Windows leaves both.
    func encodedPart(slack: Int = 0, garbage: Int = 0) -> [UInt8] {
        var heap = WMIOHeap()
        let name = heap.add(self.name)
        let qualifiers = Self.encode(self.qualifiers, into: &heap)
        var lookup: [UInt8] = []
        lookup.append(littleEndian: UInt32(self.properties.count))
        let offsets = self.valueOffsets
        // The lookup table is sorted for binary search; the properties' own order is in their descriptions.
        for order in self.properties.indices.sorted(by: { self.sortKey($0) < self.sortKey($1) }) {
            let property = self.properties[order]
            lookup.append(littleEndian: heap.add(property.name))
            lookup.append(littleEndian: self.describe(property, order: order, offset: offsets[order], into: &heap))
        }
        var flags = WMIONullFlags(count: self.properties.count, unused: 0xFF)
        var values: [UInt8] = []
        for (order, property) in self.properties.enumerated() {
            let hasDefault = property.defaultValue != .null
            flags[order] = WMIONullFlags.Bits(isNull: !hasDefault, isInherited: self.isInherited(property))
            if hasDefault {
                WMIOValue.append(property.defaultValue, of: property, to: &values, heap: &heap)
            } else {
                values.append(contentsOf: repeatElement(0xFF, count: property.valueSize))
            }
        }

        var body: [UInt8] = [0]
        body.append(littleEndian: name)
        body.append(littleEndian: UInt32(flags.bytes.count + values.count))
        body += self.encodedDerivation
        body += qualifiers
        body += lookup
        body += flags.bytes
        body += values
        body += heap.encoded(slack: slack)
        body.append(contentsOf: repeatElement(0, count: garbage))
        var part: [UInt8] = []
        part.append(littleEndian: UInt32(body.count + 4))
        return part + body
    }

    private func sortKey(_ order: Int) -> String { self.properties[order].name.uppercased() }

    private var valueOffsets: [Int] {
        var next = 0
        return self.properties.map { property in
            defer { next += property.valueSize }
            return next
        }
    }

    /// DerivationList, 2.2.17: each name is followed by the length of its encoding.
    private var encodedDerivation: [UInt8] {
        var names: [UInt8] = []
        for name in self.showsSuperclasses ? self.superclasses : [] {
            let encoded = WMIOHeap.encode(name)
            names += encoded
            names.append(littleEndian: UInt32(encoded.count))
        }
        var list: [UInt8] = []
        list.append(littleEndian: UInt32(names.count + 4))
        return list + names
    }

    /// Writes a PropertyInfo, 2.2.30, and gives its place in the heap.
    private func describe(_ property: Property, order: Int, offset: Int, into heap: inout WMIOHeap) -> UInt32 {
        let isInherited = self.isInherited(property)
        var qualifiers = [
            Qualifier(
                name: "CIMTYPE",
                value: .string(property.type.name),
                flavor: [.propagateToInstance, .propagateToDerivedClass]
            )
        ]
        qualifiers += property.qualifiers
        if isInherited { for index in qualifiers.indices { qualifiers[index].flavor.insert(.propagated) } }
        var info: [UInt8] = []
        info.append(littleEndian: property.encodedType(isInherited: isInherited))
        info.append(littleEndian: UInt16(order))
        info.append(littleEndian: UInt32(offset))
        info.append(littleEndian: UInt32(property.origin))
        // The set's texts follow the description, so room for it is taken first.
        let size = info.count + 4 + qualifiers.reduce(0) { $0 + $1.encodedSize }
        let place = heap.reserve(size)
        info += Self.encode(qualifiers, into: &heap)
        heap.fill(place, with: info)
        return place
    }

    /// A QualifierSet, 2.2.59, with its length.
    static func encode(_ qualifiers: [Qualifier], into heap: inout WMIOHeap) -> [UInt8] {
        var set: [UInt8] = []
        set.append(littleEndian: UInt32(4 + qualifiers.reduce(0) { $0 + $1.encodedSize }))
        for qualifier in qualifiers {
            set.append(littleEndian: heap.addName(qualifier.name))
            set.append(qualifier.flavor.rawValue)
            switch qualifier.value {
            case .boolean(let flag):
                set.append(littleEndian: UInt32(CIMType.boolean.rawValue))
                set.append(littleEndian: flag ? UInt16.max : 0)
            case .string(let text):
                set.append(littleEndian: UInt32(CIMType.string.rawValue))
                set.append(littleEndian: heap.add(text))
            }
        }
        return set
    }
}

extension WMIOClass.Property {
    private static let arrayFlag: UInt32 = 0x2000
    private static let inheritedFlag: UInt32 = 0x4000

    /// PropertyType, 2.2.31.
    func encodedType(isInherited: Bool) -> UInt32 {
        UInt32(self.type.rawValue) | (self.isArray ? Self.arrayFlag : 0) | (isInherited ? Self.inheritedFlag : 0)
    }
}

extension WMIOClass.Qualifier {
    /// Name, flavor, type and value, 2.2.60.
    fileprivate var encodedSize: Int {
        switch self.value {
        case .boolean: 4 + 1 + 4 + 2
        case .string: 4 + 1 + 4 + 4
        }
    }
}

extension CIMType {
    /// Bytes in the value table, 2.2.29.
    var valueSize: Int {
        switch self {
        case .sint8, .uint8: 1
        case .sint16, .uint16, .boolean: 2
        case .sint32, .uint32, .real32: 4
        case .string, .datetime: WMIOHeap.referenceSize
        case .sint64, .uint64, .real64: 8
        }
    }

    /// The CIMTYPE qualifier's text, [MS-WMI] 2.2.32.
    var name: String {
        switch self {
        case .sint8: "sint8"
        case .uint8: "uint8"
        case .sint16: "sint16"
        case .uint16: "uint16"
        case .sint32: "sint32"
        case .uint32: "uint32"
        case .sint64: "sint64"
        case .uint64: "uint64"
        case .real32: "real32"
        case .real64: "real64"
        case .boolean: "boolean"
        case .string: "string"
        case .datetime: "datetime"
        }
    }
}
