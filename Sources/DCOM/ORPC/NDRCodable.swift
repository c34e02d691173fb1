/// A structure or a whole stub that is read from and written to NDR. Codecs go both ways, for clients and servers.
package protocol NDRCodable: Sendable, Hashable {
    /// Reads it at the reader's place. Counts and lengths are checked before anything is allocated.
    init(from reader: inout NDRReader) throws(NDRError)

    /// Writes it at the writer's place.
    func encode(to writer: inout NDRWriter)
}

extension NDRCodable {
    /// Reads a whole stub. What follows the last member is ignored, as it is padding.
    package init(stub: ArraySlice<UInt8>) throws(NDRError) {
        var reader = NDRReader(stub)
        try self.init(from: &reader)
    }

    /// Reads a whole stub. What follows the last member is ignored, as it is padding.
    package init(stub: [UInt8]) throws(NDRError) {
        try self.init(stub: stub[...])
    }

    /// The bytes of a whole stub.
    package var stub: [UInt8] {
        var writer = NDRWriter()
        self.encode(to: &writer)
        return writer.bytes
    }
}

/// A method of an interface: where it is, and what travels.
package protocol RemoteMethod: SendableMetatype {
    associatedtype Request: NDRCodable
    associatedtype Response: NDRCodable

    static var interface: RPCInterface { get }
    static var opnum: UInt16 { get }
}

/// A request of an object's method: it begins with ``ORPCThis``.
package protocol ObjectRequest: NDRCodable {
    var this: ORPCThis { get set }
}

/// An answer of an object's method: it begins with ``ORPCThat`` and ends with an ``HRESULT``.
package protocol ObjectResponse: NDRCodable {
    var that: ORPCThat { get }
    var result: HRESULT { get }
}
