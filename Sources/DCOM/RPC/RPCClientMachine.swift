package import SSP

/// What a caller asks of a connection.
package enum RPCOperation: Sendable {
    /// Associates (bind), or, on a connection that is, adds interfaces (alter_context).
    case bind([RPCInterface])
    /// The same, and begins to sign in: everything up to the host's NTLM challenge.
    case requestChallenge([RPCInterface], level: RPCAuthLevel)
    /// Answers the challenge. AUTH3 has no answer of its own.
    case authenticate(NTLMCredential, targetName: String?)
    case call(RPCClientCall)

    var phase: RPCError.Phase {
        switch self {
        case .bind: .binding
        case .requestChallenge, .authenticate: .authenticating
        case .call: .call
        }
    }
}

package struct RPCClientCall: Sendable {
    var interface: RPCInterface
    var object: GUID?
    var opnum: UInt16
    var stub: [UInt8]
    /// `auth_context_id` of the security context to use; nil for the one that was made last.
    var security: UInt32?

    package init(
        interface: RPCInterface,
        object: GUID? = nil,
        opnum: UInt16,
        stub: [UInt8],
        security: UInt32? = nil
    ) {
        self.interface = interface
        self.object = object
        self.opnum = opnum
        self.stub = stub
        self.security = security
    }
}

/// What an operation gives back.
package enum RPCReply: Sendable {
    case none
    case challenge(NTLMChallengeInfo)
    case authenticated(contextID: UInt32)
    case stub([UInt8])
}

/// Decides what the client's side of a connection does: one exchange in flight at a time.
///
/// It never performs anything: every event gives an action back.
package struct RPCClientMachine: Sendable {
    /// What to do about an operation.
    package enum Start: Sendable {
        /// Send these bytes and wait for the answer.
        case send([UInt8])
        /// Send these bytes; nobody answers them.
        case sendOnly([UInt8], RPCReply)
        case done(RPCReply)
        case failed(RPCError, close: Bool)
    }

    /// What to do about something that happened.
    package enum Action: Sendable {
        case none
        /// The exchange in flight is done, one way or the other; `close` says whether the connection is, too.
        case complete(Result<RPCReply, RPCError>, close: Bool)
        /// Nobody waits, but the connection is of no use any more.
        case close
    }

    /// A security context after the third leg.
    struct Security: Sendable {
        /// nil only while it is in use.
        var context: RPCSecurityContext?
        /// Whether the host has shown that it took the login: AUTH3 is not answered.
        var isProven = false
        /// Faults and refusals of the login may carry this.
        let loginCallID: UInt32
    }

    /// A login between the challenge and its answer.
    struct Login: Sendable {
        let negotiate: [UInt8]
        let level: RPCAuthLevel
        let contextID: UInt32
        let callID: UInt32
        var challenge: [UInt8] = []
    }

    enum Exchange: Sendable {
        case bind(Association)
        case call(callID: UInt32, contextID: UInt16, security: UInt32?)
    }

    struct Association: Sendable {
        let callID: UInt32
        let isAlteration: Bool
        let offered: [RPCPresentationContext]
        var login: Login?
    }

    let limits: RPCLimits
    let environment: NTLMEnvironment

    /// Set by the first bind_ack.
    var isBound = false
    var associationGroup: UInt32 = 0
    var fragmenter: RPCFragmenter
    var reassembler: RPCReassembler
    /// Presentation context ids by interface, accepted ones only.
    var contexts: [RPCInterface: UInt16] = [:]
    var security: [UInt32: Security] = [:]
    var latestSecurity: UInt32?
    var login: Login?
    /// What the host said about itself in its last challenge.
    var challengeInfo: NTLMChallengeInfo?
    var exchange: Exchange?
    /// Whether the host has answered anything yet.
    var hasAnswered = false
    /// Why the connection is over, for operations that come after.
    var failure: RPCError?

    private var nextCallID: UInt32 = 1
    private var nextContextID: UInt16 = 0
    private var nextSecurityID: UInt32 = 1

    package init(limits: RPCLimits, environment: NTLMEnvironment) {
        self.limits = limits
        self.environment = environment
        self.fragmenter = RPCFragmenter(maximumFragment: limits.maximumFragment)
        self.reassembler = RPCReassembler(maximumStub: limits.maximumStub)
    }

    // MARK: - Operations

    /// An operation is to begin; nothing else is in flight.
    package mutating func begin(_ operation: RPCOperation) -> Start {
        if let failure { return .failed(failure, close: false) }
        guard self.exchange == nil else {
            return .failed(.misuse("an operation while another is in flight"), close: false)
        }
        switch operation {
        case .bind(let interfaces):
            let missing = interfaces.filter { self.contexts[$0] == nil }
            if missing.isEmpty, self.isBound { return .done(.none) }
            return self.associate(missing, login: nil)
        case .requestChallenge(let interfaces, let level):
            guard level >= .packetIntegrity else {
                return .failed(.misuse("signing in below packet integrity"), close: false)
            }
            return self.associate(interfaces, login: level)
        case .authenticate(let credential, let targetName):
            return self.authenticate(credential, targetName: targetName)
        case .call(let call):
            return self.start(call)
        }
    }

    private mutating func associate(_ interfaces: [RPCInterface], login level: RPCAuthLevel?) -> Start {
        guard !interfaces.isEmpty, interfaces.count <= Int(UInt8.max) else {
            return .failed(.misuse("an association with \(interfaces.count) interfaces"), close: false)
        }
        var offered: [RPCPresentationContext] = []
        for interface in interfaces {
            let id = self.contexts[interface] ?? self.takeContextID()
            offered.append(RPCPresentationContext(id: id, interface: interface))
        }
        let callID = self.takeCallID()
        var association = Association(callID: callID, isAlteration: self.isBound, offered: offered)
        var flags = RPCFlags.whole
        var verifier: RPCVerifier?
        if let level {
            var initiator = NTLMInitiator(
                credential: NTLMCredential(username: "", password: ""),
                environment: self.environment
            )
            let negotiate = initiator.negotiate()
            let contextID = self.nextSecurityID
            self.nextSecurityID += 1
            association.login = Login(negotiate: negotiate, level: level, contextID: contextID, callID: callID)
            verifier = RPCVerifier(type: .ntlm, level: level, contextID: contextID, value: negotiate)
            flags.insert(.supportsHeaderSigning)
        }
        let bind = RPCBind(
            maximumTransmit: UInt16(self.limits.maximumFragment),
            maximumReceive: UInt16(self.limits.maximumFragment),
            associationGroup: self.associationGroup,
            contexts: offered
        )
        self.login = nil
        self.exchange = .bind(association)
        let body: RPCPDU.Body = self.isBound ? .alterContext(bind) : .bind(bind)
        return .send(RPCPDU(body, callID: callID, flags: flags, verifier: verifier).encoded())
    }

    private mutating func authenticate(_ credential: NTLMCredential, targetName: String?) -> Start {
        guard let login = self.login else {
            return .failed(.misuse("signing in without a challenge"), close: false)
        }
        self.login = nil
        // Only now with the credential. The first message does not depend on it, and the MIC covers what was sent.
        var initiator = NTLMInitiator(credential: credential, targetName: targetName, environment: self.environment)
        guard initiator.negotiate() == login.negotiate else {
            return self.abandon(.misuse("an NTLM message that depends on the credential"))
        }
        do throws(NTLMError) {
            let (token, session) = try initiator.authenticate(challenge: login.challenge)
            let context = RPCSecurityContext(session: session, level: login.level, contextID: login.contextID)
            self.security[login.contextID] = Security(context: context, loginCallID: login.callID)
            self.latestSecurity = login.contextID
            let verifier = RPCVerifier(type: .ntlm, level: login.level, contextID: login.contextID, value: token)
            let bytes = RPCPDU(.auth3, callID: login.callID, verifier: verifier).encoded()
            return .sendOnly(bytes, .authenticated(contextID: login.contextID))
        } catch {
            return self.abandon(.authenticationUnavailable("the host's NTLM challenge: \(error)"))
        }
    }

    private mutating func start(_ call: RPCClientCall) -> Start {
        guard let contextID = self.contexts[call.interface] else {
            return .failed(.misuse("a call to \(call.interface), which is not bound"), close: false)
        }
        guard self.login == nil else { return .failed(.misuse("a call in the middle of signing in"), close: false) }
        let securityID = call.security ?? self.latestSecurity
        if let id = call.security, self.security[id] == nil {
            return .failed(.misuse("a call in an unknown security context"), close: false)
        }
        let callID = self.takeCallID()
        // Out of the dictionary while it changes, so that the cipher state is not copied.
        var context = securityID.flatMap { self.security[$0]?.context.take() }
        do throws(NTLMError) {
            let bytes = try self.fragmenter.request(
                callID: callID,
                contextID: contextID,
                opnum: call.opnum,
                object: call.object,
                stub: call.stub,
                security: &context
            )
            if let securityID { self.security[securityID]?.context = context }
            self.exchange = .call(callID: callID, contextID: contextID, security: securityID)
            return .send(bytes)
        } catch {
            return self.abandon(.integrityFailed("signing a request: \(error)"))
        }
    }

    private mutating func abandon(_ error: RPCError) -> Start {
        self.failure = error
        return .failed(error, close: true)
    }

    private mutating func takeCallID() -> UInt32 {
        defer { self.nextCallID &+= 1 }
        return self.nextCallID
    }

    private mutating func takeContextID() -> UInt16 {
        defer { self.nextContextID &+= 1 }
        return self.nextContextID
    }
}
