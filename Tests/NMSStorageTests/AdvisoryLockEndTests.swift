import Logging
import Postgres
import PostgresTestSupport
import Synchronization
import Testing

@testable import NMSStorage

/// How leadership ends, and what is said of it.
@Suite(.timeLimit(.minutes(1))) struct AdvisoryLockEndTests {
    private final class Lines: Sendable {
        let lines = Mutex<[String]>([])

        var logger: Logger { Logger(label: "lock") { _ in Handler(lines: self) } }
        var texts: [String] { self.lines.withLock { $0 } }
    }

    private struct Handler: LogHandler {
        let lines: Lines
        var metadata: Logger.Metadata = [:]
        var logLevel: Logger.Level = .debug

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { self.metadata[key] }
            set { self.metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            self.lines.lines.withLock { $0.append("\(event.level): \(event.message)") }
        }
    }

    private func lock(_ database: TestDatabase, _ lines: Lines) -> AdvisoryLock {
        AdvisoryLock(
            database.configuration,
            key: .schedulerLeader,
            retryInterval: .milliseconds(20),
            logger: lines.logger
        )
    }

    private static func untilCancelled() async {
        let (stream, _) = AsyncStream<Void>.makeStream()
        for await _ in stream {}
    }

    @Test func aHolderThatIsStoppedGivesTheLockBackAndDoesNotWarn() async throws {
        try await TestDatabase.with { database in
            let lines = Lines()
            let (leads, continuation) = AsyncStream<Void>.makeStream()
            var iterator = leads.makeAsyncIterator()
            let task = Task {
                try await self.lock(database, lines).whileHeld {
                    continuation.yield()
                    await Self.untilCancelled()
                }
            }
            await iterator.next()
            task.cancel()
            _ = await task.result
            #expect(lines.texts == ["info: took the lock", "info: gives the lock back"])
            // Free when the holder has returned, and not only when its connection times out.
            let rows = try await database.pool.query(
                "SELECT pg_try_advisory_lock($1) AS granted",
                [AdvisoryLockKey.schedulerLeader.rawValue]
            )
            #expect(try rows[0].value("granted"))
        }
    }

    @Test func aLostLockIsAWarning() async throws {
        try await TestDatabase.with { database in
            let lines = Lines()
            let (leads, continuation) = AsyncStream<Void>.makeStream()
            var iterator = leads.makeAsyncIterator()
            let task = Task {
                try await self.lock(database, lines).whileHeld {
                    continuation.yield()
                    await Self.untilCancelled()
                }
            }
            await iterator.next()
            try await database.pool.query(
                """
                SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                """
            )
            await iterator.next()
            #expect(lines.texts.contains("warning: lost the lock"))
            task.cancel()
            _ = await task.result
        }
    }

    /// One that waits asks again over the connection that it has.
    @Test func whoWaitsKeepsItsConnection() async throws {
        try await TestDatabase.with { database in
            let holder = try await PostgresConnection.connect(database.configuration)
            try await holder.query("SELECT pg_advisory_lock($1)", [AdvisoryLockKey.schedulerLeader.rawValue])
            let waiter = Task { try await self.lock(database, Lines()).whileHeld {} }
            let waiting = """
                SELECT COALESCE(max(pid), 0) AS pid FROM pg_stat_activity
                WHERE datname = current_database() AND query LIKE 'SELECT pg_try_advisory_lock%' AND state = 'idle'
                """
            var seen: [Int] = []
            while seen.count < 20 {
                let pid: Int = try await database.pool.query(waiting)[0].value("pid")
                if pid > 0 { seen.append(pid) }
                try await Task.sleep(for: .milliseconds(10))
            }
            #expect(Set(seen).count == 1)
            await holder.close()
            try await waiter.value
        }
    }
}
