/// The GUID by which instances name their class, [MS-WMI] 2.2.14.3. Only ever compared.
struct ClassIdentifier: Hashable, Sendable {
    let low: UInt64
    let high: UInt64
}

/// The headers before the objects of an ObjectArray, [MS-WMI] 2.2.14.
enum ObjectArrayHeader {
    /// The objects and how many they are.
    static func read(_ bytes: ArraySlice<UInt8>) throws(WMIOError) -> (objects: WMIOReader, count: Int) {
        var reader = WMIOReader(bytes, base: bytes.startIndex)
        try reader.expect(0, "dwByteOrdering")
        let signature = reader
        guard try reader.take(8, .objectArray).elementsEqual(WMIOFormat.objectArraySignature) else {
            var field = signature
            throw signature.error(
                .unexpected(field: "abSignature", value: try field.uint32(.objectArray)),
                in: .objectArray
            )
        }
        try reader.expect(WMIOFormat.packetHeaderLength, "dwSizeOfHeader1")
        let dataLength = try reader.uint32(.objectArray)
        try reader.expect(0, "dwFlags")
        let version = try reader.uint8(.objectArray)
        let type = try reader.uint8(.objectArray)
        guard version == WMIOFormat.packetVersion else {
            throw reader.error(.unexpected(field: "bVersion", value: UInt32(version)), in: .objectArray)
        }
        guard type == WMIOFormat.nextPacket || type == WMIOFormat.indicatePacket else {
            throw reader.error(.unexpected(field: "bPacketType", value: UInt32(type)), in: .objectArray)
        }
        reader = try reader.data(dataLength, .objectArray)
        try reader.expect(WMIOFormat.callHeaderLength, "dwSizeOfHeader2")
        let callLength = try reader.uint32(.objectArray)
        reader = try reader.data(callLength, .objectArray)
        try reader.expect(WMIOFormat.arrayHeaderLength, "dwSizeOfHeader3")
        let arrayLength = try reader.uint32(.objectArray)
        let count = Int(try reader.uint32(.objectArray))
        let objects = try reader.data(arrayLength, .objectArray)
        // The smallest object is a class with its two headers.
        let smallest = Int(WMIOFormat.objectHeaderLength + WMIOFormat.classObjectHeaderLength)
        guard count <= objects.remaining / smallest else {
            throw reader.error(.truncated(needed: count * smallest, available: objects.remaining), in: .objectArray)
        }
        return (objects, count)
    }
}

/// A WBEM_DATAPACKET_OBJECT with the header of its object, [MS-WMI] 2.2.14.1 to 2.2.14.4.
struct ObjectPacket {
    enum Content {
        case `class`
        case instance(ClassIdentifier)
        case instanceWithoutClass(ClassIdentifier)
    }

    let content: Content
    /// An ObjectBlock, or an EncodingUnitInstanceNoClass.
    let object: WMIOReader

    static func read(_ reader: inout WMIOReader) throws(WMIOError) -> ObjectPacket {
        try reader.expect(WMIOFormat.objectHeaderLength, "dwSizeOfHeader", .packetObject)
        let length = try reader.uint32(.packetObject)
        let type = try reader.uint8(.packetObject)
        var packet = try reader.data(length, .packetObject)
        try reader.skip(Int(length), .packetObject)
        switch type {
        case WMIOFormat.classObject:
            try packet.expect(WMIOFormat.classObjectHeaderLength, "dwSizeOfHeader", .packetObject)
            let objectLength = try packet.uint32(.packetObject)
            return ObjectPacket(content: .class, object: try packet.data(objectLength, .packetObject))
        case WMIOFormat.instanceObject, WMIOFormat.instanceWithoutClassObject:
            try packet.expect(WMIOFormat.instanceObjectHeaderLength, "dwSizeOfHeader", .packetObject)
            let objectLength = try packet.uint32(.packetObject)
            let identifier = ClassIdentifier(
                low: try packet.uint64(.packetObject),
                high: try packet.uint64(.packetObject)
            )
            let object = try packet.data(objectLength, .packetObject)
            return ObjectPacket(
                content: type == WMIOFormat.instanceObject ? .instance(identifier) : .instanceWithoutClass(identifier),
                object: object
            )
        default:
            throw packet.error(.unexpected(field: "bObjectType", value: UInt32(type)), in: .packetObject)
        }
    }
}

extension WMIOReader {
    /// A field that has only one value.
    fileprivate mutating func expect(
        _ value: UInt32,
        _ field: String,
        _ section: WMIOError.Section = .objectArray
    ) throws(WMIOError) {
        let start = self
        let found = try self.uint32(section)
        guard found == value else { throw start.error(.unexpected(field: field, value: found), in: section) }
    }

    /// The data of a given length at this place; does not move on.
    fileprivate func data(_ length: UInt32, _ section: WMIOError.Section) throws(WMIOError) -> WMIOReader {
        var reader = self
        return WMIOReader(try reader.take(Int(length), section), base: self.base)
    }
}
