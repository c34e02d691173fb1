import Testing

@testable import DCOM

@Suite struct DualStringArrayTests {
    /// The form of NDR around the words.
    private func read(
        _ words: [UInt16],
        securityOffset: Int,
        entries: Int? = nil,
        room: Int? = nil
    ) throws -> DualStringArray {
        var writer = NDRWriter()
        writer.count(room ?? words.count)
        writer.uint16(UInt16(entries ?? words.count))
        writer.uint16(UInt16(securityOffset))
        for word in words { writer.uint16(word) }
        return try DualStringArray(stub: writer.bytes)
    }

    private let a = UInt16(UInt8(ascii: "a"))

    @Test func readsBindings() throws {
        let array = try self.read([7, self.a, 0, 7, 0, 0, 10, 0xFFFF, self.a, 0, 0], securityOffset: 6)
        #expect(
            array.stringBindings == [StringBinding(tower: 7, address: "a"), StringBinding(tower: 7, address: "")]
        )
        #expect(array.securityBindings == [SecurityBinding(authenticationService: 10, principalName: "a")])
    }

    @Test func anEmptyArrayIsFine() throws {
        #expect(try self.read([], securityOffset: 0) == DualStringArray())
        #expect(try self.read([0, 0], securityOffset: 1) == DualStringArray())
    }

    @Test func theEndOfTheRoomEndsAList() throws {
        let array = try self.read([7, self.a, 0, 10, 0xFFFF, 0], securityOffset: 3)
        #expect(array.stringBindings.count == 1)
        #expect(array.securityBindings.count == 1)
    }

    @Test func refusesStringsWithoutAnEnd() {
        #expect(throws: NDRError.self) { try self.read([7, self.a], securityOffset: 2) }
        // The end of the string would lie among the security bindings.
        #expect(throws: NDRError.self) { try self.read([7, self.a, 0, 0], securityOffset: 2) }
        #expect(throws: NDRError.self) { try self.read([0, 10, 0xFFFF, self.a], securityOffset: 1) }
        #expect(throws: NDRError.self) { try self.read([0, 10], securityOffset: 1) }
    }

    @Test func refusesOffsetsAndCountsOutside() {
        #expect(throws: NDRError.self) { try self.read([0, 0], securityOffset: 3) }
        #expect(throws: NDRError.self) { try self.read([0, 0], securityOffset: 1, entries: 3) }
        #expect(throws: NDRError.self) { try self.read([0, 0], securityOffset: 1, entries: 1) }
        #expect(throws: NDRError.self) { try self.read([0, 0], securityOffset: 1, room: 0xFFFF) }
    }

    @Test func leavesOutWhatCannotBeDescribed() throws {
        let long = StringBinding(tower: 7, address: String(repeating: "x", count: 70_000))
        let short = StringBinding(tower: 7, address: "a")
        let array = DualStringArray(stringBindings: [long, short], securityBindings: [])
        #expect(try DualStringArray(stub: array.stub).stringBindings == [short])
    }

    @Test(arguments: [
        ("HOST[49154]", "HOST", 49154), ("192.0.2.17[135]", "192.0.2.17", 135), ("HOST", "HOST", nil),
        ("2001:db8::1[49152]", "2001:db8::1", 49152), ("[2001:db8::1][49152]", "2001:db8::1", 49152),
        ("[2001:db8::1]", "2001:db8::1", nil),
    ])
    func takesTCPAddressesApart(text: String, host: String, port: Int?) throws {
        let endpoint = try #require(StringBinding(tower: StringBinding.tcp, address: text).tcpEndpoint)
        #expect(endpoint.host == host)
        #expect(endpoint.port == port)
    }

    @Test(arguments: [
        "", "[1]", "HOST[0]", "HOST[65536]", "HOST[]", "HOST[99999999999999999999]", "HOST[\\PIPE\\x]", "a]b[1]",
    ])
    func refusesOtherAddresses(text: String) {
        #expect(StringBinding(tower: StringBinding.tcp, address: text).tcpEndpoint == nil)
    }

    @Test func otherProtocolsHaveNoTCPAddress() {
        #expect(StringBinding(tower: StringBinding.namedPipe, address: "HOST[49154]").tcpEndpoint == nil)
    }
}
