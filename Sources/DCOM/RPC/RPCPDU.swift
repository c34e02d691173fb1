/// A PDU of the connection-oriented protocol, both directions (C706, section 12.6.4; [MS-RPCE] 2.2.2).
package struct RPCPDU: Hashable, Sendable {
    package enum Body: Hashable, Sendable {
        case request(RPCRequest)
        case response(RPCResponse)
        case fault(RPCFault)
        case bind(RPCBind)
        case bindAck(RPCBindAck)
        case bindNak(RPCBindNak)
        case alterContext(RPCBind)
        case alterContextResponse(RPCBindAck)
        case auth3
        case shutdown
        case cancel
        case orphaned
    }

    package var callID: UInt32
    /// ``RPCFlags/objectUUID`` follows the body when it is written.
    package var flags: RPCFlags
    package var body: Body
    package var verifier: RPCVerifier?
    package var minorVersion: UInt8

    package init(
        _ body: Body,
        callID: UInt32,
        flags: RPCFlags = .whole,
        verifier: RPCVerifier? = nil,
        minorVersion: UInt8 = 0
    ) {
        self.body = body
        self.callID = callID
        self.flags = flags
        self.verifier = verifier
        self.minorVersion = minorVersion
    }

    package var type: RPCPDUType {
        switch self.body {
        case .request: .request
        case .response: .response
        case .fault: .fault
        case .bind: .bind
        case .bindAck: .bindAck
        case .bindNak: .bindNak
        case .alterContext: .alterContext
        case .alterContextResponse: .alterContextResponse
        case .auth3: .auth3
        case .shutdown: .shutdown
        case .cancel: .cancel
        case .orphaned: .orphaned
        }
    }

    /// Reads a fragment's body. Of packet privacy, only after ``RPCSecurityContext/open(_:)`` has decrypted it.
    package init(_ fragment: RPCFragment) throws(RPCDecodingError) {
        let header = fragment.header
        // From the first byte on, since alignment counts from there.
        var reader = NDRReader(fragment.bytes[..<fragment.bodyEnd])
        do throws(NDRError) {
            try reader.skip(RPCHeader.size)
            switch header.type {
            case .request:
                self.body = .request(try RPCRequest(&reader, hasObject: header.flags.contains(.objectUUID)))
            case .response: self.body = .response(try RPCResponse(&reader))
            case .fault: self.body = .fault(try RPCFault(&reader))
            case .bind: self.body = .bind(try RPCBind(&reader))
            case .bindAck: self.body = .bindAck(try RPCBindAck(&reader))
            case .bindNak: self.body = .bindNak(try RPCBindNak(&reader))
            case .alterContext: self.body = .alterContext(try RPCBind(&reader))
            case .alterContextResponse: self.body = .alterContextResponse(try RPCBindAck(&reader))
            case .auth3: self.body = .auth3
            case .shutdown: self.body = .shutdown
            case .cancel: self.body = .cancel
            case .orphaned: self.body = .orphaned
            }
        } catch {
            throw .invalid("\(header.type) PDU: \(error)")
        }
        self.callID = header.callID
        self.flags = header.flags
        self.verifier = fragment.verifier
        self.minorVersion = header.minorVersion
    }

    /// Reads one PDU from exactly its bytes.
    package init(_ bytes: [UInt8]) throws(RPCDecodingError) {
        try self.init(RPCFragment(bytes))
    }

    /// The PDU as bytes, with the verifier as it is: nothing is signed or encrypted here.
    ///
    /// The verifier lies at a multiple of 4 bytes ([MS-RPCE] 2.2.2.11): its `paddingLength` is kept if that does it,
    /// else replaced by the least that does.
    package func encoded() -> [UInt8] {
        var flags = self.flags
        if case .request(let request) = self.body {
            if request.object == nil { flags.remove(.objectUUID) } else { flags.insert(.objectUUID) }
        }
        var header: [UInt8] = []
        RPCHeader(type: self.type, flags: flags, callID: self.callID, minorVersion: self.minorVersion)
            .write(to: &header)
        var writer = NDRWriter(capacity: 256)
        writer.bytes(header)
        switch self.body {
        case .request(let request): request.write(to: &writer)
        case .response(let response): response.write(to: &writer)
        case .fault(let fault): fault.write(to: &writer)
        case .bind(let bind), .alterContext(let bind): bind.write(to: &writer)
        case .bindAck(let ack), .alterContextResponse(let ack): ack.write(to: &writer)
        case .bindNak(let nak): nak.write(to: &writer)
        // [MS-RPCE] 2.2.2.10: four bytes that nobody looks at.
        case .auth3: writer.zeros(4)
        case .shutdown, .cancel, .orphaned: break
        }
        var bytes = writer.bytes
        if var verifier {
            let needed = -bytes.count & 3
            if Int(verifier.paddingLength) & 3 != needed { verifier.paddingLength = UInt8(needed) }
            bytes.append(contentsOf: repeatElement(0, count: Int(verifier.paddingLength)))
            verifier.write(to: &bytes)
            bytes.overwriteLittleEndian(UInt16(verifier.value.count), at: 10)
        }
        precondition(bytes.count <= Int(UInt16.max), "a PDU has at most 65,535 bytes; cut it into fragments")
        bytes.overwriteLittleEndian(UInt16(bytes.count), at: 8)
        return bytes
    }
}
