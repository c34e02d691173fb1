/// The client's side of an NTLMv2 authentication, [MS-NLMP] 3.1.5. Bytes in, bytes out; one use per connection.
package struct NTLMInitiator: Sendable {
    private enum State: Sendable {
        case initial
        case negotiated([UInt8])
        case finished
    }

    /// What the server told about itself; nil before its challenge came.
    package private(set) var challengeInfo: NTLMChallengeInfo?

    private let credential: NTLMCredential
    private let channelBindings: ChannelBindings?
    private let targetName: String?
    private let environment: NTLMEnvironment
    private var state = State.initial

    // VERSION is there for debugging only; some servers want the field, none looks at the build.
    private static let version = NTLMVersion(major: 10, minor: 0, build: 0)

    /// Prepares an authentication.
    ///
    /// `channelBindings` binds to the TLS connection underneath (nil without TLS); `targetName` is the service
    /// principal name of the server, such as `HTTP/host`.
    package init(
        credential: NTLMCredential,
        channelBindings: ChannelBindings? = nil,
        targetName: String? = nil,
        environment: NTLMEnvironment = .system
    ) {
        self.credential = credential
        self.channelBindings = channelBindings
        self.targetName = targetName
        self.environment = environment
    }

    /// The first message. Calling it again begins anew.
    package mutating func negotiate() -> [UInt8] {
        let message = NegotiateMessage(flags: .offered, version: Self.version).encoded()
        self.state = .negotiated(message)
        return message
    }

    /// Answers the server's challenge.
    ///
    /// Throws `malformed` or `tooLarge` for a challenge that cannot be read, `unsupported` for a server that wants
    /// less than NTLMv2 with 128-bit sealing, `unexpectedMessage` without `negotiate()` before.
    package mutating func authenticate(
        challenge: [UInt8]
    ) throws(NTLMError) -> (token: [UInt8], session: NTLMSession) {
        guard case .negotiated(let negotiate) = self.state else {
            throw .unexpectedMessage("a CHALLENGE_MESSAGE without a NEGOTIATE_MESSAGE before it")
        }
        self.state = .finished
        let message = try ChallengeMessage(parsing: challenge)
        self.challengeInfo = try NTLMChallengeInfo(message)
        try message.flags.checkRequired(in: "CHALLENGE_MESSAGE")
        // [MS-NLMP] 3.1.5.1.2: with integrity wanted, both names must be there.
        guard let serverInfo = message.targetInfo, serverInfo[AVPairs.Identifier.netbiosComputerName] != nil,
            serverInfo[AVPairs.Identifier.netbiosDomainName] != nil
        else {
            throw .unsupported("CHALLENGE_MESSAGE without the names that NTLMv2 signs")
        }

        let serverTime = try serverInfo.timestamp()
        let clientChallenge = self.environment.random(ChallengeMessage.challengeSize)
        let blob = NTLMv2.clientChallenge(
            timestamp: serverTime ?? self.environment.now(),
            challenge: clientChallenge,
            targetInfo: try self.targetInfo(from: serverInfo).encoded()
        )
        let responseKey = NTLMv2.responseKey(
            username: self.credential.username,
            password: self.credential.password,
            domain: self.credential.domain
        )
        let serverChallenge = message.serverChallenge
        let proof = NTLMv2.proof(responseKey: responseKey, serverChallenge: serverChallenge, clientChallenge: blob)
        let lmResponse =
            serverTime == nil
            ? NTLMv2.lmResponse(responseKey: responseKey, serverChallenge: serverChallenge, challenge: clientChallenge)
            : [UInt8](repeating: 0, count: 24)
        let exportedKey = self.environment.random(NTLMv2.keySize)

        let authenticate = AuthenticateMessage(
            flags: NegotiateFlags.offered.union(.targetInfo).intersection(message.flags),
            lmResponse: lmResponse,
            ntResponse: proof + blob,
            domain: self.credential.domain,
            username: self.credential.username,
            workstation: self.credential.workstation,
            encryptedSessionKey: NTLMv2.rc4(
                key: NTLMv2.sessionBaseKey(responseKey: responseKey, proof: proof),
                exportedKey
            ),
            version: message.flags.contains(.version) ? Self.version : nil,
            hasMIC: true
        )
        var token = try authenticate.encoded()
        if let offset = authenticate.micOffset {
            let mic = NTLMv2.mic(
                exportedSessionKey: exportedKey,
                negotiate: negotiate,
                challenge: challenge,
                authenticate: token
            )
            token.replaceSubrange(offset..<offset + AuthenticateMessage.micSize, with: mic)
        }
        return (token, NTLMSession(exportedSessionKey: exportedKey, role: .client))
    }

    /// The server's pairs with the client's own added, [MS-NLMP] 3.1.5.1.2.
    private func targetInfo(from serverInfo: AVPairs) throws(NTLMError) -> AVPairs {
        var info = serverInfo
        var flags: [UInt8] = []
        flags.append(littleEndian: try serverInfo.flags() | AVPairs.micPresent)
        info[AVPairs.Identifier.flags] = flags
        // Sixteen zeros say "not bound"; Windows sends them too.
        info[AVPairs.Identifier.channelBindings] = self.channelBindings?.md5 ?? [UInt8](repeating: 0, count: 16)
        info[AVPairs.Identifier.targetName] = [UInt8](utf16: self.targetName ?? "")
        return info
    }
}

extension NTLMEnvironment {
    func random(_ count: Int) -> [UInt8] {
        let bytes = self.randomBytes(count)
        precondition(bytes.count == count, "NTLMEnvironment.randomBytes must give as many bytes as asked for")
        return bytes
    }
}
