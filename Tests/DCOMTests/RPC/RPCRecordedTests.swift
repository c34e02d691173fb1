import Testing

@testable import DCOM
@testable import SSP

/// Bytes that impacket and aiowmi made.
@Suite("Recorded DCE/RPC") struct RPCRecordedTests {
    @Test func `Every PDU is read, and written as it was`() throws {
        for recording in try RPCRecording.all() {
            for message in recording.messages {
                let pdu = try RPCPDU(message.bytes)
                let again = pdu.encoded()
                // Padding is anything; the rest must be the same.
                #expect(try RPCPDU(again) == pdu, "\(recording.origin) \(message.name)")
                if pdu.verifier?.paddingLength == 0, pdu.type != .auth3 { #expect(again == message.bytes) }
            }
        }
    }

    @Test func `Associations say what the clients said`() throws {
        for recording in try RPCRecording.all() {
            let bind = try RPCPDU(recording.messages[0].bytes)
            guard case .bind(let offer) = bind.body else {
                Issue.record("the first message is a bind")
                return
            }
            #expect(offer.maximumTransmit == 4280)
            #expect(offer.contexts.map(\.interface.uuid) == ["000001a0-0000-0000-c000-000000000046"])
            #expect(offer.contexts.map(\.transferSyntaxes) == [[.ndr]])
            #expect(bind.verifier?.type == .ntlm)
            #expect(bind.verifier?.level.rawValue == recording.level)
            #expect(bind.verifier?.contextID == recording.securityContexts[0].id)

            let ack = try RPCPDU(recording.messages[1].bytes)
            guard case .bindAck(let answer) = ack.body else {
                Issue.record("the second message is a bind_ack")
                return
            }
            #expect(answer.secondaryAddress == "49667")
            #expect(answer.results == [.accepted()])
            let info = try NTLMChallengeInfo.parse(try #require(ack.verifier?.value))
            #expect(info.dnsComputerName == "srv1.lab.example")

            let third = try RPCPDU(recording.messages[2].bytes)
            #expect(third.body == .auth3)
            #expect(SPNEGO.isRawNTLM(try #require(third.verifier?.value)))
        }
    }

    @Test func `Signatures are right, and stubs come out in the clear`() throws {
        for recording in try RPCRecording.all() {
            var ours = recording.contexts(.server)
            var theirs = recording.contexts(.client)
            var requests = RPCReassembler()
            var responses = RPCReassembler()
            var whole = 0
            for message in recording.messages {
                guard let id = message.securityContext else { continue }
                var fragment = try RPCFragment(message.bytes)
                let isRequest = message.from == "client"
                if isRequest { try ours[id]?.open(&fragment) } else { try theirs[id]?.open(&fragment) }
                let pdu = try RPCPDU(fragment)
                guard let result = isRequest ? try requests.add(pdu) : try responses.add(pdu) else { continue }
                whole += 1
                #expect(result.stub == [UInt8](hex: try #require(message.stub)))
                guard isRequest else { continue }
                let object = try #require(message.object)
                let expected = GUID(wire: [UInt8](hex: object))
                #expect(result.kind == .request(opnum: try #require(message.opnum), object: expected))
            }
            #expect(whole >= 6)
        }
    }

    @Test(arguments: ["aiowmi-integrity", "aiowmi-privacy"])
    func `Our first request is the client's, byte by byte`(name: String) throws {
        let recording = try RPCRecording(name)
        let message = try #require(recording.messages.first { $0.name == "request" })
        let id = try #require(message.securityContext)
        var security = recording.contexts(.client)[id]
        let bytes = try RPCFragmenter().request(
            callID: try RPCFragment(message.bytes).header.callID,
            contextID: 0,
            opnum: try #require(message.opnum),
            stub: [UInt8](hex: try #require(message.stub)),
            security: &security
        )
        #expect(bytes == message.bytes)
    }

    @Test(arguments: ["impacket-integrity", "impacket-privacy", "aiowmi-integrity", "aiowmi-privacy"])
    func `Our first response is impacket's, byte by byte`(name: String) throws {
        let recording = try RPCRecording(name)
        let message = try #require(recording.messages.first { $0.name == "response" })
        var security = recording.contexts(.server)[try #require(message.securityContext)]
        let bytes = try RPCFragmenter().response(
            callID: try RPCFragment(message.bytes).header.callID,
            contextID: 0,
            stub: [UInt8](hex: try #require(message.stub)),
            security: &security
        )
        #expect(bytes == message.bytes)
    }
}
