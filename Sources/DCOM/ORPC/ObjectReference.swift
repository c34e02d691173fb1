/// STDOBJREF, [MS-DCOM] 2.2.18.2: an interface of an object, and how many references to it come along.
package struct StandardReference: NDRCodable {
    /// SORF_NOPING: the object is not reclaimed when nobody pings.
    package static let noPing: UInt32 = 0x1000
    /// Bytes of one.
    static let size = 40

    package var flags: UInt32
    /// References that the receiver owns and must release.
    package var publicReferences: UInt32
    /// Object exporter.
    package var oxid: UInt64
    /// Object; what pings name.
    package var oid: UInt64
    /// Interface pointer; what calls name.
    package var ipid: GUID

    package init(flags: UInt32 = 0, publicReferences: UInt32, oxid: UInt64, oid: UInt64, ipid: GUID) {
        self.flags = flags
        self.publicReferences = publicReferences
        self.oxid = oxid
        self.oid = oid
        self.ipid = ipid
    }

    package init(from reader: inout NDRReader) throws(NDRError) {
        try reader.align(to: 8)
        self.flags = try reader.uint32()
        self.publicReferences = try reader.uint32()
        self.oxid = try reader.uint64()
        self.oid = try reader.uint64()
        self.ipid = try reader.guid()
    }

    package func encode(to writer: inout NDRWriter) {
        writer.align(to: 8)
        writer.uint32(self.flags)
        writer.uint32(self.publicReferences)
        writer.uint64(self.oxid)
        writer.uint64(self.oid)
        writer.guid(self.ipid)
    }
}

/// OBJREF, [MS-DCOM] 2.2.18: a reference to an object, or an object by value.
package struct ObjectReference: Sendable, Hashable {
    package enum Kind: Sendable, Hashable {
        case standard(StandardReference, DualStringArray)
        case handler(StandardReference, classID: GUID, DualStringArray)
        /// Whatever the class of that identifier makes of the bytes: activation properties, objects of WMI.
        case custom(classID: GUID, extensionSize: UInt32, data: ArraySlice<UInt8>)
        case extended(StandardReference, DualStringArray, elements: [Element])
    }

    /// DATAELEMENT, [MS-DCOM] 2.2.18.8.
    package struct Element: Sendable, Hashable {
        package var id: GUID
        package var data: [UInt8]

        package init(id: GUID, data: [UInt8]) {
            self.id = id
            self.data = data
        }
    }

    package var interface: GUID
    package var kind: Kind

    package init(interface: GUID, kind: Kind) {
        self.interface = interface
        self.kind = kind
    }

    /// "MEOW"
    private static let signature: UInt32 = 0x574F_454D
    /// [MS-DCOM] 2.2.18.7; both signatures of an extended reference.
    private static let extendedSignature: UInt32 = 0x4E53_5956

    /// The reference and bindings of everything but a custom reference.
    package var standard: StandardReference? {
        switch self.kind {
        case .standard(let reference, _), .handler(let reference, _, _), .extended(let reference, _, _): reference
        case .custom: nil
        }
    }

    /// Reads a reference from exactly these bytes.
    package init(_ bytes: ArraySlice<UInt8>) throws(NDRError) {
        // A reference has the alignment of NDR within itself: its 64-bit numbers lie at multiples of eight.
        var reader = NDRReader(bytes)
        guard try reader.uint32() == Self.signature else {
            throw .invalid(offset: reader.offset, "an OBJREF without its signature")
        }
        let flags = try reader.uint32()
        self.interface = try reader.guid()
        switch flags {
        case 1:
            let standard = try StandardReference(from: &reader)
            self.kind = .standard(standard, try DualStringArray.decodePacked(from: &reader))
        case 2:
            let standard = try StandardReference(from: &reader)
            let classID = try reader.guid()
            self.kind = .handler(standard, classID: classID, try DualStringArray.decodePacked(from: &reader))
        case 4:
            let classID = try reader.guid()
            let extensionSize = try reader.uint32()
            // The size of the data as [MS-DCOM] 2.2.18.6 has it is ignored by receivers; clients disagree about it.
            _ = try reader.uint32()
            self.kind = .custom(
                classID: classID,
                extensionSize: extensionSize,
                data: try reader.bytes(reader.remaining)
            )
        case 8:
            self.kind = try Self.extended(from: &reader)
        default:
            throw .invalid(offset: reader.offset, "an OBJREF of kind \(flags)")
        }
    }

    private static func extended(from reader: inout NDRReader) throws(NDRError) -> Kind {
        let standard = try StandardReference(from: &reader)
        guard try reader.uint32() == Self.extendedSignature else {
            throw .invalid(offset: reader.offset, "an OBJREF_EXTENDED's signature")
        }
        let bindings = try DualStringArray.decodePacked(from: &reader)
        let count = Int(try reader.uint32())
        guard try reader.uint32() == Self.extendedSignature else {
            throw .invalid(offset: reader.offset, "an OBJREF_EXTENDED's signature")
        }
        var elements: [Element] = []
        // Each has at least its header, so the bytes bound the loop.
        for _ in 0..<count {
            let id = try reader.guid()
            let size = Int(try reader.uint32())
            let room = Int(try reader.uint32())
            guard size <= room else {
                throw .invalid(offset: reader.offset, "a DATAELEMENT of \(size) bytes in room for \(room)")
            }
            elements.append(Element(id: id, data: Array(try reader.bytes(room).prefix(size))))
        }
        return .extended(standard, bindings, elements: elements)
    }

    /// The reference's bytes.
    package var bytes: [UInt8] {
        var writer = NDRWriter()
        writer.uint32(Self.signature)
        writer.uint32(self.flags)
        writer.guid(self.interface)
        switch self.kind {
        case .standard(let standard, let bindings):
            standard.encode(to: &writer)
            bindings.encodePacked(to: &writer)
        case .handler(let standard, let classID, let bindings):
            standard.encode(to: &writer)
            writer.guid(classID)
            bindings.encodePacked(to: &writer)
        case .custom(let classID, let extensionSize, let data):
            writer.guid(classID)
            writer.uint32(extensionSize)
            // Known clients count these two words in; Windows ignores it.
            writer.uint32(UInt32(clamping: data.count + 8))
            writer.bytes(data)
        case .extended(let standard, let bindings, let elements):
            standard.encode(to: &writer)
            writer.uint32(Self.extendedSignature)
            bindings.encodePacked(to: &writer)
            writer.uint32(UInt32(elements.count))
            writer.uint32(Self.extendedSignature)
            for element in elements {
                let room = (element.data.count + 7) / 8 * 8
                writer.guid(element.id)
                writer.uint32(UInt32(element.data.count))
                writer.uint32(UInt32(room))
                writer.bytes(element.data + [UInt8](repeating: 0, count: room - element.data.count))
            }
        }
        return writer.bytes
    }

    private var flags: UInt32 {
        switch self.kind {
        case .standard: 1
        case .handler: 2
        case .custom: 4
        case .extended: 8
        }
    }
}

/// MInterfacePointer, [MS-DCOM] 2.2.14: an object reference as an argument.
package enum InterfacePointer {
    /// Reads the pointed-to part: a count, the same count again, and the reference.
    static func decode(from reader: inout NDRReader) throws(NDRError) -> ObjectReference {
        let room = try reader.count(ofElementSize: 1)
        let count = Int(try reader.uint32())
        guard count == room else {
            throw .invalid(offset: reader.offset, "\(count) bytes in an interface pointer of \(room)")
        }
        return try ObjectReference(try reader.bytes(count))
    }

    static func encode(_ reference: ObjectReference, to writer: inout NDRWriter) {
        let bytes = reference.bytes
        writer.count(bytes.count)
        writer.uint32(UInt32(bytes.count))
        writer.bytes(bytes)
    }

    /// Reads a unique pointer to one.
    static func decodeUnique(from reader: inout NDRReader) throws(NDRError) -> ObjectReference? {
        guard try reader.pointer() != 0 else { return nil }
        return try self.decode(from: &reader)
    }

    static func encodeUnique(_ reference: ObjectReference?, to writer: inout NDRWriter) {
        writer.pointer(isNull: reference == nil)
        if let reference { self.encode(reference, to: &writer) }
    }
}
