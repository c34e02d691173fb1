/// A whole message, put together from its fragments.
package struct RPCMessage: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        case request(opnum: UInt16, object: GUID?)
        case response
    }

    package var kind: Kind
    package var callID: UInt32
    package var contextID: UInt16
    package var stub: [UInt8]
}

/// Puts the stub of a request or a response together (C706, section 12.6.2.3).
///
/// One message at a time: neither Windows nor this client interleaves fragments of several calls. Memory grows with
/// what arrived, whatever the allocation hint says.
package struct RPCReassembler: Sendable {
    /// What a stub may grow to unless told otherwise, in bytes: twice what a query of thousands of objects needs.
    package static let defaultMaximumStub = 16 << 20

    package enum Failure: Error, Hashable, Sendable {
        /// The stub is larger than the limit in bytes.
        case tooLarge(limit: Int)
        /// A fragment that does not continue the message; the text names why.
        case outOfStep(String)
    }

    package let maximumStub: Int
    private var message: RPCMessage?

    package init(maximumStub: Int = RPCReassembler.defaultMaximumStub) {
        self.maximumStub = maximumStub
    }

    /// Whether a first fragment has arrived, and its last has not.
    package var isReceiving: Bool { self.message != nil }

    /// Takes a verified and decrypted request or response.
    ///
    /// - Returns: the message once its last fragment is there.
    package mutating func add(_ pdu: RPCPDU) throws(Failure) -> RPCMessage? {
        let kind: RPCMessage.Kind
        let contextID: UInt16
        let stub: ArraySlice<UInt8>
        switch pdu.body {
        case .request(let request):
            (kind, contextID, stub) = (
                .request(opnum: request.opnum, object: request.object), request.contextID, request.stub
            )
        case .response(let response):
            (kind, contextID, stub) = (.response, response.contextID, response.stub)
        default:
            throw .outOfStep("a PDU of type \(pdu.type) is no part of a message")
        }
        let isFirst = pdu.flags.contains(.firstFragment)
        guard isFirst == (self.message == nil) else {
            throw .outOfStep(isFirst ? "a first fragment inside a message" : "a fragment without a first one")
        }
        guard (self.message?.stub.count ?? 0) + stub.count <= self.maximumStub else {
            throw .tooLarge(limit: self.maximumStub)
        }
        if isFirst {
            self.message = RPCMessage(kind: kind, callID: pdu.callID, contextID: contextID, stub: Array(stub))
        } else {
            guard self.message?.callID == pdu.callID, self.message?.contextID == contextID,
                self.message?.kind == kind
            else { throw .outOfStep("a fragment of another call") }
            self.message?.stub += stub
        }
        guard pdu.flags.contains(.lastFragment) else { return nil }
        defer { self.message = nil }
        return self.message
    }
}

extension RPCReassembler.Failure: CustomStringConvertible {
    package var description: String {
        switch self {
        case .tooLarge(let limit): "the message is larger than \(limit) bytes"
        case .outOfStep(let what): what
        }
    }
}
