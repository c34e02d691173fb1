internal import Foundation
internal import Logging
internal import NMSCollectors
internal import NMSCore
internal import Synchronization

/// Keeps a device's slot honest: gives it back on demand and marks it slow when it is held too long, whatever for.
final class SlotLease: Sendable {
    /// What a healthy host needs at most for a poll; from then on the slot counts as slow.
    static let slowAfter: Duration = .seconds(2)

    private let slots: WorkerSlots
    private let ticket: Mutex<WorkerSlotState.Ticket?>
    private let wasSlow = Mutex(false)
    private let limit: Duration
    private let timer = Mutex<Task<Void, Never>?>(nil)

    /// - Parameter limit: how long the slot may be held before it counts as slow.
    init(slots: WorkerSlots, ticket: WorkerSlotState.Ticket, limit: Duration = SlotLease.slowAfter) {
        self.slots = slots
        self.ticket = Mutex(ticket)
        self.limit = limit
        self.startTimer()
    }

    var isSlow: Bool { self.wasSlow.withLock { $0 } }

    private func startTimer() {
        let timer = Task {
            guard (try? await Task.sleep(for: self.limit)) != nil else { return }
            self.markSlow()
        }
        self.timer.withLock { $0 = timer }
    }

    func release() {
        self.timer.withLock { $0.take() }?.cancel()
        guard let ticket = self.ticket.withLock({ $0.take() }) else { return }
        self.slots.release(ticket)
    }

    func reacquire() async throws {
        let ticket = try await self.slots.acquire(slow: self.isSlow)
        self.ticket.withLock { $0 = ticket }
        self.startTimer()
    }

    func markSlow() {
        self.wasSlow.withLock { $0 = true }
        if let ticket = self.ticket.withLock({ $0 }) { self.slots.markSlow(ticket) }
    }
}

/// One poll of one device: credentials in order, a second sample where rates need one, and the result.
struct DevicePoll: Sendable {
    let job: PollJob
    let target: PollTarget
    let collectors: CollectorRegistry
    let gate: any AuthenticationGate
    let policy: TargetPolicy
    let configuration: Poller.Configuration
    let baseline: CounterBaseline?
    let lease: SlotLease
    let logger: Logger
    let now: @Sendable () -> Date

    struct Outcome: Sendable {
        var result: MetricsResult
        /// What the next poll compares with; nil keeps the old one.
        var baseline: CounterBaseline?
        /// Why none of the device's ports could be connected to; nil when one could, or was not tried.
        var unreached: PollErrorCode?
    }

    /// - Throws: `CancellationError`, or what kept the lockout guard from deciding.
    func run() async throws -> Outcome {
        guard let address = IPAddress(self.target.device.ip), self.policy.permits(address) else {
            let text = "\(self.target.device.ip) is outside targets.allow; widen it or remove the device"
            return self.failed(PollFailure(.accessDenied, text), credentialID: nil)
        }
        // One deadline for all credentials and both samples; the pause between these does not count.
        let deadline = ContinuousClock.now + self.configuration.timeout
        var first: (failure: PollFailure, credentialID: Int?)?
        var wasReached = false
        var closedPorts: Set<Int> = []
        for credential in self.target.credentials {
            let (id, port) = (credential.credential.id, credential.credential.effectivePort)
            if closedPorts.contains(port) { continue }
            do {
                let outcome = try await self.poll(address: address, with: credential, deadline: deadline)
                await self.forgetOtherSessions(of: credential.credential.type)
                return outcome
            } catch let failure as PollFailure {
                if first == nil { first = (failure, id) }
                if !failure.saysUnreached { wasReached = true }
                if case .none = failure.next { break }
                if case .otherPort = failure.next { closedPorts.insert(port) }
                guard ContinuousClock.now < deadline else { break }
                self.logger.debug(
                    "credential did not work",
                    metadata: ["credential_id": "\(id)", "code": "\(failure.code.rawValue)"]
                )
            }
        }
        let none = PollFailure(
            .authFailed,
            "the device has no usable credential: none is assigned, or none can be decrypted with this master key"
        )
        var outcome = self.failed(first?.failure ?? none, credentialID: first?.credentialID)
        if let first, !wasReached { outcome.unreached = first.failure.code }
        return outcome
    }

    /// A session that another credential has left with another collector would stay open for nothing.
    private func forgetOtherSessions(of type: CredentialType) async {
        guard self.target.credentials.count > 1 else { return }
        for collector in self.collectors.all where !collector.supports(type) {
            await collector.forget(deviceID: self.job.deviceID)
        }
    }

    private func poll(
        address: IPAddress,
        with credential: DecryptedCredential,
        deadline: ContinuousClock.Instant
    ) async throws -> Outcome {
        guard credential.credential.allows(address) else {
            throw PollFailure(
                .accessDenied,
                "credential \(credential.credential.id) may not be sent to \(address): it is outside its allowed_targets"
            )
        }
        let collector = try self.collectors.collector(for: credential.credential.type)
        let call = SampleCall(collector: collector, address: address, credential: credential, deadline: deadline)
        let started = ContinuousClock.now
        var sample = try await self.sample(call, groups: Set(CounterGroup.allCases))
        let takenAt = ContinuousClock.now
        var duration = takenAt - started

        // Readings of another boot, or so old that their mean would not be news, are not compared with.
        let rebooted = self.isRebooted(sample)
        let interval = Duration.seconds(max(self.job.interval, self.target.device.pollingInterval))
        let oldest = takenAt - interval * Poller.baselineIntervals
        let earlier = rebooted ? CounterBaseline() : (self.baseline ?? CounterBaseline()).since(oldest)
        var rates = earlier
        let missing = rebooted ? [] : self.groupsWithoutBaseline(sample, earlier)
        if !missing.isEmpty {
            var first = CounterBaseline()
            first.update(sample, takenAt: takenAt)
            if missing.contains(.processor) { rates.processor = first.processor }
            if missing.contains(.network) { rates.network = first.network }
            // The host works while it waits for its second sample; others use the slot.
            self.lease.release()
            try await Task.sleep(for: self.configuration.secondSampleDelay)
            try await self.lease.reacquire()
            let again = ContinuousClock.now
            let second = try? await self.sample(call.extended(by: again - takenAt), groups: missing)
            try Task.checkCancellation()
            duration += ContinuousClock.now - again
            if case .success = second?.processor { sample.processor = second?.processor }
            if case .success = second?.network { sample.network = second?.network }
        }
        let result = self.succeeded(sample, rates: rates, credential: credential, duration: duration)
        var baseline = earlier
        baseline.update(sample, takenAt: .now)
        return Outcome(result: result, baseline: baseline)
    }

    /// What both samples of a poll have in common.
    private struct SampleCall: Sendable {
        var collector: any Collector
        var address: IPAddress
        var credential: DecryptedCredential
        var deadline: ContinuousClock.Instant

        func extended(by duration: Duration) -> SampleCall {
            var call = self
            call.deadline += duration
            return call
        }
    }

    /// One sample. Collectors end at their deadline by themselves; one that does not is cancelled a little later.
    private func sample(_ call: SampleCall, groups: Set<CounterGroup>) async throws -> RawSample {
        let target = CollectorTarget(
            deviceID: self.target.device.id,
            address: call.address,
            hostname: self.target.device.hostname,
            credential: call.credential,
            deadline: call.deadline,
            gate: self.gate
        )
        return try await withThrowingTaskGroup(of: RawSample?.self) { group in
            group.addTask { try await call.collector.sample(target, groups: groups) }
            group.addTask {
                try await Task.sleep(until: call.deadline + Poller.deadlineGrace)
                return nil
            }
            defer { group.cancelAll() }
            guard let sample = try await group.next(), let sample else {
                let seconds = self.configuration.timeout.components.seconds
                throw PollFailure(.timeout, "no answer within \(seconds) s (polling.timeout)")
            }
            return sample
        }
    }

    private func groupsWithoutBaseline(_ sample: RawSample, _ earlier: CounterBaseline) -> Set<CounterGroup> {
        var missing: Set<CounterGroup> = []
        if case .success = sample.processor, earlier.processor == nil { missing.insert(.processor) }
        if case .success = sample.network, earlier.network == nil { missing.insert(.network) }
        return missing
    }

    private func isRebooted(_ sample: RawSample) -> Bool {
        guard let earlier = self.baseline else { return false }
        let system = try? sample.system?.get()
        return !CounterArithmetic.isSameBoot(earlier.bootTime, system?.bootTime)
    }

    private func succeeded(
        _ sample: RawSample,
        rates: CounterBaseline,
        credential: DecryptedCredential,
        duration: Duration
    ) -> MetricsResult {
        let timestamp = self.now().roundedToMilliseconds
        var result = MetricsResult(
            jobID: self.job.jobID,
            deviceID: self.job.deviceID,
            timestamp: timestamp,
            success: true,
            credentialID: credential.credential.id,
            identity: sample.identity
        )
        result.metrics = DeviceMetrics(
            deviceID: self.job.deviceID,
            timestamp: timestamp,
            sample: sample,
            rates: rates,
            collectionDurationMs: duration.milliseconds,
            jobID: self.job.jobID
        )
        let failures = sample.failures
        if !failures.isEmpty {
            result.errorCode = .countersMissing
            result.error = failures.map { "\($0.group.rawValue): \($0.failure.message)" }.joined(separator: "; ")
        }
        return result
    }

    private func failed(_ failure: PollFailure, credentialID: Int?) -> Outcome {
        Outcome(
            result: MetricsResult(
                jobID: self.job.jobID,
                deviceID: self.job.deviceID,
                timestamp: self.now().roundedToMilliseconds,
                success: false,
                error: failure.message,
                errorCode: failure.code,
                credentialID: credentialID
            )
        )
    }
}

extension PollFailure {
    /// Whether the host was not even connected to.
    fileprivate var saysUnreached: Bool {
        guard case .otherPort = self.next else { return false }
        switch self.code {
        case .connectionRefused, .hostUnreachable, .timeout: return true
        default: return false
        }
    }
}

extension Duration {
    /// Whole milliseconds.
    var milliseconds: Int {
        Int(self.components.seconds * 1000 + self.components.attoseconds / 1_000_000_000_000_000)
    }
}
