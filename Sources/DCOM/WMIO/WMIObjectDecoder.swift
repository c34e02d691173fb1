/// Decodes the objects that WMI returns, [MS-WMIO] and [MS-WMI] 2.2.14.
///
/// A class part is decoded once for all objects that bring the same bytes, so keep the decoder as long as the
/// connection. What has a GUID lasts as long as an enumeration: call `beginEnumeration()` when a new one starts.
package struct WMIObjectDecoder: Sendable {
    package let limits: WMIOLimits
    private var cache: WMIClassCache

    package init(limits: WMIOLimits = WMIOLimits()) {
        self.limits = limits
        self.cache = WMIClassCache(limits: limits)
    }

    /// Forgets the GUIDs of the classes that earlier instances brought.
    package mutating func beginEnumeration() {
        self.cache.forgetIdentifiers()
    }

    /// Decodes an EncodingUnit: an IWbemClassObject as IEnumWbemClassObject::Next and others return it
    /// ([MS-WMIO] 2.2.1).
    ///
    /// Bytes after the object are ignored, and ObjectEncodingLength may exceed what is there, as it does in the
    /// specification's own examples.
    package mutating func decode(_ encodingUnit: ArraySlice<UInt8>) throws(WMIOError) -> WMIObject {
        var reader = WMIOReader(encodingUnit, base: encodingUnit.startIndex)
        let start = reader
        let signature = try reader.uint32(.encodingUnit)
        guard signature == WMIOFormat.signature else {
            throw start.error(.unexpected(field: "Signature", value: signature), in: .encodingUnit)
        }
        let length = Int(try reader.uint32(.encodingUnit))
        let block = WMIOReader(try reader.take(min(length, reader.remaining), .encodingUnit), base: reader.base)
        var allowance = WMIOAllowance(inputLength: block.remaining, limits: self.limits)
        return try self.objectBlock(block, &allowance)
    }

    package mutating func decode(_ encodingUnit: [UInt8]) throws(WMIOError) -> WMIObject {
        try self.decode(encodingUnit[...])
    }

    /// Decodes the objects of an ObjectArray: the answer of IWbemWCOSmartEnum::Next, or what the optimized
    /// IWbemObjectSink::Indicate brings ([MS-WMI] 2.2.14). Remembers the classes that come with a GUID.
    ///
    /// The objects share what memory the array may take: each by itself may be small for its class.
    package mutating func decode(objectArray bytes: ArraySlice<UInt8>) throws(WMIOError) -> [WMIObject] {
        var (packets, count) = try ObjectArrayHeader.read(bytes)
        var allowance = WMIOAllowance(inputLength: bytes.count, limits: self.limits)
        var objects: [WMIObject] = []
        objects.reserveCapacity(count)
        for _ in 0..<count {
            objects.append(try self.packetObject(&packets, &allowance))
        }
        return objects
    }

    /// Decodes a WBEM_DATAPACKET_OBJECT, [MS-WMI] 2.2.14.1.
    private mutating func packetObject(
        _ packets: inout WMIOReader,
        _ allowance: inout WMIOAllowance
    ) throws(WMIOError) -> WMIObject {
        let start = packets
        let packet = try ObjectPacket.read(&packets)
        switch packet.content {
        case .class:
            return try self.objectBlock(packet.object, &allowance)
        case .instance(let identifier):
            let object = try self.objectBlock(packet.object, &allowance)
            guard self.cache.identify(object.definition, as: identifier) else {
                throw start.error(.tooManyClasses(limit: self.limits.maximumClassesPerEnumeration), in: .packetObject)
            }
            return object
        case .instanceWithoutClass(let identifier):
            guard let definition = self.cache[identifier] else { throw start.error(.unknownClass, in: .packetObject) }
            return try self.objectBlock(packet.object, of: definition, &allowance)
        }
    }

    private mutating func objectBlock(
        _ block: WMIOReader,
        of definition: WMIClass? = nil,
        _ allowance: inout WMIOAllowance
    ) throws(WMIOError) -> WMIObject {
        var parser = WMIObjectParser(cache: self.cache, allowance: allowance, maximumDepth: self.limits.maximumDepth)
        let object = try parser.objectBlock(block, of: definition)
        self.cache = parser.cache
        allowance = parser.allowance
        return object
    }
}

/// Class parts that were decoded before, by their bytes and by the GUIDs of an enumeration.
struct WMIClassCache: Sendable {
    private struct Entry {
        let bytes: [UInt8]
        let definition: WMIClass
    }

    private let limits: WMIOLimits
    /// The one used last comes first.
    private var entries: [Entry] = []
    private var identified: [ClassIdentifier: WMIClass] = [:]

    init(limits: WMIOLimits) {
        self.limits = limits
    }

    /// The class that had exactly these bytes.
    mutating func definition(of bytes: ArraySlice<UInt8>) -> WMIClass? {
        guard let index = self.entries.firstIndex(where: { $0.bytes[...] == bytes }) else { return nil }
        if index > 0 { self.entries.insert(self.entries.remove(at: index), at: 0) }
        return self.entries[0].definition
    }

    mutating func remember(_ definition: WMIClass, bytes: ArraySlice<UInt8>) {
        guard bytes.count <= self.limits.maximumCachedClassLength, self.limits.maximumCachedClasses > 0 else { return }
        if self.entries.count >= self.limits.maximumCachedClasses { self.entries.removeLast() }
        self.entries.insert(Entry(bytes: Array(bytes), definition: definition), at: 0)
    }

    subscript(_ identifier: ClassIdentifier) -> WMIClass? { self.identified[identifier] }

    /// False when there are too many.
    mutating func identify(_ definition: WMIClass, as identifier: ClassIdentifier) -> Bool {
        guard
            self.identified[identifier] != nil || self.identified.count < self.limits.maximumClassesPerEnumeration
        else { return false }
        self.identified[identifier] = definition
        return true
    }

    mutating func forgetIdentifiers() {
        self.identified.removeAll()
    }
}
