/// An instance as [MS-WMIO] encodes it, with or without its class.
struct WMIOInstance: Sendable {
    private static let signature: UInt32 = 0x1234_5678
    /// ObjectFlags, 2.2.6: an instance with a decoration.
    private static let objectFlags: UInt8 = 0x02 | 0x04
    /// InstPropQualSetFlag, 2.2.65: no property has qualifiers of its own.
    private static let noPropertyQualifiers: UInt8 = 1

    /// The computer's name and the namespace, which travel with each object (2.2.7).
    struct Origin: Sendable, Hashable {
        var server: String
        var namespace: String
    }

    let wmiClass: WMIOClass
    let origin: Origin
    /// For each property of the class.
    let values: [CIMValue]
    /// Bytes behind the object that mean nothing.
    var garbage = 0

    /// EncodingUnit, 2.2.1: what an OBJREF_CUSTOM holds.
    ///
    /// - Parameter classPart: the class's encoding, which hardly ever changes.
    func encodingUnit(classPart: [UInt8]) -> [UInt8] {
        let block = self.objectBlock(classPart: classPart)
        var unit: [UInt8] = []
        unit.reserveCapacity(block.count + 8)
        unit.append(littleEndian: Self.signature)
        unit.append(littleEndian: UInt32(block.count))
        return unit + block
    }

    /// EncodingUnitObjectBlock, 2.2.2: an object of an ObjectArray with its class.
    func objectBlock(classPart: [UInt8]) -> [UInt8] { self.decoration + classPart + self.part }

    /// EncodingUnitInstanceNoClass, 2.2.3: an object of an ObjectArray whose class is known.
    var objectBlockWithoutClass: [UInt8] { self.decoration + self.part }

    private var decoration: [UInt8] {
        [Self.objectFlags] + WMIOHeap.encode(self.origin.server) + WMIOHeap.encode(self.origin.namespace)
    }

    /// InstanceType, 2.2.53, without the class.
    private var part: [UInt8] {
        var heap = WMIOHeap()
        let name = heap.add(self.wmiClass.name)
        var flags = WMIONullFlags(count: self.values.count)
        var table: [UInt8] = []
        for (order, property) in self.wmiClass.properties.enumerated() {
            let value = self.values[order]
            if value == property.defaultValue {
                // Null as well as a real default is inherited; the room in the table means nothing then.
                flags[order] = WMIONullFlags.Bits(isNull: value == .null, isInherited: true)
                table.append(contentsOf: repeatElement(0, count: property.valueSize))
            } else if value == .null {
                flags[order] = WMIONullFlags.Bits(isNull: true, isInherited: false)
                table.append(contentsOf: repeatElement(0, count: property.valueSize))
            } else {
                WMIOValue.append(value, of: property, to: &table, heap: &heap)
            }
        }
        var body: [UInt8] = [0]
        body.append(littleEndian: name)
        body += flags.bytes
        body += table
        body += WMIOClass.encode([], into: &heap)
        body.append(Self.noPropertyQualifiers)
        body += heap.encoded()
        var part: [UInt8] = []
        part.append(littleEndian: UInt32(body.count + 4))
        return part + body + [UInt8](repeating: 0, count: self.garbage)
    }
}
