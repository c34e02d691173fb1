/// The client's side of an authentication over HTTP's `Negotiate` or DCE/RPC: NTLM, bare or within SPNEGO.
///
/// Raw: `start()`, then one `step` that completes with the last token to send. SPNEGO: one more `step` with the
/// server's last token, which proves that nobody altered the list of mechanisms.
package struct SPNEGOInitiator: Sendable {
    /// Whether NTLM's messages travel bare or wrapped.
    package enum Framing: Sendable {
        /// NTLMSSP messages as they are.
        case raw
        /// NegTokenInit and NegTokenResp around them.
        case spnego
    }

    /// What to do after a token was taken in.
    package enum Step: Sendable {
        /// Send this token and hand the answer to `step`.
        case `continue`([UInt8])
        /// Authenticated. Send `token`, if there is one; `session` signs and seals from here on.
        case complete(token: [UInt8]?, session: NTLMSession)
    }

    private enum State: Sendable {
        case initial
        case awaitsChallenge
        case awaitsCompletion(NTLMSession)
        case finished
    }

    /// What the server told about itself; nil before its challenge came.
    package var challengeInfo: NTLMChallengeInfo? {
        self.ntlm.challengeInfo
    }

    private var ntlm: NTLMInitiator
    private let framing: Framing
    private let encodedMechTypes: [UInt8]
    private var state = State.initial

    /// Prepares an authentication around an NTLM initiator that was not used yet.
    package init(ntlm: NTLMInitiator, framing: Framing = .spnego) {
        self.ntlm = ntlm
        self.framing = framing
        self.encodedMechTypes = SPNEGO.encodeMechanisms([.ntlm])
    }

    /// The first token.
    ///
    /// `hint` is a NegTokenInit2 of a server that spoke first ([MS-SPNG] 3.2.5.2). Throws `noCommonMechanism` when
    /// it lists no NTLM, `malformed` when it cannot be read, `unexpectedMessage` when called twice.
    package mutating func start(hint: [UInt8]? = nil) throws(NTLMError) -> [UInt8] {
        guard case .initial = self.state else {
            throw .unexpectedMessage("a second start of an authentication")
        }
        if let hint {
            guard try NegTokenInit(parsing: hint).mechTypes.contains(.ntlm) else {
                throw .noCommonMechanism
            }
        }
        self.state = .awaitsChallenge
        let negotiate = self.ntlm.negotiate()
        switch self.framing {
        case .raw: return negotiate
        case .spnego: return NegTokenInit(mechTypes: [.ntlm], mechToken: negotiate).encoded()
        }
    }

    /// Takes in the server's token.
    ///
    /// Throws what `NTLMInitiator.authenticate` throws, `rejected`, `noCommonMechanism`, `mechListMICMissing`,
    /// `mechListMICMismatch`. After an error the exchange is over.
    package mutating func step(_ token: [UInt8]) throws(NTLMError) -> Step {
        let state = self.state
        self.state = .finished
        switch (state, self.framing) {
        case (.awaitsChallenge, .raw):
            let (answer, session) = try self.ntlm.authenticate(challenge: token)
            return .complete(token: answer, session: session)
        case (.awaitsChallenge, .spnego):
            return try self.answer(NegTokenResp(parsing: token))
        case (.awaitsCompletion(var session), _):
            try self.finish(NegTokenResp(parsing: token), &session)
            return .complete(token: nil, session: session)
        case (.initial, _), (.finished, _):
            throw .unexpectedMessage("a token from the server outside an authentication")
        }
    }

    private mutating func answer(_ response: NegTokenResp) throws(NTLMError) -> Step {
        guard response.state != .reject else {
            throw .rejected
        }
        if let mechanism = response.supportedMech, mechanism != .ntlm {
            throw .noCommonMechanism
        }
        guard let challenge = response.responseToken else {
            throw .malformed("NegTokenResp.responseToken: missing")
        }
        var (answer, session) = try self.ntlm.authenticate(challenge: challenge)
        let mic = try session.sign(self.encodedMechTypes)
        session.resetOutgoingCipher()
        self.state = .awaitsCompletion(session)
        return .continue(
            NegTokenResp(state: .acceptIncomplete, responseToken: answer, mechListMIC: mic).encoded()
        )
    }

    private func finish(_ response: NegTokenResp, _ session: inout NTLMSession) throws(NTLMError) {
        switch response.state {
        case .reject: throw .rejected
        case .acceptIncomplete, .requestMIC: throw .unexpectedMessage("more tokens than NTLM has")
        case .acceptCompleted, nil: break
        }
        // We sent a mechListMIC, so the server owes one (RFC 4178 section 5). A server that did not even look at
        // ours counts its messages from another number, and no sealed message would be understood.
        guard let mic = response.mechListMIC else {
            throw .mechListMICMissing
        }
        try session.verifyMechListMIC(self.encodedMechTypes, mic)
    }
}

extension NTLMSession {
    mutating func verifyMechListMIC(_ mechTypes: [UInt8], _ mic: [UInt8]) throws(NTLMError) {
        do throws(NTLMError) {
            try self.verify(mechTypes, signature: mic)
        } catch {
            throw .mechListMICMismatch
        }
        self.resetIncomingCipher()
    }
}
