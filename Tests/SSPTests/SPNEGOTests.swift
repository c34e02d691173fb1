import Testing

@testable import SSP

@Suite("SPNEGO")
struct SPNEGOTests {
    // MARK: Tokens

    /// A NegTokenInit2 as a Windows server sends it before any client token: four mechanisms and a hint.
    static let serverHint = hex(
        """
        607606062b0601050502a06c306aa03c303a060a2b06010401823702021e06092a864882f71201020206092a864886f712010202
        060a2a864886f71201020203060a2b06010401823702020aa32a3028a0261b246e6f745f646566696e65645f696e5f5246433431
        373840706c656173655f69676e6f7265
        """
    )

    @Test("NegTokenInit2 of a server")
    func negTokenInit2() throws {
        let token = try NegTokenInit(parsing: Self.serverHint)
        #expect(token.mechTypes.count == 5)
        #expect(token.mechTypes[1] == .microsoftKerberos)
        #expect(token.mechTypes[2] == .kerberos)
        #expect(token.mechTypes[4] == .ntlm)
        #expect(token.mechToken == nil)
        #expect(token.mechListMIC == nil)
        #expect(token.hintName == Array("not_defined_in_RFC4178@please_ignore".utf8))

        var pair = Pair()
        var initiator = SPNEGOInitiator(ntlm: pair.initiator)
        #expect(try NegTokenInit(parsing: initiator.start(hint: Self.serverHint)).mechTypes == [.ntlm])
        let kerberosOnly = NegTokenInit(mechTypes: [.kerberos], mechToken: nil).encoded()
        var other = SPNEGOInitiator(ntlm: pair.initiator)
        #expect(throws: NTLMError.noCommonMechanism) { try other.start(hint: kerberosOnly) }
        _ = pair.initiator.negotiate()
    }

    /// The last token of a Windows server to a WinRM client, with the form that DER gives it.
    @Test("Tokens have the bytes that DER prescribes")
    func encoding() throws {
        let last = NegTokenResp(state: .acceptCompleted, mechListMIC: [UInt8](repeating: 0xee, count: 16))
        #expect(hexText(last.encoded()) == "a11b3019a0030a0100a3120410" + String(repeating: "ee", count: 16))
        #expect(try NegTokenResp(parsing: last.encoded()) == last)

        let first = NegTokenInit(mechTypes: [.ntlm], mechToken: [1, 2, 3])
        #expect(
            hexText(first.encoded()) == "602306062b0601050502a0193017a00e300c060a2b06010401823702020aa2050403010203"
        )
        #expect(try NegTokenInit(parsing: first.encoded()) == first)
    }

    @Test("Long lengths", arguments: [0, 1, 127, 128, 255, 256, 40_000])
    func lengths(count: Int) throws {
        let token = NegTokenResp(
            state: .acceptIncomplete,
            supportedMech: .ntlm,
            responseToken: [UInt8](repeating: 5, count: count)
        )
        #expect(try NegTokenResp(parsing: token.encoded()) == token)
    }

    @Test("A response token repeated where the MIC belongs is not a MIC")
    func repeatedToken() throws {
        let token = NegTokenResp(state: .acceptIncomplete, responseToken: [1, 2], mechListMIC: [1, 2]).encoded()
        #expect(try NegTokenResp(parsing: token).mechListMIC == nil)
    }

    @Test("Each proper prefix of a token throws")
    func prefixes() throws {
        let inits = [
            Self.serverHint, NegTokenInit(mechTypes: [.kerberos, .ntlm], mechToken: [1], mechListMIC: [2]).encoded(),
        ]
        for token in inits {
            for count in 0..<token.count {
                #expect(throws: NTLMError.self, "\(count)") { try NegTokenInit(parsing: Array(token.prefix(count))) }
            }
        }
        let response = NegTokenResp(
            state: .requestMIC,
            supportedMech: .ntlm,
            responseToken: [UInt8](repeating: 1, count: 200),
            mechListMIC: [3]
        ).encoded()
        for count in 0..<response.count {
            #expect(throws: NTLMError.self, "\(count)") { try NegTokenResp(parsing: Array(response.prefix(count))) }
        }
    }

    @Test(
        "Hostile DER throws",
        arguments: [
            "", "60", "6080", "6081", "60ff", "6084ffffffff", "6085000000000001ff", "608900000000000000000106",
            "7f0100", "a1", "a100", "a1023000ff", "a103300100", "a1053003a00100", "a1073005a0030a0109",
            "a1083006a0040a020001", "a10b3009a0030a0100a0020a00", "a1043002a100", "a2023000", "3000",
            "a1073005a0033003a000",
        ]
    )
    func hostile(bytes: String) {
        #expect(throws: NTLMError.self) { try NegTokenResp(parsing: hex(bytes)) }
        #expect(throws: NTLMError.self) { try NegTokenInit(parsing: hex(bytes)) }
    }

    @Test("Limits: size of a token, number of mechanisms")
    func limits() throws {
        let limit = SPNEGO.maximumTokenSize
        let large = NegTokenResp(responseToken: [UInt8](repeating: 0, count: limit)).encoded()
        #expect(throws: NTLMError.tooLarge(size: large.count, limit: limit)) { try NegTokenResp(parsing: large) }
        let many = [SPNEGO.Mechanism](repeating: .ntlm, count: SPNEGO.maximumMechanisms + 1)
        #expect(throws: NTLMError.self) {
            try NegTokenInit(parsing: NegTokenInit(mechTypes: many, mechToken: nil).encoded())
        }
        #expect(
            try NegTokenInit(parsing: NegTokenInit(mechTypes: many.dropLast(), mechToken: nil).encoded()).mechTypes
                .count
                == SPNEGO.maximumMechanisms
        )
    }

    // MARK: Exchanges

    /// Runs an exchange; `alter` may change a token on its way, counted from 1.
    static func run(
        _ framing: SPNEGOInitiator.Framing,
        alter: (_ number: Int, _ token: [UInt8]) throws -> [UInt8] = { $1 }
    ) throws -> (client: NTLMSession, server: NTLMSession) {
        let pair = Pair()
        var initiator = SPNEGOInitiator(ntlm: pair.initiator, framing: framing)
        var acceptor = SPNEGOAcceptor(ntlm: pair.acceptor)
        var clientSession: NTLMSession?
        var number = 1
        var token = try alter(number, initiator.start())
        while true {
            switch try acceptor.step(token, lookup: Pair.lookup) {
            case .continue(let answer):
                number += 1
                switch try initiator.step(try alter(number, answer)) {
                case .continue(let next):
                    token = next
                case .complete(let next, let session):
                    clientSession = session
                    token = next ?? []
                }
                number += 1
                token = try alter(number, token)
            case .complete(let answer, _, _, let server):
                if let answer {
                    number += 1
                    guard case .complete(nil, let session) = try initiator.step(try alter(number, answer)) else {
                        throw NTLMError.unexpectedMessage("one more token")
                    }
                    clientSession = session
                }
                guard let clientSession else {
                    throw NTLMError.unexpectedMessage("server first")
                }
                return (clientSession, server)
            }
        }
    }

    @Test("Raw and wrapped", arguments: [SPNEGOInitiator.Framing.raw, .spnego])
    func exchange(framing: SPNEGOInitiator.Framing) throws {
        var tokens: [[UInt8]] = []
        var (client, server) = try Self.run(framing) { _, token in
            tokens.append(token)
            return token
        }
        #expect(tokens.count == (framing == .raw ? 3 : 4))
        #expect(tokens.allSatisfy { SPNEGO.isRawNTLM($0) == (framing == .raw) })
        for message in [Array("first".utf8), Array("second".utf8)] {
            let (signature, ciphertext) = try client.seal(message)
            // The mechListMIC was number 0 of each direction.
            #expect(signature[12] >= (framing == .raw ? 0 : 1))
            #expect(try server.unseal(ciphertext, signature: signature) == message)
            let (back, answer) = try server.seal(message)
            #expect(try client.unseal(answer, signature: back) == message)
        }
    }

    @Test("After the mechListMIC the ciphers begin anew and the numbers go on")
    func reset() throws {
        var (client, server) = try Self.run(.spnego)
        let plaintext = [UInt8](repeating: 0, count: 32)
        let (signature, ciphertext) = try client.seal(plaintext)
        var stream = RC4(key: NTLMv2.sealingKey(exportedSessionKey: client.exportedSessionKey, .clientToServer))
        #expect(ciphertext == stream.applied(to: plaintext))
        #expect(signature.suffix(4) == [1, 0, 0, 0])
        _ = try server.unseal(ciphertext, signature: signature)
    }

    @Test("Each altered byte of the mechListMIC is found, on either side", arguments: [3, 4])
    func wrongMIC(number: Int) throws {
        for index in 0..<16 {
            #expect(throws: NTLMError.mechListMICMismatch) {
                try Self.run(.spnego) { current, token in
                    guard current == number else {
                        return token
                    }
                    var response = try NegTokenResp(parsing: token)
                    response.mechListMIC?[index] ^= 0x10
                    return response.encoded()
                }
            }
        }
    }

    @Test("A server that leaves its mechListMIC out is refused")
    func missingMIC() {
        #expect(throws: NTLMError.mechListMICMissing) {
            try Self.run(.spnego) { number, token in
                number == 4 ? NegTokenResp(state: .acceptCompleted).encoded() : token
            }
        }
    }

    @Test("A list of mechanisms that was altered on its way is found")
    func alteredList() {
        #expect(throws: NTLMError.mechListMICMismatch) {
            try Self.run(.spnego) { number, token in
                guard number == 1 else {
                    return token
                }
                let mechToken = try NegTokenInit(parsing: token).mechToken
                return NegTokenInit(mechTypes: [.ntlm, .kerberos], mechToken: mechToken).encoded()
            }
        }
    }

    @Test("Reject, another mechanism, no token, tokens after the end")
    func refusals() throws {
        let answers: [(NegTokenResp, NTLMError)] = [
            (NegTokenResp(state: .reject), .rejected),
            (NegTokenResp(state: .acceptIncomplete, supportedMech: .kerberos), .noCommonMechanism),
            (NegTokenResp(state: .acceptIncomplete), .malformed("NegTokenResp.responseToken: missing")),
        ]
        for (answer, error) in answers {
            #expect(throws: error) { try Self.run(.spnego) { $0 == 2 ? answer.encoded() : $1 } }
        }
        let pair = Pair()
        var initiator = SPNEGOInitiator(ntlm: pair.initiator)
        #expect(throws: NTLMError.self) { try initiator.step([]) }
        var acceptor = SPNEGOAcceptor(ntlm: pair.acceptor)
        let kerberos = NegTokenInit(mechTypes: [.kerberos], mechToken: [1]).encoded()
        #expect(throws: NTLMError.noCommonMechanism) { try acceptor.step(kerberos, lookup: Pair.lookup) }
        #expect(throws: NTLMError.self) { try acceptor.step(kerberos, lookup: Pair.lookup) }
    }

    /// A client that would rather have Kerberos, with or without an NTLM token ahead of time.
    @Test("NTLM as second choice: request-mic, and no login without the MIC", arguments: [true, false], [true, false])
    func secondChoice(optimistic: Bool, sendsMIC: Bool) throws {
        var pair = Pair()
        var acceptor = SPNEGOAcceptor(ntlm: pair.acceptor)
        let negotiate = pair.initiator.negotiate()
        let first = NegTokenInit(
            mechTypes: [.microsoftKerberos, .kerberos, .ntlm],
            mechToken: optimistic ? negotiate : [0x60, 0x01, 0x00]
        )
        guard case .continue(let token) = try acceptor.step(first.encoded(), lookup: Pair.lookup) else {
            throw NTLMError.unexpectedMessage("too early")
        }
        var answer = try NegTokenResp(parsing: token)
        #expect(answer.state == .requestMIC)
        #expect(answer.supportedMech == .ntlm)
        #expect((answer.responseToken != nil) == optimistic)
        if !optimistic {
            let next = NegTokenResp(responseToken: negotiate).encoded()
            guard case .continue(let token) = try acceptor.step(next, lookup: Pair.lookup) else {
                throw NTLMError.unexpectedMessage("too early")
            }
            answer = try NegTokenResp(parsing: token)
        }
        var (authenticate, session) = try pair.initiator.authenticate(challenge: answer.responseToken ?? [])
        let mic = sendsMIC ? try session.sign(first.encodedMechTypes) : nil
        let last = NegTokenResp(responseToken: authenticate, mechListMIC: mic).encoded()
        guard sendsMIC else {
            #expect(throws: NTLMError.mechListMICMissing) { try acceptor.step(last, lookup: Pair.lookup) }
            return
        }
        guard case .complete(let final?, let user, _, _) = try acceptor.step(last, lookup: Pair.lookup) else {
            throw NTLMError.unexpectedMessage("not complete")
        }
        #expect(user == Pair.user)
        try session.verifyMechListMIC(first.encodedMechTypes, NegTokenResp(parsing: final).mechListMIC ?? [])
    }

    @Test("Random mutations of tokens never trap", arguments: [11, 12, 13] as [UInt64])
    func mutations(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for round in 0..<2_000 {
            let target = round % 4 + 1
            _ = try? Self.run(.spnego) { $0 == target ? mutate($1, &generator) : $1 }
            let hint = mutate(Self.serverHint, &generator)
            _ = try? NegTokenInit(parsing: hint)
        }
    }
}
