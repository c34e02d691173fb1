import Logging
import NMSCore
import Synchronization
import Testing

@testable import NMSPoller

/// A table of leases in memory that many share; a lease lasts until it is taken away.
private final class Table: Sendable {
    struct State {
        var holders = [String?](repeating: nil, count: Partition.count)
        var members: [String: Bool] = [:]
        var failure: (any Error)?
        /// Which instance pulls what, to be compared with who holds what.
        var pulling: [String: Set<Int>] = [:]
        var overlaps = 0
        var renewals: [String: Int] = [:]
    }

    let state = Mutex(State())

    func pulled(_ run: String) -> Set<Int> { self.state.withLock { $0.pulling[run] ?? [] } }

    /// Returns when the run has renewed its leases so often, or is gone.
    func rounds(_ count: Int, of run: String) async {
        let before = self.state.withLock { $0.renewals[run] ?? 0 }
        _ = await eventually { self.state.withLock { ($0.renewals[run] ?? 0) >= before + count } || Task.isCancelled }
    }

    func fail(_ error: (any Error)?) { self.state.withLock { $0.failure = error } }
}

private struct Leases: PartitionLeaseStore {
    let table: Table
    let run: String

    private func access<Value>(_ body: (inout Table.State) -> Value) throws -> Value {
        try self.table.state.withLock { state in
            if let failure = state.failure { throw failure }
            return body(&state)
        }
    }

    func renew(leaving: Bool) async throws -> PartitionRoster {
        try self.access { state in
            state.members[self.run] = leaving
            state.renewals[self.run, default: 0] += 1
            return PartitionRoster(
                members: state.members.map { run, leaving in
                    .init(run: run, held: state.holders.count { $0 == run }, isLeaving: leaving)
                },
                mine: Set(state.holders.indices.filter { state.holders[$0] == self.run }),
                free: state.holders.count { $0 == nil }
            )
        }
    }

    func claim(_ count: Int) async throws -> Set<Int> {
        try self.access { state in
            let taken = state.holders.indices.filter { state.holders[$0] == nil }.prefix(count)
            for partition in taken { state.holders[partition] = self.run }
            return Set(taken)
        }
    }

    func release(_ partitions: Set<Int>) async throws {
        try self.access { state in
            for partition in partitions {
                // What is given back must not be pulled any more.
                if state.pulling[self.run]?.contains(partition) == true { state.overlaps += 1 }
                state.holders[partition] = nil
            }
        }
    }

    func leave() async throws {
        try self.access { state in
            state.members[self.run] = nil
            state.holders = state.holders.map { $0 == self.run ? nil : $0 }
        }
    }
}

/// Sleeps for a moment instead of what it is told: rounds follow one another quickly.
private struct HastyClock: Clock {
    typealias Instant = ContinuousClock.Instant
    var now: Instant { .now }
    var minimumResolution: Duration { .nanoseconds(1) }

    func sleep(until deadline: Instant, tolerance: Duration?) async throws {
        try await Task.sleep(for: .milliseconds(2))
    }
}

private final class Runner: Sendable {
    let run: String
    let keeper: PartitionKeeper
    let work = PartitionWork()
    let forgotten = Mutex<[Int]>([])
    let isConnected = Mutex(true)
    private let table: Table
    private let task = Mutex<Task<Void, Never>?>(nil)

    init(_ run: String, _ table: Table) {
        self.run = run
        self.table = table
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        self.keeper = PartitionKeeper(
            store: Leases(table: table, run: run),
            run: run,
            clock: HastyClock(),
            logger: logger
        )
    }

    func start() {
        let (run, table) = (self.run, self.table)
        let intake = PollJobIntake(
            deliveries: AsyncStream { nil },
            add: { partitions in
                table.state.withLock { state in
                    for (other, pulled) in state.pulling where other != run && !pulled.isDisjoint(with: partitions) {
                        state.overlaps += 1
                    }
                    state.pulling[run, default: []].formUnion(partitions)
                }
            },
            remove: { partitions in
                // It takes a while, in which leases are renewed and nothing is given back.
                await table.rounds(3, of: run)
                table.state.withLock { $0.pulling[run, default: []].subtract(partitions) }
            },
            isConnected: { self.isConnected.withLock { $0 } }
        )
        let task = Task {
            await self.keeper.run(intake: intake, work: self.work) { devices in
                self.forgotten.withLock { $0 += devices }
            }
        }
        self.task.withLock { $0 = task }
    }

    /// As a poller that was stopped does, once its polls have ended.
    func stop() async {
        self.keeper.prepareToLeave()
        let task = self.task.withLock { $0 }
        task?.cancel()
        await task?.value
        self.table.state.withLock { $0.pulling[self.run] = [] }
        await self.keeper.leave()
    }
}

private final class Cancelled: Sendable {
    let devices = Mutex<[Int]>([])

    func note(_ device: Int) { if Task.isCancelled { self.devices.withLock { $0.append(device) } } }
}

private func eventually(_ condition: () -> Bool) async -> Bool {
    for _ in 0..<5000 {
        if condition() { return true }
        try? await Task.sleep(for: .milliseconds(2))
    }
    return condition()
}

@Suite(.timeLimit(.minutes(1))) struct PartitionKeeperTests {
    @Test func sharesFollowWhoComesAndGoes() async {
        let table = Table()
        let runners = ["a", "b", "c"].map { Runner($0, table) }
        runners[0].start()
        #expect(await eventually { table.pulled("a").count == 64 })
        for (count, runner) in zip([32, 21], runners.dropFirst()) {
            runner.start()
            #expect(
                await eventually {
                    let held = table.state.withLock { $0.pulling.values.map(\.count) }
                    return held.reduce(0, +) == 64 && held.min() == count
                }
            )
        }
        await runners[0].stop()
        #expect(await eventually { table.pulled("b").count == 32 && table.pulled("c").count == 32 })
        #expect(table.pulled("b").isDisjoint(with: table.pulled("c")))
        for runner in runners.dropFirst() { await runner.stop() }
        #expect(table.state.withLock { $0.overlaps } == 0)
        #expect(table.state.withLock { $0.holders.allSatisfy { $0 == nil } && $0.members.isEmpty })
    }

    @Test func aPartitionIsGivenBackWhenItsPollsHaveEnded() async {
        let table = Table()
        let (a, b) = (Runner("a", table), Runner("b", table))
        a.start()
        #expect(await eventually { table.pulled("a").count == 64 })
        // A poll in every partition that will not end by itself.
        let (blocker, release) = AsyncStream<Void>.makeStream()
        let devices = (0..<64).map { partition in
            (1...).first { Partition.of(deviceID: $0) == partition }!
        }
        let polls = devices.map { device in
            Task { await a.work.run(deviceID: device) { for await _ in blocker {} } }
        }
        #expect(await eventually { a.work.idle(Set(0..<64)).isEmpty })
        b.start()
        #expect(await eventually { a.keeper.status.handingOver == 32 })
        await table.rounds(5, of: "a")
        #expect(table.pulled("a").count == 32)
        #expect(table.state.withLock { $0.holders.count { $0 == "a" } } == 64)
        release.finish()
        #expect(await eventually { table.pulled("b").count == 32 })
        for poll in polls { #expect(await poll.value) }
        // What was learnt of the others' devices is forgotten, and no more.
        let given = Set((0..<64).filter { !table.pulled("a").contains($0) })
        #expect(await eventually { Set(a.forgotten.withLock { $0 }.map { Partition.of(deviceID: $0) }) == given })
        await a.stop()
        await b.stop()
        #expect(table.state.withLock { $0.overlaps } == 0)
    }

    @Test func aLostLeaseBreaksOffItsPolls() async {
        let table = Table()
        let a = Runner("a", table)
        a.start()
        #expect(await eventually { table.pulled("a").count == 64 })
        let (blocker, _) = AsyncStream<Void>.makeStream()
        let poll = Task { await a.work.run(deviceID: 1) { for await _ in blocker {} } }
        #expect(await eventually { a.work.idle([Partition.of(deviceID: 1)]).isEmpty })
        table.state.withLock { state in
            state.members["z"] = false
            state.holders[Partition.of(deviceID: 1)] = "z"
        }
        #expect(await poll.value)
        #expect(await eventually { !table.pulled("a").contains(Partition.of(deviceID: 1)) })
        #expect(await a.work.run(deviceID: 1) {} == false)
        await a.stop()
    }

    @Test func aStoreThatIsAwayEndsNothingForWhoIsAlone() async {
        struct Away: Error {}
        let table = Table()
        let a = Runner("a", table)
        a.start()
        #expect(await eventually { table.pulled("a").count == 64 })
        table.fail(PartitionLeaseError.noAnswer("away"))
        for _ in 0..<20 { try? await Task.sleep(for: .milliseconds(2)) }
        #expect(table.pulled("a").count == 64)
        table.fail(nil)
        await a.stop()
    }
}

@Suite(.timeLimit(.minutes(1))) struct PartitionWorkTests {
    @Test func onlyWhatIsHeldRuns() async {
        let work = PartitionWork()
        let partition = Partition.of(deviceID: 5)
        #expect(await work.run(deviceID: 5) { Issue.record("ran") } == false)
        work.hold([partition])
        #expect(await work.run(deviceID: 5) {})
        #expect(work.takeDevices([partition]).isEmpty, "what is held is not forgotten")
        work.letGo([partition])
        #expect(await work.run(deviceID: 5) { Issue.record("ran") } == false)
        #expect(work.takeDevices([partition]) == [5])
        #expect(work.takeDevices([partition]).isEmpty)
    }

    @Test func cancellingAPartitionSparesTheOthers() async {
        let work = PartitionWork()
        let first = 1
        let other = (2...).first { Partition.of(deviceID: $0) != Partition.of(deviceID: first) }!
        work.hold(Set(0..<64))
        let (blocker, release) = AsyncStream<Void>.makeStream()
        let cancelled = Cancelled()
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                _ = await work.run(deviceID: first) {
                    let (never, _) = AsyncStream<Void>.makeStream()
                    for await _ in never {}
                    cancelled.note(first)
                }
            }
            group.addTask {
                _ = await work.run(deviceID: other) {
                    for await _ in blocker {}
                    cancelled.note(other)
                }
            }
            #expect(
                await eventually { work.idle([Partition.of(deviceID: first), Partition.of(deviceID: other)]) == [] }
            )
            work.cancel([Partition.of(deviceID: first)])
            await group.next()
            release.finish()
        }
        #expect(cancelled.devices.withLock { $0 } == [first])
        #expect(work.idle(Set(0..<64)) == Set(0..<64))
    }
}
