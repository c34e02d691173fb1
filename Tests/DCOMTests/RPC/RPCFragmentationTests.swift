import SSP
import Testing

@testable import DCOM

@Suite("Fragments and their protection") struct RPCFragmentationTests {
    static let levels: [RPCAuthLevel?] = [nil, .packetIntegrity, .packetPrivacy]

    /// Both sides of an NTLM session that just began.
    static func sessions(level: RPCAuthLevel?) throws -> (RPCSecurityContext?, RPCSecurityContext?) {
        guard let level else { return (nil, nil) }
        var pair = RPCTestPair()
        try pair.signIn(level: level)
        return (pair.client.security[1]?.context, pair.server.security[1])
    }

    @Test(arguments: Self.levels, [1432, 1433, 1447, 1448, 2000, 4280, 5839, 5840, 65_535])
    func `Stubs of every size around the edges travel whole`(level: RPCAuthLevel?, maximum: Int) throws {
        var (client, server) = try Self.sessions(level: level)
        let fragmenter = RPCFragmenter(maximumFragment: maximum)
        let share = (maximum - 24 - (level == nil ? 0 : 24)) & ~15
        let sizes = Array(0...33) + Array((share - 17)...(share + 17)) + [2 * share, 2 * share + 1, 3 * share - 1]
        for (index, size) in sizes.enumerated() {
            let stub = [UInt8].pattern(size, seed: index)
            let bytes = try fragmenter.response(
                callID: UInt32(index),
                contextID: 2,
                stub: stub,
                security: &server
            )
            let fragments = try RPCFragment.split(bytes)
            #expect(fragments.count == max(1, (size + share - 1) / share))
            var reassembler = RPCReassembler()
            var result: RPCMessage?
            for (number, var fragment) in fragments.enumerated() {
                #expect(fragment.bytes.count <= maximum)
                #expect(fragment.header.flags.contains(.firstFragment) == (number == 0))
                #expect(fragment.header.flags.contains(.lastFragment) == (number == fragments.count - 1))
                if level == .packetPrivacy, size > 16 { #expect(Array(fragment.body.suffix(16)) != stub.suffix(16)) }
                try client?.open(&fragment)
                #expect(result == nil)
                result = try reassembler.add(RPCPDU(fragment))
            }
            #expect(result == RPCMessage(kind: .response, callID: UInt32(index), contextID: 2, stub: stub))
        }
    }

    @Test(arguments: Self.levels)
    func `A request carries its object in every fragment`(level: RPCAuthLevel?) throws {
        var (client, server) = try Self.sessions(level: level)
        let object: GUID = "00112233-4455-6677-8899-aabbccddeeff"
        let bytes = try RPCFragmenter(maximumFragment: 1432).request(
            callID: 1,
            contextID: 0,
            opnum: 20,
            object: object,
            stub: .pattern(5000),
            security: &client
        )
        var reassembler = RPCReassembler()
        var result: RPCMessage?
        for var fragment in try RPCFragment.split(bytes) {
            try server?.open(&fragment)
            result = try reassembler.add(RPCPDU(fragment))
        }
        #expect(result?.kind == .request(opnum: 20, object: object))
        #expect(result?.stub == .pattern(5000))
    }

    @Test(arguments: [RPCAuthLevel.packetIntegrity, .packetPrivacy])
    func `Every changed byte breaks the signature`(level: RPCAuthLevel) throws {
        let (client, server) = try Self.sessions(level: level)
        var sender = server
        let bytes = try RPCFragmenter().response(callID: 1, contextID: 0, stub: .pattern(21), security: &sender)
        for index in bytes.indices {
            var changed = bytes
            changed[index] ^= 0x10
            // What is no PDU any more is refused earlier.
            guard var fragment = try? RPCFragment(changed) else { continue }
            var receiver = client
            #expect(throws: RPCSecurityError.self, "byte \(index)") { try receiver?.open(&fragment) }
        }
        var receiver = client
        var fragment = try RPCFragment(bytes)
        try receiver?.open(&fragment)
    }

    @Test(arguments: [RPCAuthLevel.packetIntegrity, .packetPrivacy])
    func `A fragment that comes twice, or too early, is refused, and so is all after it`(level: RPCAuthLevel) throws {
        var (client, server) = try Self.sessions(level: level)
        let early = client
        let first = try RPCFragmenter().response(callID: 1, contextID: 0, stub: [1], security: &server)
        let second = try RPCFragmenter().response(callID: 2, contextID: 0, stub: [2], security: &server)
        var fragment = try RPCFragment(first)
        try client?.open(&fragment)
        fragment = try RPCFragment(first)
        #expect(throws: RPCSecurityError.signature(.sequenceMismatch(expected: 1, received: 0))) {
            try client?.open(&fragment)
        }
        fragment = try RPCFragment(second)
        #expect(throws: RPCSecurityError.signature(.sessionBroken)) { try client?.open(&fragment) }

        var other = early
        fragment = try RPCFragment(second)
        #expect(throws: RPCSecurityError.signature(.sequenceMismatch(expected: 0, received: 1))) {
            try other?.open(&fragment)
        }
    }

    @Test func `A verifier that is missing or of another context is refused and harms nothing`() throws {
        var (client, server) = try Self.sessions(level: .packetPrivacy)
        var none: RPCSecurityContext?
        let plain = try RPCFragmenter().response(callID: 1, contextID: 0, stub: [1], security: &none)
        var fragment = try RPCFragment(plain)
        #expect(throws: RPCSecurityError.missingVerifier) { try client?.open(&fragment) }
        let good = try RPCFragmenter().response(callID: 1, contextID: 0, stub: [1], security: &server)
        let trailer = good.count - 16 - 8
        for (offset, value) in [(0, 9), (1, 5), (4, 2)] as [(Int, UInt8)] {
            var changed = good
            changed[trailer + offset] = value
            fragment = try RPCFragment(changed)
            #expect(throws: RPCSecurityError.self) { try client?.open(&fragment) }
        }
        fragment = try RPCFragment(good)
        try client?.open(&fragment)
        #expect(Array(fragment.body.suffix(1)) == [1])
    }

    @Test func `Padding of any length is taken off`() throws {
        // As another implementation may pad: by hand, at packet integrity, where nothing is encrypted.
        for padding in [0, 4, 12, 16, 32, 252] {
            let (client, server) = try Self.sessions(level: .packetIntegrity)
            var receiver = client
            var pdu = RPCPDU(.response(RPCResponse(contextID: 0, stub: [UInt8].pattern(8)[...])), callID: 1)
            pdu.verifier = RPCVerifier(
                type: .ntlm,
                level: .packetIntegrity,
                contextID: 1,
                value: [UInt8](repeating: 0, count: 16),
                paddingLength: UInt8(padding)
            )
            var bytes = pdu.encoded()
            var session = try #require(server).session
            bytes.replaceSubrange((bytes.count - 16)..., with: try session.sign(Array(bytes.dropLast(16))))
            var fragment = try RPCFragment(bytes)
            try receiver?.open(&fragment)
            guard case .response(let response) = try RPCPDU(fragment).body else {
                Issue.record("not a response")
                return
            }
            #expect(Array(response.stub) == .pattern(8))
        }
    }

    @Test func `SPNEGO's type is taken where it was agreed on`() throws {
        let (client, server) = try Self.sessions(level: .packetPrivacy)
        func spnego(_ context: RPCSecurityContext?) throws -> RPCSecurityContext {
            RPCSecurityContext(session: try #require(context).session, type: .negotiate, contextID: 1)
        }
        var sender: RPCSecurityContext? = try spnego(server)
        var receiver = try spnego(client)
        let bytes = try RPCFragmenter().response(callID: 1, contextID: 0, stub: [7], security: &sender)
        #expect(bytes[bytes.count - 24] == 9)
        var fragment = try RPCFragment(bytes)
        try receiver.open(&fragment)
        #expect(Array(fragment.body.suffix(1)) == [7])
    }

    // MARK: - Reassembly

    private func response(_ stub: [UInt8], flags: RPCFlags, callID: UInt32 = 1, contextID: UInt16 = 0) -> RPCPDU {
        RPCPDU(.response(RPCResponse(contextID: contextID, stub: stub[...])), callID: callID, flags: flags)
    }

    @Test func `Fragments out of step are refused`() throws {
        var reassembler = RPCReassembler()
        #expect(throws: RPCReassembler.Failure.self) { try reassembler.add(self.response([1], flags: [])) }
        #expect(throws: RPCReassembler.Failure.self) { try reassembler.add(self.response([1], flags: .lastFragment)) }
        #expect(try reassembler.add(self.response([1], flags: .firstFragment)) == nil)
        #expect(reassembler.isReceiving)
        #expect(throws: RPCReassembler.Failure.self) { try reassembler.add(self.response([1], flags: .firstFragment)) }
        #expect(throws: RPCReassembler.Failure.self) { try reassembler.add(self.response([1], flags: [], callID: 2)) }
        #expect(throws: RPCReassembler.Failure.self) {
            try reassembler.add(self.response([1], flags: [], contextID: 2))
        }
        #expect(throws: RPCReassembler.Failure.self) { try reassembler.add(RPCPDU(.shutdown, callID: 1)) }
        let request = RPCPDU(.request(RPCRequest(contextID: 0, opnum: 1, stub: [])), callID: 1, flags: [])
        #expect(throws: RPCReassembler.Failure.self) { try reassembler.add(request) }
    }

    @Test func `A stub over the limit is refused with its first byte too many`() throws {
        var reassembler = RPCReassembler(maximumStub: 10)
        #expect(try reassembler.add(self.response(.pattern(6), flags: .firstFragment)) == nil)
        #expect(try reassembler.add(self.response(.pattern(4), flags: [])) == nil)
        #expect(throws: RPCReassembler.Failure.tooLarge(limit: 10)) {
            try reassembler.add(self.response([1], flags: .lastFragment))
        }
    }
}
