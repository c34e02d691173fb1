import NIOHTTP1
import SSP
import WinRM

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// Who is at the other end of a connection, and how its bodies are protected.
///
/// Decides only: bytes come in with the request, and what to answer comes out. NTLM authenticates the connection, so
/// one value of this type lives as long as a connection does.
struct ConnectionSecurity: Sendable {
    /// What a host insists on at the moment.
    struct Policy: Sendable {
        var isTLS: Bool
        var service: SimulatorConfiguration.Service
        /// Faults may refuse everybody.
        var refusesLogins = false
        /// `lookup(user, domain)` gives the password of those who may log in.
        var lookup: @Sendable (_ user: String, _ domain: String) -> String?
        var ntlm: NTLMAcceptor.Configuration

        var offersBasic: Bool { self.service.offersBasic && (self.isTLS || self.service.allowsUnencrypted) }
    }

    /// What happened to the login with this request.
    enum Login: Sendable, Hashable {
        case none
        case succeeded
        case failed
    }

    enum Decision: Sendable {
        case reply(HTTPAnswer, Login)
        /// The user may ask. `token` goes back in `WWW-Authenticate`, if there is one.
        case authorized(user: String, token: String?, Login)
    }

    private enum State: Sendable {
        case anonymous
        case negotiating(SPNEGOAcceptor)
        case established(user: String, session: NTLMSession)
        case basic(user: String, credential: String)
    }

    private var state = State.anonymous

    /// Whether the connection carries requests without another login.
    var isEstablished: Bool {
        if case .established = self.state { true } else { false }
    }

    /// Forgets the login.
    mutating func reset() {
        self.state = .anonymous
    }

    // MARK: Logins

    /// - Parameter policy: asked for only if the request does not continue an established connection, as most do.
    mutating func decide(_ request: HTTPRequest, policy: @autoclosure () -> Policy) -> Decision {
        guard let authorization = request.header("Authorization") else {
            if case .established(let user, _) = self.state {
                return .authorized(user: user, token: nil, .none)
            }
            return .reply(Self.unauthorized(policy(), closes: true), .none)
        }
        let policy = policy()
        let parts = authorization.split(separator: " ", maxSplits: 1)
        let scheme = parts.first.map { $0.lowercased() } ?? ""
        let content = parts.count == 2 ? String(parts[1]) : ""
        switch scheme {
        case "negotiate" where policy.service.offersNegotiate:
            return self.negotiate(content, policy: policy)
        case "basic" where policy.offersBasic:
            return self.basic(content, policy: policy)
        default:
            // A scheme that is not offered counts as no login at all.
            self.reset()
            return .reply(Self.unauthorized(policy, closes: true), .none)
        }
    }

    private mutating func negotiate(_ content: String, policy: Policy) -> Decision {
        guard let token = Data(base64Encoded: content).map({ [UInt8]($0) }), !token.isEmpty else {
            self.reset()
            return .reply(HTTPAnswer(status: 400, closes: true), .none)
        }
        var acceptor: SPNEGOAcceptor
        if case .negotiating(let pending) = self.state, !Self.isFirstToken(token) {
            acceptor = pending
        } else {
            acceptor = SPNEGOAcceptor(ntlm: NTLMAcceptor(configuration: policy.ntlm))
        }
        self.state = .anonymous
        do throws(NTLMError) {
            let lookup = policy.refusesLogins ? { _, _ in nil } : policy.lookup
            switch try acceptor.step(token, lookup: lookup) {
            case .continue(let challenge):
                self.state = .negotiating(acceptor)
                var answer = HTTPAnswer(status: 401)
                let encoded = Data(challenge).base64EncodedString()
                answer.headers = [("WWW-Authenticate", "Negotiate \(encoded)")]
                return .reply(answer, .none)
            case .complete(let answerToken, let user, let domain, let session):
                let name = domain.isEmpty ? user.lowercased() : "\(domain)\\\(user)".lowercased()
                self.state = .established(user: name, session: session)
                let encoded = answerToken.map { Data($0).base64EncodedString() }
                return .authorized(user: name, token: encoded, .succeeded)
            }
        } catch {
            return .reply(Self.unauthorized(policy, closes: true), .failed)
        }
    }

    /// A NEGOTIATE_MESSAGE or a SPNEGO NegTokenInit: both begin a login anew.
    private static func isFirstToken(_ token: [UInt8]) -> Bool {
        if SPNEGO.isRawNTLM(token) { return token.count > 8 && token[8] == 1 }
        return token.first == 0x60
    }

    private mutating func basic(_ content: String, policy: Policy) -> Decision {
        if case .basic(let user, let credential) = self.state, credential == content, !policy.refusesLogins {
            return .authorized(user: user, token: nil, .none)
        }
        self.reset()
        guard let decoded = Data(base64Encoded: content).map({ String(decoding: $0, as: UTF8.self) }),
            let colon = decoded.firstIndex(of: ":")
        else { return .reply(Self.unauthorized(policy, closes: true), .failed) }
        let (user, domain) = Account.split(String(decoded[..<colon]))
        let password = String(decoded[decoded.index(after: colon)...])
        guard !policy.refusesLogins, policy.lookup(user, domain) == password else {
            return .reply(Self.unauthorized(policy, closes: true), .failed)
        }
        self.state = .basic(user: user.lowercased(), credential: content)
        return .authorized(user: user.lowercased(), token: nil, .succeeded)
    }

    static func unauthorized(_ policy: Policy, closes: Bool) -> HTTPAnswer {
        var answer = HTTPAnswer(status: 401, closes: closes)
        if policy.service.offersNegotiate { answer.headers.append(("WWW-Authenticate", "Negotiate")) }
        if policy.offersBasic { answer.headers.append(("WWW-Authenticate", #"Basic realm="WSMAN""#)) }
        return answer
    }

    // MARK: Bodies

    /// Opens a sealed body.
    ///
    /// - Throws: `MultipartError` or `NTLMError`; the connection is of no use afterwards.
    mutating func open(_ body: [UInt8]) throws -> [UInt8] {
        guard case .established(let user, var session) = self.state else {
            throw NTLMError.unexpectedMessage("a sealed body on a connection without a security context")
        }
        let sealed = try SealedMultipart.decode(body)
        let plaintext = try session.unseal(sealed.ciphertext, signature: sealed.signature)
        self.state = .established(user: user, session: session)
        return plaintext
    }

    /// Seals an answer's body.
    ///
    /// - Parameter indentsHeaders: writes part headers with the leading tab of 2012 R2.
    mutating func seal(_ plaintext: [UInt8], indentsHeaders: Bool) throws -> [UInt8] {
        guard case .established(let user, var session) = self.state else {
            throw NTLMError.unexpectedMessage("an answer to seal on a connection without a security context")
        }
        let (signature, ciphertext) = try session.seal(plaintext)
        self.state = .established(user: user, session: session)
        let indent = indentsHeaders ? "\t" : ""
        let head =
            "--\(SealedMultipart.boundary)\r\n\(indent)Content-Type: \(SealedMultipart.spnegoProtocol)\r\n"
            + "\(indent)OriginalContent: type=\(SealedMultipart.soapContentType);Length=\(plaintext.count)\r\n"
            + "--\(SealedMultipart.boundary)\r\n\(indent)Content-Type: application/octet-stream\r\n"
        var bytes: [UInt8] = []
        bytes.reserveCapacity(head.utf8.count + ciphertext.count + 64)
        bytes.append(contentsOf: head.utf8)
        for shift in 0..<4 { bytes.append(UInt8(truncatingIfNeeded: signature.count >> (8 * shift))) }
        bytes.append(contentsOf: signature)
        bytes.append(contentsOf: ciphertext)
        bytes.append(contentsOf: "--\(SealedMultipart.boundary)--\r\n".utf8)
        return bytes
    }
}

/// The one account that a fleet knows.
struct Account: Sendable {
    var user: String
    var password: String
    var domains: [String]

    /// The password if the account is meant: its name alone or with the host's or the domain's name, without case.
    func password(user: String, domain: String) -> String? {
        var (user, domain) = (user, domain)
        if domain.isEmpty { (user, domain) = Self.split(user) }
        guard user.lowercased() == self.user.lowercased() else { return nil }
        let isKnown =
            domain.isEmpty || domain == "." || self.domains.contains { $0.lowercased() == domain.lowercased() }
        return isKnown ? self.password : nil
    }

    /// Takes `DOMAIN\user` and `user@domain` apart.
    static func split(_ name: String) -> (user: String, domain: String) {
        if let slash = name.firstIndex(of: "\\") {
            return (String(name[name.index(after: slash)...]), String(name[..<slash]))
        }
        if let at = name.lastIndex(of: "@") {
            return (String(name[..<at]), String(name[name.index(after: at)...]))
        }
        return (name, "")
    }
}
