package import Logging
package import Postgres
internal import Synchronization

/// A lock that one instance of all holds, for as long as its own connection lives: leader election.
///
/// A lost connection is a lost lock; it is noticed within ``checkInterval`` plus twice ``checkTimeout``. Until then
/// another instance may already hold the lock, so what it protects must bear a short overlap.
package final class AdvisoryLock: Sendable {
    package static let checkInterval = Duration.seconds(1)
    package static let checkTimeout = Duration.seconds(2)
    /// How long the server keeps the lock for a holder whose machine vanished, in seconds: idle, interval × count.
    private static let keepAlive = (idle: 2, interval: 1, count: 3)

    private let configuration: PostgresConfiguration
    private let key: AdvisoryLockKey
    private let retryInterval: Duration
    private let clock: any Clock<Duration>
    private let logger: Logger
    private let held = Atomic(false)

    /// - Parameter retryInterval: how often an instance without the lock asks for it.
    package init(
        _ configuration: PostgresConfiguration,
        key: AdvisoryLockKey,
        retryInterval: Duration = .milliseconds(500),
        clock: any Clock<Duration> = ContinuousClock(),
        logger: Logger
    ) {
        var configuration = configuration
        configuration.statementTimeout = Self.checkTimeout
        self.configuration = configuration
        self.key = key
        self.retryInterval = retryInterval
        self.clock = clock
        self.logger = logger
    }

    /// Whether this instance holds the lock, as far as it knows.
    package var isHeld: Bool { self.held.load(ordering: .relaxed) }

    /// Asks for the lock until it is granted, then runs `body`; when the lock is lost, `body` is cancelled and all begins
    /// anew.
    ///
    /// When `body` ends by itself or the caller is cancelled, the lock is given back, at once when `body` has ended, and
    /// this returns, or throws what `body` threw.
    package func whileHeld(_ body: @escaping @Sendable () async throws -> Void) async throws {
        var waiting: PostgresConnection?
        do {
            while true {
                try Task.checkCancellation()
                if waiting == nil { waiting = await self.connect() }
                switch await self.ask(waiting) {
                case .granted(let connection):
                    waiting = nil
                    let end = await self.hold(connection, body)
                    // The session's end is the lock's.
                    await connection.close()
                    if let end { return try end.get() }
                case .taken: break
                case .failed:
                    await waiting?.close()
                    waiting = nil
                }
                try await self.clock.sleep(for: self.retryInterval)
            }
        } catch {
            await waiting?.close()
            throw error
        }
    }

    /// nil when the lock was lost.
    private func hold(
        _ connection: PostgresConnection,
        _ body: @escaping @Sendable () async throws -> Void
    ) async -> Result<Void, any Error>? {
        self.held.store(true, ordering: .relaxed)
        self.logger.info("took the lock", metadata: ["lock": "\(self.key)"])
        var end = await self.run(body, connection)
        self.held.store(false, ordering: .relaxed)
        if end == nil, Task.isCancelled { end = .failure(CancellationError()) }
        if end == nil {
            self.logger.warning("lost the lock", metadata: ["lock": "\(self.key)"])
        } else {
            self.logger.info("gives the lock back", metadata: ["lock": "\(self.key)"])
        }
        return end
    }

    private enum Answer {
        case granted(PostgresConnection)
        case taken
        case failed
    }

    private func connect() async -> PostgresConnection? {
        do {
            let connection = try await PostgresConnection.connect(self.configuration)
            // The server ends the session of a holder whose machine vanished, and with it the lock.
            for (name, value) in [
                ("tcp_keepalives_idle", Self.keepAlive.idle), ("tcp_keepalives_interval", Self.keepAlive.interval),
                ("tcp_keepalives_count", Self.keepAlive.count),
            ] {
                try await connection.query("SELECT set_config($1, $2, false)", [name, String(value)])
            }
            return connection
        } catch {
            self.note(error)
            return nil
        }
    }

    private func ask(_ connection: PostgresConnection?) async -> Answer {
        guard let connection else { return .failed }
        do {
            let rows = try await connection.query("SELECT pg_try_advisory_lock($1) AS granted", [self.key.rawValue])
            return try rows[0].value("granted") ? .granted(connection) : .taken
        } catch {
            self.note(error)
            return .failed
        }
    }

    private func note(_ error: any Error) {
        if error is CancellationError { return }
        self.logger.warning("can't ask for the lock", metadata: ["lock": "\(self.key)", "error": "\(error)"])
    }

    /// Runs `body` beside the check of the connection; nil when the lock was lost.
    private func run(
        _ body: @escaping @Sendable () async throws -> Void,
        _ connection: PostgresConnection
    ) async -> Result<Void, any Error>? {
        await withTaskGroup(of: Result<Void, any Error>?.self) { group in
            group.addTask {
                do {
                    return .success(try await body())
                } catch {
                    return .failure(error)
                }
            }
            group.addTask {
                do {
                    while true {
                        try await self.clock.sleep(for: Self.checkInterval)
                        try await connection.query("SELECT 1")
                    }
                } catch {
                    // Known at once, not only when `body` has reacted to its cancellation.
                    self.held.store(false, ordering: .relaxed)
                    return nil
                }
            }
            defer { group.cancelAll() }
            return await group.next() ?? nil
        }
    }
}
