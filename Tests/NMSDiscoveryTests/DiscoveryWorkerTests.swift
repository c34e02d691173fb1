import Foundation
import Logging
import NMSCore
import Synchronization
import Testing

@testable import NMSDiscovery

/// A value that tasks share; a local `Mutex` can't be captured by them.
private final class Box<Value: Sendable>: Sendable {
    private let mutex: Mutex<Value>

    init(_ value: Value) { self.mutex = Mutex(value) }

    func withLock<R: Sendable>(_ body: (inout Value) -> R) -> R { self.mutex.withLock { body(&$0) } }
}

/// A queue, a table with one discovery, and whoever is told of changes; all in memory.
final class WorkerBench: DiscoveryJobSource, DiscoveryJobPublisher, DiscoveryStore, DeviceEventPublisher,
    PollJobPublisher, Sendable
{
    struct State {
        var status = DiscoveryStatus.queued
        var worker: String?
        var total = 254
        var targets = "10.0.0.0/24"
        var credentialIDs: [Int] = []
        var stored: [DiscoveryProgress] = []
        var answer = StoredHosts()
        var storesThatFail = 0
        var finishes: [String?] = []
        var releases = 0
        var heartbeats = 0
        var overdue: [QueuedDiscovery] = []
        var published: [QueuedDiscovery] = []
        var events: [DeviceEvent] = []
        var polls: [PollJob] = []
        var settled: [String] = []
        var extensions = 0
    }
    struct Away: Error {}

    let state = Mutex(State())
    private let stream: AsyncStream<Delivery<QueuedDiscovery>>
    private let continuation: AsyncStream<Delivery<QueuedDiscovery>>.Continuation

    init(_ change: (inout State) -> Void = { _ in }) {
        (self.stream, self.continuation) = AsyncStream.makeStream()
        self.state.withLock { change(&$0) }
    }

    subscript<Value: Sendable>(path: KeyPath<State, Value> & Sendable) -> Value {
        self.state.withLock { $0[keyPath: path] }
    }

    func deliver(count: Int = 1) {
        self.continuation.yield(
            Delivery(
                message: QueuedDiscovery(subnet: "10.0.0.0/24", discoveryID: 1, publication: 1),
                deliveryCount: count,
                acknowledge: { self.state.withLock { $0.settled.append("ack") } },
                reject: { delay in self.state.withLock { $0.settled.append("reject \(delay)") } },
                extend: { self.state.withLock { $0.extensions += 1 } },
                bury: { reason in self.state.withLock { $0.settled.append("bury \(reason)") } }
            )
        )
    }

    func discoveryJobs(maxOutstanding: Int) -> AsyncStream<Delivery<QueuedDiscovery>> { self.stream }
    func publish(_ job: QueuedDiscovery) { self.state.withLock { $0.published.append(job) } }
    func publish(_ event: DeviceEvent) { self.state.withLock { $0.events.append(event) } }
    func publish(_ job: PollJob) { self.state.withLock { $0.polls.append(job) } }

    func claim(id: Int, worker: String) -> ClaimedDiscovery? {
        self.state.withLock { state in
            guard !state.status.isFinished, state.worker == nil else { return nil }
            state.status = .running
            state.worker = worker
            return ClaimedDiscovery(
                id: id,
                targets: state.targets,
                options: DiscoveryOptions(credentialIDs: state.credentialIDs, ports: [5985]),
                total: state.total,
                scanned: state.stored.last?.scanned ?? 0,
                checkpoint: state.stored.last?.checkpoint ?? DiscoveryCheckpoint()
            )
        }
    }

    func heartbeat(id: Int, worker: String) -> DiscoveryStatus? {
        self.state.withLock { $0.heartbeats += 1 }
        return self.status(id: id, worker: worker)
    }

    func status(id: Int, worker: String) -> DiscoveryStatus? {
        self.state.withLock { $0.worker == worker ? $0.status : nil }
    }

    func store(
        id: Int,
        worker: String,
        hosts: [DiscoveredHost],
        progress: DiscoveryProgress
    ) throws -> StoredHosts {
        try self.state.withLock { state in
            guard state.worker == worker else { throw DiscoveryLeaseError.lost }
            guard state.storesThatFail == 0 else {
                state.storesThatFail -= 1
                throw Away()
            }
            state.stored.append(progress)
            return state.answer
        }
    }

    func finish(id: Int, worker: String, error: String?) {
        self.state.withLock { state in
            guard state.worker == worker, state.status == .running else { return }
            state.status = error == nil ? .completed : .failed
            state.finishes.append(error)
        }
    }

    func release(id: Int, worker: String) {
        self.state.withLock { state in
            guard state.worker == worker else { return }
            state.worker = nil
            state.releases += 1
        }
    }

    func overdue() -> [QueuedDiscovery] {
        self.state.withLock { state in
            defer { state.overdue = [] }
            return state.overdue
        }
    }

    func removeOld() {}

    /// Runs a worker until `isDone`, then stops it.
    func work(
        credential: @escaping @Sendable (Int) async throws -> DecryptedCredential? = { _ in nil },
        policy: TargetPolicy = TargetPolicy(),
        run: @escaping DiscoveryWorker.Run,
        until isDone: @Sendable (State) -> Bool
    ) async {
        var timing = DiscoveryWorker.Timing()
        timing.watchInterval = .milliseconds(2)
        timing.renewalInterval = .milliseconds(4)
        timing.extensionInterval = .milliseconds(4)
        timing.overdueInterval = .milliseconds(2)
        timing.storePause = .milliseconds(1)
        let worker = DiscoveryWorker(
            source: self,
            publisher: self,
            store: self,
            events: self,
            polls: self,
            credential: credential,
            run: run,
            maximumAddresses: 65_536,
            policy: policy,
            timing: timing,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
        let task = Task { try? await worker.run() }
        while !self.state.withLock({ isDone($0) }) { await Task.yield() }
        task.cancel()
        _ = await task.value
    }
}

@Suite(.timeLimit(.minutes(1))) struct DiscoveryWorkerTests {
    static func progress(_ scanned: Int) -> DiscoveryProgress {
        DiscoveryProgress(
            scanned: scanned,
            total: 254,
            counts: OutcomeCounts(),
            checkpoint: DiscoveryCheckpoint(index: scanned)
        )
    }

    /// Reports, then waits to be cancelled, and reports once more as the real runner does.
    static let untilCancelled: DiscoveryWorker.Run = { _, sink in
        try await sink.store(hosts: [], progress: Self.progress(10))
        while !Task.isCancelled { await Task.yield() }
        try await Task { try await sink.store(hosts: [], progress: Self.progress(11)) }.value
        throw CancellationError()
    }

    @Test func aJobIsRunStoredFinishedAndAcknowledged() async throws {
        let bench = WorkerBench { state in
            state.answer = StoredHosts(
                inserted: [4, 5],
                refreshed: [6],
                provisioned: [ScheduledDevice(deviceID: 5, credentialID: 2, interval: 30)]
            )
            state.credentialIDs = [2, 3]
        }
        bench.deliver()
        let seen = Box<DiscoveryJob?>(nil)
        await bench.work(
            credential: { id in id == 2 ? .testing(id) : nil },
            run: { job, sink in
                seen.withLock { $0 = job }
                try await sink.store(hosts: [], progress: Self.progress(254))
                return Self.progress(254)
            },
            until: { !$0.settled.isEmpty }
        )
        #expect(bench[\.settled] == ["ack"])
        #expect(bench[\.finishes] == [nil])
        #expect(bench[\.stored].map(\.scanned) == [254])
        #expect(bench[\.events] == [4, 5].map { DeviceEvent(.deviceUpdated, deviceID: $0) })
        #expect(bench[\.polls].map(\.deviceID) == [5])
        #expect(bench[\.polls].map(\.interval) == [30])
        let job = try #require(seen.withLock { $0 })
        #expect(job.targets.count == 254)
        #expect(job.ports == [5985])
        // One that can't be read is left out.
        #expect(job.credentials.map(\.credential.id) == [2])
    }

    @Test func whatIsOverOrHeldElsewhereIsDropped() async {
        for status in [DiscoveryStatus.cancelled, .completed] {
            let bench = WorkerBench { $0.status = status }
            bench.deliver()
            await bench.work(run: { _, _ in Self.progress(0) }, until: { !$0.settled.isEmpty })
            #expect(bench[\.settled] == ["ack"])
            #expect(bench[\.finishes].isEmpty)
        }
        let held = WorkerBench {
            $0.status = .running
            $0.worker = "another"
        }
        held.deliver()
        await held.work(run: { _, _ in Self.progress(0) }, until: { !$0.settled.isEmpty })
        #expect(held[\.settled] == ["ack"])
    }

    @Test func aCancellationInTheRowStopsTheRun() async {
        let bench = WorkerBench()
        bench.deliver()
        let cancelled = Box(false)
        await bench.work(run: Self.untilCancelled) { state in
            if state.stored.count == 1, !cancelled.withLock({ $0 }) {
                cancelled.withLock { $0 = true }
                Task { bench.state.withLock { $0.status = .cancelled } }
            }
            return !state.settled.isEmpty
        }
        #expect(bench[\.settled] == ["ack"])
        #expect(bench[\.status] == .cancelled)
        // What was under way was stored all the same.
        #expect(bench[\.stored].map(\.scanned) == [10, 11])
        #expect(bench[\.finishes].isEmpty)
        #expect(bench[\.releases] == 0)
    }

    @Test func aLeaseThatIsLostStopsTheRun() async {
        let bench = WorkerBench()
        bench.deliver()
        let taken = Box(false)
        await bench.work(run: Self.untilCancelled) { state in
            if state.stored.count == 1, !taken.withLock({ $0 }) {
                taken.withLock { $0 = true }
                Task { bench.state.withLock { $0.worker = "another" } }
            }
            return !state.settled.isEmpty
        }
        #expect(bench[\.settled] == ["ack"])
        #expect(bench[\.stored].map(\.scanned) == [10])
        #expect(bench[\.worker] == "another")
        #expect(bench[\.status] == .running)
    }

    @Test func leaseAndMessageAreKeptWhileItRuns() async {
        let bench = WorkerBench()
        bench.deliver()
        await bench.work(run: Self.untilCancelled) { $0.heartbeats >= 3 && $0.extensions >= 3 }
    }

    @Test func aShutdownHandsBackAtOnce() async {
        let bench = WorkerBench()
        bench.deliver()
        await bench.work(run: Self.untilCancelled) { $0.stored.count == 1 }
        #expect(bench[\.settled] == ["reject 0.0 seconds"])
        #expect(bench[\.releases] == 1)
        #expect(bench[\.worker] == nil)
        #expect(bench[\.status] == .running)
        #expect(bench[\.stored].map(\.scanned) == [10, 11])
        // The next one goes on where this one was.
        bench.state.withLock { $0.settled = [] }
        let next = WorkerBench { state in state = bench.state.withLock { $0 } }
        next.deliver()
        let resumed = Box<DiscoveryJob?>(nil)
        await next.work(
            run: { job, _ in
                resumed.withLock { $0 = job }
                return Self.progress(254)
            },
            until: { !$0.settled.isEmpty }
        )
        #expect(resumed.withLock { $0?.resume.index } == 11)
        #expect(resumed.withLock { $0?.scanned } == 11)
    }

    @Test func aFailureHandsBackForLaterAndTheLastDeliveryIsLeftToTheTable() async {
        for (delivery, settled) in [(1, "reject 5.0 seconds"), (2, "reject 10.0 seconds"), (4, "ack")] {
            let bench = WorkerBench()
            bench.deliver(count: delivery)
            await bench.work(run: { _, _ in throw WorkerBench.Away() }, until: { !$0.settled.isEmpty })
            #expect(bench[\.settled] == [settled])
            #expect(bench[\.releases] == 1)
            #expect(bench[\.finishes].isEmpty)
        }
    }

    @Test func storingIsTriedAgain() async {
        let bench = WorkerBench { $0.storesThatFail = 3 }
        bench.deliver()
        await bench.work(
            run: { _, sink in
                try await sink.store(hosts: [], progress: Self.progress(254))
                return Self.progress(254)
            },
            until: { !$0.settled.isEmpty }
        )
        #expect(bench[\.stored].count == 1)
        #expect(bench[\.finishes] == [nil])
    }

    @Test func whatCannotBeSweptAnyMoreFailsWithTheReason() async throws {
        let narrow = TargetPolicy(allowed: [try #require(CIDRBlock("10.0.0.0/25"))])
        let elsewhere = TargetPolicy(allowed: [try #require(CIDRBlock("192.0.2.0/24"))])
        for policy in [narrow, elsewhere] {
            let bench = WorkerBench()
            bench.deliver()
            await bench.work(
                policy: policy,
                run: { _, _ in Self.progress(254) },
                until: { !$0.settled.isEmpty }
            )
            #expect(bench[\.settled] == ["ack"])
            #expect(bench[\.finishes].count == 1)
            #expect(bench[\.finishes].first??.contains("targets.allow") == true)
        }
    }

    @Test func overdueOnesArePublished() async {
        let job = QueuedDiscovery(subnet: "10.0.0.0/24", discoveryID: 9, publication: 2)
        let bench = WorkerBench { $0.overdue = [job] }
        await bench.work(run: { _, _ in Self.progress(0) }, until: { !$0.published.isEmpty })
        #expect(bench[\.published] == [job])
    }
}

extension DecryptedCredential {
    fileprivate static func testing(_ id: Int) -> DecryptedCredential {
        DecryptedCredential(
            credential: Credential(
                id: id,
                name: "c\(id)",
                type: .winrmNTLM,
                username: "svc",
                createdAt: .now,
                updatedAt: .now
            ),
            password: Secret("secret")
        )
    }
}
