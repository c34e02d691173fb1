internal import Foundation
package import Logging
package import NMSCore
internal import Synchronization

/// Takes discoveries from the queue, one at a time, and sees each to its end: the rows say who runs what, so that a
/// discovery outlives its instance and is never run by two.
package struct DiscoveryWorker: Sendable {
    /// Times of a worker; the lease itself, three renewals and more, is the store's.
    package struct Timing: Sendable {
        /// How often the row is read: within this, and what the sweep needs to stop, a cancellation counts.
        package var watchInterval: Duration = .milliseconds(300)
        package var renewalInterval: Duration = .seconds(2)
        /// How often the queue is told that a job is still worked on.
        package var extensionInterval: Duration = .seconds(5)
        /// How often overdue discoveries are looked for.
        package var overdueInterval: Duration = .seconds(5)
        package var cleanUpInterval: Duration = .seconds(3600)
        /// After a failure the job comes again after this, then after twice as long, and so on.
        package var retryDelay: Duration = .seconds(5)
        /// How long storing is tried again while the database is away.
        package var storePatience: Duration = .seconds(60)
        package var storePause: Duration = .milliseconds(500)

        package init() {}
    }

    /// What runs a discovery: ``DiscoveryJobRunner/run(_:sink:)``.
    package typealias Run = @Sendable (DiscoveryJob, any DiscoverySink) async throws -> DiscoveryProgress

    /// Deliveries after which a job is left to ``DiscoveryStore/overdue()``: a dead letter would tell nobody anything.
    private static let deliveries = 4

    private let source: any DiscoveryJobSource
    private let publisher: any DiscoveryJobPublisher
    private let store: any DiscoveryStore
    private let events: any DeviceEventPublisher
    private let polls: any PollJobPublisher
    private let credential: @Sendable (Int) async throws -> DecryptedCredential?
    private let execute: Run
    private let maximumAddresses: Int
    private let policy: TargetPolicy
    private let timing: Timing
    private let clock: any Clock<Duration>
    private let logger: Logger

    /// - Parameters:
    ///   - credential: a credential with its password; nil when it is gone or can't be decrypted.
    ///   - run: what sweeps and identifies.
    ///   - maximumAddresses: `discovery.max_addresses`.
    ///   - policy: `targets.allow`.
    package init(
        source: any DiscoveryJobSource,
        publisher: any DiscoveryJobPublisher,
        store: any DiscoveryStore,
        events: any DeviceEventPublisher,
        polls: any PollJobPublisher,
        credential: @escaping @Sendable (Int) async throws -> DecryptedCredential?,
        run: @escaping Run,
        maximumAddresses: Int,
        policy: TargetPolicy,
        timing: Timing = Timing(),
        clock: any Clock<Duration> = ContinuousClock(),
        logger: Logger
    ) {
        self.source = source
        self.publisher = publisher
        self.store = store
        self.events = events
        self.polls = polls
        self.credential = credential
        self.execute = run
        self.maximumAddresses = maximumAddresses
        self.policy = policy
        self.timing = timing
        self.clock = clock
        self.logger = logger
    }

    /// Works until the task is cancelled; a discovery under way is then handed back and goes on from its checkpoint, here
    /// or elsewhere.
    /// - Throws: what the source throws when jobs can't be had.
    package func run() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await self.work() }
            group.addTask { try await self.publishOverdue() }
            group.addTask { try await self.cleanUp() }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    private func work() async throws {
        // One at a time: rate and concurrency are meant for this instance, not for each discovery.
        for await delivery in try await self.source.discoveryJobs(maxOutstanding: 1) {
            await self.handle(delivery)
        }
    }

    private func publishOverdue() async throws {
        while true {
            try await self.clock.sleep(for: self.timing.overdueInterval)
            do {
                for job in try await self.store.overdue() {
                    self.logger.notice("discovery published anew", metadata: ["discovery_id": "\(job.discoveryID)"])
                    try await self.publisher.publish(job)
                }
            } catch {
                try Task.checkCancellation()
                self.logger.warning("overdue discoveries not published", metadata: ["error": "\(error)"])
            }
        }
    }

    private func cleanUp() async throws {
        while true {
            do { try await self.store.removeOld() } catch {
                self.logger.warning("old discoveries not removed", metadata: ["error": "\(error)"])
            }
            try await self.clock.sleep(for: self.timing.cleanUpInterval)
        }
    }

    // MARK: - The life of a job

    /// How a run ended.
    private enum End {
        case completed
        /// Cancelled by a user.
        case cancelled
        /// Another instance has it, or the row is gone.
        case lost
        /// Will never work.
        case failed(String)
    }

    private func handle(_ delivery: Delivery<QueuedDiscovery>) async {
        let id = delivery.message.discoveryID
        let worker = UUID().uuidString.lowercased()
        var logger = self.logger
        logger[metadataKey: "discovery_id"] = "\(id)"
        do {
            guard let claimed = try await self.store.claim(id: id, worker: worker) else {
                logger.debug("discovery job dropped: it is over, or another instance has it")
                return try await delivery.acknowledge()
            }
            logger.info(
                "discovery runs",
                metadata: [
                    "addresses": "\(claimed.total)", "from": "\(claimed.checkpoint.index)",
                    "credentials": "\(claimed.options.credentialIDs.count)",
                ]
            )
            let end = try await self.run(claimed, worker: worker, delivery: delivery, logger: logger)
            try await self.settle(end, id: id, worker: worker, logger: logger)
            try await delivery.acknowledge()
        } catch {
            await self.handBack(delivery, worker: worker, after: error, logger: logger)
        }
    }

    private func settle(_ end: End, id: Int, worker: String, logger: Logger) async throws {
        switch end {
        case .completed:
            try await self.store.finish(id: id, worker: worker, error: nil)
            logger.info("discovery completed")
        case .failed(let reason):
            try await self.store.finish(id: id, worker: worker, error: reason)
            logger.warning("discovery failed", metadata: ["error": "\(reason)"])
        case .cancelled: logger.info("discovery cancelled")
        case .lost: logger.notice("discovery is not this instance's any more")
        }
    }

    private func run(
        _ claimed: ClaimedDiscovery,
        worker: String,
        delivery: Delivery<QueuedDiscovery>,
        logger: Logger
    ) async throws -> End {
        let targets: DiscoveryTargets
        do throws(DiscoveryTargetsError) {
            targets = try DiscoveryTargets(
                parsing: claimed.targets,
                maximumAddresses: self.maximumAddresses,
                policy: self.policy
            )
        } catch {
            return .failed("the addresses can't be swept any more: \(error)")
        }
        guard targets.count == claimed.total else {
            return .failed(
                "targets.allow permits \(targets.count) of the \(claimed.total) addresses; start another discovery"
            )
        }
        let job = DiscoveryJob(
            targets: targets,
            ports: claimed.options.ports ?? DiscoveryConfiguration.defaultPorts,
            credentials: try await self.credentials(claimed.options.credentialIDs, logger: logger),
            resume: claimed.checkpoint,
            scanned: claimed.scanned
        )
        let sink = WorkerSink(
            store: self.store,
            events: self.events,
            polls: self.polls,
            discoveryID: claimed.id,
            worker: worker,
            timing: self.timing,
            clock: self.clock,
            logger: logger
        )
        return try await withTaskCancellationHandler {
            try await self.race(job, sink: sink, worker: worker, delivery: delivery, logger: logger)
        } onCancel: {
            sink.hurry()
        }
    }

    /// Runs the job beside the watch over its row.
    private func race(
        _ job: DiscoveryJob,
        sink: WorkerSink,
        worker: String,
        delivery: Delivery<QueuedDiscovery>,
        logger: Logger
    ) async throws -> End {
        let execute = self.execute
        return try await withThrowingTaskGroup(of: End.self) { group in
            group.addTask {
                do {
                    _ = try await execute(job, sink)
                    return .completed
                } catch DiscoveryLeaseError.lost {
                    return .lost
                }
            }
            group.addTask {
                try await self.watch(sink.discoveryID, worker: worker, delivery: delivery, logger: logger)
            }
            guard let first = try await group.next() else { return .lost }
            if case .completed = first {
                group.cancelAll()
                return first
            }
            // The row says that it is over for this run: what is under way ends, and is stored if it may be.
            sink.hurry()
            group.cancelAll()
            while let rest = await group.nextResult() {
                if case .failure(let error) = rest, !(error is CancellationError) {
                    logger.debug("the end of a discovery was not stored", metadata: ["error": "\(error)"])
                }
            }
            return first
        }
    }

    /// Returns when the row says that this run is over; keeps lease and message meanwhile.
    private func watch(
        _ id: Int,
        worker: String,
        delivery: Delivery<QueuedDiscovery>,
        logger: Logger
    ) async throws -> End {
        var sinceRenewal: Duration = .zero
        var sinceExtension: Duration = .zero
        while true {
            try await self.clock.sleep(for: self.timing.watchInterval)
            sinceRenewal += self.timing.watchInterval
            sinceExtension += self.timing.watchInterval
            do {
                let renew = sinceRenewal >= self.timing.renewalInterval
                let status =
                    renew
                    ? try await self.store.heartbeat(id: id, worker: worker)
                    : try await self.store.status(id: id, worker: worker)
                if renew { sinceRenewal = .zero }
                switch status {
                case .running: break
                case .cancelled: return .cancelled
                case .queued, .completed, .failed, nil: return .lost
                }
                if sinceExtension >= self.timing.extensionInterval {
                    sinceExtension = .zero
                    try await delivery.extend()
                }
            } catch {
                // Whatever is away comes back, or storing fails in the end; the lease is judged by the row.
                try Task.checkCancellation()
                logger.debug("discovery not watched for a moment", metadata: ["error": "\(error)"])
            }
        }
    }

    private func credentials(_ ids: [Int], logger: Logger) async throws -> [DecryptedCredential] {
        var credentials: [DecryptedCredential] = []
        for id in ids {
            guard let credential = try await self.credential(id) else {
                logger.warning("credential left out: it is gone or unreadable", metadata: ["credential_id": "\(id)"])
                continue
            }
            credentials.append(credential)
        }
        return credentials
    }

    /// In a task of its own: at a shutdown this one is cancelled, and the next instance need not wait for the lease.
    private func handBack(
        _ delivery: Delivery<QueuedDiscovery>,
        worker: String,
        after error: any Error,
        logger: Logger
    ) async {
        let isShutdown = error is CancellationError || Task.isCancelled
        if isShutdown {
            logger.info("discovery handed back")
        } else {
            logger.warning("discovery interrupted", metadata: ["error": "\(error)"])
        }
        let delay = isShutdown ? .zero : self.timing.retryDelay * delivery.deliveryCount
        await Task {
            do {
                try await self.store.release(id: delivery.message.discoveryID, worker: worker)
                guard delivery.deliveryCount < Self.deliveries else { return try await delivery.acknowledge() }
                try await delivery.reject(delay)
            } catch {
                logger.warning("discovery not handed back; its lease ends soon", metadata: ["error": "\(error)"])
            }
        }.value
    }
}

/// Stores what a run reports, and tells others what it changed.
final class WorkerSink: DiscoverySink {
    let discoveryID: Int
    private let store: any DiscoveryStore
    private let events: any DeviceEventPublisher
    private let polls: any PollJobPublisher
    private let worker: String
    private let timing: DiscoveryWorker.Timing
    private let clock: any Clock<Duration>
    private let logger: Logger
    private let isHurried = Atomic(false)

    init(
        store: any DiscoveryStore,
        events: any DeviceEventPublisher,
        polls: any PollJobPublisher,
        discoveryID: Int,
        worker: String,
        timing: DiscoveryWorker.Timing,
        clock: any Clock<Duration>,
        logger: Logger
    ) {
        self.store = store
        self.events = events
        self.polls = polls
        self.discoveryID = discoveryID
        self.worker = worker
        self.timing = timing
        self.clock = clock
        self.logger = logger
    }

    /// From now on storing is tried once only: nobody waits for a database that is away.
    func hurry() { self.isHurried.store(true, ordering: .relaxed) }

    func store(hosts: [DiscoveredHost], progress: DiscoveryProgress) async throws {
        var waited: Duration = .zero
        while true {
            do {
                let stored = try await self.store.store(
                    id: self.discoveryID,
                    worker: self.worker,
                    hosts: hosts,
                    progress: progress
                )
                return await self.announce(stored)
            } catch let error as DiscoveryLeaseError {
                throw error
            } catch {
                guard waited < self.timing.storePatience, !self.isHurried.load(ordering: .relaxed) else { throw error }
                self.logger.debug("found hosts not stored; trying again", metadata: ["error": "\(error)"])
                waited += self.timing.storePause
                try await self.clock.sleep(for: self.timing.storePause)
            }
        }
    }

    /// Rows are committed by now, and whoever misses an event reads them later: failures are only logged.
    private func announce(_ stored: StoredHosts) async {
        do {
            for id in Set(stored.inserted + stored.provisioned.map(\.deviceID)).sorted() {
                try await self.events.publish(DeviceEvent(.deviceUpdated, deviceID: id))
            }
            for device in stored.provisioned {
                try await self.polls.publish(
                    PollJob(
                        jobID: UUID().uuidString.lowercased(),
                        deviceID: device.deviceID,
                        credentialID: device.credentialID,
                        scheduledAt: Date().roundedToMilliseconds,
                        interval: device.interval,
                        manual: true
                    )
                )
            }
        } catch {
            self.logger.warning("found devices not announced", metadata: ["error": "\(error)"])
        }
    }
}
