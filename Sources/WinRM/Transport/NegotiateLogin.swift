import NIOHTTP1
import SSP

/// Signs in with NTLM inside HTTP's `Negotiate` ([MS-N2HT], RFC 4559).
///
/// Three legs on one connection, all with an empty body: our NEGOTIATE_MESSAGE is answered by a 401 with the host's
/// challenge, our AUTHENTICATE_MESSAGE by a 200 with nothing in it. NTLM's messages go bare, as hosts accept; a host
/// that wraps its challenge in SPNEGO gets the last one wrapped, too.
struct NegotiateLogin {
    private var initiator: NTLMInitiator
    private var session: NTLMSession?

    init(credential: NTLMCredential, channelBindings: ChannelBindings?, environment: NTLMEnvironment) {
        self.initiator = NTLMInitiator(
            credential: credential,
            channelBindings: channelBindings,
            environment: environment
        )
    }

    /// What the host said about itself in its challenge.
    var challengeInfo: NTLMChallengeInfo? { self.initiator.challengeInfo }

    /// The `Authorization` of the first request.
    mutating func start() -> String {
        "Negotiate " + Base64.encode(self.initiator.negotiate())
    }

    /// Takes the answer to the first request.
    ///
    /// - Returns: the `Authorization` of the second.
    mutating func answer(_ reply: HTTPReply) throws(WinRMError) -> String {
        guard reply.status == 401 else {
            throw reply.status / 100 == 2
                ? .protocolViolation("the host answered a login's first message with status \(reply.status)")
                : .httpStatus(reply.status)
        }
        let challenges = HTTPChallenges(reply.headers["WWW-Authenticate"])
        guard let token = challenges.negotiateToken else { throw .noCommonScheme(offered: challenges.schemes) }
        do {
            let isRaw = SPNEGO.isRawNTLM(token)
            let challenge = isRaw ? token : try NegTokenResp(parsing: token).responseToken ?? []
            let (message, session) = try self.initiator.authenticate(challenge: challenge)
            self.session = session
            let answer = isRaw ? message : NegTokenResp(responseToken: message).encoded()
            return "Negotiate " + Base64.encode(answer)
        } catch {
            throw .protocolViolation("the host's NTLM challenge: \(error)")
        }
    }

    /// Takes the answer to the second request.
    mutating func finish(_ reply: HTTPReply) throws(WinRMError) -> NTLMSession {
        switch reply.status {
        case 200..<300:
            guard let session = self.session else { throw .misuse("a login that ends before its challenge") }
            return session
        case 401:
            throw .authenticationFailed("")
        default:
            throw .httpStatus(reply.status)
        }
    }
}
