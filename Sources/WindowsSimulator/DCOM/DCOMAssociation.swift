import DCOM
import SSP

/// What was agreed on over one RPC connection: presentation contexts, security contexts, sizes of fragments.
///
/// Decides only: fragments come in, and what to send or whom to call comes out.
struct DCOMAssociation: Sendable {
    /// What a host insists on at the moment.
    struct Policy: Sendable {
        /// Interfaces that the port offers.
        var interfaces: [RPCInterface]
        /// The port as text, for bind_ack.
        var port: Int
        /// Longest fragment that the host sends or takes.
        var maximumFragment: Int
        /// A bind takes one interface only, and leaves the others to alter_context.
        var takesOneInterface = false
        var ntlm: NTLMAcceptor.Configuration
        /// Gives the password of those who may log in.
        var lookup: @Sendable (_ user: String, _ domain: String) -> String?
    }

    /// A whole request, and where its answer goes.
    struct Request: Sendable {
        var callID: UInt32
        var contextID: UInt16
        /// Nil for a presentation context that was never agreed on.
        var interface: RPCInterface?
        var object: GUID?
        var opnum: UInt16
        var stub: ArraySlice<UInt8>
        /// The security context; nil without one.
        var securityID: UInt32?
        var level: RPCAuthLevel
        var user: String?
    }

    enum Login: Sendable, Hashable {
        case none
        case succeeded
        case failed
    }

    enum Action: Sendable {
        case nothing
        case send([UInt8])
        case call(Request)
        /// Sends what there is, and closes.
        case close([UInt8])
    }

    private enum Security: Sendable {
        case negotiating(SPNEGOAcceptor, RPCVerifier)
        /// Protected calls have a context; weaker levels have none.
        case established(RPCSecurityContext?, level: RPCAuthLevel, user: String)
        /// A login that failed: told at the first request, because AUTH3 has no answer.
        case refused
    }

    /// Security contexts of one connection; known clients make one for each interface that they use.
    private static let maximumSecurityContexts = 256
    private static let maximumPresentationContexts = 256
    /// Requests of these services are small.
    private static let maximumStub = 1 << 20
    /// Security context multiplexing, and connections kept after orphaned calls: [MS-RPCE] 2.2.2.14.
    private static let features: UInt16 = 3

    private var presentations: [UInt16: RPCInterface] = [:]
    private var securities: [UInt32: Security] = [:]
    private var group: UInt32
    private var maximumTransmit = RPCFragment.requiredMaximum
    private var maximumReceive = RPCFragment.defaultMaximum
    private var reassembler = RPCReassembler(maximumStub: Self.maximumStub)
    private var isBound = false

    /// - Parameter group: the association group that new clients get; not 0.
    init(group: UInt32) {
        self.group = group
    }

    var isEstablished: Bool {
        self.securities.values.contains { if case .established = $0 { true } else { false } }
    }

    // MARK: Fragments

    mutating func receive(
        _ fragment: RPCFragment,
        policy: @autoclosure () -> Policy
    ) -> (action: Action, login: Login) {
        guard Int(fragment.header.fragmentLength) <= self.maximumReceive else { return (.close([]), .none) }
        do throws(RPCDecodingError) {
            switch fragment.header.type {
            case .request:
                return (try self.request(fragment), .none)
            case .bind, .alterContext:
                return self.bind(try RPCPDU(fragment), policy())
            case .auth3:
                return self.finishLogin(try RPCPDU(fragment), policy())
            case .cancel, .orphaned:
                return (.nothing, .none)
            case .response, .fault, .bindAck, .bindNak, .alterContextResponse, .shutdown:
                return (.close([]), .none)
            }
        } catch {
            return (.close(Self.fault(.protocolError, callID: fragment.header.callID)), .none)
        }
    }

    /// A fault that no security context protects.
    private static func fault(_ status: RPCStatus, callID: UInt32, contextID: UInt16 = 0) -> [UInt8] {
        RPCPDU(
            .fault(RPCFault(contextID: contextID, status: status)),
            callID: callID,
            flags: [.firstFragment, .lastFragment, .didNotExecute]
        ).encoded()
    }

    // MARK: Binding

    private mutating func bind(_ pdu: RPCPDU, _ policy: Policy) -> (Action, Login) {
        let isBind: Bool
        let bind: RPCBind
        switch pdu.body {
        case .bind(let body) where !self.isBound: (isBind, bind) = (true, body)
        case .alterContext(let body) where self.isBound: (isBind, bind) = (false, body)
        default: return (.close(Self.fault(.protocolError, callID: pdu.callID)), .none)
        }
        var verifier: RPCVerifier?
        var login = Login.none
        if let offered = pdu.verifier {
            do throws(NTLMError) {
                (verifier, login) = try self.advance(offered, policy)
            } catch {
                let isUnknown = ![.ntlm, .negotiate].contains(offered.type)
                let reason: RPCBindNak.Reason = isUnknown ? .authenticationTypeNotRecognized : .notSpecified
                let refusal =
                    isBind
                    ? RPCPDU(.bindNak(RPCBindNak(reason: reason)), callID: pdu.callID).encoded()
                    : Self.fault(.accessDenied, callID: pdu.callID)
                return (.close(refusal), isUnknown ? .none : .failed)
            }
        }
        if isBind {
            self.isBound = true
            let limit = policy.maximumFragment
            self.maximumTransmit = Self.agreed(bind.maximumReceive, limit)
            self.maximumReceive = Self.agreed(bind.maximumTransmit, limit)
            if bind.associationGroup != 0 { self.group = bind.associationGroup }
        }
        let ack = RPCBindAck(
            maximumTransmit: UInt16(self.maximumTransmit),
            maximumReceive: UInt16(self.maximumReceive),
            associationGroup: self.group,
            secondaryAddress: isBind ? String(policy.port) : "",
            results: bind.contexts.map { context in
                let isFull = isBind && policy.takesOneInterface && !self.presentations.isEmpty
                return self.result(of: context, interfaces: isFull ? [] : policy.interfaces)
            }
        )
        var flags = RPCFlags.whole
        flags.formUnion(pdu.flags.intersection([.supportsHeaderSigning, .concurrentMultiplexing]))
        let answer = RPCPDU(
            isBind ? .bindAck(ack) : .alterContextResponse(ack),
            callID: pdu.callID,
            flags: flags,
            verifier: verifier
        )
        return (.send(answer.encoded()), login)
    }

    /// What both sides can do, and no less than everybody must.
    private static func agreed(_ offered: UInt16, _ limit: Int) -> Int {
        max(RPCFragment.requiredMaximum, min(Int(offered), limit))
    }

    private mutating func result(
        of context: RPCPresentationContext,
        interfaces: [RPCInterface]
    ) -> RPCContextResult {
        if context.transferSyntaxes.contains(where: \.isBindTimeFeatureNegotiation) {
            return .negotiateAck(features: Self.features)
        }
        guard interfaces.contains(context.interface) else { return .rejected(.abstractSyntaxNotSupported) }
        guard context.transferSyntaxes.contains(.ndr) else { return .rejected(.transferSyntaxesNotSupported) }
        guard self.presentations.count < Self.maximumPresentationContexts else {
            return .rejected(.localLimitExceeded)
        }
        self.presentations[context.id] = context.interface
        return .accepted()
    }

    // MARK: Logins

    /// Takes a token of a bind or alter_context, and gives the verifier of the answer.
    private mutating func advance(
        _ offered: RPCVerifier,
        _ policy: Policy
    ) throws(NTLMError) -> (RPCVerifier?, Login) {
        guard [.ntlm, .negotiate].contains(offered.type) else {
            throw .unsupported("authentication type \(offered.type.rawValue)")
        }
        var acceptor = SPNEGOAcceptor(ntlm: NTLMAcceptor(configuration: policy.ntlm))
        if case .negotiating(let pending, _)? = self.securities[offered.contextID] {
            acceptor = pending
        } else {
            guard self.securities.count < Self.maximumSecurityContexts else {
                throw .unsupported("so many security contexts")
            }
        }
        self.securities[offered.contextID] = .refused
        var verifier = offered
        switch try acceptor.step(offered.value, lookup: policy.lookup) {
        case .continue(let token):
            self.securities[offered.contextID] = .negotiating(acceptor, offered)
            verifier.value = token
            return (verifier, .none)
        case .complete(let token, let user, let domain, let session):
            self.establish(offered, user: user, domain: domain, session: session)
            guard let token else { return (nil, .succeeded) }
            verifier.value = token
            return (verifier, .succeeded)
        }
    }

    /// The third leg, which is never answered.
    private mutating func finishLogin(_ pdu: RPCPDU, _ policy: Policy) -> (Action, Login) {
        guard let verifier = pdu.verifier,
            case .negotiating(var acceptor, let offered)? = self.securities[verifier.contextID]
        else { return (.close([]), .none) }
        self.securities[verifier.contextID] = .refused
        guard
            case .complete(_, let user, let domain, let session)? =
                try? acceptor.step(verifier.value, lookup: policy.lookup)
        else { return (.nothing, .failed) }
        self.establish(offered, user: user, domain: domain, session: session)
        return (.nothing, .succeeded)
    }

    private mutating func establish(_ verifier: RPCVerifier, user: String, domain: String, session: NTLMSession) {
        let context =
            verifier.level < .packetIntegrity
            ? nil
            : RPCSecurityContext(
                session: session,
                type: verifier.type,
                level: verifier.level,
                contextID: verifier.contextID
            )
        let name = domain.isEmpty ? user.lowercased() : "\(domain)\\\(user)".lowercased()
        self.securities[verifier.contextID] = .established(context, level: verifier.level, user: name)
    }

    // MARK: Calls

    private mutating func request(_ fragment: RPCFragment) throws(RPCDecodingError) -> Action {
        var fragment = fragment
        var level = RPCAuthLevel.none
        var user: String?
        if let verifier = fragment.verifier {
            guard case .established(var context, let agreed, let name)? = self.securities[verifier.contextID] else {
                return .send(Self.fault(.accessDenied, callID: fragment.header.callID))
            }
            do throws(RPCSecurityError) {
                try context?.open(&fragment)
            } catch {
                return .close(Self.fault(.accessDenied, callID: fragment.header.callID))
            }
            self.securities[verifier.contextID] = .established(context, level: agreed, user: name)
            (level, user) = (agreed, name)
        }
        let pdu = try RPCPDU(fragment)
        let message: RPCMessage?
        do throws(RPCReassembler.Failure) {
            message = try self.reassembler.add(pdu)
        } catch {
            return .close(Self.fault(.protocolError, callID: fragment.header.callID))
        }
        guard let message, case .request(let opnum, let object) = message.kind else { return .nothing }
        return .call(
            Request(
                callID: message.callID,
                contextID: message.contextID,
                interface: self.presentations[message.contextID],
                object: object,
                opnum: opnum,
                stub: message.stub[...],
                securityID: fragment.verifier?.contextID,
                level: level,
                user: user
            )
        )
    }

    private func context(of request: Request) -> RPCSecurityContext? {
        guard let id = request.securityID, case .established(let context, _, _)? = self.securities[id] else {
            return nil
        }
        return context
    }

    private mutating func update(_ context: RPCSecurityContext?, of request: Request) {
        guard let id = request.securityID, case .established(_, let level, let user)? = self.securities[id] else {
            return
        }
        self.securities[id] = .established(context, level: level, user: user)
    }

    /// The fragments of an answer, one behind the other.
    mutating func response(_ stub: [UInt8], to request: Request) throws(NTLMError) -> [UInt8] {
        var context = self.context(of: request)
        defer { self.update(context, of: request) }
        return try RPCFragmenter(maximumFragment: self.maximumTransmit).response(
            callID: request.callID,
            contextID: request.contextID,
            stub: stub,
            security: &context
        )
    }

    /// One fragment of an answer, with as much content as the caller likes.
    mutating func responseFragment(
        _ part: ArraySlice<UInt8>,
        to request: Request,
        flags: RPCFlags
    ) throws(NTLMError) -> [UInt8] {
        var context = self.context(of: request)
        defer { self.update(context, of: request) }
        var bytes = RPCPDU(
            .response(RPCResponse(contextID: request.contextID, stub: part)),
            callID: request.callID,
            flags: flags
        ).encoded()
        try context?.seal(&bytes, from: 0, stubStart: bytes.count - part.count)
        return bytes
    }

    mutating func fault(_ status: RPCStatus, to request: Request) throws(NTLMError) -> [UInt8] {
        var context = self.context(of: request)
        defer { self.update(context, of: request) }
        return try RPCFragmenter(maximumFragment: self.maximumTransmit).fault(
            callID: request.callID,
            contextID: request.contextID,
            status: status,
            didNotExecute: true,
            security: &context
        )
    }
}
