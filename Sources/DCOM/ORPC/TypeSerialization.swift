/// Type serialization version 1, [MS-RPCE] 2.2.6: a structure as bytes of its own, behind two headers of eight bytes.
enum TypeSerialization {
    private static let version: UInt8 = 1
    /// Little-endian numbers, ASCII characters ([MS-RPCE] 2.2.6.1).
    private static let littleEndian: UInt8 = 0x10
    private static let headerSize: UInt16 = 8
    private static let filler: UInt32 = 0xCCCC_CCCC

    /// Reads the headers and gives a reader of the structure. Its alignment begins anew.
    ///
    /// - Returns: the reader, and how many bytes headers and structure take.
    static func open(_ bytes: ArraySlice<UInt8>) throws(NDRError) -> (body: NDRReader, size: Int) {
        var reader = NDRReader(bytes)
        let version = try reader.uint8()
        let order = try reader.uint8()
        let headerSize = try reader.uint16()
        _ = try reader.uint32()
        guard version == Self.version, order == Self.littleEndian, headerSize == Self.headerSize else {
            throw .invalid(
                offset: reader.offset,
                "a type serialization header of version \(version), order \(order), size \(headerSize)"
            )
        }
        let length = Int(try reader.uint32())
        _ = try reader.uint32()
        // Known clients leave the padding out of the length; then it is between this end and the property's.
        let body = try reader.bytes(length)
        return (NDRReader(body), reader.offset)
    }

    /// Puts headers before a structure, and padding to a multiple of eight after it.
    static func close(_ body: NDRWriter) -> [UInt8] {
        var body = body
        body.align(to: 8)
        var writer = NDRWriter()
        writer.uint8(Self.version)
        writer.uint8(Self.littleEndian)
        writer.uint16(Self.headerSize)
        writer.uint32(Self.filler)
        writer.uint32(UInt32(body.bytes.count))
        writer.uint32(0)
        writer.bytes(body.bytes)
        return writer.bytes
    }
}
