/// One presentation context that a client offers: an interface and the ways to transfer its data
/// (C706, section 12.6.3.1, p_cont_elem_t).
package struct RPCPresentationContext: Hashable, Sendable {
    package var id: UInt16
    package var interface: RPCInterface
    package var transferSyntaxes: [RPCInterface]

    package init(id: UInt16, interface: RPCInterface, transferSyntaxes: [RPCInterface] = [.ndr]) {
        self.id = id
        self.interface = interface
        self.transferSyntaxes = transferSyntaxes
    }
}

/// The body of bind and alter_context (C706, sections 12.6.4.3 and 12.6.4.1).
package struct RPCBind: Hashable, Sendable {
    /// The longest fragment that the client sends, in bytes.
    package var maximumTransmit: UInt16
    /// The longest fragment that the client takes, in bytes.
    package var maximumReceive: UInt16
    /// 0 asks for a new group.
    package var associationGroup: UInt32
    package var contexts: [RPCPresentationContext]

    package init(
        maximumTransmit: UInt16 = UInt16(RPCFragment.defaultMaximum),
        maximumReceive: UInt16 = UInt16(RPCFragment.defaultMaximum),
        associationGroup: UInt32 = 0,
        contexts: [RPCPresentationContext]
    ) {
        self.maximumTransmit = maximumTransmit
        self.maximumReceive = maximumReceive
        self.associationGroup = associationGroup
        self.contexts = contexts
    }

    /// The least that a context takes: its fixed fields, with no transfer syntax.
    private static let contextSize = 4 + RPCInterface.size

    init(_ reader: inout NDRReader) throws(NDRError) {
        self.maximumTransmit = try reader.uint16()
        self.maximumReceive = try reader.uint16()
        self.associationGroup = try reader.uint32()
        let count = Int(try reader.uint8())
        try reader.skip(3)
        guard count * Self.contextSize <= reader.remaining else {
            throw .countTooLarge(
                offset: reader.offset,
                count: UInt32(count),
                elementSize: Self.contextSize,
                remaining: reader.remaining
            )
        }
        self.contexts = []
        self.contexts.reserveCapacity(count)
        for _ in 0..<count {
            let id = try reader.uint16()
            let syntaxCount = Int(try reader.uint8())
            try reader.skip(1)
            let interface = try RPCInterface(&reader)
            guard syntaxCount * RPCInterface.size <= reader.remaining else {
                throw .countTooLarge(
                    offset: reader.offset,
                    count: UInt32(syntaxCount),
                    elementSize: RPCInterface.size,
                    remaining: reader.remaining
                )
            }
            var syntaxes: [RPCInterface] = []
            syntaxes.reserveCapacity(syntaxCount)
            for _ in 0..<syntaxCount { syntaxes.append(try RPCInterface(&reader)) }
            self.contexts.append(RPCPresentationContext(id: id, interface: interface, transferSyntaxes: syntaxes))
        }
    }

    func write(to writer: inout NDRWriter) {
        precondition(self.contexts.count <= Int(UInt8.max), "at most 255 presentation contexts fit into a bind")
        writer.uint16(self.maximumTransmit)
        writer.uint16(self.maximumReceive)
        writer.uint32(self.associationGroup)
        writer.uint8(UInt8(self.contexts.count))
        writer.zeros(3)
        for context in self.contexts {
            precondition(context.transferSyntaxes.count <= Int(UInt8.max), "at most 255 transfer syntaxes")
            writer.uint16(context.id)
            writer.uint8(UInt8(context.transferSyntaxes.count))
            writer.zeros(1)
            context.interface.write(to: &writer)
            for syntax in context.transferSyntaxes { syntax.write(to: &writer) }
        }
    }
}

extension RPCInterface {
    init(_ reader: inout NDRReader) throws(NDRError) {
        self.init(try reader.guid(), major: try reader.uint16(), minor: try reader.uint16())
    }

    func write(to writer: inout NDRWriter) {
        writer.guid(self.uuid)
        writer.uint16(self.major)
        writer.uint16(self.minor)
    }
}
