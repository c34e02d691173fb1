import Foundation
import PostgresTestSupport
import Synchronization
import Testing

@testable import Postgres

@Suite struct PostgresPoolTests {
    private final class Counter: Sendable {
        let running = Atomic(0)
        let peak = Atomic(0)
    }

    private func pool(_ database: TestDatabase, _ limits: PostgresPoolLimits) -> PostgresPool {
        PostgresPool(database.configuration, limits: limits)
    }

    @Test(.timeLimit(.minutes(1))) func neverMoreConnectionsThanAllowed() async throws {
        try await TestDatabase.with { database in
            let pool = self.pool(database, PostgresPoolLimits(maxOpen: 3, maxIdle: 2))
            let counter = Counter()
            try await withThrowingTaskGroup { group in
                for _ in 0..<40 {
                    group.addTask {
                        try await pool.withConnection { connection in
                            let now = counter.running.add(1, ordering: .relaxed).newValue
                            _ = counter.peak.max(now, ordering: .relaxed)
                            try await connection.query("SELECT pg_sleep(0.005)")
                            counter.running.subtract(1, ordering: .relaxed)
                        }
                    }
                }
                try await group.waitForAll()
            }
            #expect((1...3).contains(counter.peak.load(ordering: .relaxed)))
            let statistics = pool.statistics
            #expect((1...3).contains(statistics.idle))
            #expect(statistics == PostgresPoolStatistics(open: statistics.idle, idle: statistics.idle, waiting: 0))
            await pool.close()
            #expect(pool.statistics == PostgresPoolStatistics(open: 0, idle: 0, waiting: 0))
            await #expect(throws: PostgresError.poolClosed) { try await pool.query("SELECT 1") }
        }
    }

    @Test(.timeLimit(.minutes(1))) func waitersGiveUpAtTheirDeadline() async throws {
        try await TestDatabase.with { database in
            let timeout = Duration.milliseconds(50)
            let pool = self.pool(database, PostgresPoolLimits(maxOpen: 1, acquireTimeout: timeout))
            try await pool.withConnection { _ in
                await #expect(throws: PostgresError.poolExhausted(maxOpen: 1, waited: timeout)) {
                    try await pool.query("SELECT 1")
                }
                #expect(pool.statistics.waiting == 0)
            }
            #expect(try await pool.query("SELECT 1 AS one").count == 1)
            await pool.close()
        }
    }

    @Test(.timeLimit(.minutes(1))) func aCancelledWaiterLeavesTheQueue() async throws {
        try await TestDatabase.with { database in
            let pool = self.pool(database, PostgresPoolLimits(maxOpen: 1))
            try await pool.withConnection { _ in
                let task = Task { try await pool.query("SELECT 1") }
                while pool.statistics.waiting == 0 { await Task.yield() }
                task.cancel()
                await #expect(throws: CancellationError.self) { try await task.value }
                #expect(pool.statistics.waiting == 0)
            }
            await pool.close()
        }
    }

    @Test(.timeLimit(.minutes(1))) func brokenConnectionsAreReplaced() async throws {
        try await TestDatabase.with { database in
            let pool = self.pool(database, PostgresPoolLimits(maxOpen: 1, maxIdle: 1))
            let pid: Int = try await pool.query("SELECT pg_backend_pid() AS pid")[0].value("pid")
            try await database.pool.query("SELECT pg_terminate_backend($1, 5000)", [pid])
            // The idle connection has ended; the next caller notices nothing.
            let next: Int = try await pool.query("SELECT pg_backend_pid() AS pid")[0].value("pid")
            #expect(next != pid)
            // In use, it is an error, and its slot is free again.
            await #expect(throws: PostgresError.self) {
                try await pool.query("SELECT pg_terminate_backend(pg_backend_pid())")
            }
            #expect(try await pool.query("SELECT 1 AS one").count == 1)
            #expect(pool.statistics.open == 1)
            await pool.close()
        }
    }

    @Test func aTransactionLeftOpenDoesNotReachTheNextCaller() async throws {
        try await TestDatabase.with { database in
            let pool = self.pool(database, PostgresPoolLimits(maxOpen: 1, maxIdle: 1))
            try await pool.withConnection { connection in
                try await connection.query("CREATE TABLE t (a INT)")
                try await connection.execute(script: "BEGIN; INSERT INTO t VALUES (1)")
            }
            #expect(try await pool.query("SELECT * FROM t").isEmpty)
            await pool.close()
        }
    }

    @Test(.timeLimit(.minutes(1))) func closingLetsWorkFinish() async throws {
        try await TestDatabase.with { database in
            let pool = self.pool(database, PostgresPoolLimits(maxOpen: 1))
            let (started, signal) = AsyncStream<Void>.makeStream()
            let work = Task<Int, any Error> {
                try await pool.withConnection { connection in
                    signal.yield()
                    return try await connection.query("SELECT pg_sleep(0.1), 7 AS n")[0].value("n", as: Int.self)
                }
            }
            for await _ in started { break }
            let waiter = Task { try await pool.query("SELECT 1") }
            while pool.statistics.waiting == 0 { await Task.yield() }
            await pool.close()
            #expect(pool.statistics.open == 0)
            let result = try await work.value
            #expect(result == 7)
            await #expect(throws: PostgresError.poolClosed) { try await waiter.value }
        }
    }

    @Test func aServerThatCannotBeReachedFreesItsSlot() async throws {
        let configuration = PostgresConfiguration(host: "/nonexistent", database: "x", user: "x")
        let pool = PostgresPool(configuration, limits: PostgresPoolLimits(maxOpen: 1))
        for _ in 0..<3 {
            let error = await #expect(throws: PostgresError.self) { try await pool.query("SELECT 1") }
            guard case .connectionFailed = error else {
                Issue.record("\(String(describing: error))")
                return
            }
        }
        #expect(pool.statistics.open == 0)
        await pool.close()
    }
}

@Suite struct PoolStateMachineTests {
    typealias Machine = PoolStateMachine<Int>
    private let start = ContinuousClock.now

    @Test func waitersAreServedInOrder() {
        var machine = Machine(maxOpen: 1, maxIdle: 1, maxLifetime: nil)
        var discarded: [Int] = []
        guard case .open = machine.acquire(waiter: 1, now: self.start, discarded: &discarded),
            case .wait = machine.acquire(waiter: 2, now: self.start, discarded: &discarded),
            case .wait = machine.acquire(waiter: 3, now: self.start, discarded: &discarded)
        else {
            Issue.record("one slot, two waiters")
            return
        }
        let lease = Machine.Lease(connection: 10, openedAt: self.start)
        guard case .handOver(_, waiter: 2) = machine.release(lease, now: self.start, discarded: &discarded) else {
            Issue.record("not the first")
            return
        }
        // A broken connection's slot goes on as the right to open one.
        guard case .open(waiter: 3) = machine.releaseSlot() else {
            Issue.record("not the second")
            return
        }
        #expect(machine.open == 1)
        guard case .nothing = machine.releaseSlot() else { return }
        #expect(machine.open == 0)
    }

    @Test func connectionsEndWithTheirLifetime() {
        var machine = Machine(maxOpen: 2, maxIdle: 2, maxLifetime: .seconds(10))
        var discarded: [Int] = []
        _ = machine.acquire(waiter: 1, now: self.start, discarded: &discarded)
        let lease = Machine.Lease(connection: 10, openedAt: self.start)
        _ = machine.release(lease, now: self.start + .seconds(9), discarded: &discarded)
        #expect(machine.idle.count == 1)
        guard case .open = machine.acquire(waiter: 2, now: self.start + .seconds(10), discarded: &discarded) else {
            Issue.record("an expired connection was used")
            return
        }
        #expect(discarded == [10])
        #expect(machine.open == 1)
        _ = machine.release(lease, now: self.start + .seconds(20), discarded: &discarded)
        #expect(discarded == [10, 10])
        #expect(machine.open == 0)
    }

    @Test func theMostRecentlyUsedComesFirstAndTheRestStaysBounded() {
        var machine = Machine(maxOpen: 3, maxIdle: 2, maxLifetime: nil)
        var discarded: [Int] = []
        for waiter in 1...3 { _ = machine.acquire(waiter: UInt64(waiter), now: self.start, discarded: &discarded) }
        for connection in 1...3 {
            _ = machine.release(
                Machine.Lease(connection: connection, openedAt: self.start),
                now: self.start,
                discarded: &discarded
            )
        }
        // A peak may go on: all stay for a while.
        #expect(discarded.isEmpty && machine.idle.count == 3)
        let almost = self.start + Machine.surplusLinger - .milliseconds(1)
        guard case .use(let lease) = machine.acquire(waiter: 4, now: almost, discarded: &discarded) else {
            Issue.record("no connection")
            return
        }
        #expect(lease.connection == 3 && discarded.isEmpty)
        _ = machine.release(lease, now: almost, discarded: &discarded)
        #expect(discarded.isEmpty)

        // The one that nobody has wanted for longest goes.
        let later = self.start + Machine.surplusLinger
        guard case .use(let again) = machine.acquire(waiter: 5, now: later, discarded: &discarded) else { return }
        #expect(again.connection == 3 && discarded.isEmpty)
        _ = machine.release(again, now: later, discarded: &discarded)
        #expect(discarded == [1] && machine.idle.map(\.connection) == [2, 3] && machine.open == 2)
    }
}

@Suite struct StatementCacheTests {
    @Test func theLeastRecentlyUsedGoes() {
        var cache = StatementCache(capacity: 2)
        let a = cache.insert("a").name
        let b = cache.insert("b")
        #expect(b.evicted == nil)
        #expect(cache.name(for: "a") == a)
        #expect(cache.insert("c").evicted == b.name)
        #expect(cache.name(for: "b") == nil)
        #expect(cache.name(for: "a") == a)
        cache.remove("a")
        #expect(cache.count == 1)
    }
}
