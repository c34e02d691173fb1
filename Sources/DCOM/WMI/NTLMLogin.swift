/// IWbemLevel1Login::NTLMLogin, [MS-WMI] 3.1.4.1.4: opens a namespace as the user whom RPC has authenticated.
package enum NTLMLogin: RemoteMethod {
    package static let interface = RPCInterface.wbemLevel1Login
    package static let opnum: UInt16 = 6

    package struct Request: ObjectRequest {
        package var this: ORPCThis
        /// `//./root/cimv2`
        package var networkResource: String
        /// Nil for the host's own.
        package var preferredLocale: String?
        package var flags: UInt32

        package init(this: ORPCThis, networkResource: String, preferredLocale: String? = nil, flags: UInt32 = 0) {
            self.this = this
            self.networkResource = networkResource
            self.preferredLocale = preferredLocale
            self.flags = flags
        }

        package init(from reader: inout NDRReader) throws(NDRError) {
            self.this = try ORPCThis(from: &reader)
            self.networkResource = try Self.text(from: &reader) ?? ""
            self.preferredLocale = try Self.text(from: &reader)
            self.flags = try reader.uint32()
            _ = try InterfacePointer.decodeUnique(from: &reader)
        }

        package func encode(to writer: inout NDRWriter) {
            self.this.encode(to: &writer)
            writer.pointer()
            writer.wideString(self.networkResource)
            writer.pointer(isNull: self.preferredLocale == nil)
            if let locale = self.preferredLocale { writer.wideString(locale) }
            writer.uint32(self.flags)
            InterfacePointer.encodeUnique(nil, to: &writer)
        }

        private static func text(from reader: inout NDRReader) throws(NDRError) -> String? {
            try reader.pointer() == 0 ? nil : try reader.wideString()
        }
    }

    package typealias Response = InterfaceResponse
}

/// An answer that is an interface: of `NTLMLogin`, `ExecQuery` and `GetSmartEnum`.
package struct InterfaceResponse: ObjectResponse {
    package var that: ORPCThat
    /// Nil if the call failed.
    package var reference: ObjectReference?
    package var result: HRESULT

    package init(that: ORPCThat = ORPCThat(), reference: ObjectReference?, result: HRESULT = .ok) {
        self.that = that
        self.reference = reference
        self.result = result
    }

    package init(from reader: inout NDRReader) throws(NDRError) {
        self.that = try ORPCThat(from: &reader)
        self.reference = try InterfacePointer.decodeUnique(from: &reader)
        self.result = try HRESULT(from: &reader)
    }

    package func encode(to writer: inout NDRWriter) {
        self.that.encode(to: &writer)
        InterfacePointer.encodeUnique(self.reference, to: &writer)
        self.result.encode(to: &writer)
    }
}
