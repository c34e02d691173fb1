package import NMSCore

/// A signed-in connection to a Windows machine, over which one query runs at a time.
package protocol WindowsConnection: Sendable {
    /// Whether it can still be used, as far as is known.
    var isOpen: Bool { get }

    /// Descriptors that it takes at this moment.
    var descriptors: Int { get }

    /// Where a poll over it runs best; nil for anywhere.
    var taskExecutor: (any TaskExecutor)? { get }

    /// Gives back what the host keeps for it, in bounded time. Further calls do nothing.
    func close() async
}

extension WindowsConnection {
    package var descriptors: Int { 1 }
    package var taskExecutor: (any TaskExecutor)? { nil }
}

/// Time-outs and bounds of a ``WindowsCollector``.
package struct WindowsCollectorLimits: Sendable {
    /// Connections kept between polls: one budget for all collectors.
    package var idleConnections = IdleConnectionBudget(limit: 12_000)
    /// For TCP: a host that does not answer within it is away, and must be cheap.
    package var connectTimeout: Duration = .seconds(3)
    /// For one sign-in, during which others with the same credential may wait.
    package var signInTimeout: Duration = .seconds(10)
    /// For one query. Raw counters were seen to stall for 21 to 24 s while a service of the host restarts.
    package var queryTimeout: Duration = .seconds(25)

    package init() {}
}

/// Something that went wrong with a connection, and what follows from it.
package struct TransportFailure: Error, Sendable {
    package var failure: PollFailure
    /// Whether the host has counted a failed login.
    package var countsAsFailedLogin = false
    /// Whether the same query may be tried at once on a new connection.
    package var suggestsReconnect = false
    /// The call was cancelled; `failure` says nothing then.
    package var isCancellation = false
    /// This machine lacks descriptors, ports or memory; the host was not asked.
    package var isLocalShortage = false

    package init(
        _ failure: PollFailure,
        countsAsFailedLogin: Bool = false,
        suggestsReconnect: Bool = false,
        isCancellation: Bool = false,
        isLocalShortage: Bool = false
    ) {
        self.failure = failure
        self.countsAsFailedLogin = countsAsFailedLogin
        self.suggestsReconnect = suggestsReconnect
        self.isCancellation = isCancellation
        self.isLocalShortage = isLocalShortage
    }
}

/// A collector that asks WQL over a connection kept between polls; a protocol adds only what it differs in.
///
/// Queries, their order, reconnecting, the sign-in gate and the kept connections are the same for all of them
/// (``WindowsPoll``, ``WarmSessions``).
package protocol WindowsCollector: Collector {
    associatedtype Connection: WindowsConnection
    associatedtype Row: WMIInstance & Sendable
    associatedtype Failure: Error

    var limits: WindowsCollectorLimits { get }
    var sessions: WarmSessions<Connection> { get }

    /// Where the target is reached, for messages, such as `WinRM HTTP port 5985`.
    func endpointSummary(_ target: CollectorTarget) -> String

    /// Connects, and no more: a failure here says that this way in is not open.
    func connect(to target: CollectorTarget, deadline: ContinuousClock.Instant) async throws(Failure) -> Connection

    /// Goes as far as can be gone without using the password. A host that stalls here keeps nobody else waiting.
    func prepareSignIn(over connection: Connection, to target: CollectorTarget, deadline: ContinuousClock.Instant)
        async throws(Failure)

    /// Proves the password, and does no more: until then few other hosts may be signed in to.
    func signIn(over connection: Connection, to target: CollectorTarget, deadline: ContinuousClock.Instant)
        async throws(Failure)

    /// Does what is left of signing in once the password was accepted.
    func finishSignIn(over connection: Connection, to target: CollectorTarget, deadline: ContinuousClock.Instant)
        async throws(Failure)

    /// Runs a query to its end. An error after which answers could come out of step closes the connection.
    func rows(of wql: String, over connection: Connection, deadline: ContinuousClock.Instant) async throws(Failure)
        -> [Row]

    /// What an error of the above means for the poll.
    func transportFailure(_ error: Failure, at target: CollectorTarget) -> TransportFailure

    /// A poll over the connection is over, well or badly; what it left behind at the host is to be cleared away.
    func endPoll(over connection: Connection, deadline: ContinuousClock.Instant) async
}

extension WindowsCollector {
    package func finishSignIn(
        over connection: Connection,
        to target: CollectorTarget,
        deadline: ContinuousClock.Instant
    ) async throws(Failure) {}

    package func endPoll(over connection: Connection, deadline: ContinuousClock.Instant) async {}

    /// Connections that are kept open at this moment.
    package var idleConnections: Int { self.sessions.count }

    package func sample(_ target: CollectorTarget, groups: Set<CounterGroup>) async throws -> RawSample {
        let warm = await self.sessions.checkOut(target)
        let poll = WindowsPoll(collector: self, target: target, warm: warm)
        do {
            let sample = try await self.run(poll, groups: groups, on: warm?.taskExecutor)
            await self.endPoll(poll, target)
            await self.sessions.checkIn(await poll.connection, target: target)
            return sample
        } catch {
            // A connection that is out of step or refused is closed by now; one that only met faults is kept.
            if !(error is PollFailure) { await poll.close() }
            await self.endPoll(poll, target)
            await self.sessions.checkIn(await poll.connection, target: target)
            throw error
        }
    }

    private func run(
        _ poll: WindowsPoll<Self>,
        groups: Set<CounterGroup>,
        on executor: (any TaskExecutor)?
    ) async throws -> RawSample {
        guard let executor else { return try await poll.run(groups: groups) }
        // The poll may close the connection that the executor belongs to and go on with another.
        defer { withExtendedLifetime(executor) {} }
        return try await withTaskExecutorPreference(executor) { try await poll.run(groups: groups) }
    }

    /// Within the grace that the caller gives after the deadline: the poll has its sample already.
    private func endPoll(_ poll: WindowsPoll<Self>, _ target: CollectorTarget) async {
        guard let connection = await poll.connection else { return }
        await self.endPoll(over: connection, deadline: min(.now + .seconds(2), target.deadline + .seconds(1)))
    }

    package func forget(deviceID: Int) async { await self.sessions.forget(deviceID: deviceID) }
    package func forget(credentialID: Int) async { await self.sessions.forget(credentialID: credentialID) }
    package func shutDown() async { await self.sessions.shutDown() }
}
