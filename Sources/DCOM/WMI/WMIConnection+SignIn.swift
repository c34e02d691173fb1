import SSP

/// Signing in: the object resolver, the activation, the dynamic port.
extension WMIConnection {
    /// Does the part of signing in that needs no password: gets the host's NTLM challenge.
    ///
    /// ``authenticate(_:deadline:)`` does it by itself; apart from it, whoever guards sign-ins need not guard against
    /// hosts that never answer.
    package func requestChallenge(
        for credential: WMICredential,
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) {
        guard case .connected = self.state, let resolver = self.resolver else {
            throw .misuse("signing in twice on one connection")
        }
        do throws(RPCError) {
            // Packet privacy: hosts with KB5004442 refuse less than integrity, some namespaces less than privacy.
            _ = try await resolver.requestChallenge(
                [.remoteSCMActivator, .objectExporter],
                level: .packetPrivacy,
                deadline: deadline
            )
        } catch {
            // Without the object exporter there will be no pings on this connection, but all the rest.
            guard case .interfaceRejected(.objectExporter, _) = error else {
                self.health.abandon()
                throw WMIError(error, during: .challenging)
            }
        }
        self.challengeInfo = resolver.challengeInfo
        self.state = .challenged
    }

    /// Proves the password: signs in at the object resolver and activates WMI there. ``openExporter(for:deadline:)``
    /// comes next.
    ///
    /// A wrong password costs one failed login, here. The dynamic port is not dialled yet: whoever lets only one sign-in
    /// at a time through to a host need not wait for a firewall that swallows packets. References that the activation has
    /// brought can only be given back there; if it is never opened, the host reclaims them six minutes later.
    ///
    /// - Throws: `authenticationFailed` (do not try again), `accessDenied` (the user lacks DCOM's rights). The connection
    ///   is closed then.
    package func authenticate(_ credential: WMICredential, deadline: ContinuousClock.Instant) async throws(WMIError) {
        if case .connected = self.state { try await self.requestChallenge(for: credential, deadline: deadline) }
        guard case .challenged = self.state else { throw .misuse("signing in twice on one connection") }
        try await self.signingIn(.activating, deadline: deadline) { connection, flag in
            await connection.proveAndActivate(credential, flag: flag, deadline: deadline)
        }
    }

    /// Connects to the process that WMI runs in, on its dynamic port, and signs in there; queries may follow.
    ///
    /// Connecting takes no longer than ``WMILimits/connectTimeout``, so that there is time for another way if a firewall
    /// keeps the port closed.
    ///
    /// - Parameter credential: the one that ``authenticate(_:deadline:)`` has proved.
    /// - Throws: errors that say ``WMIError/isWayClosed`` if the port cannot be reached. The connection is closed then.
    package func openExporter(
        for credential: WMICredential,
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) {
        guard case .activated(let activation) = self.state else {
            throw .misuse("WMI's port is opened once, after signing in")
        }
        try await self.signingIn(.connectingToExporter, deadline: deadline) { connection, flag in
            await connection.enter(activation, credential, flag: flag, deadline: deadline)
        }
    }

    /// Runs a part of signing in; the connection is closed if it fails.
    private func signingIn(
        _ step: WMIError.Step,
        deadline: ContinuousClock.Instant,
        _ body: @escaping @Sendable (isolated WMIConnection, CancellationFlag) async -> Result<Void, WMIError>
    ) async throws(WMIError) {
        // The caller's mistake, which is not to end what runs.
        guard self.running == nil else { throw .misuse("two things at once") }
        do throws(WMIError) {
            try await self.shielded(step, body)
        } catch {
            // Nothing to wait for is left but the release of what the activation gave, if it came that far.
            let grace = self.limits.upkeep.closeTimeout
            await self.close(deadline: min(deadline, .now + grace))
            throw error
        }
    }

    private func proveAndActivate(
        _ credential: WMICredential,
        flag: CancellationFlag,
        deadline: ContinuousClock.Instant
    ) async -> Result<Void, WMIError> {
        do throws(WMIError) {
            let activation = try Activation(try await self.activate(credential, deadline: deadline))
            guard !flag.isCancelled else { throw .cancelled(.activating) }
            self.state = .activated(activation)
            return .success(())
        } catch {
            return .failure(error)
        }
    }

    private func enter(
        _ activation: Activation,
        _ credential: WMICredential,
        flag: CancellationFlag,
        deadline: ContinuousClock.Instant
    ) async -> Result<Void, WMIError> {
        do throws(WMIError) {
            try await self.connectToExporter(activation, credential, flag: flag, deadline: deadline)
            guard !flag.isCancelled else { throw .cancelled(.signingInToExporter) }
            self.beginUpkeep()
            return .success(())
        } catch {
            return .failure(error)
        }
    }

    /// RemoteCreateInstance on port 135. Here it shows whether the password was right.
    private func activate(
        _ credential: WMICredential,
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) -> ActivationReply {
        guard let resolver = self.resolver else { throw .closed }
        do throws(RPCError) {
            _ = try await resolver.authenticate(credential.ntlm, targetName: nil, deadline: deadline)
        } catch {
            throw WMIError(error, during: .activating)
        }
        let request = RemoteCreateInstance.Request(
            this: ORPCThis(flags: ORPCThis.localFlag, causality: self.newGUID()),
            activation: ActivationRequest(
                classID: ClassID.wbemLevel1Login,
                interfaces: [RPCInterface.wbemLevel1Login.uuid]
            )
        )
        let response = try await resolver.invoke(
            RemoteCreateInstance.self,
            request,
            step: .activating,
            deadline: deadline
        )
        guard !response.result.isFailure else { throw WMIError(response.result, during: .activating) }
        guard let reply = response.reply else {
            throw .protocolViolation(.activating, "an activation without properties")
        }
        return reply
    }

    private func connectToExporter(
        _ activation: Activation,
        _ credential: WMICredential,
        flag: CancellationFlag,
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) {
        let channel = try await self.dialExporter(activation.bindings, flag: flag, deadline: deadline)
        // A cancelled sign-in goes on within its grace, since what the activation brought is given back here.
        guard self.health.add(channel, isEssential: true) else { throw .cancelled(.connectingToExporter) }
        let bound = try await self.signIn(to: channel, credential, deadline: deadline)
        self.ledger.hold(activation.login)
        self.state = .ready(
            Exporter(
                channel: channel,
                version: activation.version,
                remUnknown: activation.remUnknown,
                login: activation.login,
                bound: bound
            )
        )
    }

    private func dialExporter(
        _ bindings: [StringBinding],
        flag: CancellationFlag,
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) -> any RPCChannel {
        let candidates = ExporterAddresses.candidates(
            bindings,
            address: self.endpoint.address,
            isAllowed: self.limits.allowsAlternativeAddress
        )
        let end = min(deadline, .now + self.limits.connectTimeout)
        var failure: WMIError?
        for (index, candidate) in candidates.enumerated() {
            guard !flag.isCancelled else { throw .cancelled(.connectingToExporter) }
            // Each gets its share of the time that is left, the last all of it.
            let now = ContinuousClock.now
            let share = now.duration(to: end) / (candidates.count - index)
            do throws(RPCError) {
                return try await self.dial(candidate.address, candidate.port, now + share)
            } catch {
                failure = failure ?? WMIError(error, during: .connectingToExporter)
                if error == .cancelled { break }
            }
        }
        throw failure
            ?? .protocolViolation(
                .connectingToExporter,
                "no TCP port among the \(bindings.count) bindings of the exporter"
            )
    }

    /// - Returns: the interfaces that the host took.
    private func signIn(
        to channel: any RPCChannel,
        _ credential: WMICredential,
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) -> Set<RPCInterface> {
        // All that a query needs in one bind. A process of COM knows an interface only once it has handed one out, so
        // some may be refused; these are asked for again when they are needed (alter_context).
        let wanted: [RPCInterface] = [.wbemLevel1Login, .remUnknown, .wbemServices, .enumWbemClassObject]
        var bound: Set<RPCInterface> = Set(wanted)
        do throws(RPCError) {
            _ = try await channel.requestChallenge(wanted, level: .packetPrivacy, deadline: deadline)
        } catch {
            guard case .interfaceRejected = error else { throw WMIError(error, during: .signingInToExporter) }
            // Which others were refused as well is not said; asking again for one that is bound costs nothing.
            bound = []
        }
        do throws(RPCError) {
            _ = try await channel.authenticate(credential.ntlm, targetName: nil, deadline: deadline)
        } catch {
            throw WMIError(error, during: .signingInToExporter)
        }
        return bound
    }

    func newGUID() -> GUID {
        GUID(random: self.environment.randomBytes(GUID.size)) ?? .null
    }
}

extension WMIConnection.Activation {
    /// - Throws: if the host has not activated WMI, or in a version of COM that this client does not speak.
    fileprivate init(_ reply: ActivationReply) throws(WMIError) {
        guard let interface = reply.interfaces.first else {
            throw .protocolViolation(.activating, "an activation without an interface")
        }
        guard !interface.result.isFailure else { throw WMIError(interface.result, during: .activating) }
        guard let login = interface.reference?.standard else {
            throw .protocolViolation(.activating, "an activation without a reference")
        }
        guard let version = COMVersion.current.negotiated(with: reply.version) else {
            throw .protocolViolation(.activating, "COM version \(reply.version.major).\(reply.version.minor)")
        }
        self.init(
            bindings: reply.bindings.stringBindings,
            version: version,
            remUnknown: reply.remUnknown,
            login: login
        )
    }
}
