internal import HummingbirdCore
internal import Logging
internal import NIOCore
internal import NIOSSL
internal import NIOTLS
internal import Synchronization

/// How long a connection may take for what.
struct ConnectionLimits: Sendable {
    /// For the TLS handshake.
    var handshake: TimeAmount
    /// From the first byte of a request to the end of its head, and from there to its last byte.
    var read: TimeAmount
    /// From the head of an answer to its last byte.
    var write: TimeAmount
    /// Without a request.
    var idle: TimeAmount

    /// What the framework has for its own idle time-out, which is politer (GOAWAY and a PING that it waits for), before
    /// the connection is cut off.
    static let grace = TimeAmount.seconds(10)
}

/// Every open connection of one server; closes what is too much.
final class ConnectionRegistry: Sendable {
    private struct State {
        var table: ConnectionTable<ObjectIdentifier>
        var channels: [ObjectIdentifier: any Channel] = [:]
    }

    private let state: Mutex<State>

    init(limit: Int) { self.state = Mutex(State(table: ConnectionTable(limit: limit))) }

    var count: Int { self.state.withLock { $0.table.count } }

    /// Whether the connection may stay. Another one may be closed for it.
    func open(_ channel: any Channel) -> Bool {
        let id = ObjectIdentifier(channel)
        let client = ClientKey(channel.remoteAddress?.ipAddress ?? "unknown")
        let (isAdmitted, victim) = self.state.withLock { state -> (Bool, (any Channel)?) in
            switch state.table.open(id, client: client) {
            case .admitted:
                state.channels[id] = channel
                return (true, nil)
            case .insteadOf(let other):
                state.channels[id] = channel
                return (true, state.channels.removeValue(forKey: other))
            case .refused: return (false, nil)
            }
        }
        if let victim { ConnectionGuardHandler.cutOff(victim) }
        return isAdmitted
    }

    func requestBegan(_ channel: any Channel) {
        self.state.withLock { $0.table.requestBegan(ObjectIdentifier(channel)) }
    }

    func requestEnded(_ channel: any Channel) {
        self.state.withLock { $0.table.requestEnded(ObjectIdentifier(channel)) }
    }

    func close(_ channel: any Channel) {
        self.state.withLock { state in
            state.table.close(ObjectIdentifier(channel))
            state.channels[ObjectIdentifier(channel)] = nil
        }
    }
}

/// Puts a connection under ``ConnectionLimits`` and into the registry before anything else is done with it.
struct GuardedChannel<Base: ServerChildChannel>: ServerChildChannel {
    let base: Base
    let isTLS: Bool
    let limits: ConnectionLimits
    let registry: ConnectionRegistry

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Base.Value> {
        guard self.registry.open(channel) else {
            channel.close(promise: nil)
            return channel.eventLoop.makeFailedFuture(ChannelError.alreadyClosed)
        }
        let (registry, limits, isTLS) = (self.registry, self.limits, self.isTLS)
        channel.closeFuture.whenComplete { _ in registry.close(channel) }
        return channel.eventLoop.makeCompletedFuture {
            let pipeline = channel.pipeline.syncOperations
            try pipeline.addHandler(CutOffHandler())
            if !isTLS { try pipeline.addHandler(ConnectionGuardHandler(limits: limits, registry: registry)) }
        }.flatMap {
            self.base.setup(channel: channel, logger: logger)
        }.flatMapThrowing { value in
            guard isTLS else { return value }
            // Behind TLS, which tells of the handshake, and before the choice of protocol, which keeps that to itself.
            let pipeline = channel.pipeline.syncOperations
            let tls = try pipeline.handler(type: NIOSSLServerHandler.self)
            let handler = ConnectionGuardHandler(limits: limits, registry: registry, isShakingHands: true)
            try pipeline.addHandler(handler, position: .after(tls))
            return value
        }.flatMapErrorThrowing { error in
            channel.close(promise: nil)
            throw error
        }
    }

    func handle(value: Base.Value, logger: Logger) async { await self.base.handle(value: value, logger: logger) }
}

/// Stands first in the pipeline: closing from there passes by TLS, which would wait for the client's own goodbye.
final class CutOffHandler: ChannelInboundHandler, Sendable {
    typealias InboundIn = NIOAny
}

/// Cuts off a connection that takes too long for the handshake or the head of a request, or stays without one.
///
/// The framework's idle time-out leaves a head more time than the rest of a request, and over HTTP/2 it waits for an
/// answer to a PING: a client that gives none would stay forever.
final class ConnectionGuardHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private enum Phase { case shakingHands, idle, readingHead, busy }

    private let limits: ConnectionLimits
    private let registry: ConnectionRegistry
    private var phase: Phase
    private var requests = 0
    private var isMultiplexed = false
    private var deadline: Scheduled<Void>?
    /// nil once it is closed.
    private(set) var channel: (any Channel)?

    init(limits: ConnectionLimits, registry: ConnectionRegistry, isShakingHands: Bool = false) {
        self.limits = limits
        self.registry = registry
        self.phase = isShakingHands ? .shakingHands : .idle
    }

    /// The guard of the connection that `context` belongs to, as it is or as one of its streams.
    static func guarding(_ context: ChannelHandlerContext) -> ConnectionGuardHandler? {
        if let own = try? context.pipeline.syncOperations.handler(type: Self.self) { return own }
        // A stream runs on its connection's event loop; a connection's parent is the listener, which need not.
        guard let parent = context.channel.parent, parent.eventLoop === context.eventLoop else { return nil }
        return try? parent.pipeline.syncOperations.handler(type: Self.self)
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.channel = context.channel
        self.enter(self.phase)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.deadline?.cancel()
        self.channel = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if self.phase == .idle, !self.isMultiplexed { self.enter(.readingHead) }
        context.fireChannelRead(data)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted(let negotiated)? = event as? TLSUserEvent, self.phase == .shakingHands {
            // Its bytes are frames; streams have deadlines of their own.
            self.isMultiplexed = negotiated == "h2"
            self.enter(.idle)
        }
        context.fireUserInboundEventTriggered(event)
    }

    func requestBegan() {
        self.requests += 1
        self.enter(.busy)
        if let channel = self.channel { self.registry.requestBegan(channel) }
    }

    /// Both read and answered, or given up.
    func requestEnded() {
        self.requests -= 1
        if self.requests == 0 { self.enter(.idle) }
        if let channel = self.channel { self.registry.requestEnded(channel) }
    }

    /// Closes the connection without waiting for the client in any way.
    func cutOff() {
        if let channel = self.channel { Self.cutOff(channel) }
    }

    static func cutOff(_ channel: any Channel) {
        channel.eventLoop.execute {
            guard let first = try? channel.pipeline.syncOperations.context(handlerType: CutOffHandler.self) else {
                return channel.close(promise: nil)
            }
            first.close(promise: nil)
        }
    }

    private func enter(_ phase: Phase) {
        self.phase = phase
        self.deadline?.cancel()
        self.deadline = nil
        let time: TimeAmount
        switch phase {
        case .shakingHands: time = self.limits.handshake
        case .readingHead: time = self.limits.read
        case .idle: time = self.limits.idle + ConnectionLimits.grace
        case .busy: return
        }
        guard let channel = self.channel else { return }
        self.deadline = channel.eventLoop.scheduleTask(in: time) { Self.cutOff(channel) }
    }
}
