package import SSP

/// Writes requests, responses and faults as fragments, each with its own verifier (C706, section 12.6.2.3).
package struct RPCFragmenter: Sendable {
    /// The longest fragment that the peer takes, in bytes.
    package let maximumFragment: Int

    /// - Parameter maximumFragment: as negotiated; less than what everybody must take is raised to that.
    package init(maximumFragment: Int = RPCFragment.defaultMaximum) {
        self.maximumFragment = min(max(maximumFragment, RPCFragment.requiredMaximum), Int(UInt16.max))
    }

    /// All fragments of a request, one behind the other.
    package func request(
        callID: UInt32,
        contextID: UInt16,
        opnum: UInt16,
        object: GUID? = nil,
        stub: [UInt8],
        security: inout RPCSecurityContext?
    ) throws(NTLMError) -> [UInt8] {
        try self.fragments(
            of: stub,
            type: .request,
            callID: callID,
            extraFlags: object == nil ? [] : .objectUUID,
            fieldsSize: 8 + (object == nil ? 0 : GUID.size),
            security: &security
        ) { bytes, hint in
            bytes.appendLittleEndian(hint)
            bytes.appendLittleEndian(contextID)
            bytes.appendLittleEndian(opnum)
            if let object { bytes += object.wire }
        }
    }

    /// All fragments of a response, one behind the other.
    package func response(
        callID: UInt32,
        contextID: UInt16,
        stub: [UInt8],
        security: inout RPCSecurityContext?
    ) throws(NTLMError) -> [UInt8] {
        try self.fragments(
            of: stub,
            type: .response,
            callID: callID,
            extraFlags: [],
            fieldsSize: 8,
            security: &security
        ) { bytes, hint in
            bytes.appendLittleEndian(hint)
            bytes.appendLittleEndian(contextID)
            bytes.appendLittleEndian(UInt16(0))
        }
    }

    /// A fault. Without a security context it goes unsigned, as Windows does before a client is known.
    package func fault(
        callID: UInt32,
        contextID: UInt16,
        status: RPCStatus,
        didNotExecute: Bool = false,
        security: inout RPCSecurityContext?
    ) throws(NTLMError) -> [UInt8] {
        try self.fragments(
            of: [],
            type: .fault,
            callID: callID,
            extraFlags: didNotExecute ? .didNotExecute : [],
            fieldsSize: RPCFault.headerSize - RPCHeader.size,
            security: &security
        ) { bytes, _ in
            bytes.appendLittleEndian(UInt32(RPCFault.headerSize))
            bytes.appendLittleEndian(contextID)
            bytes.appendLittleEndian(UInt16(0))
            bytes.appendLittleEndian(status.rawValue)
            bytes.appendLittleEndian(UInt32(0))
        }
    }

    private func fragments(
        of stub: [UInt8],
        type: RPCPDUType,
        callID: UInt32,
        extraFlags: RPCFlags,
        fieldsSize: Int,
        security: inout RPCSecurityContext?,
        fields: (inout [UInt8], UInt32) -> Void
    ) throws(NTLMError) -> [UInt8] {
        let overhead = RPCHeader.size + fieldsSize + (security == nil ? 0 : RPCSecurityContext.verifierSize)
        // A multiple of the padding, so that only the last fragment can need any.
        let share = (self.maximumFragment - overhead) & ~(RPCSecurityContext.alignment - 1)
        let count = max(1, (stub.count + share - 1) / share)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(stub.count + count * overhead + RPCSecurityContext.alignment)
        for index in 0..<count {
            let part = stub[index * share..<min((index + 1) * share, stub.count)]
            var flags = extraFlags
            if index == 0 { flags.insert(.firstFragment) }
            if index == count - 1 { flags.insert(.lastFragment) }
            let start = bytes.count
            RPCHeader(
                type: type,
                flags: flags,
                fragmentLength: UInt16(overhead + part.count),
                callID: callID
            ).write(to: &bytes)
            fields(&bytes, UInt32(truncatingIfNeeded: stub.count - part.startIndex))
            let stubStart = bytes.count
            bytes += part
            try security?.seal(&bytes, from: start, stubStart: stubStart)
        }
        return bytes
    }
}
