package import SSP
import Synchronization

/// One sign-in at a host's WMI, kept between polls.
///
/// A connection has two TCP connections: to the object resolver (port 135), which activates WMI and takes pings, and
/// to the dynamic port of the process that WMI runs in. One query at a time. A query that fails leaves the connection
/// usable, unless the transport failed.
///
/// Every interface that the host hands out is counted there until it is released: what a query needed goes back in
/// batches, the rest with ``close(deadline:)``. A connection that is thrown away without that leaves its references to
/// the host's own clean-up, six minutes later.
package actor WMIConnection {
    /// How far signing in has come.
    enum State {
        case connected
        /// The resolver's NTLM challenge is there; no secret was used yet.
        case challenged
        /// The password is proved; WMI's port was not dialled yet.
        case activated(Activation)
        case ready(Exporter)
        case closed
    }

    /// What the object resolver said about the process that WMI runs in.
    struct Activation: Sendable {
        var bindings: [StringBinding]
        /// The version of COM that both sides speak.
        var version: COMVersion
        var remUnknown: GUID
        var login: StandardReference
    }

    /// The process that WMI runs in, and what this connection holds there.
    struct Exporter {
        var channel: any RPCChannel
        var version: COMVersion
        var remUnknown: GUID
        var login: StandardReference
        /// Open namespaces by their canonical name.
        var services: [String: StandardReference] = [:]
        /// Interfaces that the channel is bound to.
        var bound: Set<RPCInterface>
    }

    package nonisolated let endpoint: WMIEndpoint
    package nonisolated let limits: WMILimits
    nonisolated let environment: NTLMEnvironment
    nonisolated let dial: RPCDial
    nonisolated let health: ConnectionHealth

    var state = State.connected
    /// What the host said about itself while signing in.
    package internal(set) var challengeInfo: NTLMChallengeInfo?
    var ledger = ReferenceLedger()
    var decoder: WMIObjectDecoder
    /// What runs now; cancellation and closing wait for it.
    var running: Running?
    /// The one end that there is; whoever closes as well waits for it.
    private var closing: Task<Void, Never>?
    var upkeep: Upkeep?
    var upkeepTask: Task<Void, Never>?
    var pingSet = PingSet()
    /// Whether the host wants pings from the connection that is signed in.
    var pingsSignedIn = false
    /// The signed-in connection to the resolver, until pings without a sign-in have proved to work.
    var resolver: (any RPCChannel)?
    /// How to fetch rows; changes when a host refuses the way that was asked for.
    var enumeration: WMIEnumeration

    init(
        endpoint: WMIEndpoint,
        limits: WMILimits,
        environment: NTLMEnvironment,
        resolver: any RPCChannel,
        dial: @escaping RPCDial
    ) {
        self.endpoint = endpoint
        self.limits = limits
        self.environment = environment
        self.resolver = resolver
        self.dial = dial
        self.health = ConnectionHealth(channel: resolver)
        self.decoder = WMIObjectDecoder(limits: limits.objects)
        self.enumeration = limits.enumeration
    }

    deinit {
        self.upkeepTask?.cancel()
        self.health.abandon()
    }

    /// Whether queries can still be sent. The host may let go at any moment, so a query can find that out all the same
    /// (an error that ``WMIError/suggestsReconnect``).
    package nonisolated var isOpen: Bool { self.health.isOpen }

    package nonisolated var statistics: WMIStatistics { self.health.statistics }

    /// TCP connections that it has at this moment.
    package nonisolated var openChannels: Int { self.health.openChannels }

    // MARK: - One thing at a time

    /// A sign-in or a query on its way. It is not cancelled with its caller: what the host hands out meanwhile must be
    /// taken to be given back.
    struct Running {
        let isCancelled: CancellationFlag
        let wait: @Sendable () async -> Void
    }

    /// Runs something that a cancelled caller leaves alone, but not for longer than the grace.
    func shielded<Value: Sendable>(
        _ step: WMIError.Step,
        _ body: @escaping @Sendable (isolated WMIConnection, CancellationFlag) async -> Result<Value, WMIError>
    ) async throws(WMIError) -> Value {
        guard self.running == nil else { throw .misuse("two things at once") }
        guard !Task.isCancelled else { throw .cancelled(step) }
        let flag = CancellationFlag()
        let task = Task { await body(self, flag) }
        self.running = Running(isCancelled: flag) { _ = await task.value }
        let health = self.health
        let grace = self.limits.upkeep.cancellationGrace
        let result = await withTaskCancellationHandler {
            await task.value
        } onCancel: {
            flag.cancel(after: grace) { health.abandon() }
        }
        flag.disarm()
        self.running = nil
        return try result.get()
    }

    // MARK: - The end

    /// Gives every reference back and closes. A query that runs ends with ``WMIError/Category/cancelled``.
    ///
    /// - Parameter deadline: bounds all of it; what could not be given back by then is left to the host.
    package func close(deadline: ContinuousClock.Instant) async {
        if let closing = self.closing {
            let health = self.health
            let patience = CancellationFlag()
            patience.cancel(after: ContinuousClock.now.duration(to: deadline)) { health.abandon() }
            await closing.value
            patience.disarm()
            return
        }
        // Not cancelled with the caller: closing is what a cancelled caller does.
        let closing = Task { await self.shutDown(deadline: deadline) }
        self.closing = closing
        await closing.value
    }

    private func shutDown(deadline: ContinuousClock.Instant) async {
        self.health.close()
        self.upkeepTask?.cancel()
        self.upkeepTask = nil
        if let running = self.running {
            let health = self.health
            let grace = min(self.limits.upkeep.cancellationGrace, ContinuousClock.now.duration(to: deadline))
            running.isCancelled.cancel(after: grace) { health.abandon() }
            await running.wait()
            running.isCancelled.disarm()
        }
        if case .ready(let exporter) = self.state {
            self.state = .closed
            self.ledger.retireAll()
            await self.release(through: exporter, deadline: deadline)
            await exporter.channel.close()
        }
        self.state = .closed
        await self.resolver?.close()
        self.resolver = nil
        // A channel of a sign-in that failed half-way, or of a ping.
        self.health.abandon()
    }
}

/// Whether a connection can be used, and its channels, for those who do not want to wait for the actor.
final class ConnectionHealth: Sendable {
    private struct State {
        var isClosed = false
        /// Channels that were opened for this connection and are counted.
        var channels: [any RPCChannel]
        /// Of channels that are gone.
        var past = WMIStatistics()
        /// The channel without which there is no connection.
        var essential: any RPCChannel
    }

    private let state: Mutex<State>

    init(channel: any RPCChannel) {
        self.state = Mutex(State(channels: [channel], essential: channel))
    }

    var isOpen: Bool {
        self.state.withLock { !$0.isClosed && $0.essential.isOpen }
    }

    var openChannels: Int { self.state.withLock { $0.channels.count(where: \.isOpen) } }

    var statistics: WMIStatistics {
        self.state.withLock { state in
            state.channels.reduce(state.past) { $0 + WMIStatistics($1.statistics) }
        }
    }

    /// Counts a further channel, which from now on decides if it is the exporter's.
    ///
    /// - Returns: whether the connection is still wanted; the channel is closed otherwise.
    @discardableResult
    func add(_ channel: any RPCChannel, isEssential: Bool) -> Bool {
        let isClosed = self.state.withLock { state in
            state.channels.append(channel)
            if isEssential { state.essential = channel }
            return state.isClosed
        }
        if isClosed { channel.abandon(.cancelled) }
        return !isClosed
    }

    /// Forgets a channel that was closed, but not what it has cost.
    func remove(_ channel: any RPCChannel) {
        self.state.withLock { state in
            guard let index = state.channels.firstIndex(where: { $0 as AnyObject === channel as AnyObject }) else {
                return
            }
            state.past = state.past + WMIStatistics(channel.statistics)
            state.channels.remove(at: index)
        }
    }

    /// From now on the connection is not open, though its channels still are.
    func close() {
        self.state.withLock { $0.isClosed = true }
    }

    /// Closes everything at once, without giving anything back.
    func abandon() {
        let channels = self.state.withLock { state in
            state.isClosed = true
            return state.channels
        }
        for channel in channels { channel.abandon(.cancelled) }
    }
}

extension WMIStatistics {
    init(_ statistics: RPCStatistics) {
        self.init(
            roundTrips: statistics.roundTrips,
            bytesSent: statistics.bytesSent,
            bytesReceived: statistics.bytesReceived
        )
    }
}

/// Says that whoever waits for something has gone, and makes an end if it takes too long all the same.
final class CancellationFlag: Sendable {
    private struct State {
        var isCancelled = false
        var isDisarmed = false
        var timer: Task<Void, Never>?
    }

    private let state = Mutex(State())

    var isCancelled: Bool { self.state.withLock { $0.isCancelled } }

    func cancel(after grace: Duration, _ abandon: @escaping @Sendable () -> Void) {
        self.state.withLock { state in
            guard !state.isCancelled, !state.isDisarmed else { return }
            state.isCancelled = true
            state.timer = Task {
                guard (try? await Task.sleep(for: grace)) != nil else { return }
                abandon()
            }
        }
    }

    /// It has ended; nothing is to be abandoned any more.
    func disarm() {
        self.state.withLock { state in
            state.isDisarmed = true
            state.timer?.cancel()
            state.timer = nil
        }
    }
}
