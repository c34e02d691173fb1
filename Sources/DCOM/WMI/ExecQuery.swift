/// IWbemServices::ExecQuery, [MS-WMI] 3.1.4.3.18: begins a query.
package enum ExecQuery: RemoteMethod {
    package static let interface = RPCInterface.wbemServices
    package static let opnum: UInt16 = 20

    /// WBEM_FLAG_RETURN_IMMEDIATELY: errors of the query come with its results.
    package static let returnImmediately: UInt32 = 0x10
    /// WBEM_FLAG_FORWARD_ONLY: the host need not keep what it has given.
    package static let forwardOnly: UInt32 = 0x20

    package struct Request: ObjectRequest {
        package var this: ORPCThis
        /// `WQL`
        package var language: String
        package var query: String
        package var flags: UInt32

        package init(
            this: ORPCThis,
            language: String = "WQL",
            query: String,
            flags: UInt32 = ExecQuery.returnImmediately | ExecQuery.forwardOnly
        ) {
            self.this = this
            self.language = language
            self.query = query
            self.flags = flags
        }

        package init(from reader: inout NDRReader) throws(NDRError) {
            self.this = try ORPCThis(from: &reader)
            self.language = try BSTR.decode(from: &reader) ?? ""
            self.query = try BSTR.decode(from: &reader) ?? ""
            self.flags = try reader.uint32()
            _ = try InterfacePointer.decodeUnique(from: &reader)
        }

        package func encode(to writer: inout NDRWriter) {
            self.this.encode(to: &writer)
            BSTR.encode(self.language, to: &writer)
            BSTR.encode(self.query, to: &writer)
            writer.uint32(self.flags)
            InterfacePointer.encodeUnique(nil, to: &writer)
        }
    }

    package typealias Response = InterfaceResponse
}

/// BSTR, a unique pointer to FLAGGED_WORD_BLOB, [MS-OAUT] 2.2.23.
package enum BSTR {
    static func decode(from reader: inout NDRReader) throws(NDRError) -> String? {
        guard try reader.pointer() != 0 else { return nil }
        let room = try reader.count(ofElementSize: 2)
        // The length in bytes; clients count the terminating zero in or not, or write nonsense.
        _ = try reader.uint32()
        let count = Int(try reader.uint32())
        guard count == room else {
            throw .invalid(offset: reader.offset, "\(count) units in a BSTR of \(room)")
        }
        return try reader.utf16(count)
    }

    static func encode(_ text: String, to writer: inout NDRWriter) {
        let count = text.utf16.count
        writer.pointer()
        writer.count(count)
        writer.uint32(UInt32(2 * count))
        writer.uint32(UInt32(count))
        writer.utf16(text)
        writer.align(to: 4)
    }
}
