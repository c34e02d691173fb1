import Testing

@testable import DCOM

@Suite("PDUs of DCE/RPC") struct RPCPDUTests {
    static let activator = RPCInterface("000001a0-0000-0000-c000-000000000046")
    static let verifier = RPCVerifier(type: .ntlm, level: .packetPrivacy, contextID: 7, value: .pattern(16))

    /// One of each kind, with and without a verifier.
    static let examples: [RPCPDU] = {
        let contexts = [
            RPCPresentationContext(id: 0, interface: Self.activator),
            RPCPresentationContext(id: 1, interface: Self.activator, transferSyntaxes: [.ndr64, .ndr]),
            RPCPresentationContext(id: 2, interface: Self.activator, transferSyntaxes: []),
        ]
        let results: [RPCContextResult] = [
            .accepted(), .rejected(.transferSyntaxesNotSupported), .negotiateAck(features: 3),
        ]
        let bodies: [RPCPDU.Body] = [
            .bind(RPCBind(maximumReceive: 1432, associationGroup: 9, contexts: contexts)),
            .bindAck(RPCBindAck(associationGroup: 9, secondaryAddress: "135", results: results)),
            .bindAck(RPCBindAck(associationGroup: 9, secondaryAddress: "49667", results: results)),
            .bindNak(RPCBindNak(reason: .protocolVersionNotSupported)),
            .bindNak(RPCBindNak(reason: .init(rawValue: 77), versions: [])),
            .alterContext(RPCBind(contexts: contexts)),
            .alterContextResponse(RPCBindAck(associationGroup: 9, results: results)),
            .auth3,
            .request(RPCRequest(contextID: 3, opnum: 4, stub: [UInt8].pattern(20)[...])),
            .request(RPCRequest(contextID: 3, opnum: 4, object: Self.activator.uuid, stub: [])),
            .response(RPCResponse(contextID: 3, stub: [UInt8].pattern(20)[...], cancelCount: 1)),
            .fault(RPCFault(contextID: 3, status: .operationRangeError)),
            .cancel, .orphaned, .shutdown,
        ]
        return bodies.flatMap { body -> [RPCPDU] in
            var flags = RPCFlags.whole
            if case .request(let request) = body, request.object != nil { flags.insert(.objectUUID) }
            return [
                RPCPDU(body, callID: 0x0102_0304, flags: flags),
                RPCPDU(body, callID: 2, flags: flags, verifier: Self.verifier, minorVersion: 1),
            ]
        }
    }()

    @Test func `Each is read as it was written`() throws {
        for pdu in Self.examples {
            let bytes = pdu.encoded()
            #expect(Int(bytes[8]) | Int(bytes[9]) << 8 == bytes.count)
            var read = try RPCPDU(bytes)
            if var verifier = read.verifier {
                #expect((bytes.count - verifier.value.count - RPCVerifier.trailerSize).isMultiple(of: 4))
                verifier.paddingLength = 0
                read.verifier = verifier
            }
            #expect(read == pdu)
        }
    }

    @Test func `A bind is written as C706 has it`() {
        let bind = RPCBind(
            maximumTransmit: 5840,
            maximumReceive: 5840,
            contexts: [RPCPresentationContext(id: 0, interface: Self.activator)]
        )
        let expected: [UInt8] = [
            5, 0, 11, 3, 0x10, 0, 0, 0, 72, 0, 0, 0, 1, 0, 0, 0,
            0xD0, 0x16, 0xD0, 0x16, 0, 0, 0, 0, 1, 0, 0, 0,
            0, 0, 1, 0, 0xA0, 0x01, 0, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0x46, 0, 0, 0, 0,
            0x04, 0x5D, 0x88, 0x8A, 0xEB, 0x1C, 0xC9, 0x11, 0x9F, 0xE8, 0x08, 0, 0x2B, 0x10, 0x48, 0x60, 2, 0, 0, 0,
        ]
        #expect(RPCPDU(.bind(bind), callID: 1).encoded() == expected)
    }

    @Test func `No cut of any is read`() {
        for pdu in Self.examples {
            let bytes = pdu.encoded()
            for length in 0..<bytes.count {
                #expect(throws: RPCDecodingError.self) { try RPCPDU(Array(bytes[..<length])) }
            }
        }
    }

    @Test func `A cut with a length to match is refused or shorter`() throws {
        for pdu in Self.examples {
            // Of these, fields at the end that say nothing may be left out.
            if [.auth3, .fault, .bindNak].contains(pdu.type) { continue }
            let bytes = pdu.encoded()
            for length in RPCHeader.size..<bytes.count {
                var cut = Array(bytes[..<length])
                cut.overwriteLittleEndian(UInt16(length), at: 8)
                if let read = try? RPCPDU(cut) { #expect(read != pdu) }
            }
        }
    }

    @Test func `No changed byte makes a reader trap`() {
        for pdu in Self.examples {
            let bytes = pdu.encoded()
            for index in bytes.indices {
                for value: UInt8 in [0, 1, 0x7F, 0x80, 0xFF, bytes[index] ^ 1] {
                    var changed = bytes
                    changed[index] = value
                    if let read = try? RPCPDU(changed) { _ = read.encoded() }
                }
            }
        }
    }

    // MARK: - The common header

    private func error(_ change: (inout [UInt8]) -> Void) -> RPCDecodingError? {
        var bytes = RPCPDU(.auth3, callID: 1, verifier: Self.verifier).encoded()
        change(&bytes)
        do throws(RPCDecodingError) {
            _ = try RPCPDU(bytes)
            return nil
        } catch {
            return error
        }
    }

    @Test func `Only versions 5_0 and 5_1 are spoken`() {
        #expect(self.error { $0[1] = 1 } == nil)
        #expect(self.error { $0[0] = 4 } == .version(major: 4, minor: 0))
        #expect(self.error { $0[1] = 2 } == .version(major: 5, minor: 2))
    }

    @Test func `Only little-endian ASCII and IEEE is spoken`() {
        #expect(self.error { $0[4] = 0x00 } == .dataRepresentation(0x00, 0))
        #expect(self.error { $0[4] = 0x11 } == .dataRepresentation(0x11, 0))
        #expect(self.error { $0[5] = 1 } == .dataRepresentation(0x10, 1))
    }

    @Test(arguments: [1, 4, 10, 20, 255] as [UInt8])
    func `Unknown types are refused`(type: UInt8) {
        #expect(self.error { $0[2] = type } == .type(type))
    }

    @Test func `A verifier must fit`() {
        #expect(self.error { $0[10] = 21 } == .authLength(21, fragmentLength: 44))
        #expect(self.error { $0[11] = 0xFF } == .authLength(0xFF10, fragmentLength: 44))
        // Padding of more than the body's four bytes.
        #expect(self.error { $0[22] = 5 } == .padding(5))
        #expect(self.error { $0[21] = 99 } == .invalid("authentication level 99 is unknown"))
    }

    @Test func `A fragment is no longer than agreed`() throws {
        let bytes = RPCPDU(.response(RPCResponse(contextID: 0, stub: [UInt8].pattern(100)[...])), callID: 1).encoded()
        #expect(throws: RPCDecodingError.fragmentLength(124, limit: 123)) {
            try RPCFragment(bytes, maximumFragment: 123)
        }
        _ = try RPCFragment(bytes, maximumFragment: 124)
    }

    @Test func `A count that the rest cannot hold is refused before anything is allocated`() throws {
        // Where in the PDU the count is, and its greatest value.
        let bind = RPCPDU(
            .bind(RPCBind(contexts: [RPCPresentationContext(id: 0, interface: Self.activator)])),
            callID: 1
        )
        let ack = RPCPDU(.bindAck(RPCBindAck(associationGroup: 1, results: [.accepted()])), callID: 1)
        let nak = RPCPDU(.bindNak(RPCBindNak(reason: .notSpecified)), callID: 1)
        for (pdu, offset, size) in [
            (bind, 24, 1), (bind, 30, 1), (ack, 24, 2), (ack, 28, 1), (nak, 18, 1),
        ] as [(RPCPDU, Int, Int)] {
            var bytes = pdu.encoded()
            for position in 0..<size { bytes[offset + position] = 0xFF }
            #expect(throws: RPCDecodingError.self, "\(pdu.type), offset \(offset)") { try RPCPDU(bytes) }
        }
    }

    // MARK: - Answers to an association

    @Test func `One answer may accept one transfer syntax and refuse two`() throws {
        let ack = RPCBindAck(
            associationGroup: 1,
            secondaryAddress: "\\PIPE\\svcctl",
            results: [.accepted(), .rejected(.transferSyntaxesNotSupported), .negotiateAck(features: 3)]
        )
        guard case .bindAck(let read) = try RPCPDU(RPCPDU(.bindAck(ack), callID: 1).encoded()).body else {
            Issue.record("not a bind_ack")
            return
        }
        #expect(read == ack)
        #expect(read.results.map(\.isAccepted) == [true, false, false])
        #expect(
            RPCInterface("6cb71c2c-9812-4540-0300-000000000000", major: 1).isBindTimeFeatureNegotiation
        )
    }

    @Test(arguments: 0...9)
    func `A secondary address of any length is padded`(length: Int) throws {
        let address = String(repeating: "x", count: length)
        let ack = RPCBindAck(associationGroup: 1, secondaryAddress: address, results: [.accepted()])
        #expect(try RPCPDU(RPCPDU(.bindAck(ack), callID: 1).encoded()).body == .bindAck(ack))
    }

    @Test func `A refusal of the version names those that are spoken`() throws {
        // As Windows sends it: a version list, and padding that nothing announces.
        let bytes: [UInt8] = [
            5, 0, 13, 3, 0x10, 0, 0, 0, 24, 0, 0, 0, 1, 0, 0, 0, 4, 0, 1, 5, 0, 0, 0, 0,
        ]
        guard case .bindNak(let nak) = try RPCPDU(bytes).body else {
            Issue.record("not a bind_nak")
            return
        }
        #expect(nak.reason == .protocolVersionNotSupported)
        #expect(nak.versions == [.init(major: 5, minor: 0)])
    }

    @Test func `A fault without its last field is read`() throws {
        let bytes: [UInt8] = [
            5, 0, 3, 0x23, 0x10, 0, 0, 0, 28, 0, 0, 0, 1, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0,
        ]
        let pdu = try RPCPDU(bytes)
        guard case .fault(let fault) = pdu.body else {
            Issue.record("not a fault")
            return
        }
        #expect(fault.status == .accessDenied)
        #expect(pdu.flags.contains(.didNotExecute))
        #expect(fault.status.description == "ERROR_ACCESS_DENIED (0x00000005)")
    }

    @Test func `An allocation hint is only a hint`() throws {
        let response = RPCResponse(contextID: 0, stub: [1, 2, 3], allocationHint: .max)
        let pdu = try RPCPDU(RPCPDU(.response(response), callID: 1).encoded())
        var reassembler = RPCReassembler()
        let message = try #require(try reassembler.add(pdu))
        #expect(message.stub == [1, 2, 3])
        #expect(message.stub.capacity < 256)
    }
}
