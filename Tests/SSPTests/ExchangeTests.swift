import Testing

@testable import SSP

@Suite("NTLM exchange")
struct ExchangeTests {
    @Test("Both ends agree", arguments: [true, false])
    func agree(offersTimestamp: Bool) throws {
        var pair = Pair(offersTimestamp: offersTimestamp)
        var (client, server) = try pair.authenticate()
        #expect(client.exportedSessionKey == server.exportedSessionKey)
        let (signature, ciphertext) = try client.seal(Array("hello".utf8))
        #expect(try server.unseal(ciphertext, signature: signature) == Array("hello".utf8))

        let info = try #require(pair.initiator.challengeInfo)
        #expect(info.dnsComputerName == "srv.lab.example")
        #expect(info.dnsTreeName == "example")
        #expect(info.version?.build == 17763)
        #expect((info.timestamp != nil) == offersTimestamp)
    }

    @Test("With a time in the challenge the LM response is 24 zeros and the time is the server's")
    func lmResponse() throws {
        var pair = Pair()
        let challenge = try pair.acceptor.challenge(negotiate: pair.initiator.negotiate())
        let (token, _) = try pair.initiator.authenticate(challenge: challenge)
        let message = try AuthenticateMessage(parsing: token)
        #expect(message.lmResponse == [UInt8](repeating: 0, count: 24))
        let time = try #require(try NTLMChallengeInfo.parse(challenge).timestamp)
        var encoded: [UInt8] = []
        encoded.append(littleEndian: time)
        #expect(Array(message.ntResponse[24..<32]) == encoded)
        // 2020 to 2100, in FILETIME: the system's clock was turned into the right unit.
        #expect((132_223_104_000_000_000..<157_468_032_000_000_000).contains(time))

        let info = try AVPairs(parsing: message.ntResponse[44...], "test")
        #expect(try info.flags() == 0x2)
        #expect(try info.text(AVPairs.Identifier.targetName) == "HTTP/srv.lab.example")
        #expect(info[AVPairs.Identifier.channelBindings] == [UInt8](repeating: 0, count: 16))
    }

    @Test("Two exchanges share neither challenge nor key")
    func fresh() throws {
        var first = Pair()
        var second = Pair()
        #expect(try first.authenticate().client.exportedSessionKey != second.authenticate().client.exportedSessionKey)
        var third = Pair()
        let negotiate = third.initiator.negotiate()
        #expect(try third.acceptor.challenge(negotiate: negotiate) != third.acceptor.challenge(negotiate: negotiate))
    }

    @Test func wrongPassword() {
        var pair = Pair(password: "other")
        #expect(throws: NTLMError.wrongPassword) { try pair.authenticate() }
    }

    @Test("Unknown user: the same error, even for the empty password")
    func unknownUser() throws {
        var pair = Pair(password: "")
        let challenge = try pair.acceptor.challenge(negotiate: pair.initiator.negotiate())
        let (token, _) = try pair.initiator.authenticate(challenge: challenge)
        #expect(throws: NTLMError.wrongPassword) {
            try pair.acceptor.accept(authenticate: token) { _, _ in nil }
        }
    }

    @Test("One challenge serves for one answer")
    func oneAnswer() throws {
        var pair = Pair()
        let challenge = try pair.acceptor.challenge(negotiate: pair.initiator.negotiate())
        let (token, _) = try pair.initiator.authenticate(challenge: challenge)
        _ = try pair.acceptor.accept(authenticate: token, lookup: Pair.lookup)
        #expect(throws: NTLMError.self) { try pair.acceptor.accept(authenticate: token, lookup: Pair.lookup) }
        #expect(throws: NTLMError.self) { try pair.initiator.authenticate(challenge: challenge) }
    }

    @Test func messagesOutOfOrder() {
        var pair = Pair()
        #expect(throws: NTLMError.self) {
            try pair.initiator.authenticate(challenge: NTLMv2VectorTests.challengeMessage)
        }
        #expect(throws: NTLMError.self) {
            try pair.acceptor.accept(authenticate: NTLMv2VectorTests.authenticateMessage, lookup: Pair.lookup)
        }
    }

    // MARK: Channel bindings

    @Test("The same binding on both sides, and a server that asks for none")
    func bound() throws {
        var strict = Pair(clientBindings: Pair.bindings, serverBindings: Pair.bindings)
        _ = try strict.authenticate()
        var lenient = Pair(clientBindings: Pair.bindings)
        _ = try lenient.authenticate()
    }

    @Test("Another binding, or none, where the server requires one")
    func wronglyBound() {
        let other = ChannelBindings.tlsServerEndPoint(certificateHash: [UInt8](repeating: 8, count: 32))
        var elsewhere = Pair(clientBindings: other, serverBindings: Pair.bindings)
        #expect(throws: NTLMError.channelBindingMismatch) { try elsewhere.authenticate() }
        var unbound = Pair(serverBindings: Pair.bindings)
        #expect(throws: NTLMError.channelBindingMismatch) { try unbound.authenticate() }
    }

    @Test("Relaxed checking lets unbound clients in, and no wrongly bound ones")
    func relaxed() throws {
        var unbound = Pair(serverBindings: Pair.bindings, acceptsUnboundClients: true)
        _ = try unbound.authenticate()
        var bound = Pair(clientBindings: Pair.bindings, serverBindings: Pair.bindings, acceptsUnboundClients: true)
        _ = try bound.authenticate()
        let other = ChannelBindings(applicationData: [1])
        var elsewhere = Pair(clientBindings: other, serverBindings: Pair.bindings, acceptsUnboundClients: true)
        #expect(throws: NTLMError.channelBindingMismatch) { try elsewhere.authenticate() }
    }

    // MARK: MIC

    @Test("Each altered byte of each message is found", arguments: [1, 2, 3])
    func alteredByte(message: Int) throws {
        // NEGOTIATE 40 bytes, CHALLENGE and AUTHENTICATE some hundreds: learn the size first.
        var size = 0
        var probe = Pair()
        _ = try probe.authenticate { number, bytes in
            size = number == message ? bytes.count : size
            return bytes
        }
        for index in 0..<size {
            var pair = Pair()
            #expect(throws: NTLMError.self, "byte \(index)") {
                try pair.authenticate { number, bytes in
                    var altered = bytes
                    if number == message {
                        altered[index] ^= 0x04
                    }
                    return altered
                }
            }
        }
    }

    @Test("A wrong MIC is called by its name")
    func wrongMIC() {
        var pair = Pair()
        #expect(throws: NTLMError.micMismatch) {
            try pair.authenticate { number, bytes in
                var altered = bytes
                if number == 3 {
                    altered[72] ^= 1
                }
                return altered
            }
        }
    }

    @Test("A client without MIC is refused where one is required")
    func noMIC() throws {
        for requireMIC in [true, false] {
            var acceptor = NTLMAcceptor(
                configuration: .init(
                    netbiosComputerName: "Server",
                    netbiosDomainName: "Domain",
                    dnsComputerName: "s",
                    dnsDomainName: "d",
                    requireMIC: requireMIC,
                    environment: .fixed(challenge: NTLMv2VectorTests.serverChallenge)
                )
            )
            var client = NTLMInitiator(credential: NTLMCredential(username: "User", password: ""))
            _ = try acceptor.challenge(negotiate: client.negotiate())
            let result = Result {
                try acceptor.accept(authenticate: NTLMv2VectorTests.authenticateMessage) { _, _ in "Password" }
            }
            if requireMIC {
                #expect(throws: NTLMError.micMissing) { try result.get() }
            } else {
                #expect(try result.get().user == "User")
            }
        }
    }

    // MARK: Nothing weaker

    @Test("A challenge that lacks any required flag is refused", arguments: [0, 4, 5, 19, 29, 30])
    func weakChallenge(bit: Int) throws {
        var pair = Pair()
        let negotiate = pair.initiator.negotiate()
        var message = try ChallengeMessage(parsing: pair.acceptor.challenge(negotiate: negotiate))
        message.flags.remove(NegotiateFlags(rawValue: 1 << UInt32(bit)))
        let challenge = try message.encoded()
        #expect {
            try pair.initiator.authenticate(challenge: challenge)
        } throws: { error in
            if case .unsupported = error as? NTLMError { true } else { false }
        }
    }

    @Test("A NEGOTIATE_MESSAGE that lacks any required flag is refused", arguments: [0, 4, 5, 19, 29, 30])
    func weakNegotiate(bit: Int) throws {
        var flags = NegotiateFlags.offered
        flags.remove(NegotiateFlags(rawValue: 1 << UInt32(bit)))
        let negotiate = NegotiateMessage(flags: flags, version: nil).encoded()
        var pair = Pair()
        #expect(throws: NTLMError.self) { try pair.acceptor.challenge(negotiate: negotiate) }
    }

    @Test("NTLMv1 and LM responses, and anonymous logon, are refused", arguments: [0, 1, 16, 24, 47])
    func weakResponse(size: Int) throws {
        var pair = Pair()
        _ = try pair.acceptor.challenge(negotiate: pair.initiator.negotiate())
        let token = try AuthenticateMessage(
            flags: .offered,
            lmResponse: [UInt8](repeating: 1, count: 24),
            ntResponse: [UInt8](repeating: 1, count: size),
            domain: Pair.domain,
            username: size == 0 ? "" : Pair.user,
            workstation: "",
            encryptedSessionKey: [UInt8](repeating: 1, count: 16),
            version: nil,
            hasMIC: true
        ).encoded()
        #expect {
            try pair.acceptor.accept(authenticate: token, lookup: Pair.lookup)
        } throws: { error in
            if case .unsupported = error as? NTLMError { true } else { false }
        }
    }

    @Test("A challenge without the names that the response signs is refused")
    func noNames() throws {
        var pair = Pair()
        var message = try ChallengeMessage(parsing: pair.acceptor.challenge(negotiate: pair.initiator.negotiate()))
        message.targetInfo?[AVPairs.Identifier.netbiosDomainName] = nil
        let challenge = try message.encoded()
        #expect(throws: NTLMError.self) { try pair.initiator.authenticate(challenge: challenge) }
    }

    @Test("DOMAIN\\user is split only when no domain is given")
    func credential() {
        let split = NTLMCredential(username: "LAB\\joe", password: "")
        #expect(split.username == "joe")
        #expect(split.domain == "LAB")
        let kept = NTLMCredential(username: "joe@lab.example", password: "")
        #expect(kept.username == "joe@lab.example")
        #expect(kept.domain.isEmpty)
    }
}
