import NMSCore
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Testing

@testable import NMSStorage

@Suite(.timeLimit(.minutes(1))) struct PartitionLeasesTests {
    private func leases(_ database: TestDatabase, _ run: String, name: String? = nil) -> PartitionLeases {
        PartitionLeases(database.configuration, name: name ?? run, run: run, logger: .testing)
    }

    /// As if these had said nothing for so many seconds.
    private func silence(_ run: String, for seconds: Int, _ database: TestDatabase) async throws {
        try await database.pool.query(
            "UPDATE pollers SET heartbeat_at = heartbeat_at - make_interval(secs => $2) WHERE run = $1",
            [run, Double(seconds)]
        )
    }

    /// As if it had been heard for a minute.
    private func settle(_ run: String, _ database: TestDatabase) async throws {
        try await database.pool.query(
            "UPDATE pollers SET heard_since = NOW() - interval '1 minute' WHERE run = $1",
            [run]
        )
    }

    @Test func aSingleInstanceHoldsAllAtOnce() async throws {
        try await TestDatabase.with(.migrated) { database in
            let a = self.leases(database, "a")
            let roster = try await a.renew(leaving: false)
            #expect(roster == PartitionRoster(members: [.init(run: "a", held: 0)], mine: [], free: Partition.count))
            #expect(try await a.claim(roster.free) == Set(0..<Partition.count))
            #expect(try await a.renew(leaving: false).mine == Set(0..<Partition.count))
        }
    }

    @Test func whatIsHeldIsNobodyElsesAndWhatIsReleasedIsFree() async throws {
        try await TestDatabase.with(.migrated) { database in
            let (a, b) = (self.leases(database, "a"), self.leases(database, "b"))
            _ = try await a.renew(leaving: false)
            _ = try await b.renew(leaving: false)
            #expect(try await a.claim(40).count == 40)
            let others = try await b.claim(40)
            #expect(others.count == 24)
            // Of another: nothing happens.
            try await a.release(others)
            var roster = try await b.renew(leaving: true)
            #expect(roster.mine == others && roster.free == 0)
            #expect(roster.members == [.init(run: "a", held: 40), .init(run: "b", held: 24, isLeaving: true)])
            try await b.release([others.min()!])
            #expect(try await a.claim(64) == [others.min()!])
            try await b.leave()
            roster = try await a.renew(leaving: false)
            #expect(roster.members == [.init(run: "a", held: 41)] && roster.free == 23)
        }
    }

    @Test func claimsAtTheSameTimeNeverGiveOnePartitionTwice() async throws {
        try await TestDatabase.with(.migrated) { database in
            for _ in 0..<5 {
                let all = (0..<6).map { self.leases(database, "run\($0)") }
                let taken = try await withThrowingTaskGroup(of: Set<Int>.self) { group in
                    for leases in all {
                        group.addTask {
                            _ = try await leases.renew(leaving: false)
                            return try await leases.claim(20)
                        }
                    }
                    return try await group.reduce(into: []) { $0.append($1) }
                }
                #expect(taken.reduce(0) { $0 + $1.count } == taken.reduce(into: Set()) { $0.formUnion($1) }.count)
                for leases in all { try await leases.leave() }
            }
        }
    }

    @Test func whoIsNotHeardOfLosesItsLeases() async throws {
        try await TestDatabase.with(.migrated) { database in
            let (a, b) = (self.leases(database, "a"), self.leases(database, "b"))
            _ = try await a.renew(leaving: false)
            _ = try await a.claim(64)
            _ = try await b.renew(leaving: false)
            try await self.settle("b", database)
            try await self.silence("a", for: 3, database)
            #expect(try await b.renew(leaving: false).free == 0, "3 s are less than a lease lasts")
            try await self.silence("a", for: 2, database)
            let roster = try await b.renew(leaving: false)
            #expect(roster == PartitionRoster(members: [.init(run: "b", held: 0)], mine: [], free: 64))
            #expect(try await b.claim(64).count == 64)
            // It comes back as a member that holds nothing.
            let late = try await a.renew(leaving: false)
            #expect(late.mine.isEmpty && late.members.map(\.run) == ["a", "b"])
        }
    }

    /// PostgreSQL was away, or its clock was set forward: nobody was heard of, and each finds its leases again.
    @Test func aGapForAllCostsNobodyItsLeases() async throws {
        try await TestDatabase.with(.migrated) { database in
            let (a, b) = (self.leases(database, "a"), self.leases(database, "b"))
            _ = try await a.renew(leaving: false)
            _ = try await b.renew(leaving: false)
            #expect(try await a.claim(32).count == 32)
            #expect(try await b.claim(32).count == 32)
            for run in ["a", "b"] {
                try await self.settle(run, database)
                try await self.silence(run, for: 600, database)
            }
            #expect(try await b.renew(leaving: false).members.map(\.held) == [32, 32])
            // Nor at the next look: b has been heard for a moment only.
            #expect(try await b.renew(leaving: false).members.map(\.held) == [32, 32])
            #expect(try await a.renew(leaving: false).mine.count == 32)
            // One that stays silent loses them when b has been heard for long enough.
            try await self.settle("b", database)
            try await self.silence("a", for: 7, database)
            #expect(try await b.renew(leaving: false).free == 32)
        }
    }

    @Test func aHeartbeatOfTheFutureIsNone() async throws {
        try await TestDatabase.with(.migrated) { database in
            let (a, b) = (self.leases(database, "a"), self.leases(database, "b"))
            _ = try await a.renew(leaving: false)
            _ = try await a.claim(64)
            // The server's clock was set back by an hour after a had died.
            try await self.silence("a", for: -3600, database)
            _ = try await b.renew(leaving: false)
            try await self.settle("b", database)
            #expect(try await b.renew(leaving: false).free == 64)
        }
    }

    @Test func aRestartTakesOverWhatTheRunBeforeHeld() async throws {
        try await TestDatabase.with(.migrated) { database in
            let first = self.leases(database, "first", name: "host")
            let other = self.leases(database, "other")
            _ = try await first.renew(leaving: false)
            let held = try await first.claim(32)
            _ = try await other.renew(leaving: false)
            _ = try await other.claim(32)
            let second = self.leases(database, "second", name: "host")
            let roster = try await second.renew(leaving: false)
            #expect(roster.mine == held)
            #expect(roster.members == [.init(run: "other", held: 32), .init(run: "second", held: 32)])
            // A copy of the same name that still ran finds itself without.
            #expect(try await first.renew(leaving: false).mine.isEmpty)
            #expect(try await second.renew(leaving: false).mine == held, "succession is once, at the start")
        }
    }

    @Test func aConnectionThatIsCutIsMadeAnew() async throws {
        try await TestDatabase.with(.migrated) { database in
            let a = self.leases(database, "a")
            _ = try await a.renew(leaving: false)
            _ = try await a.claim(64)
            try await database.pool.query(
                """
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()
                """
            )
            // The first may find the connection dead; that is not the server's end.
            do { _ = try await a.renew(leaving: false) } catch let error as PartitionLeaseError {
                guard case .noAnswer = error else { throw error }
            }
            #expect(try await a.renew(leaving: false).mine.count == 64)
        }
    }

    @Test func aServerThatIsNotThereIsDownForAll() async throws {
        var configuration = PostgresConfiguration(host: "127.0.0.1", port: 1, database: "x", user: "x", password: nil)
        for host in ["127.0.0.1", "/nonexistent"] {
            configuration.host = host
            let leases = PartitionLeases(configuration, name: "a", logger: .testing)
            await #expect { _ = try await leases.renew(leaving: false) } throws: { error in
                if case PartitionLeaseError.storeIsDown = error { true } else { false }
            }
        }
    }

    @Test func whoNeverJoinedLeavesNothing() async throws {
        var configuration = PostgresConfiguration(host: "127.0.0.1", port: 1, database: "x", user: "x", password: nil)
        configuration.connectTimeout = .seconds(1)
        try await PartitionLeases(configuration, name: "a", logger: .testing).leave()
    }
}
