package import Foundation
package import Logging
package import NMSCollectors
package import NMSCore
internal import Synchronization

/// Takes poll jobs, polls devices and publishes results.
///
/// A job is acknowledged only after the queue has stored its result; a job that was not finished is handed back.
package final class Poller: Sendable {
    /// What a poll may overrun its time-out by before it is abandoned.
    static let deadlineGrace: Duration = .seconds(2)
    /// An earlier sample older than this many intervals is not compared with.
    static let baselineIntervals = 3
    /// Jobs in hand beyond the workers: polls that wait for their second sample hold no worker.
    package static let outstandingBeyondWorkers = 1024
    /// Of these, jobs that may wait for a slow slot: the rest of the intake stays free for healthy devices.
    static let slowWaitersLimit = outstandingBeyondWorkers / 2
    /// Deliveries of one job, fewer than the queue's own limit.
    static let deliveries = 4
    /// Before a job that could not be done is delivered again, times the deliveries that it has had.
    static let returnDelay: Duration = .seconds(2)
    /// Before a job that another instance is to do is delivered again: it may not have asked for it yet.
    static let handOverDelay: Duration = .seconds(1)
    /// Between devices that lose the mark of being slow because they were not polled in time. One that stalls again holds
    /// an ordinary worker for ``SlotLease/slowAfter``, so that they cost one worker at most.
    static let retrialPause = SlotLease.slowAfter
    /// For asking a host that was away whether its port is open, well below what makes a poll slow.
    static let probeLimit: Duration = .seconds(1)
    /// Hosts asked at once, a descriptor each: 15,000 a minute when none answers.
    static let probesAtOnce = 256
    /// Tries to publish a result before its job is handed back.
    static let publishAttempts = 5

    package struct Configuration: Sendable {
        /// `polling.worker_count`: polls at once.
        package var workerCount = 10
        /// `polling.timeout`: for all of a poll but the pause between its samples.
        package var timeout: Duration = .seconds(30)
        /// Between the two samples of a poll that has no earlier one.
        package var secondSampleDelay: Duration = .seconds(1)
        /// The shares of the fleet that this instance polls when nobody shares them out.
        package var partitions = Set(0..<Partition.count)

        /// Jobs in hand; nil for the workers and ``Poller/outstandingBeyondWorkers``. Fewer than workers is as few workers.
        package var outstanding: Int?
        /// File descriptors that this process may have, for messages.
        package var descriptorLimit: Int?
        /// `polling.unreachable_after`: from then on a cheap connection comes first.
        package var unreachableAfter = 3
        /// How long a healthy host may hold its slot.
        var slowAfter = SlotLease.slowAfter
        /// Jobs of slow devices that may wait for a slot.
        var slowWaiters = Poller.slowWaitersLimit

        package init() {}
    }

    package struct Statistics: Sendable, Equatable {
        package var succeeded: UInt64 = 0
        package var failed: UInt64 = 0
        /// Jobs older than their device's interval.
        package var stale: UInt64 = 0
        /// Jobs of a device that was still being polled.
        package var overlapping: UInt64 = 0
        /// Jobs of devices that are gone or no longer provisioned.
        package var orphaned: UInt64 = 0
        /// Jobs handed back to the queue.
        package var returned: UInt64 = 0
        package var running = 0
        package var waiting = 0
    }

    private struct State {
        /// Set by ``stop()``: nothing new is begun.
        var stopping = false
        var intake: Task<Void, Never>?
        /// The job that each device is being polled for.
        var inFlight: [Int: String] = [:]
        /// With the address that they were taken at: a device that moved is another host.
        var baselines: [Int: (ip: String, baseline: CounterBaseline)] = [:]
        /// Devices whose last poll held its slot too long.
        var slow: Set<Int> = []
        var statistics = Statistics()
        var shortageWarning = WarningPace()
        var away: ReachBackoff
        var pace = PollPace()
        var lastRetrial: ContinuousClock.Instant?
    }

    private let state: Mutex<State>
    private let probes = WorkerSlots(count: Poller.probesAtOnce)
    private let probe: (any ReachProbe)?
    private let slots: WorkerSlots
    private let configuration: Configuration
    private let source: any PollJobSource
    private let keeper: PartitionKeeper?
    private let work = PartitionWork()
    private let targets: any PollTargetSource
    private let collectors: CollectorRegistry
    private let gate: any AuthenticationGate
    private let results: any MetricsResultPublisher
    private let policy: TargetPolicy
    private let metrics: PollMetrics
    private let now: @Sendable () -> Date
    /// Jobs of before say nothing about this instance's pace.
    private let started: Date
    private let logger: Logger

    package init(
        configuration: Configuration,
        source: any PollJobSource,
        targets: any PollTargetSource,
        collectors: CollectorRegistry,
        gate: any AuthenticationGate,
        results: any MetricsResultPublisher,
        policy: TargetPolicy,
        keeper: PartitionKeeper? = nil,
        probe: (any ReachProbe)? = nil,
        logger: Logger,
        metrics: PollMetrics = PollMetrics(),
        now: @escaping @Sendable () -> Date = { Date() }
    ) {
        self.configuration = configuration
        self.state = Mutex(State(away: ReachBackoff(threshold: configuration.unreachableAfter)))
        self.probe = probe
        self.slots = WorkerSlots(count: configuration.workerCount)
        self.source = source
        self.targets = targets
        self.collectors = collectors
        self.gate = gate
        self.results = results
        self.policy = policy
        self.keeper = keeper
        self.logger = logger
        self.metrics = metrics
        self.now = now
        self.started = now()
    }

    package var statistics: Statistics {
        var statistics = self.state.withLock { $0.statistics }
        statistics.running = self.slots.running
        statistics.waiting = self.slots.waiting
        return statistics
    }

    /// Polls until ``stop()`` is called and what was under way has ended, or until the task is cancelled.
    ///
    /// - Parameter drain: what polls under way have to finish after ``stop()``; then they are cancelled and their
    ///   jobs handed back.
    /// - Throws: what the source throws when jobs can't be had.
    package func run(drain: Duration = .seconds(8)) async throws {
        let source = try await self.source.pollJobs(
            maxOutstanding: self.configuration.outstanding
                ?? self.configuration.workerCount + Self.outstandingBeyondWorkers
        )
        if self.keeper == nil {
            self.work.hold(self.configuration.partitions)
            try await source.add(self.configuration.partitions)
        }
        self.logger.info("poller started", metadata: ["workers": "\(self.configuration.workerCount)"])
        // The intake is a task of its own so that stop() can end it without cancelling the polls.
        let (jobs, continuation) = AsyncStream<Delivery<PollJob>>.makeStream()
        let intake = Task {
            for await delivery in source.deliveries { continuation.yield(delivery) }
            continuation.finish()
        }
        self.state.withLock { state in
            state.intake = intake
            if state.stopping { intake.cancel() }
        }
        await withTaskCancellationHandler {
            await withDiscardingTaskGroup { group in
                if let keeper = self.keeper {
                    group.addTask {
                        await keeper.run(intake: source, work: self.work) { await self.forget(devices: $0) }
                    }
                }
                for await delivery in jobs {
                    group.addTask { await self.take(delivery) }
                }
                await self.waitUntilIdle(atMost: drain)
                group.cancelAll()
            }
        } onCancel: {
            intake.cancel()
        }
        // Also when this task was cancelled: others need not wait for the leases to end.
        if let keeper = self.keeper { await Task { await keeper.leave() }.value }
        self.logger.info("poller stopped", metadata: ["returned": "\(self.statistics.returned)"])
    }

    /// Takes no more jobs; ``run(drain:)`` returns when the polls under way have ended. Idempotent.
    package func stop() {
        self.state.withLock { state in
            state.stopping = true
            state.intake?.cancel()
        }
        self.keeper?.prepareToLeave()
    }

    /// Whether ``stop()`` was called.
    package var isStopping: Bool { self.state.withLock { $0.stopping } }

    /// Forgets what a changed or removed device left behind.
    package func forget(deviceID: Int) {
        self.state.withLock { state in
            state.baselines[deviceID] = nil
            state.slow.remove(deviceID)
            state.away.forget(deviceID: deviceID)
        }
    }

    /// Closes and forgets what devices left behind that another instance polls from now on.
    private func forget(devices: [Int]) async {
        await withDiscardingTaskGroup { group in
            // All at once: a host that is away keeps its connection closing for a second or two.
            for device in devices {
                group.addTask {
                    self.forget(deviceID: device)
                    for collector in self.collectors.all { await collector.forget(deviceID: device) }
                }
            }
        }
    }

    private func waitUntilIdle(atMost limit: Duration) async {
        let deadline = ContinuousClock.now + limit
        while !self.state.withLock({ $0.inFlight.isEmpty }), ContinuousClock.now < deadline {
            // Cancelled: whoever cancelled does not want to wait.
            do { try await Task.sleep(for: .milliseconds(20)) } catch { return }
        }
    }

    // MARK: - The life of a job

    /// A job of a partition that was given up meanwhile is for whoever has it now.
    private func take(_ delivery: Delivery<PollJob>) async {
        let isOurs = await self.work.run(deviceID: delivery.message.deviceID) { await self.handle(delivery) }
        if !isOurs { await self.handBack(delivery, after: Self.handOverDelay, logger: self.logger) }
    }

    private func handle(_ delivery: Delivery<PollJob>) async {
        let job = delivery.message
        var logger = self.logger
        logger[metadataKey: "job_id"] = "\(job.jobID)"
        logger[metadataKey: "device_id"] = "\(job.deviceID)"
        do {
            guard self.isFresh(job) else {
                self.dropLate(job)
                logger.debug("poll job dropped: older than its device's interval")
                return try await delivery.acknowledge()
            }
            switch self.begin(job) {
            case .began: break
            case .busy:
                self.count(.overlapped)
                logger.debug("poll job skipped: the device is still being polled")
                return try await delivery.acknowledge()
            case .sameJob:
                // Delivered again while it runs: the running one settles it.
                return try await delivery.extend()
            }
            defer { self.end(job) }
            try await self.poll(delivery, logger: logger)
        } catch is CancellationError {
            await self.handBack(delivery, after: Self.handOverDelay, logger: logger)
        } catch let shortage as LocalShortage {
            self.warn(of: shortage)
            await self.handBack(delivery, after: Self.returnDelay * delivery.deliveryCount, logger: logger)
        } catch {
            logger.warning("poll not done", metadata: ["error": "\(error)"])
            await self.handBack(delivery, after: Self.returnDelay * delivery.deliveryCount, logger: logger)
        }
    }

    private func poll(_ delivery: Delivery<PollJob>, logger: Logger) async throws {
        let job = delivery.message
        if try await self.isSettledUnreached(delivery, logger: logger) { return }
        let known = self.state.withLock { (slow: $0.slow.contains(job.deviceID), baseline: $0.baselines[job.deviceID]) }
        // The bound may be passed by a few that come at once; what counts is that stalled hosts do not fill the intake.
        guard !known.slow || self.slots.slowWaiting < self.configuration.slowWaiters else {
            self.dropLate(job)
            logger.debug("poll job dropped: too many slow devices wait for a worker")
            return try await delivery.acknowledge()
        }
        let ticket = try await self.slots.acquire(slow: known.slow)
        let lease = SlotLease(slots: self.slots, ticket: ticket, limit: self.configuration.slowAfter)
        defer { lease.release() }
        guard !self.state.withLock({ $0.stopping }) else { throw CancellationError() }
        guard self.isFresh(job) else {
            self.dropLate(job)
            logger.debug("poll job dropped: it waited for a worker for longer than its device's interval")
            return try await delivery.acknowledge()
        }
        guard let target = try await self.targets.pollTarget(deviceID: job.deviceID) else {
            self.count(.orphaned)
            logger.debug("poll job dropped: the device is gone or not provisioned")
            return try await delivery.acknowledge()
        }
        // A database that stalls says nothing about the device.
        let wasLookedUpSlowly = lease.isSlow
        try await delivery.extend()
        let start = ContinuousClock.now
        let outcome = try await DevicePoll(
            job: job,
            target: target,
            collectors: self.collectors,
            gate: self.gate,
            policy: self.policy,
            configuration: self.configuration,
            baseline: known.baseline?.ip == target.device.ip ? known.baseline?.baseline : nil,
            lease: lease,
            logger: logger,
            now: self.now
        ).run()
        let duration = ContinuousClock.now - start
        lease.release()
        try await self.publish(outcome.result)
        self.metrics.count(outcome.result, duration: duration)
        self.keepPace(job, late: false)
        try await delivery.acknowledge()
        self.finish(outcome, ip: target.device.ip, slow: wasLookedUpSlowly ? known.slow : lease.isSlow)
        logger.debug(
            outcome.result.success ? "polled" : "poll failed",
            metadata: outcome.result.errorCode.map { ["error_code": "\($0.rawValue)"] } ?? [:]
        )
    }

    /// Asks a device that could not be reached lately whether its port is open, without a worker.
    ///
    /// A port that is open means a normal poll at once.
    /// - Returns: true when the job is done with.
    private func isSettledUnreached(_ delivery: Delivery<PollJob>, logger: Logger) async throws -> Bool {
        let job = delivery.message
        guard let probe = self.probe, self.state.withLock({ $0.away.asksFirst(deviceID: job.deviceID) }) else {
            return false
        }
        guard self.probes.waiting < self.configuration.slowWaiters else {
            self.dropLate(job)
            logger.debug("poll job dropped: too many devices that are away wait to be asked")
            try await delivery.acknowledge()
            return true
        }
        let ticket = try await self.probes.acquire(slow: false)
        defer { self.probes.release(ticket) }
        // What is stale, gone or not permitted is for the poll to say.
        guard self.isFresh(job), let target = try await self.targets.pollTarget(deviceID: job.deviceID),
            let address = IPAddress(target.device.ip), self.policy.permits(address)
        else { return false }
        let start = ContinuousClock.now
        var answers: [(port: Int, answer: ReachAnswer)] = []
        let credentials = target.credentials.map(\.credential).filter { $0.allows(address) }
        for port in credentials.map(\.effectivePort) where !answers.contains(where: { $0.port == port }) {
            let answer = await probe.probe(address, port: port, limit: Self.probeLimit)
            try Task.checkCancellation()
            if case .localShortage(let why) = answer { throw LocalShortage(why) }
            answers.append((port, answer))
            if answer == .open { break }
        }
        guard let failure = ReachBackoff.failure(answers) else {
            self.state.withLock { state in
                state.away.forget(deviceID: job.deviceID)
                state.slow.remove(job.deviceID)
            }
            return false
        }
        let result = MetricsResult(
            jobID: job.jobID,
            deviceID: job.deviceID,
            timestamp: self.now().roundedToMilliseconds,
            success: false,
            error: failure.message,
            errorCode: failure.code,
            credentialID: credentials.first?.id
        )
        try await self.publish(result)
        self.metrics.count(result, duration: ContinuousClock.now - start)
        self.keepPace(job, late: false)
        try await delivery.acknowledge()
        self.state.withLock { state in
            state.statistics.failed += 1
            state.away.record(deviceID: job.deviceID, unreached: failure.code)
        }
        logger.debug("device still away", metadata: ["error_code": "\(failure.code.rawValue)"])
        return true
    }

    /// The queue may be away for a moment: the result is worth more than a second poll.
    private func publish(_ result: MetricsResult) async throws {
        for attempt in 1... {
            do { return try await self.results.publish(result) } catch {
                guard attempt < Self.publishAttempts, !(error is CancellationError) else { throw error }
                try await Task.sleep(for: .milliseconds(100 << attempt))
            }
        }
    }

    private func handBack(_ delivery: Delivery<PollJob>, after delay: Duration, logger: Logger) async {
        self.count(.returned)
        do {
            // The next slot makes up for a job that fails again and again; a dead letter would tell nobody anything.
            guard delivery.deliveryCount < Self.deliveries else { return try await delivery.acknowledge() }
            try await delivery.reject(delay)
        } catch {
            logger.warning("poll job not handed back; it returns after the ack wait", metadata: ["error": "\(error)"])
        }
    }

    private func warn(of shortage: LocalShortage) {
        self.metrics.countShortage()
        guard let polls = self.state.withLock({ $0.shortageWarning.count(at: .now) }) else { return }
        self.logger.warning(
            "polls put off: this machine is short of descriptors, ports or memory; raise the limit (ulimit -Hn)",
            metadata: [
                "error": "\(shortage)", "polls": "\(polls)",
                "descriptor_limit": "\(self.configuration.descriptorLimit.map(String.init) ?? "unknown")",
            ]
        )
    }

    // MARK: - State

    private enum Beginning { case began, busy, sameJob }

    private func begin(_ job: PollJob) -> Beginning {
        self.state.withLock { state in
            guard let running = state.inFlight[job.deviceID] else {
                state.inFlight[job.deviceID] = job.jobID
                return .began
            }
            return running == job.jobID ? .sameJob : .busy
        }
    }

    private func end(_ job: PollJob) {
        self.state.withLock { $0.inFlight[job.deviceID] = nil }
    }

    private func finish(_ outcome: DevicePoll.Outcome, ip: String, slow: Bool) {
        let device = outcome.result.deviceID
        self.state.withLock { state in
            if outcome.result.success {
                state.statistics.succeeded += 1
            } else {
                state.statistics.failed += 1
            }
            state.away.record(deviceID: device, unreached: outcome.unreached)
            if let baseline = outcome.baseline { state.baselines[device] = (ip, baseline) }
            if slow { state.slow.insert(device) } else { state.slow.remove(device) }
        }
    }

    private func isFresh(_ job: PollJob) -> Bool {
        self.now().timeIntervalSince(job.scheduledAt) <= Double(job.interval)
    }

    private func dropLate(_ job: PollJob) {
        self.count(.late)
        self.keepPace(job, late: true)
        // Behind a few hosts that stall for good, a device that was slow once would never be polled again.
        self.state.withLock { state in
            let now = ContinuousClock.now
            guard state.slow.contains(job.deviceID), state.lastRetrial.map({ now - $0 >= Self.retrialPause }) ?? true
            else { return }
            state.lastRetrial = now
            state.slow.remove(job.deviceID)
        }
    }

    /// Tells, once a minute at most, when polling falls behind and when it has caught up.
    private func keepPace(_ job: PollJob, late: Bool) {
        guard job.scheduledAt >= self.started else { return }
        let said = self.state.withLock { $0.pace.record(late: late, interval: job.interval, at: .now) }
        guard let said else { return }
        self.metrics.record(intervalRatio: said.report.ratio)
        switch said.news {
        case .behind(let report):
            self.logger.warning(
                "polling falls behind: raise polling.worker_count or the devices' intervals, or add an instance",
                metadata: [
                    "wanted_interval": "\(Int(report.wanted.rounded())) s",
                    "achieved_interval": "\(Int(report.achieved.rounded())) s",
                    "late_jobs": "\(report.late)", "polls": "\(report.polled)",
                ]
            )
        case .caughtUp: self.logger.notice("polling keeps up again")
        case nil: break
        }
    }

    private func count(_ drop: PollMetrics.Drop) {
        self.state.withLock { $0.statistics[keyPath: drop.statistic] += 1 }
        self.metrics.count(drop)
    }
}
