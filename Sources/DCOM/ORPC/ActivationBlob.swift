/// The activation properties BLOB, [MS-DCOM] 2.2.22: a header with a table, then the properties.
package struct ActivationBlob: Sendable, Hashable {
    /// A property: its class, and its serialized bytes with their headers and padding.
    package struct Property: Sendable, Hashable {
        package var classID: GUID
        package var bytes: ArraySlice<UInt8>

        package init(classID: GUID, bytes: ArraySlice<UInt8>) {
            self.classID = classID
            self.bytes = bytes
        }
    }

    /// MAX_ACTPROP_LIMIT, [MS-DCOM] 2.2.28.1.
    package static let maximumProperties = 10
    /// MSHCTX_DIFFERENTMACHINE
    package static let differentMachine: UInt32 = 2

    package var destinationContext: UInt32
    package var properties: [Property]

    package init(destinationContext: UInt32 = Self.differentMachine, properties: [Property]) {
        self.destinationContext = destinationContext
        self.properties = properties
    }

    /// The first property of a class.
    package func property(_ classID: GUID) -> ArraySlice<UInt8>? {
        self.properties.first { $0.classID == classID }?.bytes
    }

    /// Reads the data of an OBJREF_CUSTOM.
    package init(_ bytes: ArraySlice<UInt8>) throws(NDRError) {
        var reader = NDRReader(bytes)
        // Both sizes are also in the header; the bytes at hand are what counts.
        _ = try reader.uint32()
        _ = try reader.uint32()
        let blob = try reader.bytes(reader.remaining)
        var (header, _) = try TypeSerialization.open(blob)
        _ = try header.uint32()
        let headerSize = Int(try header.uint32())
        _ = try header.uint32()
        self.destinationContext = try header.uint32()
        let announced = Int(try header.uint32())
        _ = try header.guid()
        let hasClasses = try header.pointer() != 0
        let hasSizes = try header.pointer() != 0
        let hasReserved = try header.pointer() != 0
        guard hasClasses, hasSizes, announced <= Self.maximumProperties else {
            throw .invalid(offset: reader.offset, "an activation header with \(announced) properties")
        }
        let classCount = try header.count(ofElementSize: 16)
        guard classCount == announced else {
            throw .invalid(offset: reader.offset, "\(classCount) classes of \(announced) properties")
        }
        var classes: [GUID] = []
        for _ in 0..<classCount { classes.append(try header.guid()) }
        let sizeCount = try header.count(ofElementSize: 4)
        guard sizeCount == announced else {
            throw .invalid(offset: reader.offset, "\(sizeCount) sizes of \(announced) properties")
        }
        var sizes: [Int] = []
        for _ in 0..<sizeCount { sizes.append(Int(try header.uint32())) }
        if hasReserved { _ = try header.uint32() }

        var rest = NDRReader(blob)
        _ = try rest.bytes(headerSize)
        self.properties = []
        for (classID, size) in zip(classes, sizes) {
            self.properties.append(Property(classID: classID, bytes: try rest.bytes(size)))
        }
    }

    /// The data of an OBJREF_CUSTOM.
    package var bytes: [UInt8] {
        var header = self.header(total: 0, size: 0)
        let propertiesSize = self.properties.reduce(0) { $0 + $1.bytes.count }
        header = self.header(total: header.count + propertiesSize, size: header.count)
        var writer = NDRWriter()
        writer.uint32(UInt32(header.count + propertiesSize))
        writer.uint32(0)
        writer.bytes(header)
        for property in self.properties { writer.bytes(property.bytes) }
        return writer.bytes
    }

    /// CustomHeader, [MS-DCOM] 2.2.22.1.
    private func header(total: Int, size: Int) -> [UInt8] {
        var body = NDRWriter()
        body.uint32(UInt32(total))
        body.uint32(UInt32(size))
        body.uint32(0)
        body.uint32(self.destinationContext)
        body.uint32(UInt32(self.properties.count))
        body.guid(GUID.null)
        body.pointer(isNull: false)
        body.pointer(isNull: false)
        body.pointer(isNull: true)
        body.count(self.properties.count)
        for property in self.properties { body.guid(property.classID) }
        body.count(self.properties.count)
        for property in self.properties { body.uint32(UInt32(property.bytes.count)) }
        return TypeSerialization.close(body)
    }
}
