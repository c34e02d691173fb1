import Foundation
import Logging
import Metrics
import NMSCore
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Synchronization

@testable import NMSStorage

extension MasterKey {
    static let testing = MasterKey(bytes: Array(0..<32))!
    static let other = MasterKey(bytes: Array(1..<33))!
}

extension CredentialCipher {
    static let testing = CredentialCipher(key: .testing)
}

extension NewCredential {
    static func testing(_ name: String, password: String = "correct horse") -> NewCredential {
        NewCredential(name: name, type: .winrmNTLM, username: "svc-\(name)", password: Secret(password))
    }
}

extension CredentialRepository {
    /// What the poller is given for a device, read anew.
    func triedBy(device deviceID: Int) async throws -> [DecryptedCredential] {
        let targets = CachedPollTargets(devices: DeviceRepository(pool: self.pool), credentials: self)
        return try await targets.pollTarget(deviceID: deviceID)?.credentials ?? []
    }
}

extension Logger {
    static let testing = Logger(label: "tests") { _ in SwiftLogNoOpLogHandler() }
}

extension PostgresPool {
    /// A provisioned device with one credential; returns both ids.
    func provisionedDevice(_ host: Int = 1, interval: Int = 60) async throws -> (device: Int, credential: Int) {
        let device = try await DeviceRepository(pool: self).create(
            NewDevice(ip: IPAddress("10.0.\(host / 250).\(host % 250 + 1)")!, pollingInterval: interval)
        )
        let credential = try await CredentialRepository(pool: self, cipher: .testing).create(.testing("c\(host)"))
        _ = try await DeviceRepository(pool: self).provision(
            id: device.id,
            credentialIDs: [credential.id],
            pollingInterval: nil
        )
        return (device.id, credential.id)
    }

    func count(_ table: String) async throws -> Int {
        try await self.query("SELECT count(*) AS n FROM \(table)")[0].value("n")
    }
}

/// A clock that moves only when told to.
final class ManualClock: Clock, Sendable {
    struct Instant: InstantProtocol {
        var offset: Duration
        func advanced(by duration: Duration) -> Instant { Instant(offset: self.offset + duration) }
        func duration(to other: Instant) -> Duration { other.offset - self.offset }
        static func < (lhs: Instant, rhs: Instant) -> Bool { lhs.offset < rhs.offset }
    }

    private struct State {
        var now = Instant(offset: .zero)
        var sleepers: [Int: (deadline: Instant, continuation: CheckedContinuation<Void, any Error>)] = [:]
        var lastID = 0
        var watchers: [(count: Int, continuation: CheckedContinuation<Void, Never>)] = []
    }

    private let state = Mutex(State())
    var now: Instant { self.state.withLock { $0.now } }
    let minimumResolution = Duration.nanoseconds(1)

    func sleep(until deadline: Instant, tolerance: Duration?) async throws {
        let id = self.state.withLock { state in
            state.lastID += 1
            return state.lastID
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let (result, watchers) = self.state.withLock {
                    state -> (Result<Void, any Error>?, [CheckedContinuation<Void, Never>]) in
                    if Task.isCancelled { return (.failure(CancellationError()), []) }
                    if deadline <= state.now { return (.success(()), []) }
                    state.sleepers[id] = (deadline, continuation)
                    let ready = state.watchers.filter { $0.count <= state.sleepers.count }.map(\.continuation)
                    state.watchers.removeAll { $0.count <= state.sleepers.count }
                    return (nil, ready)
                }
                for watcher in watchers { watcher.resume() }
                if let result { continuation.resume(with: result) }
            }
        } onCancel: {
            let sleeper = self.state.withLock { $0.sleepers.removeValue(forKey: id) }
            sleeper?.continuation.resume(throwing: CancellationError())
        }
    }

    /// Returns when that many tasks sleep.
    func waitForSleepers(_ count: Int = 1) async {
        await withCheckedContinuation { continuation in
            let isReady = self.state.withLock { state in
                if state.sleepers.count >= count { return true }
                state.watchers.append((count, continuation))
                return false
            }
            if isReady { continuation.resume() }
        }
    }

    func advance(by duration: Duration) {
        let due = self.state.withLock { state in
            state.now = state.now.advanced(by: duration)
            let due = state.sleepers.filter { $0.value.deadline <= state.now }
            for id in due.keys { state.sleepers[id] = nil }
            return due.values.map(\.continuation)
        }
        for continuation in due { continuation.resume() }
    }
}

/// What the writer did with its deliveries and events, in order.
final class WriterHarness: MetricsResultSource, DeviceEventPublisher, Sendable {
    enum Entry: Equatable {
        case acknowledged(String)
        case rejected(String)
        case buried(String, reason: String)
        case published(DeviceEvent)
    }

    private struct State {
        var entries: [Entry] = []
        var extensions = 0
        var watchers: [(isDone: ([Entry]) -> Bool, continuation: CheckedContinuation<Void, Never>)] = []
        var onExtend: (@Sendable () -> Void)?
    }

    private let state = Mutex(State())
    private let stream: AsyncStream<Delivery<MetricsResult>>
    private let continuation: AsyncStream<Delivery<MetricsResult>>.Continuation
    /// Runs within each acknowledgement, before it is recorded.
    let beforeAcknowledge: @Sendable (MetricsResult) async -> Void

    init(beforeAcknowledge: @escaping @Sendable (MetricsResult) async -> Void = { _ in }) {
        (self.stream, self.continuation) = AsyncStream.makeStream()
        self.beforeAcknowledge = beforeAcknowledge
    }

    var entries: [Entry] { self.state.withLock { $0.entries } }
    var extensions: Int { self.state.withLock { $0.extensions } }
    var acknowledged: [String] {
        self.entries.compactMap { if case .acknowledged(let id) = $0 { id } else { nil } }
    }
    var published: [DeviceEvent] {
        self.entries.compactMap { if case .published(let event) = $0 { event } else { nil } }
    }

    func metricsResults(maxOutstanding: Int) -> AsyncStream<Delivery<MetricsResult>> { self.stream }

    func publish(_ event: DeviceEvent) { self.record(.published(event)) }

    func onExtend(_ body: @escaping @Sendable () -> Void) { self.state.withLock { $0.onExtend = body } }

    func deliver(_ results: MetricsResult...) { self.deliver(results) }

    func deliver(_ results: [MetricsResult]) {
        for result in results {
            let id = result.jobID
            self.continuation.yield(
                Delivery(
                    message: result,
                    deliveryCount: 1,
                    acknowledge: {
                        await self.beforeAcknowledge(result)
                        self.record(.acknowledged(id))
                    },
                    reject: { _ in self.record(.rejected(id)) },
                    extend: {
                        self.state.withLock { state in
                            state.extensions += 1
                            return state.onExtend
                        }?()
                    },
                    bury: { self.record(.buried(id, reason: $0)) }
                )
            )
        }
    }

    /// Returns once that many deliveries are settled.
    func settled(_ count: Int) async {
        await self.wait { entries in
            entries.count { if case .published = $0 { false } else { true } } >= count
        }
    }

    func wait(_ isDone: @escaping @Sendable ([Entry]) -> Bool) async {
        await withCheckedContinuation { continuation in
            let isReady = self.state.withLock { state in
                if isDone(state.entries) { return true }
                state.watchers.append((isDone, continuation))
                return false
            }
            if isReady { continuation.resume() }
        }
    }

    private func record(_ entry: Entry) {
        let ready = self.state.withLock { state in
            state.entries.append(entry)
            let ready = state.watchers.filter { $0.isDone(state.entries) }
            state.watchers.removeAll { $0.isDone(state.entries) }
            return ready.map(\.continuation)
        }
        for continuation in ready { continuation.resume() }
    }
}

extension MetricsResult {
    static func testing(
        device: Int,
        job: String = UUID().uuidString.lowercased(),
        at timestamp: Date = Date(),
        error: PollErrorCode? = nil,
        credential: Int? = nil,
        identity: HostIdentity? = nil,
        change: (inout DeviceMetrics) -> Void = { _ in }
    ) -> MetricsResult {
        var metrics = DeviceMetrics(
            deviceID: device,
            timestamp: timestamp,
            cpu: .init(usagePercent: 12.345),
            memory: .init(totalBytes: 100, usedBytes: 50, usagePercent: 50),
            disk: .init(totalBytes: 1000, usedBytes: 250, usagePercent: 25),
            network: .init(
                bytesSentPerSec: 1,
                bytesRecvPerSec: 2,
                utilizationPercent: 0.5,
                packetsSent: 3,
                packetsRecv: 4,
                errors: 5,
                dropped: 6
            ),
            processCount: 42,
            collectionDurationMs: 17,
            jobID: job
        )
        change(&metrics)
        return MetricsResult(
            jobID: job,
            deviceID: device,
            timestamp: timestamp,
            success: error == nil,
            error: error.map { "it failed: \($0.rawValue)" },
            metrics: error == nil ? metrics : nil,
            errorCode: error,
            credentialID: credential,
            identity: identity
        )
    }
}

/// Runs `body` with a database and a writer at work, then stops the writer.
func withWriter(
    _ harness: WriterHarness = WriterHarness(),
    clock: any Clock<Duration> = ContinuousClock(),
    metrics: any MetricsFactory = NOOPMetricsHandler.instance,
    options change: (inout StorageWriter.Options) -> Void = { _ in },
    _ body: (TestDatabase, WriterHarness, StorageWriter) async throws -> Void
) async throws {
    try await TestDatabase.with(.migrated) { database in
        var options = StorageWriter.Options()
        options.batchDelay = .milliseconds(20)
        options.retryDelay = .milliseconds(20)
        change(&options)
        let writer = StorageWriter(
            pool: database.pool,
            source: harness,
            events: harness,
            partitions: MetricsPartitions(pool: database.pool, logger: .testing),
            options: options,
            logger: .testing,
            metrics: metrics,
            clock: clock
        )
        let task = Task { await writer.run() }
        defer { task.cancel() }
        try await body(database, harness, writer)
        task.cancel()
        await task.value
    }
}
