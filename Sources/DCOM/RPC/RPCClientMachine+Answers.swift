import SSP

/// What arrives from the host.
extension RPCClientMachine {
    /// A fragment arrived.
    package mutating func received(_ fragment: RPCFragment) -> Action {
        guard self.failure == nil else { return .none }
        defer { self.hasAnswered = true }
        guard fragment.header.type != .shutdown else { return self.closed() }
        if let refusal = self.refusalOfLogin(fragment) { return self.fail(refusal) }
        guard let exchange = self.exchange else {
            return self.fail(.protocolViolation("a \(fragment.header.type) PDU that nobody asked for"))
        }
        switch exchange {
        case .bind(let association):
            return self.received(fragment, in: association)
        case .call(let callID, let contextID, let security):
            return self.received(fragment, callID: callID, contextID: contextID, security: security)
        }
    }

    /// The channel failed, the host broke the protocol or refused us, or the connection is closed from this side: it
    /// cannot be used any more, and later operations fail for the same reason.
    package mutating func fail(_ error: RPCError) -> Action {
        self.fail(error, later: error)
    }

    /// The operation in flight failed for a reason of its own, and its answer could come out of step: its deadline
    /// passed, or the caller gave up. Later operations find no connection.
    package mutating func giveUp(_ error: RPCError) -> Action {
        self.fail(error, later: self.loss("it was given up"))
    }

    private mutating func fail(_ error: RPCError, later: RPCError) -> Action {
        guard self.failure == nil else { return .none }
        self.failure = later
        guard self.exchange != nil else { return .close }
        self.exchange = nil
        return .complete(.failure(error), close: true)
    }

    /// The connection ended.
    package mutating func closed() -> Action {
        let how = "the host closed it"
        let loss = self.loss(how)
        guard self.reassembler.isReceiving else { return self.fail(loss) }
        return self.fail(.connectionReset("\(how) in the middle of an answer"), later: loss)
    }

    /// What the end of the connection means to an operation that the host has not begun to answer.
    private func loss(_ how: String) -> RPCError {
        // It may be that the host refuses the login like this; whoever calls must not try again at once.
        if self.isLoginOpen { return .connectionReset("\(how) after signing in, before the host had taken the login") }
        return self.hasAnswered ? .connectionClosed : .connectionReset("\(how) before the host answered anything")
    }

    // MARK: - Association

    private mutating func received(_ fragment: RPCFragment, in association: Association) -> Action {
        let pdu: RPCPDU
        do throws(RPCDecodingError) {
            pdu = try RPCPDU(fragment)
        } catch {
            return self.fail(.protocolViolation(error.description))
        }
        guard pdu.callID == association.callID else { return self.fail(Self.wrongCall(pdu.callID, association.callID)) }
        switch pdu.body {
        case .bindAck(let ack) where !association.isAlteration:
            guard Int(ack.maximumReceive) >= RPCFragment.requiredMaximum else {
                return self.fail(
                    .protocolViolation("the host takes fragments of \(ack.maximumReceive) bytes only")
                )
            }
            let maximum = min(Int(ack.maximumReceive), self.limits.maximumFragment)
            self.fragmenter = RPCFragmenter(maximumFragment: maximum)
            self.associationGroup = ack.associationGroup
            return self.associated(association, results: ack.results, verifier: pdu.verifier)
        case .alterContextResponse(let ack) where association.isAlteration:
            return self.associated(association, results: ack.results, verifier: pdu.verifier)
        case .bindNak(let nak):
            if nak.reason == .authenticationTypeNotRecognized, association.login != nil {
                return self.fail(.authenticationUnavailable("the host does not know NTLM (bind_nak)"))
            }
            return self.fail(.bindRejected(nak.reason, versions: nak.versions))
        case .fault(let fault):
            let error = Self.error(fault.status, flags: pdu.flags)
            return association.isAlteration ? self.finish(.failure(error)) : self.fail(error)
        default:
            return self.fail(.protocolViolation("a \(pdu.type) PDU as the answer to an association"))
        }
    }

    private mutating func associated(
        _ association: Association,
        results: [RPCContextResult],
        verifier: RPCVerifier?
    ) -> Action {
        guard results.count == association.offered.count else {
            return self.fail(
                .protocolViolation("\(results.count) results for \(association.offered.count) offered interfaces")
            )
        }
        var rejection: RPCError?
        for (offered, result) in zip(association.offered, results) {
            if result.isAccepted {
                guard result.transferSyntax == .ndr else {
                    return self.fail(.protocolViolation("transfer syntax \(result.transferSyntax) was not offered"))
                }
                self.contexts[offered.interface] = offered.id
            } else if rejection == nil {
                rejection = .interfaceRejected(offered.interface, result.description)
            }
        }
        self.isBound = true
        var info: NTLMChallengeInfo?
        if var login = association.login {
            guard let verifier, !verifier.value.isEmpty else {
                return self.fail(rejection ?? .authenticationUnavailable("the host answered without a challenge"))
            }
            guard verifier.type == .ntlm, verifier.level == login.level, verifier.contextID == login.contextID else {
                return self.fail(.protocolViolation("a challenge for another security context"))
            }
            do throws(NTLMError) {
                info = try NTLMChallengeInfo.parse(verifier.value)
            } catch {
                return self.fail(.protocolViolation("the host's NTLM challenge: \(error)"))
            }
            login.challenge = verifier.value
            self.login = login
            self.challengeInfo = info
        }
        if let rejection { return self.finish(.failure(rejection)) }
        return self.finish(.success(info.map { .challenge($0) } ?? .none))
    }

    // MARK: - Calls

    private mutating func received(
        _ fragment: RPCFragment,
        callID: UInt32,
        contextID: UInt16,
        security securityID: UInt32?
    ) -> Action {
        let header = fragment.header
        let isUnproven = securityID.map { self.security[$0]?.isProven == false } ?? false
        switch header.type {
        case .response, .fault: break
        case .bindNak where isUnproven: return self.fail(Self.refusal(by: fragment))
        default: return self.fail(.protocolViolation("a \(header.type) PDU as the answer to a call"))
        }
        guard header.callID == callID else { return self.fail(Self.wrongCall(header.callID, callID)) }

        var fragment = fragment
        // Hosts send faults unsigned where they do not know the client; and some always. A fault says nothing that
        // has to be believed: whoever can forge one can break the connection as well.
        if let securityID, header.type == .response || fragment.verifier != nil {
            do throws(RPCSecurityError) {
                try self.open(&fragment, securityID)
            } catch {
                return self.untrusted(fragment, error)
            }
        } else if securityID == nil, fragment.verifier != nil {
            return self.fail(.protocolViolation("a signed answer on a connection that is not signed in"))
        }
        let isVerified = securityID != nil && fragment.verifier != nil
        do throws(RPCDecodingError) {
            let pdu = try RPCPDU(fragment)
            if case .fault(let fault) = pdu.body {
                return self.faulted(fault, flags: pdu.flags, isLoginOpen: isUnproven && !isVerified)
            }
            guard case .response(let response) = pdu.body, response.contextID == contextID else {
                return self.fail(.protocolViolation("an answer in another presentation context"))
            }
            return self.reassemble(pdu)
        } catch {
            return self.fail(.protocolViolation(error.description))
        }
    }

    private mutating func open(_ fragment: inout RPCFragment, _ id: UInt32) throws(RPCSecurityError) {
        // Out of the dictionary while it changes, so that the cipher state is not copied.
        guard var context = self.security[id]?.context.take() else { throw .missingVerifier }
        try context.open(&fragment)
        self.security[id]?.context = context
        self.security[id]?.isProven = true
    }

    /// A fragment whose verifier is wrong ends the connection. A fault may still say why, in a field before what is
    /// encrypted: nothing worse follows from it than from an unsigned one, and it proves nothing about the login.
    private mutating func untrusted(_ fragment: RPCFragment, _ error: RPCSecurityError) -> Action {
        let failure = RPCError.integrityFailed(error.description)
        guard
            fragment.header.type == .fault,
            case .fault(let fault)? = (try? RPCPDU(fragment))?.body,
            // Anything else is not a status, but what encryption made of one.
            fault.status.name != nil
        else { return self.fail(failure) }
        return self.fail(Self.error(fault.status, flags: fragment.header.flags), later: failure)
    }

    private mutating func reassemble(_ pdu: RPCPDU) -> Action {
        do throws(RPCReassembler.Failure) {
            guard let message = try self.reassembler.add(pdu) else { return .none }
            return self.finish(.success(.stub(message.stub)))
        } catch {
            switch error {
            case .tooLarge(let limit): return self.giveUp(.responseTooLarge(limit: limit))
            case .outOfStep(let what): return self.fail(.protocolViolation(what))
            }
        }
    }

    /// - Parameter isLoginOpen: whether the host has not shown yet, nor with this very fault, that it took the login.
    private mutating func faulted(_ fault: RPCFault, flags: RPCFlags, isLoginOpen: Bool) -> Action {
        self.reassembler = RPCReassembler(maximumStub: self.limits.maximumStub)
        if isLoginOpen, let refusal = Self.refusal(by: fault.status) { return self.fail(refusal) }
        return self.finish(.failure(Self.error(fault.status, flags: flags)))
    }

    // MARK: - Logins

    /// Whether the host has not shown yet, for the call in flight or the login made last, that it took the login.
    private var isLoginOpen: Bool {
        let id = if case .call(_, _, let id)? = self.exchange { id } else { self.latestSecurity }
        return id.flatMap { self.security[$0]?.isProven } == false
    }

    /// What a fragment says that answers the login itself, at whatever moment it comes; nil for every other fragment.
    ///
    /// AUTH3 has no answer, but a host may refuse it before the first call is sent.
    private func refusalOfLogin(_ fragment: RPCFragment) -> RPCError? {
        let callID = fragment.header.callID
        guard
            fragment.verifier == nil,
            self.security.values.contains(where: { !$0.isProven && $0.loginCallID == callID })
        else { return nil }
        switch fragment.header.type {
        case .bindNak:
            return Self.refusal(by: fragment)
        case .fault:
            guard case .fault(let fault)? = (try? RPCPDU(fragment))?.body else {
                return .protocolViolation("a fault that cannot be read")
            }
            return Self.refusal(by: fault.status)
                ?? .connectionReset("the host answered signing in with the fault \(fault.status)")
        default:
            return nil
        }
    }

    /// What an unsigned fault says about a login that the host has not taken yet; nil for one that is about the call.
    private static func refusal(by status: RPCStatus) -> RPCError? {
        switch status {
        case .accessDenied, .logonFailure:
            .authenticationFailed("")
        // A domain member with Windows 7 answers a user whom it does not know like this. Where it means that policy
        // forbids NTLM, to try again would not help either.
        case .securityPackageError:
            .authenticationFailed("\(status): unknown user, or NTLM refused by policy")
        case .unsupportedAuthenticationLevel, .unknownAuthenticationService, .unknownAuthenticationLevel:
            .authenticationUnavailable("the host answered with the fault \(status)")
        default: nil
        }
    }

    private static func refusal(by bindNak: RPCFragment) -> RPCError {
        guard case .bindNak(let nak)? = (try? RPCPDU(bindNak))?.body else {
            return .protocolViolation("a bind_nak that cannot be read")
        }
        switch nak.reason {
        case .notSpecified, .invalidChecksum: return .authenticationFailed("bind_nak, \(nak.reason)")
        case .authenticationTypeNotRecognized:
            return .authenticationUnavailable("the host does not know NTLM (bind_nak)")
        default: return .bindRejected(nak.reason, versions: nak.versions)
        }
    }

    // MARK: -

    private mutating func finish(_ result: Result<RPCReply, RPCError>) -> Action {
        self.exchange = nil
        return .complete(result, close: false)
    }

    private static func error(_ status: RPCStatus, flags: RPCFlags) -> RPCError {
        status == .accessDenied
            ? .accessDenied : .fault(status, didNotExecute: flags.contains(.didNotExecute))
    }

    private static func wrongCall(_ received: UInt32, _ expected: UInt32) -> RPCError {
        .protocolViolation("an answer to call \(received) where call \(expected) is in flight")
    }
}
