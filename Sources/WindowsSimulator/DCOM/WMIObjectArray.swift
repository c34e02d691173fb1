import DCOM

/// What IWbemWCOSmartEnum::Next answers with, [MS-WMI] 2.2.14: objects, each class only once.
struct WMIObjectArray: Sendable {
    enum Object: Sendable {
        /// WBEMOBJECT_INSTANCE, 2.2.14.3: the class goes along under an identifier.
        case instance(GUID, [UInt8])
        /// WBEMOBJECT_INSTANCE_NOCLASS, 2.2.14.4: the class is the one with that identifier.
        case instanceWithoutClass(GUID, [UInt8])
    }

    private static let signature = Array("WBEMDATA".utf8)
    private static let version: UInt8 = 1
    /// The packet of IWbemWCOSmartEnum::Next.
    private static let packetType: UInt8 = 1
    // Sizes of the headers, 2.2.14 and 2.2.14.1 to 2.2.14.4.
    private static let packetHeader: UInt32 = 0x1A
    private static let enumerationHeader: UInt32 = 8
    private static let objectsHeader: UInt32 = 0xC
    private static let objectHeader: UInt32 = 9
    private static let instanceHeader: UInt32 = 0x18

    let objects: [Object]

    init(_ objects: [Object]) {
        self.objects = objects
    }

    var encoded: [UInt8] {
        let content = self.objects.reduce(into: [UInt8]()) { $0 += Self.encode($1) }
        let size = UInt32(content.count)
        var packet: [UInt8] = []
        packet.append(littleEndian: UInt32(0))
        packet += Self.signature
        packet.append(littleEndian: Self.packetHeader)
        packet.append(littleEndian: Self.enumerationHeader + Self.objectsHeader + size)
        packet.append(littleEndian: UInt32(0))
        packet += [Self.version, Self.packetType]
        packet.append(littleEndian: Self.enumerationHeader)
        packet.append(littleEndian: Self.objectsHeader + size)
        packet.append(littleEndian: Self.objectsHeader)
        packet.append(littleEndian: size)
        packet.append(littleEndian: UInt32(self.objects.count))
        return packet + content
    }

    private static func encode(_ object: Object) -> [UInt8] {
        let (type, id, block): (UInt8, GUID, [UInt8]) =
            switch object {
            case .instance(let id, let block): (2, id, block)
            case .instanceWithoutClass(let id, let block): (3, id, block)
            }
        var bytes: [UInt8] = []
        bytes.append(littleEndian: Self.objectHeader)
        bytes.append(littleEndian: Self.instanceHeader + UInt32(block.count))
        bytes.append(type)
        bytes.append(littleEndian: Self.instanceHeader)
        bytes.append(littleEndian: UInt32(block.count))
        return bytes + id.wire + block
    }
}
