import DCOM

/// Writes classes and instances for tests, wrong ones as well. Knows nothing of the decoder but the constants.
struct WMIOBuilder {
    struct Property {
        var name: String
        /// With the array and inherited flags.
        var type: UInt32
        /// The class's NullAndDefaultFlag and the bytes of its slot.
        var classFlags: UInt8 = 0b01
        var classSlot: [UInt8]?
        /// The instance's.
        var flags: UInt8 = 0
        var slot: [UInt8]?
        var order: Int?
        /// Where the class says that the value is, if not behind the one before; then it takes no place of its own.
        var offset: Int?
    }

    var className: String? = "Test"
    var superclasses: [String] = []
    var properties: [Property] = []
    var classHeap = WMIOTestHeap()
    var heap = WMIOTestHeap()
    var server: String?
    var namespace: String?
    /// Appended after the heaps, inside their blocks.
    var garbage: [UInt8] = []
    var propertyQualifiers: [[UInt8]]?

    static func slotLength(_ type: UInt32) -> Int {
        if type & WMIOFormat.arrayFlag != 0 { return 4 }
        return CIMType(rawValue: type & 0x0FFF)?.encodedLength ?? 4
    }

    private func tables(_ flags: (Property) -> UInt8, _ slot: (Property) -> [UInt8]?) -> [UInt8] {
        var bits = [UInt8](repeating: 0, count: WMIOFormat.ndTableLength(propertyCount: self.properties.count))
        var values: [UInt8] = []
        for (index, property) in self.properties.enumerated() {
            bits[index / 4] |= flags(property) << UInt8(index % 4 * 2)
            guard property.offset == nil || values.isEmpty else { continue }
            values += slot(property) ?? [UInt8](repeating: 0xFF, count: Self.slotLength(property.type))
        }
        return bits + values
    }

    var classPart: [UInt8] {
        var heap = self.classHeap
        let name = self.className.map { heap.string($0) } ?? WMIOFormat.nullReference
        var lookups: [(name: String, bytes: [UInt8])] = []
        var offset = 0
        for (index, property) in self.properties.enumerated() {
            let nameReference = heap.string(property.name)
            var info = le(property.type) + le(UInt16(property.order ?? index))
            info += le(UInt32(property.offset ?? offset)) + le(UInt32(0)) + le(UInt32(4))
            let infoReference = heap.add(info)
            lookups.append((property.name, le(nameReference) + le(infoReference)))
            offset += Self.slotLength(property.type)
        }
        // As Windows sends them: by name, so that this order differs from that of declaration.
        lookups.sort { $0.name < $1.name }
        let tables = self.tables({ $0.classFlags }, { $0.classSlot })
        var rest: [UInt8] = [0] + le(name) + le(UInt32(tables.count))
        let derivation = self.superclasses.flatMap { WMIOTestHeap.encoded($0) + le(UInt32($0.utf16.count + 2)) }
        rest += le(UInt32(derivation.count + 4)) + derivation
        rest += le(UInt32(4)) + le(UInt32(self.properties.count))
        for lookup in lookups { rest += lookup.bytes }
        rest += tables + heap.block + self.garbage
        return le(UInt32(rest.count + 4)) + rest
    }

    /// What follows the class part of an instance.
    var instancePart: [UInt8] {
        var heap = self.heap
        let name = heap.string(self.className ?? "")
        var qualifiers: [UInt8] = [self.propertyQualifiers == nil ? 1 : 2]
        for set in self.propertyQualifiers ?? [] { qualifiers += le(UInt32(set.count + 4)) + set }
        var rest: [UInt8] = [0] + le(name)
        rest += self.tables({ $0.flags }, { $0.slot })
        rest += le(UInt32(4)) + qualifiers + heap.block + self.garbage
        return le(UInt32(rest.count + 4)) + rest
    }

    private func flags(_ kind: UInt8) -> [UInt8] {
        guard let server, let namespace else { return [kind] }
        return [kind | WMIOFormat.decorationFlag] + WMIOTestHeap.encoded(server) + WMIOTestHeap.encoded(namespace)
    }

    var instanceBlock: [UInt8] { self.flags(WMIOFormat.instanceFlag) + self.classPart + self.instancePart }
    var instanceWithoutClassBlock: [UInt8] { self.flags(WMIOFormat.instanceFlag) + self.instancePart }

    var classBlock: [UInt8] {
        let methods = le(UInt32(12)) + [0, 0, 0x5F, 0x5F] + le(WMIOFormat.heapLengthFlag)
        let parent = WMIOBuilder(className: nil).classPart
        var block = self.flags(WMIOFormat.classFlag)
        block += parent + methods
        block += self.classPart + methods
        return block
    }

    static func unit(_ block: [UInt8]) -> [UInt8] {
        le(WMIOFormat.signature) + le(UInt32(block.count)) + block
    }

    /// An instance with one property, for values.
    static func instance(_ type: UInt32, _ slot: [UInt8], heap: WMIOTestHeap = WMIOTestHeap()) -> [UInt8] {
        Self.unit(WMIOBuilder(properties: [Property(name: "Value", type: type, slot: slot)], heap: heap).instanceBlock)
    }
}

struct WMIOTestHeap {
    var bytes: [UInt8] = []

    var block: [UInt8] { le(UInt32(self.bytes.count) | WMIOFormat.heapLengthFlag) + self.bytes }

    mutating func add(_ item: [UInt8]) -> UInt32 {
        defer { self.bytes += item }
        return UInt32(self.bytes.count)
    }

    mutating func string(_ text: String) -> UInt32 { self.add(Self.encoded(text)) }

    static func encoded(_ text: String) -> [UInt8] {
        if text.unicodeScalars.allSatisfy({ $0.value < 256 }) {
            return [WMIOFormat.compressedString] + text.unicodeScalars.map { UInt8($0.value) } + [0]
        }
        return [WMIOFormat.unicodeString] + text.utf16.flatMap { le($0) } + [0, 0]
    }
}

/// Little-endian bytes.
func le(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0) }
}

/// An ObjectArray of packets that are given as type and object bytes.
func objectArray(_ packets: [[UInt8]], count: UInt32? = nil, type: UInt8 = WMIOFormat.nextPacket) -> [UInt8] {
    let objects = packets.flatMap { $0 }
    let array = le(UInt32(12)) + le(UInt32(objects.count)) + le(count ?? UInt32(packets.count)) + objects
    let call = le(UInt32(8)) + le(UInt32(array.count)) + array
    var bytes = le(UInt32(0)) + WMIOFormat.objectArraySignature
    bytes += le(UInt32(26)) + le(UInt32(call.count)) + le(UInt32(0))
    return bytes + [1, type] + call
}

/// A WBEM_DATAPACKET_OBJECT; without a class it has no GUID.
func packet(_ type: UInt8, identifier: UInt8? = nil, _ block: [UInt8]) -> [UInt8] {
    let header = identifier.map { [UInt8](repeating: $0, count: 16) } ?? []
    var object = le(UInt32(8 + header.count)) + le(UInt32(block.count))
    object += header + block
    return le(UInt32(9)) + le(UInt32(object.count)) + [type] + object
}
