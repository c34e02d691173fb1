package import NIOCore
package import SSP

/// Opens connections to WMI; one for the whole process.
package struct WMIConnector: Sendable {
    private let limits: WMILimits
    private let environment: NTLMEnvironment
    private let dial: RPCDial

    /// - Parameters:
    ///   - group: the event loops; they must be those of NIOPosix.
    ///   - limits: apply to each connection.
    ///   - environment: clock and randomness of NTLM.
    package init(
        group: any EventLoopGroup,
        limits: WMILimits = WMILimits(),
        environment: NTLMEnvironment = .system
    ) {
        let rpcLimits = RPCLimits(maximumStub: limits.maximumResponseBytes)
        self.init(limits: limits, environment: environment) { address, port, deadline throws(RPCError) in
            try await RPCConnection.connect(
                address: address,
                port: port,
                group: group,
                limits: rpcLimits,
                environment: environment,
                deadline: deadline
            )
        }
    }

    init(limits: WMILimits, environment: NTLMEnvironment, dial: @escaping RPCDial) {
        self.limits = limits
        self.environment = environment
        self.dial = dial
    }

    /// Connects to the object resolver. Nobody is signed in yet.
    ///
    /// - Throws: `timeout`, `connectionRefused`, `hostUnreachable`, `connectionReset`, `cancelled`; `protocolError` if
    ///   the address is not one.
    package func connect(
        to endpoint: WMIEndpoint,
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) -> WMIConnection {
        let resolver = try await self.open(endpoint, deadline: deadline)
        return WMIConnection(
            endpoint: endpoint,
            limits: self.limits,
            environment: self.environment,
            resolver: resolver,
            dial: self.dial
        )
    }

    /// Asks a host who it is, without signing in: its object resolver's version and addresses, and its NTLM challenge.
    ///
    /// None of it is authenticated; good for discovery, not for decisions. Hosts may refuse either part.
    ///
    /// - Throws: as ``connect(to:deadline:)``, and what is wrong if neither part could be had.
    package func identify(
        _ endpoint: WMIEndpoint,
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) -> WMIHostIdentity {
        var identity = WMIHostIdentity()
        var failure: WMIError?
        let anonymous = try await self.open(endpoint, deadline: deadline)
        do throws(WMIError) {
            try await Self.bind(anonymous, deadline: deadline)
            let alive = try await anonymous.invoke(
                ServerAlive2.self,
                ServerAlive2.Request(),
                step: .asking,
                deadline: deadline
            )
            identity.version = alive.version
            identity.stringBindings = alive.bindings.stringBindings
        } catch {
            failure = error
        }
        await anonymous.close()
        // A second connection, since a bind without a verifier makes an association that nobody can sign in to.
        do throws(WMIError) {
            let resolver = try await self.open(endpoint, deadline: deadline)
            let challenge = await Self.challenge(resolver, deadline: deadline)
            await resolver.close()
            switch challenge {
            case .success(let info): identity.challenge = info
            case .failure(let error): failure = failure ?? error
            }
        } catch {
            failure = failure ?? error
        }
        if identity.version == nil, identity.challenge == nil, let failure { throw failure }
        return identity
    }

    private func open(
        _ endpoint: WMIEndpoint,
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) -> any RPCChannel {
        do throws(RPCError) {
            return try await self.dial(endpoint.address, endpoint.port, deadline)
        } catch {
            throw WMIError(error, during: .connecting)
        }
    }

    private static func bind(
        _ channel: any RPCChannel,
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) {
        do throws(RPCError) {
            try await channel.bind([.objectExporter], deadline: deadline)
        } catch {
            throw WMIError(error, during: .asking)
        }
    }

    private static func challenge(
        _ channel: any RPCChannel,
        deadline: ContinuousClock.Instant
    ) async -> Result<NTLMChallengeInfo, WMIError> {
        do throws(RPCError) {
            return .success(
                try await channel.requestChallenge([.remoteSCMActivator], level: .packetPrivacy, deadline: deadline)
            )
        } catch {
            // A host without activation still says who it is.
            return channel.challengeInfo.map { .success($0) } ?? .failure(WMIError(error, during: .challenging))
        }
    }
}

/// What a host tells without a login.
package struct WMIHostIdentity: Sendable, Equatable {
    /// Nil if the host does not answer `ServerAlive2`.
    package var version: COMVersion?
    /// Names and addresses that the host has.
    package var stringBindings: [StringBinding] = []
    /// Names, domain, clock and build; nil if the host does not offer NTLM.
    package var challenge: NTLMChallengeInfo?

    package init() {}
}
