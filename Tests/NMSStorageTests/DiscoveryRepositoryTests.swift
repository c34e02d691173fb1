import Foundation
import NMSCore
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Testing

@testable import NMSStorage

@Suite struct DiscoveryRepositoryTests {
    @Test func aNewDiscoveryIsQueuedWithWhatWasAskedFor() async throws {
        try await DiscoveryFixture.with { fixture in
            let options = DiscoveryOptions(
                credentialIDs: [3, 1],
                ports: [5985],
                autoProvision: true,
                pollingInterval: 30
            )
            let made = try await fixture.start(options: options)
            #expect(made.status == .queued)
            #expect(made.subnet == "10.0.0.0/24")
            #expect(made.options == options)
            #expect(made.requestedBy == "olga")
            #expect((made.scanned, made.total) == (0, 256))
            #expect(made.counts == OutcomeCounts())
            #expect(try await fixture.discoveries.discovery(id: made.id) == made)
            #expect(try await fixture.discoveries.discovery(id: made.id + 1) == nil)
            #expect(try await fixture.audited() == ["discovery.started 10.0.0.0/24 by olga"])
        }
    }

    @Test func sameOrOverlappingAddressesAreRefusedUntilTheFirstIsOver() async throws {
        try await DiscoveryFixture.with { fixture in
            let first = try await fixture.start()
            await #expect(throws: StorageError.discoveryActive(id: first.id)) { _ = try await fixture.start() }
            await #expect(throws: StorageError.discoveryActive(id: first.id)) {
                _ = try await fixture.start("10.0.0.7") { $0 == "canonical 10.0.0.0/24" }
            }
            _ = try await fixture.start("10.0.1.0/24")
            _ = try await fixture.discoveries.cancel(id: first.id, audit: .system)
            _ = try await fixture.start()
            // Refusals leave nothing in the audit.
            #expect(try await fixture.audited().count { $0.hasPrefix("discovery.started") } == 3)
        }
    }

    @Test func ofManyRequestsAtOnceOneIsTaken() async throws {
        try await DiscoveryFixture.with { fixture in
            let taken = await withTaskGroup(of: Bool.self) { group in
                for _ in 0..<8 { group.addTask { (try? await fixture.start()) != nil } }
                return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
            #expect(taken == 1)
        }
    }

    @Test func listsPagesAndFilters() async throws {
        try await DiscoveryFixture.with { fixture in
            for number in 1...3 { _ = try await fixture.start("10.0.\(number).0/24", total: 10 * number) }
            _ = try await fixture.discoveries.cancel(id: 2, audit: .system)
            #expect(try await fixture.discoveries.list(DiscoveryFilter()).items.map(\.id) == [3, 2, 1])
            var filter = DiscoveryFilter()
            filter.status = .queued
            filter.limit = 1
            filter.offset = 1
            let page = try await fixture.discoveries.list(filter)
            #expect(page.total == 2)
            #expect(page.items.map(\.id) == [1])
            for field in DiscoveryFilter.SortField.allCases {
                var filter = DiscoveryFilter()
                filter.sort = field
                filter.descending = false
                #expect(try await fixture.discoveries.list(filter).items.count == 3, "\(field)")
            }
        }
    }

    @Test func cancellingEndsItOnceAndNeverWhatIsOver() async throws {
        try await DiscoveryFixture.with { fixture in
            let id = try await fixture.running()
            guard
                case .cancelled(let cancelled) = try await fixture.discoveries.cancel(
                    id: id,
                    audit: DiscoveryFixture.user
                )
            else {
                Issue.record("not cancelled")
                return
            }
            #expect(cancelled.status == .cancelled)
            #expect(cancelled.finishedAt != nil)
            #expect(try await fixture.discoveries.status(id: id, worker: "w1") == .cancelled)
            #expect(
                try await fixture.discoveries.cancel(id: id, audit: .system) == .alreadyCancelled(cancelled)
            )
            #expect(try await fixture.discoveries.cancel(id: 99, audit: .system) == nil)
            // What was under way is still taken, but the discovery stays cancelled.
            try await fixture.store(id, [.testing("10.0.0.1")], scanned: 40)
            try await fixture.discoveries.finish(id: id, worker: "w1", error: nil)
            let shown = try #require(try await fixture.discoveries.discovery(id: id))
            #expect(shown.status == .cancelled)
            #expect((shown.scanned, shown.hosts) == (40, 1))
            #expect(shown.rate == nil)

            let other = try await fixture.running()
            try await fixture.discoveries.finish(id: other, worker: "w1", error: nil)
            let done = try #require(try await fixture.discoveries.discovery(id: other))
            #expect(try await fixture.discoveries.cancel(id: other, audit: .system) == .finished(done))
            #expect(try await fixture.audited().count { $0.hasPrefix("discovery.cancelled") } == 1)
        }
    }

    // MARK: - Leases

    @Test func oneWorkerAtATimeUntilItsLeaseIsOver() async throws {
        try await DiscoveryFixture.with { fixture in
            let id = try await fixture.running()
            let store = fixture.discoveries
            #expect(try await store.claim(id: id, worker: "w2") == nil)
            try await fixture.store(id, [.testing("10.0.0.1")], scanned: 100)
            try await fixture.age(id, seconds: 9)
            #expect(try await store.claim(id: id, worker: "w2") == nil)
            try await fixture.age(id, seconds: 2)
            let claimed = try #require(try await store.claim(id: id, worker: "w2"))
            #expect(claimed.scanned == 100)
            #expect(claimed.checkpoint == DiscoveryProgress.testing(100).checkpoint)
            #expect(claimed.targets == "canonical 10.0.0.0/24")
            // The first one hears that it is out, whatever it tries.
            #expect(try await store.heartbeat(id: id, worker: "w1") == nil)
            #expect(try await store.status(id: id, worker: "w1") == nil)
            await #expect(throws: DiscoveryLeaseError.lost) {
                try await fixture.store(id, [.testing("10.0.0.2")], scanned: 200)
            }
            try await store.finish(id: id, worker: "w1", error: "w1 knows no better")
            #expect(try await store.discovery(id: id)?.status == .running)
            #expect(try await store.discovery(id: id)?.scanned == 100)
            #expect(try await fixture.pool.count("devices") == 1)
            #expect(try await store.heartbeat(id: id, worker: "w2") == .running)
        }
    }

    @Test func aHeartbeatKeepsTheLease() async throws {
        try await DiscoveryFixture.with { fixture in
            let id = try await fixture.running()
            try await fixture.age(id, seconds: 9)
            #expect(try await fixture.discoveries.heartbeat(id: id, worker: "w1") == .running)
            try await fixture.age(id, seconds: 9)
            #expect(try await fixture.discoveries.claim(id: id, worker: "w2") == nil)
        }
    }

    @Test func aReleasedOneIsTakenUpAtOnceAndStaysRunning() async throws {
        try await DiscoveryFixture.with { fixture in
            let id = try await fixture.running()
            try await fixture.discoveries.release(id: id, worker: "w1")
            #expect(try await fixture.discoveries.discovery(id: id)?.status == .running)
            #expect(try await fixture.discoveries.claim(id: id, worker: "w2") != nil)
            #expect(try await fixture.discoveries.claim(id: 99, worker: "w2") == nil)
        }
    }

    @Test func whatGetsNowhereIsGivenUp() async throws {
        try await DiscoveryFixture.with { fixture in
            let id = try await fixture.start().id
            for attempt in 1...DiscoveryLeases.attempts {
                #expect(try await fixture.discoveries.claim(id: id, worker: "w\(attempt)") != nil)
                try await fixture.discoveries.release(id: id, worker: "w\(attempt)")
            }
            #expect(try await fixture.discoveries.claim(id: id, worker: "last") == nil)
            let shown = try #require(try await fixture.discoveries.discovery(id: id))
            #expect(shown.status == .failed)
            #expect(shown.error?.contains("5 attempts") == true)
            #expect(shown.finishedAt != nil)
        }
    }

    @Test func gettingOnForgivesAttempts() async throws {
        try await DiscoveryFixture.with { fixture in
            let id = try await fixture.start().id
            for attempt in 1...(DiscoveryLeases.attempts + 3) {
                #expect(try await fixture.discoveries.claim(id: id, worker: "w1") != nil)
                try await fixture.store(id, [], scanned: attempt)
                try await fixture.discoveries.release(id: id, worker: "w1")
            }
        }
    }

    @Test func whatNobodyTakesUpIsPublishedAnewLessAndLessOften() async throws {
        try await DiscoveryFixture.with { fixture in
            let store = fixture.discoveries
            let id = try await fixture.start().id
            #expect(try await store.overdue().isEmpty)
            try await fixture.age(id, seconds: 61)
            let again = QueuedDiscovery(subnet: "10.0.0.0/24", discoveryID: id, publication: 2)
            #expect(try await store.overdue() == [again])
            #expect(again.messageID == "discovery-\(id)-2")
            try await fixture.age(id, seconds: 61)
            #expect(try await store.overdue().isEmpty)
            try await fixture.age(id, seconds: 60)
            #expect(try await store.overdue().map(\.publication) == [3])
        }
    }

    @Test func whatLostItsWorkerIsPublishedAnew() async throws {
        try await DiscoveryFixture.with { fixture in
            let store = fixture.discoveries
            let id = try await fixture.running()
            try await fixture.age(id, seconds: 11)
            _ = try await store.heartbeat(id: id, worker: "w1")
            #expect(try await store.overdue().isEmpty)
            try await fixture.age(id, seconds: 11)
            #expect(try await store.overdue().map(\.discoveryID) == [id])
            #expect(try await store.overdue().isEmpty)
            try await store.release(id: id, worker: "w1")
            try await fixture.age(id, seconds: 21)
            #expect(try await store.overdue().map(\.publication) == [3])
            _ = try await store.cancel(id: id, audit: .system)
            try await fixture.age(id, seconds: 3600)
            #expect(try await store.overdue().isEmpty)
        }
    }

    @Test func theOldestAreDropped() async throws {
        try await DiscoveryFixture.with { fixture in
            for number in 1...3 { _ = try await fixture.start("10.0.\(number).0/24") }
            for id in 1...2 { _ = try await fixture.discoveries.cancel(id: id, audit: .system) }
            try await fixture.age(1, seconds: 366 * 86_400)
            try await fixture.discoveries.removeOld()
            #expect(try await fixture.discoveries.list(DiscoveryFilter()).items.map(\.id) == [3, 2])
            try await fixture.pool.query(
                """
                INSERT INTO discoveries (targets, subnet, requested_by, status, total, finished_at)
                SELECT 'x', 'x', '{}', 'completed', 1, NOW() FROM generate_series(1, $1::integer)
                """,
                [DiscoveryLeases.keptDiscoveries]
            )
            try await fixture.discoveries.removeOld()
            #expect(try await fixture.pool.count("discoveries") == DiscoveryLeases.keptDiscoveries + 1)
            #expect(try await fixture.discoveries.discovery(id: 2) == nil)
            #expect(try await fixture.discoveries.discovery(id: 3) != nil)
        }
    }

    @Test func whatTheQueueDidNotTakeIsPublishedSoon() async throws {
        try await DiscoveryFixture.with { fixture in
            let id = try await fixture.start().id
            try await fixture.discoveries.noteUnpublished(id: id)
            #expect(try await fixture.discoveries.overdue().map(\.discoveryID) == [id])
            #expect(try await fixture.discoveries.overdue().isEmpty)
        }
    }
}
