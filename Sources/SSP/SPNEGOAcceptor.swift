/// The server's side of an authentication over HTTP's `Negotiate` or DCE/RPC: NTLM, bare or within SPNEGO.
///
/// The client's first token decides which; answers come in the same framing.
package struct SPNEGOAcceptor: Sendable {
    /// What to do after a token was taken in.
    package enum Step: Sendable {
        /// Send this token and hand the answer to `step`.
        case `continue`([UInt8])
        /// Authenticated. Send `token`, if there is one; `session` signs and seals from here on.
        case complete(token: [UInt8]?, user: String, domain: String, session: NTLMSession)
    }

    private enum State: Sendable {
        case initial
        case rawChallenged
        /// The client's optimistic token was for another mechanism: its NEGOTIATE_MESSAGE is still to come.
        case awaitsNegotiate(mechTypes: [UInt8])
        case awaitsAuthenticate(mechTypes: [UInt8], micRequired: Bool)
        case finished
    }

    private var ntlm: NTLMAcceptor
    private var state = State.initial

    /// Prepares the acceptance of one client.
    package init(ntlm: NTLMAcceptor) {
        self.ntlm = ntlm
    }

    /// Takes in a token of the client; `lookup` gives a user's password as in `NTLMAcceptor.accept`.
    ///
    /// Throws what `NTLMAcceptor` throws, `noCommonMechanism`, `mechListMICMissing`, `mechListMICMismatch`. After
    /// an error the exchange is over.
    package mutating func step(
        _ token: [UInt8],
        lookup: (_ username: String, _ domain: String) -> String?
    ) throws(NTLMError) -> Step {
        let state = self.state
        self.state = .finished
        switch state {
        case .initial where SPNEGO.isRawNTLM(token):
            let challenge = try self.ntlm.challenge(negotiate: token)
            self.state = .rawChallenged
            return .continue(challenge)
        case .rawChallenged:
            let (user, domain, session) = try self.ntlm.accept(authenticate: token, lookup: lookup)
            return .complete(token: nil, user: user, domain: domain, session: session)
        case .initial:
            return try self.begin(NegTokenInit(parsing: token))
        case .awaitsNegotiate(let mechTypes):
            guard let negotiate = try NegTokenResp(parsing: token).responseToken else {
                throw .malformed("NegTokenResp.responseToken: missing")
            }
            let challenge = try self.ntlm.challenge(negotiate: negotiate)
            self.state = .awaitsAuthenticate(mechTypes: mechTypes, micRequired: true)
            return .continue(NegTokenResp(state: .acceptIncomplete, responseToken: challenge).encoded())
        case .awaitsAuthenticate(let mechTypes, let micRequired):
            return try self.finish(
                NegTokenResp(parsing: token),
                mechTypes: mechTypes,
                micRequired: micRequired,
                lookup: lookup
            )
        case .finished:
            throw .unexpectedMessage("a token from the client after the authentication")
        }
    }

    private mutating func begin(_ token: NegTokenInit) throws(NTLMError) -> Step {
        guard token.mechTypes.contains(.ntlm) else {
            throw .noCommonMechanism
        }
        // RFC 4178 section 5: choosing another than the client's first choice makes the MIC mandatory, lest
        // somebody on the way took the better one off the list.
        let isFirstChoice = token.mechTypes.first == .ntlm
        var response = NegTokenResp(state: isFirstChoice ? .acceptIncomplete : .requestMIC, supportedMech: .ntlm)
        if let mechToken = token.mechToken, isFirstChoice || SPNEGO.isRawNTLM(mechToken) {
            response.responseToken = try self.ntlm.challenge(negotiate: mechToken)
            self.state = .awaitsAuthenticate(mechTypes: token.encodedMechTypes, micRequired: !isFirstChoice)
        } else {
            self.state = .awaitsNegotiate(mechTypes: token.encodedMechTypes)
        }
        return .continue(response.encoded())
    }

    private mutating func finish(
        _ response: NegTokenResp,
        mechTypes: [UInt8],
        micRequired: Bool,
        lookup: (_ username: String, _ domain: String) -> String?
    ) throws(NTLMError) -> Step {
        guard response.state != .reject else {
            throw .rejected
        }
        guard let authenticate = response.responseToken else {
            throw .malformed("NegTokenResp.responseToken: missing")
        }
        var (user, domain, session) = try self.ntlm.accept(authenticate: authenticate, lookup: lookup)
        var answer = NegTokenResp(state: .acceptCompleted)
        if let mic = response.mechListMIC {
            try session.verifyMechListMIC(mechTypes, mic)
            answer.mechListMIC = try session.sign(mechTypes)
            session.resetOutgoingCipher()
        } else if micRequired {
            throw .mechListMICMissing
        }
        return .complete(token: answer.encoded(), user: user, domain: domain, session: session)
    }
}
