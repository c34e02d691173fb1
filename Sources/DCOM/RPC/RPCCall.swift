/// The body of a request (C706, section 12.6.4.9).
package struct RPCRequest: Hashable, Sendable {
    /// Common header and the fields of a request, without an object UUID.
    static let headerSize = RPCHeader.size + 8

    /// The length of the whole stub, as the sender guesses it; nothing is allocated for it.
    package var allocationHint: UInt32
    /// The presentation context, which names the interface.
    package var contextID: UInt16
    package var opnum: UInt16
    package var object: GUID?
    /// The data of this fragment, without padding.
    package var stub: ArraySlice<UInt8>

    package init(
        contextID: UInt16,
        opnum: UInt16,
        object: GUID? = nil,
        stub: ArraySlice<UInt8>,
        allocationHint: UInt32? = nil
    ) {
        self.allocationHint = allocationHint ?? UInt32(stub.count)
        self.contextID = contextID
        self.opnum = opnum
        self.object = object
        self.stub = stub
    }

    init(_ reader: inout NDRReader, hasObject: Bool) throws(NDRError) {
        self.allocationHint = try reader.uint32()
        self.contextID = try reader.uint16()
        self.opnum = try reader.uint16()
        self.object = hasObject ? try reader.guid() : nil
        self.stub = reader.rest
    }

    func write(to writer: inout NDRWriter) {
        writer.uint32(self.allocationHint)
        writer.uint16(self.contextID)
        writer.uint16(self.opnum)
        if let object { writer.guid(object) }
        writer.bytes(self.stub)
    }
}

/// The body of a response (C706, section 12.6.4.10).
package struct RPCResponse: Hashable, Sendable {
    static let headerSize = RPCHeader.size + 8

    /// The length of the whole stub, as the sender guesses it; nothing is allocated for it.
    package var allocationHint: UInt32
    package var contextID: UInt16
    package var cancelCount: UInt8
    /// The data of this fragment, without padding.
    package var stub: ArraySlice<UInt8>

    package init(
        contextID: UInt16,
        stub: ArraySlice<UInt8>,
        allocationHint: UInt32? = nil,
        cancelCount: UInt8 = 0
    ) {
        self.allocationHint = allocationHint ?? UInt32(stub.count)
        self.contextID = contextID
        self.cancelCount = cancelCount
        self.stub = stub
    }

    init(_ reader: inout NDRReader) throws(NDRError) {
        self.allocationHint = try reader.uint32()
        self.contextID = try reader.uint16()
        self.cancelCount = try reader.uint8()
        try reader.skip(1)
        self.stub = reader.rest
    }

    func write(to writer: inout NDRWriter) {
        writer.uint32(self.allocationHint)
        writer.uint16(self.contextID)
        writer.uint8(self.cancelCount)
        writer.uint8(0)
        writer.bytes(self.stub)
    }
}

/// The body of a fault (C706, section 12.6.4.7; [MS-RPCE] 2.2.2.8).
package struct RPCFault: Hashable, Sendable {
    static let headerSize = RPCHeader.size + 16

    package var allocationHint: UInt32
    package var contextID: UInt16
    package var cancelCount: UInt8
    package var status: RPCStatus
    /// Extended error information, mostly nothing.
    package var stub: ArraySlice<UInt8>

    package init(
        contextID: UInt16,
        status: RPCStatus,
        stub: ArraySlice<UInt8> = [],
        allocationHint: UInt32? = nil,
        cancelCount: UInt8 = 0
    ) {
        self.allocationHint = allocationHint ?? UInt32(Self.headerSize + stub.count)
        self.contextID = contextID
        self.cancelCount = cancelCount
        self.status = status
        self.stub = stub
    }

    init(_ reader: inout NDRReader) throws(NDRError) {
        self.allocationHint = try reader.uint32()
        self.contextID = try reader.uint16()
        self.cancelCount = try reader.uint8()
        try reader.skip(1)
        self.status = RPCStatus(rawValue: try reader.uint32())
        // Some servers end here, without the reserved field.
        try reader.skip(min(4, reader.remaining))
        self.stub = reader.rest
    }

    func write(to writer: inout NDRWriter) {
        writer.uint32(self.allocationHint)
        writer.uint16(self.contextID)
        writer.uint8(self.cancelCount)
        writer.uint8(0)
        writer.uint32(self.status.rawValue)
        writer.uint32(0)
        writer.bytes(self.stub)
    }
}
