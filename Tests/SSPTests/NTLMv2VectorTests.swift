import Testing

@testable import SSP

/// The published example of [MS-NLMP] 4.2.1 and 4.2.4.
@Suite("Published NTLMv2 example")
struct NTLMv2VectorTests {
    static let serverChallenge = hex("0123456789abcdef")
    static let clientChallenge = hex("aaaaaaaaaaaaaaaa")
    static let sessionKey = [UInt8](repeating: 0x55, count: 16)
    // The pairs as in the CHALLENGE_MESSAGE of 4.2.4.3: domain, then server.
    static let targetInfo = hex(
        """
        02000c00 44006f006d00610069006e00 01000c00 530065007200760065007200 00000000
        """
    )
    static let temp = hex(
        """
        0101000000000000 0000000000000000 aaaaaaaaaaaaaaaa 00000000
        02000c0044006f006d00610069006e0001000c005300650072007600650072000000000000000000
        """
    )
    static let proof = hex("68cd0ab851e51c96aabc927bebef6a1c")
    static let challengeMessage = hex(
        """
        4e544c4d53535000 02000000 0c000c0038000000 33828ae2 0123456789abcdef 0000000000000000
        2400240044000000 060070170000000f 530065007200760065007200
        02000c0044006f006d00610069006e0001000c0053006500720076006500720000000000
        """
    )
    static let authenticateMessage = hex(
        """
        4e544c4d53535000 03000000 180018006c000000 5400540084000000 0c000c0048000000 0800080054000000
        100010005c000000 10001000d8000000 358288e2 0501280a0000000f
        44006f006d00610069006e00 5500730065007200 43004f004d0050005500540045005200
        86c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa
        68cd0ab851e51c96aabc927bebef6a1c 0101000000000000 0000000000000000 aaaaaaaaaaaaaaaa 00000000
        02000c0044006f006d00610069006e0001000c005300650072007600650072000000000000000000
        c5dad2544fc9799094ce1ce90bc9d03e
        """
    )

    let responseKey = NTLMv2.responseKey(username: "User", password: "Password", domain: "Domain")

    @Test("4.2.4.1.1 NTOWFv2")
    func ntowfv2() {
        #expect(hexText(self.responseKey) == "0c868a403bfd7a93a3001ef22ef02e3f")
    }

    @Test("4.2.4.1.3 temp, and 4.2.4.2.2 NTProofStr")
    func ntProof() {
        let temp = NTLMv2.clientChallenge(
            timestamp: 0,
            challenge: Self.clientChallenge,
            targetInfo: Self.targetInfo
        )
        #expect(temp == Self.temp)
        let proof = NTLMv2.proof(
            responseKey: self.responseKey,
            serverChallenge: Self.serverChallenge,
            clientChallenge: temp
        )
        #expect(proof == Self.proof)
    }

    @Test("4.2.4.2.1 LMv2 response")
    func lmv2() {
        let response = NTLMv2.lmResponse(
            responseKey: self.responseKey,
            serverChallenge: Self.serverChallenge,
            challenge: Self.clientChallenge
        )
        #expect(hexText(response) == "86c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa")
    }

    @Test("4.2.4.1.2 session base key, and 4.2.4.2.3 encrypted session key")
    func sessionKeys() {
        let base = NTLMv2.sessionBaseKey(responseKey: self.responseKey, proof: Self.proof)
        #expect(hexText(base) == "8de40ccadbc14a82f15cb0ad0de95ca3")
        #expect(hexText(NTLMv2.rc4(key: base, Self.sessionKey)) == "c5dad2544fc9799094ce1ce90bc9d03e")
    }

    @Test("4.2.4.3 CHALLENGE_MESSAGE, read and written")
    func challenge() throws {
        let message = try ChallengeMessage(parsing: Self.challengeMessage)
        #expect(message.serverChallenge == Self.serverChallenge)
        #expect(message.targetName == "Server")
        #expect(message.version == NTLMVersion(major: 6, minor: 0, build: 6000))
        #expect(try message.targetInfo?.encoded() == Self.targetInfo)
        #expect(try message.encoded() == Self.challengeMessage)

        let info = try NTLMChallengeInfo.parse(Self.challengeMessage)
        #expect(info.netbiosDomainName == "Domain")
        #expect(info.netbiosComputerName == "Server")
        #expect(info.timestamp == nil)
        #expect(info.dnsComputerName == nil)
    }

    @Test("4.2.4.3 AUTHENTICATE_MESSAGE, read and written")
    func authenticate() throws {
        let message = try AuthenticateMessage(parsing: Self.authenticateMessage)
        #expect(message.username == "User")
        #expect(message.domain == "Domain")
        #expect(message.workstation == "COMPUTER")
        #expect(message.ntResponse == Self.proof + Self.temp)
        #expect(message.micOffset == nil)
        #expect(message.version == NTLMVersion(major: 5, minor: 1, build: 2600))

        let written = AuthenticateMessage(
            flags: NegotiateFlags(rawValue: 0xe288_8235),
            lmResponse: hex("86c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa"),
            ntResponse: Self.proof + Self.temp,
            domain: "Domain",
            username: "User",
            workstation: "COMPUTER",
            encryptedSessionKey: hex("c5dad2544fc9799094ce1ce90bc9d03e"),
            version: NTLMVersion(major: 5, minor: 1, build: 2600),
            hasMIC: false
        )
        #expect(try written.encoded() == Self.authenticateMessage)
    }

    @Test("An acceptor with the example's challenge accepts the example's AUTHENTICATE_MESSAGE")
    func acceptsPublished() throws {
        var acceptor = NTLMAcceptor(
            configuration: .init(
                netbiosComputerName: "Server",
                netbiosDomainName: "Domain",
                dnsComputerName: "server",
                dnsDomainName: "domain",
                environment: .fixed(challenge: Self.serverChallenge)
            )
        )
        var client = NTLMInitiator(credential: NTLMCredential(username: "User", password: ""))
        _ = try acceptor.challenge(negotiate: client.negotiate())
        let (user, domain, session) = try acceptor.accept(authenticate: Self.authenticateMessage) { user, domain in
            user == "User" && domain == "Domain" ? "Password" : nil
        }
        #expect(user == "User")
        #expect(domain == "Domain")
        #expect(session.exportedSessionKey == Self.sessionKey)
    }

    @Test("An initiator answers the example's challenge with the example's LM response, and a MIC of its own")
    func answersPublished() throws {
        var initiator = NTLMInitiator(
            credential: NTLMCredential(username: "User", password: "Password", domain: "Domain"),
            environment: .fixed()
        )
        let negotiate = initiator.negotiate()
        let (token, session) = try initiator.authenticate(challenge: Self.challengeMessage)
        let message = try AuthenticateMessage(parsing: token)
        #expect(hexText(message.lmResponse) == "86c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa")
        #expect(session.exportedSessionKey == Self.sessionKey)

        // The MIC spelt out anew: HMAC-MD5 over the three messages, its own place zero.
        let offset = try #require(message.micOffset)
        var cleared = token
        cleared.replaceSubrange(offset..<offset + 16, with: [UInt8](repeating: 0, count: 16))
        #expect(
            Array(token[offset..<offset + 16])
                == Digests.hmacMD5(key: Self.sessionKey, negotiate + Self.challengeMessage + cleared)
        )
    }

    @Test("4.2.4.4 signing key, sealing key and GSS_WrapEx")
    func seal() throws {
        #expect(
            hexText(NTLMv2.sealingKey(exportedSessionKey: Self.sessionKey, .clientToServer))
                == "59f600973cc4960a25480a7c196e4c58"
        )
        #expect(
            hexText(NTLMv2.signingKey(exportedSessionKey: Self.sessionKey, .clientToServer))
                == "4788dc861b4782f35d43fd98fe1a2d39"
        )
        let plaintext = [UInt8](utf16: "Plaintext")
        var client = NTLMSession(exportedSessionKey: Self.sessionKey, role: .client)
        let (signature, ciphertext) = try client.seal(plaintext)
        #expect(hexText(ciphertext) == "54e50165bf1936dc996020c1811b0f06fb5f")
        #expect(hexText(signature) == "010000007fb38ec5c55d497600000000")

        var server = NTLMSession(exportedSessionKey: Self.sessionKey, role: .server)
        #expect(try server.unseal(ciphertext, signature: signature) == plaintext)
    }

    /// The example of Microsoft's "NTLM and Channel Binding Hash".
    @Test("Channel binding hash of a published certificate hash")
    func channelBinding() {
        let bindings = ChannelBindings.tlsServerEndPoint(
            certificateHash: hex("ea05fefecc6b0bd571dbbc5baa3ed45386d0446835f7b74c85621b9983475f95")
        )
        #expect(hexText(bindings.md5) == "6586e99d81c2fc984e47172fd4dd0310")
    }

    @Test(
        "User names are uppercased unit by unit",
        arguments: [("straße", "STRAßE"), ("Ädmin-é", "ÄDMIN-É"), ("ıµſ", "ıµſ")]
    )
    func uppercase(name: String, expected: String) {
        #expect(NTLMv2.uppercase(name) == expected)
    }
}
