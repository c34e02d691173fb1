internal import Dispatch
internal import Synchronization

/// How many connections a pool holds, and for how long.
package struct PostgresPoolLimits: Sendable, Equatable {
    package var maxOpen: Int
    package var maxIdle: Int
    /// A connection older than this is replaced when it is next free; nil means never.
    package var maxLifetime: Duration?
    /// How long a caller waits for a connection.
    package var acquireTimeout: Duration

    package init(
        maxOpen: Int = 25,
        maxIdle: Int = 5,
        maxLifetime: Duration? = .seconds(300),
        acquireTimeout: Duration = .seconds(10)
    ) {
        self.maxOpen = maxOpen
        self.maxIdle = maxIdle
        self.maxLifetime = maxLifetime
        self.acquireTimeout = acquireTimeout
    }
}

/// A pool's numbers at one moment.
package struct PostgresPoolStatistics: Sendable, Equatable {
    /// Connections, idle and in use.
    package var open: Int
    package var idle: Int
    /// Callers that wait for a connection.
    package var waiting: Int
}

/// A bounded set of connections, opened on demand; callers are served first come, first served.
package final class PostgresPool: Sendable {
    package static let maxTransactionAttempts = 4

    typealias Machine = PoolStateMachine<PostgresConnection>

    /// How a waiter goes on.
    private enum Turn: Sendable {
        case use(Machine.Lease)
        case open
    }

    private struct State {
        var machine: Machine
        var continuations: [UInt64: CheckedContinuation<Turn, any Error>] = [:]
        var lastWaiter: UInt64 = 0
        var closing: [CheckedContinuation<Void, Never>] = []
    }

    package let configuration: PostgresConfiguration
    package let limits: PostgresPoolLimits
    private let onAcquire: @Sendable (Duration) -> Void
    private let state: Mutex<State>

    /// Opens nothing yet.
    ///
    /// - Parameter onAcquire: told how long each caller took to get its connection.
    package init(
        _ configuration: PostgresConfiguration,
        limits: PostgresPoolLimits = PostgresPoolLimits(),
        onAcquire: @escaping @Sendable (Duration) -> Void = { _ in }
    ) {
        self.configuration = configuration
        self.limits = limits
        self.onAcquire = onAcquire
        self.state = Mutex(
            State(
                machine: Machine(maxOpen: limits.maxOpen, maxIdle: limits.maxIdle, maxLifetime: limits.maxLifetime)
            )
        )
    }

    package var statistics: PostgresPoolStatistics {
        self.state.withLock { state in
            PostgresPoolStatistics(
                open: state.machine.open,
                idle: state.machine.idle.count,
                waiting: state.machine.waiting.count
            )
        }
    }

    /// Runs `body` with a connection that nobody else uses meanwhile; it must not be used after `body` returned.
    ///
    /// - Throws: ``PostgresError/poolExhausted(maxOpen:waited:)``, ``PostgresError/poolClosed``,
    ///   ``PostgresError/connectionFailed(_:)``, or what `body` throws.
    package func withConnection<Value: Sendable>(
        isolation: isolated (any Actor)? = #isolation,
        _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        let start = ContinuousClock.now
        let lease = try await self.acquire()
        self.onAcquire(ContinuousClock.now - start)
        do {
            let value = try await body(lease.connection)
            self.release(lease)
            return value
        } catch {
            self.release(lease)
            throw error
        }
    }

    /// Runs `body` in a transaction; whatever it throws rolls back.
    ///
    /// A deadlock or serialisation failure runs `body` again, ``maxTransactionAttempts`` times in all: `body` must have
    /// no effects but on the connection.
    package func withTransaction<Value: Sendable>(
        isolation: isolated (any Actor)? = #isolation,
        _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        var attempt = 1
        while true {
            do {
                return try await self.withConnection { connection in
                    try await PostgresConnection.transaction(on: connection, body)
                }
            } catch let error as PostgresError {
                guard error.sqlState == .deadlockDetected || error.sqlState == .serializationFailure,
                    attempt < Self.maxTransactionAttempts
                else { throw error }
                attempt += 1
            }
        }
    }

    /// Runs one statement on a connection of its own.
    @discardableResult
    package func query(_ sql: String, _ parameters: [(any PostgresEncodable)?] = []) async throws -> PostgresRows {
        try await self.withConnection { try await $0.query(sql, parameters) }
    }

    /// Runs one statement that changes nothing, once more when its connection is lost.
    package func read(_ sql: String, _ parameters: [(any PostgresEncodable)?] = []) async throws -> PostgresRows {
        do {
            return try await self.query(sql, parameters)
        } catch PostgresError.connectionLost {
            return try await self.query(sql, parameters)
        }
    }

    /// Refuses new callers, lets those that have a connection finish, and returns when all connections are closed.
    ///
    /// Cancelling the task ends the wait; connections still in use are closed when they come back. Idempotent.
    package func close() async {
        let (idle, continuations) = self.state.withLock { state in
            let (idle, waiters) = state.machine.close()
            return (idle, waiters.compactMap { state.continuations.removeValue(forKey: $0) })
        }
        for continuation in continuations { continuation.resume(throwing: PostgresError.poolClosed) }
        for connection in idle { await connection.close() }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isDone = self.state.withLock { state in
                    if state.machine.open == 0 || Task.isCancelled { return true }
                    state.closing.append(continuation)
                    return false
                }
                if isDone { continuation.resume() }
            }
        } onCancel: {
            self.resumeClosers { _ in true }
        }
    }

    // MARK: Machinery

    private func acquire() async throws -> Machine.Lease {
        while true {
            guard case .use(let lease) = try await self.nextTurn() else { return try await self.openConnection() }
            // The server may have ended it meanwhile.
            if lease.connection.isUsable { return lease }
            self.perform { machine, _ in machine.releaseSlot() }
        }
    }

    private func openConnection() async throws -> Machine.Lease {
        do {
            return Machine.Lease(connection: try await .connect(self.configuration), openedAt: .now)
        } catch {
            self.perform { machine, _ in machine.releaseSlot() }
            throw error
        }
    }

    private func release(_ lease: Machine.Lease) {
        let isUsable = lease.connection.isUsable
        self.perform { machine, discarded in
            isUsable ? machine.release(lease, now: .now, discarded: &discarded) : machine.releaseSlot()
        }
    }

    /// Takes a decision about a free slot and wakes whom it concerns.
    private func perform(_ decide: (inout Machine, inout [PostgresConnection]) -> Machine.Release) {
        var discarded: [PostgresConnection] = []
        self.state.withLock { state in
            switch decide(&state.machine, &discarded) {
            case .handOver(let lease, let waiter):
                state.continuations.removeValue(forKey: waiter)?.resume(returning: .use(lease))
            case .open(let waiter):
                state.continuations.removeValue(forKey: waiter)?.resume(returning: .open)
            case .nothing: break
            }
        }
        // Discarded connections close when their last reference goes, here.
        self.resumeClosers { $0.open == 0 }
    }

    private func resumeClosers(_ condition: (Machine) -> Bool) {
        let closers = self.state.withLock { state in
            guard condition(state.machine) else { return [CheckedContinuation<Void, Never>]() }
            defer { state.closing = [] }
            return state.closing
        }
        for closer in closers { closer.resume() }
    }

    /// Waits for a connection or for the right to open one.
    private func nextTurn() async throws -> Turn {
        let waiter = self.state.withLock { state in
            state.lastWaiter += 1
            return state.lastWaiter
        }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                var discarded: [PostgresConnection] = []
                let turn: Result<Turn, any Error>? = self.state.withLock { state in
                    // Cancellation that came before the waiter was enlisted found nobody to wake.
                    if Task.isCancelled { return .failure(CancellationError()) }
                    switch state.machine.acquire(waiter: waiter, now: .now, discarded: &discarded) {
                    case .use(let lease): return .success(.use(lease))
                    case .open: return .success(.open)
                    case .closed: return .failure(PostgresError.poolClosed)
                    case .wait:
                        state.continuations[waiter] = continuation
                        return nil
                    }
                }
                if let turn { return continuation.resume(with: turn) }
                self.startTimer(for: waiter)
            }
        } onCancel: {
            self.fail(waiter, CancellationError())
        }
    }

    private func startTimer(for waiter: UInt64) {
        let timeout = self.limits.acquireTimeout
        let error = PostgresError.poolExhausted(maxOpen: self.limits.maxOpen, waited: timeout)
        let seconds = Double(timeout.components.seconds) + Double(timeout.components.attoseconds) / 1e18
        DispatchQueue.global().asyncAfter(deadline: .now() + seconds) { [weak self] in self?.fail(waiter, error) }
    }

    private func fail(_ waiter: UInt64, _ error: any Error) {
        let continuation = self.state.withLock { state in
            state.machine.removeWaiter(waiter) ? state.continuations.removeValue(forKey: waiter) : nil
        }
        continuation?.resume(throwing: error)
    }
}
