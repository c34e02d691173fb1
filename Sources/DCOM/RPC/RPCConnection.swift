package import NIOCore
import NIOPosix
package import SSP
import Synchronization

/// The client's side of one connection-oriented association ([MS-RPCE] 3.3.2).
///
/// Calls of several tasks go one after the other. Errors for which ``RPCError/leavesConnectionOpen`` is false close
/// the connection, since the next answer could be out of step; so does a deadline that passes in flight, and the
/// cancellation of a task whose call is in flight; the calls behind it, which were never sent, get
/// ``RPCError/connectionClosed`` then. Bytes of calls and answers live only as long as a call.
package final class RPCConnection: Sendable {
    private let status: RPCConnectionStatus
    private let channel: any Channel
    private let handler: NIOLoopBound<RPCHandler>

    /// An idle connection keeps its receive buffer, so it starts small; a fragment fits into the largest.
    private static let receiveBuffer = AdaptiveRecvByteBufferAllocator(minimum: 512, initial: 2048, maximum: 16384)

    init(channel: any Channel, handler: NIOLoopBound<RPCHandler>, status: RPCConnectionStatus) {
        self.channel = channel
        self.handler = handler
        self.status = status
    }

    /// Connects. Nothing is bound yet.
    ///
    /// - Parameters:
    ///   - address: an IP address as text.
    ///   - group: event loops of NIOPosix.
    ///   - environment: clock and randomness of NTLM.
    /// - Throws: `.timedOut`, `.connectionRefused`, `.hostUnreachable`, `.connectionReset`, `.cancelled`; `.misuse` if
    ///   the address is not one.
    package static func connect(
        address: String,
        port: Int,
        group: any EventLoopGroup,
        limits: RPCLimits = RPCLimits(),
        environment: NTLMEnvironment = .system,
        deadline: ContinuousClock.Instant
    ) async throws(RPCError) -> RPCConnection {
        guard let target = try? SocketAddress(ipAddress: address, port: port) else {
            throw .misuse("\(address), port \(port), is not an IP address with a port")
        }
        let remaining = ContinuousClock.now.duration(to: deadline)
        guard remaining > .zero else { throw .timedOut(.connecting) }
        guard !Task.isCancelled else { throw .cancelled }
        let bootstrap = ClientBootstrap(group: group.next())
            .connectTimeout(TimeAmount(remaining))
            .channelOption(.recvAllocator, value: Self.receiveBuffer)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
        do {
            let connection = try await bootstrap.connect(to: target) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try Self.configured(channel, limits: limits, environment: environment)
                }
            }
            guard !Task.isCancelled else {
                connection.abandon(.cancelled)
                throw RPCError.cancelled
            }
            return connection
        } catch {
            throw RPCError(connectError: error)
        }
    }

    /// Builds the pipeline; on the channel's event loop.
    static func configured(
        _ channel: any Channel,
        limits: RPCLimits,
        environment: NTLMEnvironment
    ) throws -> RPCConnection {
        let status = RPCConnectionStatus()
        let handler = RPCHandler(limits: limits, environment: environment, status: status)
        let decoder = ByteToMessageHandler(RPCFragmentDecoder(maximumFragment: limits.maximumFragment))
        try channel.pipeline.syncOperations.addHandlers(decoder, handler)
        return RPCConnection(
            channel: channel,
            handler: NIOLoopBound(handler, eventLoop: channel.eventLoop),
            status: status
        )
    }

    /// Whether calls can still be made. The host may close a connection at any moment, so a call can find it closed
    /// all the same (``RPCError/connectionClosed``).
    package var isOpen: Bool { self.status.isOpen.load(ordering: .acquiring) }

    package var statistics: RPCStatistics {
        RPCStatistics(
            roundTrips: self.status.roundTrips.load(ordering: .relaxed),
            bytesSent: self.status.bytesSent.load(ordering: .relaxed),
            bytesReceived: self.status.bytesReceived.load(ordering: .relaxed)
        )
    }

    /// What the host said about itself in its last NTLM challenge.
    package var challengeInfo: NTLMChallengeInfo? { self.status.challengeInfo.withLock { $0 } }

    // MARK: - Operations

    /// Associates without signing in, or adds interfaces to an association. Those that are bound are left alone.
    ///
    /// - Throws: `.interfaceRejected` for the first that the host refuses; the others are bound.
    package func bind(_ interfaces: [RPCInterface], deadline: ContinuousClock.Instant) async throws(RPCError) {
        _ = try await self.perform(.bind(interfaces), deadline: deadline)
    }

    /// Adds an interface, in the security context that there is; nothing happens when it is bound already.
    package func alterContext(_ interface: RPCInterface, deadline: ContinuousClock.Instant) async throws(RPCError) {
        try await self.bind([interface], deadline: deadline)
    }

    /// Binds, and begins to sign in with NTLM: up to the host's challenge, for which no credential is needed.
    ///
    /// On a connection that is bound already, this begins a further security context (alter_context). Without
    /// ``authenticate(_:targetName:deadline:)`` afterwards it is how to ask a host anonymously who it is.
    ///
    /// - Returns: what the host says about itself.
    /// - Throws: `.authenticationUnavailable`; `.interfaceRejected` for the first interface that the host refuses, where
    ///   the challenge is there all the same: signing in may go on for the others.
    @discardableResult
    package func requestChallenge(
        _ interfaces: [RPCInterface],
        level: RPCAuthLevel = .packetPrivacy,
        deadline: ContinuousClock.Instant
    ) async throws(RPCError) -> NTLMChallengeInfo {
        guard
            case .challenge(let info) = try await self.perform(
                .requestChallenge(interfaces, level: level),
                deadline: deadline
            )
        else { throw .misuse("an answer of another operation") }
        return info
    }

    /// Answers the challenge (AUTH3). The host does not answer that: whether it took the login shows at the first
    /// call, which may throw `.authenticationFailed`.
    ///
    /// - Parameter targetName: service principal name of the host, for example `RPCSS/host`.
    /// - Returns: the security context's id, for callers who make several.
    /// - Throws: `.authenticationUnavailable` for a host that wants something weaker than NTLMv2 with 128 bits.
    @discardableResult
    package func authenticate(
        _ credential: NTLMCredential,
        targetName: String? = nil,
        deadline: ContinuousClock.Instant
    ) async throws(RPCError) -> UInt32 {
        let operation = RPCOperation.authenticate(credential, targetName: targetName)
        guard case .authenticated(let contextID) = try await self.perform(operation, deadline: deadline) else {
            throw .misuse("an answer of another operation")
        }
        return contextID
    }

    /// Makes a call and waits for its answer, signed and sealed if the connection is signed in.
    ///
    /// - Parameters:
    ///   - interface: must be bound.
    ///   - object: the IPID of an object RPC.
    ///   - stub: the arguments in NDR.
    ///   - security: which security context to use, nil for the last.
    /// - Returns: the stub of the answer, without padding.
    package func call(
        _ interface: RPCInterface,
        object: GUID? = nil,
        opnum: UInt16,
        stub: [UInt8],
        security: UInt32? = nil,
        deadline: ContinuousClock.Instant
    ) async throws(RPCError) -> [UInt8] {
        let call = RPCClientCall(interface: interface, object: object, opnum: opnum, stub: stub, security: security)
        guard case .stub(let stub) = try await self.perform(.call(call), deadline: deadline) else {
            throw .misuse("an answer of another operation")
        }
        return stub
    }

    /// Closes the connection; whoever waits gets ``RPCError/cancelled``. Closing again does nothing.
    package func close() async {
        self.abandon(.cancelled)
        try? await self.channel.closeFuture.get()
    }

    /// Closes the connection without waiting for it.
    package func abandon(_ error: RPCError) {
        self.status.isOpen.store(false, ordering: .releasing)
        let handler = self.handler
        self.channel.eventLoop.execute { handler.value.fail(error) }
    }

    private func perform(
        _ operation: RPCOperation,
        deadline: ContinuousClock.Instant
    ) async throws(RPCError) -> RPCReply {
        let remaining = ContinuousClock.now.duration(to: deadline)
        guard remaining > .zero else { throw .notStarted(operation.phase) }
        let handler = self.handler
        let eventLoop = self.channel.eventLoop
        let ticket = RPCTicket(operation, deadline: eventLoop.now + TimeAmount(remaining))
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<Result<RPCReply, RPCError>, Never>) in
                eventLoop.execute { handler.value.submit(ticket) { continuation.resume(returning: $0) } }
            }
        } onCancel: {
            ticket.isCancelled.store(true, ordering: .releasing)
            eventLoop.execute { handler.value.cancel(ticket) }
        }
        return try result.get()
    }
}
