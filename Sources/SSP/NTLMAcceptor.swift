/// The server's side of an NTLMv2 authentication, [MS-NLMP] 3.2.5. Bytes in, bytes out; one use per connection.
package struct NTLMAcceptor: Sendable {
    /// Who the server is and what it insists on.
    package struct Configuration: Sendable {
        /// NetBIOS name of the computer, at most 15 characters.
        package var netbiosComputerName: String
        /// NetBIOS name of the domain; the computer's own name when it is in none.
        package var netbiosDomainName: String
        /// Fully qualified name of the computer.
        package var dnsComputerName: String
        /// DNS name of the domain.
        package var dnsDomainName: String
        /// DNS name of the forest; left out of the challenge when nil.
        package var dnsTreeName: String?
        /// Version and build that the challenge shows.
        package var version: NTLMVersion
        /// Clients must be bound to this channel; nil accepts any binding and none.
        package var requiredChannelBindings: ChannelBindings?
        /// Lets clients in that are bound to no channel at all, while a binding to another one is still refused.
        ///
        /// This is what Windows calls relaxed checking, the default of its WinRM service.
        package var acceptsUnboundClients: Bool
        /// Refuses clients that send no MIC.
        package var requireMIC: Bool
        /// Puts the time into the challenge, as Windows does since 2008.
        package var offersTimestamp: Bool
        /// Clock and randomness.
        package var environment: NTLMEnvironment

        /// Builds a configuration; the version defaults to that of Windows Server 2019.
        package init(
            netbiosComputerName: String,
            netbiosDomainName: String,
            dnsComputerName: String,
            dnsDomainName: String,
            dnsTreeName: String? = nil,
            version: NTLMVersion = NTLMVersion(major: 10, minor: 0, build: 17763),
            requiredChannelBindings: ChannelBindings? = nil,
            acceptsUnboundClients: Bool = false,
            requireMIC: Bool = false,
            offersTimestamp: Bool = true,
            environment: NTLMEnvironment = .system
        ) {
            self.netbiosComputerName = netbiosComputerName
            self.netbiosDomainName = netbiosDomainName
            self.dnsComputerName = dnsComputerName
            self.dnsDomainName = dnsDomainName
            self.dnsTreeName = dnsTreeName
            self.version = version
            self.requiredChannelBindings = requiredChannelBindings
            self.acceptsUnboundClients = acceptsUnboundClients
            self.requireMIC = requireMIC
            self.offersTimestamp = offersTimestamp
            self.environment = environment
        }
    }

    private enum State: Sendable {
        case initial
        case challenged(negotiate: [UInt8], challenge: [UInt8], serverChallenge: [UInt8])
        case finished
    }

    private let configuration: Configuration
    private var state = State.initial

    /// Prepares the acceptance of one client.
    package init(configuration: Configuration) {
        self.configuration = configuration
    }

    /// Answers a NEGOTIATE_MESSAGE. A second one begins anew.
    ///
    /// Throws `malformed`, `tooLarge`, `unexpectedMessage`, or `unsupported` for a client that offers less than
    /// NTLMv2 with 128-bit sealing.
    package mutating func challenge(negotiate: [UInt8]) throws(NTLMError) -> [UInt8] {
        let message = try NegotiateMessage(parsing: negotiate)
        try message.flags.checkRequired(in: "NEGOTIATE_MESSAGE")

        let configuration = self.configuration
        var info = AVPairs()
        info[AVPairs.Identifier.netbiosDomainName] = [UInt8](utf16: configuration.netbiosDomainName)
        info[AVPairs.Identifier.netbiosComputerName] = [UInt8](utf16: configuration.netbiosComputerName)
        info[AVPairs.Identifier.dnsDomainName] = [UInt8](utf16: configuration.dnsDomainName)
        info[AVPairs.Identifier.dnsComputerName] = [UInt8](utf16: configuration.dnsComputerName)
        info[AVPairs.Identifier.dnsTreeName] = configuration.dnsTreeName.map { [UInt8](utf16: $0) }
        if configuration.offersTimestamp {
            var time: [UInt8] = []
            time.append(littleEndian: configuration.environment.now())
            info[AVPairs.Identifier.timestamp] = time
        }

        let isStandalone = configuration.netbiosDomainName == configuration.netbiosComputerName
        let serverChallenge = configuration.environment.random(ChallengeMessage.challengeSize)
        let challenge = try ChallengeMessage(
            flags: NegotiateFlags.offered.union(.key56).intersection(message.flags)
                .union([.ntlm, .alwaysSign, .targetInfo, isStandalone ? .targetTypeServer : .targetTypeDomain]),
            serverChallenge: serverChallenge,
            targetName: configuration.netbiosDomainName,
            targetInfo: info,
            version: message.flags.contains(.version) ? configuration.version : nil
        ).encoded()
        self.state = .challenged(negotiate: negotiate, challenge: challenge, serverChallenge: serverChallenge)
        return challenge
    }

    /// Checks the client's AUTHENTICATE_MESSAGE.
    ///
    /// `lookup(username, domain)` gives the password, nil for an unknown user, which is treated like a wrong
    /// password. Names come as the client wrote them. Throws `wrongPassword`, `micMismatch`, `micMissing`,
    /// `channelBindingMismatch`, `unsupported` for anything weaker than NTLMv2, and what parsing throws.
    package mutating func accept(
        authenticate: [UInt8],
        lookup: (_ username: String, _ domain: String) -> String?
    ) throws(NTLMError) -> (user: String, domain: String, session: NTLMSession) {
        guard case .challenged(let negotiate, let challenge, let serverChallenge) = self.state else {
            throw .unexpectedMessage("an AUTHENTICATE_MESSAGE without a CHALLENGE_MESSAGE before it")
        }
        // One challenge serves for one answer, right or wrong.
        self.state = .finished
        let message = try AuthenticateMessage(parsing: authenticate)
        let info = try Self.targetInfo(of: message)
        try message.flags.checkRequired(in: "AUTHENTICATE_MESSAGE")

        let password = lookup(message.username, message.domain)
        let responseKey = NTLMv2.responseKey(
            username: message.username,
            password: password ?? "",
            domain: message.domain
        )
        let expected = NTLMv2.proof(
            responseKey: responseKey,
            serverChallenge: serverChallenge,
            clientChallenge: Array(message.ntResponse.dropFirst(NTLMv2.proofSize))
        )
        let matches = Digests.constantTimeEqual(expected, message.ntResponse.prefix(NTLMv2.proofSize))
        guard matches, password != nil else {
            throw .wrongPassword
        }
        let exportedKey = NTLMv2.rc4(
            key: NTLMv2.sessionBaseKey(responseKey: responseKey, proof: expected),
            message.encryptedSessionKey
        )

        if try info.flags() & AVPairs.micPresent != 0 {
            guard let offset = message.micOffset else {
                throw .malformed("AUTHENTICATE_MESSAGE.MIC: announced, but there is no room for it")
            }
            let range = offset..<offset + AuthenticateMessage.micSize
            var cleared = authenticate
            cleared.replaceSubrange(range, with: repeatElement(0, count: range.count))
            let mic = NTLMv2.mic(
                exportedSessionKey: exportedKey,
                negotiate: negotiate,
                challenge: challenge,
                authenticate: cleared
            )
            guard Digests.constantTimeEqual(mic, authenticate[range]) else {
                throw .micMismatch
            }
        } else if self.configuration.requireMIC {
            throw .micMissing
        }

        try self.checkChannelBindings(info[AVPairs.Identifier.channelBindings] ?? [])
        return (
            message.username, message.domain, NTLMSession(exportedSessionKey: exportedKey, role: .server)
        )
    }

    private func checkChannelBindings(_ bound: [UInt8]) throws(NTLMError) {
        guard let required = self.configuration.requiredChannelBindings else {
            return
        }
        let isUnbound = bound.allSatisfy { $0 == 0 }
        guard
            Digests.constantTimeEqual(bound, required.md5) || (isUnbound && self.configuration.acceptsUnboundClients)
        else {
            throw .channelBindingMismatch
        }
    }

    /// The AV pairs inside an NTLMv2 response; throws for NTLMv1, anonymous clients and what cannot be read.
    private static func targetInfo(of message: AuthenticateMessage) throws(NTLMError) -> AVPairs {
        guard !message.username.isEmpty, !message.flags.contains(.anonymous) else {
            throw .unsupported("anonymous logon")
        }
        // NTLMv1 responses have 24 bytes, NTLMv2 ones at least a proof, a header and MsvAvEOL.
        let headerSize = NTLMv2.proofSize + NTLMv2.clientChallengeHeaderSize
        guard message.ntResponse.count >= headerSize + 4 else {
            throw .unsupported("a response weaker than NTLMv2")
        }
        guard message.ntResponse[NTLMv2.proofSize] == 1, message.ntResponse[NTLMv2.proofSize + 1] == 1 else {
            throw .malformed("AUTHENTICATE_MESSAGE.NtChallengeResponse: unknown response type")
        }
        guard message.encryptedSessionKey.count == NTLMv2.keySize else {
            throw .malformed("AUTHENTICATE_MESSAGE.EncryptedRandomSessionKey: not \(NTLMv2.keySize) bytes")
        }
        return try AVPairs(parsing: message.ntResponse[headerSize...], "AUTHENTICATE_MESSAGE.NtChallengeResponse")
    }
}
