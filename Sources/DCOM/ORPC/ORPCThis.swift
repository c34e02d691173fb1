/// ORPC_EXTENT, [MS-DCOM] 2.2.13.1: additional data of a call. None is understood here; they are skipped.
package struct ORPCExtension: Sendable, Hashable {
    package var id: GUID
    package var data: [UInt8]

    package init(id: GUID, data: [UInt8]) {
        self.id = id
        self.data = data
    }

    /// Windows sends at most a few (debugging, error information, context).
    private static let maximumCount = 64

    /// ORPC_EXTENT_ARRAY behind a unique pointer, [MS-DCOM] 2.2.13.2.
    static func decodeArray(from reader: inout NDRReader) throws(NDRError) -> [ORPCExtension] {
        guard try reader.pointer() != 0 else { return [] }
        let size = Int(try reader.uint32())
        _ = try reader.uint32()
        guard try reader.pointer() != 0 else { return [] }
        // The array's size is rounded up to an even number.
        let count = try reader.count(ofElementSize: 4)
        guard count == size + size % 2, count <= Self.maximumCount else {
            throw .invalid(offset: reader.offset, "\(count) places for \(size) ORPC extensions")
        }
        var present = 0
        for _ in 0..<count where try reader.pointer() != 0 { present += 1 }
        var extensions: [ORPCExtension] = []
        for _ in 0..<present { extensions.append(try ORPCExtension(from: &reader)) }
        return extensions
    }

    private init(from reader: inout NDRReader) throws(NDRError) {
        let room = try reader.count(ofElementSize: 1)
        self.id = try reader.guid()
        let size = Int(try reader.uint32())
        // The room is the size rounded up to eight.
        guard size <= room else {
            throw .invalid(offset: reader.offset, "an ORPC extension of \(size) bytes in room for \(room)")
        }
        self.data = Array(try reader.bytes(room).prefix(size))
    }

    static func encodeArray(_ extensions: [ORPCExtension], to writer: inout NDRWriter) {
        writer.pointer(isNull: extensions.isEmpty)
        guard !extensions.isEmpty else { return }
        writer.uint32(UInt32(extensions.count))
        writer.uint32(0)
        writer.pointer(isNull: false)
        writer.count(extensions.count + extensions.count % 2)
        for _ in extensions { writer.pointer(isNull: false) }
        if extensions.count % 2 == 1 { writer.pointer(isNull: true) }
        for each in extensions {
            let room = (each.data.count + 7) / 8 * 8
            writer.count(room)
            writer.guid(each.id)
            writer.uint32(UInt32(each.data.count))
            writer.bytes(each.data + [UInt8](repeating: 0, count: room - each.data.count))
        }
    }
}

/// ORPCTHIS, [MS-DCOM] 2.2.13.3: what goes before the arguments of every call of an object.
package struct ORPCThis: NDRCodable {
    /// Flags of [MS-DCOM] 2.2.13.3; activation sends 1 (ORPCF_LOCAL), as known clients do, everything else 0.
    package static let localFlag: UInt32 = 1

    package var version: COMVersion
    package var flags: UInt32
    /// The same for all calls that one cause set off.
    package var causality: GUID
    package var extensions: [ORPCExtension]

    package init(
        version: COMVersion = .current,
        flags: UInt32 = 0,
        causality: GUID,
        extensions: [ORPCExtension] = []
    ) {
        self.version = version
        self.flags = flags
        self.causality = causality
        self.extensions = extensions
    }

    package init(from reader: inout NDRReader) throws(NDRError) {
        self.version = try COMVersion(from: &reader)
        self.flags = try reader.uint32()
        _ = try reader.uint32()
        self.causality = try reader.guid()
        self.extensions = try ORPCExtension.decodeArray(from: &reader)
    }

    package func encode(to writer: inout NDRWriter) {
        writer.align(to: 4)
        self.version.encode(to: &writer)
        writer.uint32(self.flags)
        writer.uint32(0)
        writer.guid(self.causality)
        ORPCExtension.encodeArray(self.extensions, to: &writer)
    }
}

/// ORPCTHAT, [MS-DCOM] 2.2.13.4: what goes before the results of every call of an object.
package struct ORPCThat: NDRCodable {
    package var flags: UInt32
    package var extensions: [ORPCExtension]

    package init(flags: UInt32 = 0, extensions: [ORPCExtension] = []) {
        self.flags = flags
        self.extensions = extensions
    }

    package init(from reader: inout NDRReader) throws(NDRError) {
        self.flags = try reader.uint32()
        self.extensions = try ORPCExtension.decodeArray(from: &reader)
    }

    package func encode(to writer: inout NDRWriter) {
        writer.uint32(self.flags)
        ORPCExtension.encodeArray(self.extensions, to: &writer)
    }
}
