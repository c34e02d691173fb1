package import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
package import SSP

/// Opens connections; one for the whole process, so that TLS contexts are shared.
package final class WinRMConnector: Sendable {
    /// A connection that idles keeps its receive buffer, so it starts small and stays moderate.
    private static let receiveBuffer = AdaptiveRecvByteBufferAllocator(minimum: 512, initial: 2048, maximum: 16384)

    private let group: any EventLoopGroup
    private let limits: WinRMLimits
    private let environment: NTLMEnvironment
    private let contexts = TLSContexts()

    /// - Parameters:
    ///   - group: the event loops; they must be those of NIOPosix.
    ///   - limits: apply to each connection.
    ///   - environment: clock and randomness of NTLM.
    package init(group: any EventLoopGroup, limits: WinRMLimits = WinRMLimits(), environment: NTLMEnvironment = .system)
    {
        self.group = group
        self.limits = limits
        self.environment = environment
    }

    /// Connects, and shakes hands if TLS is wanted. Nobody is signed in yet.
    ///
    /// - Throws: `.timedOut`, `.connectionRefused`, `.hostUnreachable`, `.connectionReset`, `.tlsFailed`, `.cancelled`;
    ///   `.misuse` if the address is not one.
    package func connect(
        to endpoint: WinRMEndpoint,
        deadline: ContinuousClock.Instant
    ) async throws(WinRMError) -> WinRMConnection {
        guard let address = try? SocketAddress(ipAddress: endpoint.address, port: endpoint.port) else {
            throw .misuse("\(endpoint.address) is not an IP address")
        }
        let context: NIOSSLContext?
        do throws(TLSFailure) {
            context = if let tls = endpoint.tls { try self.contexts.context(for: tls) } else { nil }
        } catch {
            throw .tlsFailed(error)
        }
        let remaining = ContinuousClock.now.duration(to: deadline)
        guard remaining > .zero else { throw .timedOut(.connecting) }

        let eventLoop = self.group.next()
        let status = ConnectionStatus()
        let ready = eventLoop.makePromise(of: [UInt8]?.self)
        let limit = self.limits.maximumResponseBytes
        let bootstrap = ClientBootstrap(group: eventLoop)
            .connectTimeout(TimeAmount(remaining))
            .channelOption(.recvAllocator, value: Self.receiveBuffer)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let handler = HTTPHandler(maximumBytes: limit, tls: endpoint.tls, status: status, ready: ready)
                    try Self.configure(channel, handler: handler, status: status, endpoint: endpoint, context: context)
                }
            }
        let channel: any Channel
        do {
            channel = try await bootstrap.connect(to: address).get()
        } catch {
            // If the initializer never ran, nobody else completes the promise.
            ready.fail(error)
            throw WinRMError(connectError: error)
        }
        return try await self.awaitHandshake(
            Pending(endpoint: endpoint, channel: channel, status: status, ready: ready.futureResult),
            deadline: deadline
        )
    }

    private struct Pending: Sendable {
        let endpoint: WinRMEndpoint
        let channel: any Channel
        let status: ConnectionStatus
        let ready: EventLoopFuture<[UInt8]?>
    }

    private func awaitHandshake(
        _ pending: Pending,
        deadline: ContinuousClock.Instant
    ) async throws(WinRMError) -> WinRMConnection {
        let channel = pending.channel
        let remaining = max(ContinuousClock.now.duration(to: deadline), .zero)
        do {
            let handler = try await channel.eventLoop.submit {
                NIOLoopBound(
                    try channel.pipeline.syncOperations.handler(type: HTTPHandler.self),
                    eventLoop: channel.eventLoop
                )
            }.get()
            let timer = channel.eventLoop.scheduleTask(in: TimeAmount(remaining)) {
                handler.value.fail(.timedOut(.handshake))
            }
            defer { timer.cancel() }
            let hash = try await withTaskCancellationHandler {
                try await pending.ready.get()
            } onCancel: {
                channel.eventLoop.execute { handler.value.fail(.cancelled) }
            }
            return WinRMConnection(
                endpoint: pending.endpoint,
                limits: self.limits,
                status: pending.status,
                channel: channel,
                handler: handler,
                certificateHash: hash,
                environment: self.environment
            )
        } catch let error as WinRMError {
            channel.close(promise: nil)
            throw error
        } catch {
            // The handler was gone before it could be asked: its own account of why is the better one.
            channel.close(promise: nil)
            do { _ = try await pending.ready.get() } catch let error { throw WinRMError(connectError: error) }
            throw .connectionReset("the connection was closed at once")
        }
    }

    static func configure(
        _ channel: any Channel,
        handler: HTTPHandler,
        status: ConnectionStatus,
        endpoint: WinRMEndpoint,
        context: NIOSSLContext?
    ) throws {
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(ByteCounter(status: status))
        if let context {
            try pipeline.addHandler(Self.tlsHandler(context, endpoint))
        }
        try pipeline.addHTTPClientHandlers(leftOverBytesStrategy: .dropBytes)
        try pipeline.addHandler(handler)
    }

    /// - Throws: what the TLS library thinks of the context.
    static func tlsHandler(_ context: NIOSSLContext, _ endpoint: WinRMEndpoint) throws -> NIOSSLClientHandler {
        // Only a name may be sent as SNI; most hosts are addressed by number and have one certificate anyway.
        let name = endpoint.tls?.expectedNames.first { PeerCertificate.addressBytes($0) == nil && !$0.isEmpty }
        do {
            return try NIOSSLClientHandler(context: context, serverHostname: name)
        } catch {
            // Not every name that a certificate may carry can be sent.
            return try NIOSSLClientHandler(context: context, serverHostname: nil)
        }
    }
}
