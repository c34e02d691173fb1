/// Decides who gets which connection of a pool; performs nothing.
///
/// A *slot* is the right to hold one connection, idle ones included; there are at most `maxOpen`.
struct PoolStateMachine<Connection> {
    struct Lease {
        let connection: Connection
        let openedAt: ContinuousClock.Instant
        /// When it was given back last.
        fileprivate(set) var idleSince: ContinuousClock.Instant?

        init(connection: Connection, openedAt: ContinuousClock.Instant) {
            self.connection = connection
            self.openedAt = openedAt
        }
    }

    /// What a caller that asked for a connection does next.
    enum Acquisition {
        case use(Lease)
        /// The caller has a slot and opens a connection.
        case open
        /// The caller waits until it is named by ``release(_:now:)`` or ``releaseSlot()``.
        case wait
        case closed
    }

    /// What happens to a slot that became free.
    enum Release {
        /// The waiter goes on with this connection.
        case handOver(Lease, waiter: UInt64)
        /// The waiter has the slot and opens a connection.
        case open(waiter: UInt64)
        case nothing
    }

    /// How long an idle connection beyond `maxIdle` is kept: opening one costs the server a process, and under load it is
    /// wanted again within milliseconds.
    static var surplusLinger: Duration { .seconds(10) }

    let maxOpen: Int
    let maxIdle: Int
    let maxLifetime: Duration?

    private(set) var open = 0
    private(set) var idle: [Lease] = []
    /// First come, first served.
    private(set) var waiting: [UInt64] = []
    private(set) var isClosed = false

    init(maxOpen: Int, maxIdle: Int, maxLifetime: Duration?) {
        self.maxOpen = max(1, maxOpen)
        self.maxIdle = max(0, min(maxIdle, self.maxOpen))
        self.maxLifetime = maxLifetime
    }

    /// - Parameter discarded: receives connections to close.
    mutating func acquire(
        waiter: UInt64,
        now: ContinuousClock.Instant,
        discarded: inout [Connection]
    ) -> Acquisition {
        guard !self.isClosed else { return .closed }
        defer { self.shedSurplus(now, &discarded) }
        // The most recently used first, so that a pool after a peak sheds connections by their lifetime.
        while let lease = self.idle.popLast() {
            if !self.isExpired(lease, now) { return .use(lease) }
            self.open -= 1
            discarded.append(lease.connection)
        }
        guard self.open < self.maxOpen else {
            self.waiting.append(waiter)
            return .wait
        }
        self.open += 1
        return .open
    }

    /// A caller is done with a connection that is still good.
    mutating func release(
        _ lease: Lease,
        now: ContinuousClock.Instant,
        discarded: inout [Connection]
    ) -> Release {
        guard !self.isClosed, !self.isExpired(lease, now) else {
            discarded.append(lease.connection)
            return self.releaseSlot()
        }
        if !self.waiting.isEmpty { return .handOver(lease, waiter: self.waiting.removeFirst()) }
        var lease = lease
        lease.idleSince = now
        self.idle.append(lease)
        self.shedSurplus(now, &discarded)
        return .nothing
    }

    /// Gives up what has been idle for long, beyond what may stay.
    private mutating func shedSurplus(_ now: ContinuousClock.Instant, _ discarded: inout [Connection]) {
        while self.idle.count > self.maxIdle, let since = self.idle[0].idleSince, since + Self.surplusLinger <= now {
            discarded.append(self.idle.removeFirst().connection)
            self.open -= 1
        }
    }

    /// A caller's connection broke or never came to be: its slot passes to the next waiter.
    mutating func releaseSlot() -> Release {
        if !self.isClosed, !self.waiting.isEmpty { return .open(waiter: self.waiting.removeFirst()) }
        self.open -= 1
        return .nothing
    }

    /// false when the waiter was served or is gone.
    mutating func removeWaiter(_ waiter: UInt64) -> Bool {
        guard let index = self.waiting.firstIndex(of: waiter) else { return false }
        self.waiting.remove(at: index)
        return true
    }

    /// Nobody gets a connection any more; returns the idle connections and the waiters.
    mutating func close() -> (idle: [Connection], waiters: [UInt64]) {
        self.isClosed = true
        defer {
            self.open -= self.idle.count
            self.idle = []
            self.waiting = []
        }
        return (self.idle.map(\.connection), self.waiting)
    }

    private func isExpired(_ lease: Lease, _ now: ContinuousClock.Instant) -> Bool {
        self.maxLifetime.map { lease.openedAt + $0 <= now } ?? false
    }
}

extension PoolStateMachine.Lease: Sendable where Connection: Sendable {}
