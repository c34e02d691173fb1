internal import Foundation
internal import Logging
internal import NMSCollectors
internal import NMSCore
internal import Synchronization

/// Keeps a device's slot honest: gives it back on demand and marks it slow when it is held too long.
final class SlotLease: Sendable {
    /// What a healthy host needs at most for a poll; from then on the slot counts as slow.
    static let slowAfter: Duration = .seconds(2)

    private let slots: WorkerSlots
    private let ticket: Mutex<WorkerSlotState.Ticket?>
    private let wasSlow = Mutex(false)

    init(slots: WorkerSlots, ticket: WorkerSlotState.Ticket) {
        self.slots = slots
        self.ticket = Mutex(ticket)
    }

    var isSlow: Bool { self.wasSlow.withLock { $0 } }

    func release() {
        guard let ticket = self.ticket.withLock({ $0.take() }) else { return }
        self.slots.release(ticket)
    }

    func reacquire() async throws {
        let ticket = try await self.slots.acquire(slow: self.isSlow)
        self.ticket.withLock { $0 = ticket }
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
    let now: @Sendable () -> Date

    struct Outcome: Sendable {
        var result: MetricsResult
        /// What the next poll compares with; nil keeps the old one.
        var baseline: CounterBaseline?
    }

    /// - Throws: only `CancellationError`.
    func run() async throws -> Outcome {
        guard let address = IPAddress(self.target.device.ip), self.policy.permits(address) else {
            return self.failed(
                PollFailure(
                    .accessDenied,
                    "\(self.target.device.ip) is outside targets.allow; widen it or remove the device"
                ),
                credentialID: nil
            )
        }
        var first: (failure: PollFailure, credentialID: Int?)?
        for credential in self.target.credentials {
            do {
                return try await self.poll(address: address, with: credential)
            } catch let failure as PollFailure {
                if first == nil { first = (failure, credential.credential.id) }
            }
        }
        let none = PollFailure(.authFailed, "the device has no credential; provision it with one")
        return self.failed(first?.failure ?? none, credentialID: first?.credentialID)
    }

    private func poll(address: IPAddress, with credential: DecryptedCredential) async throws -> Outcome {
        guard credential.credential.allows(address) else {
            throw PollFailure(
                .accessDenied,
                "credential \(credential.credential.id) may not be sent to \(address): it is outside its allowed_targets"
            )
        }
        let collector = try self.collectors.collector(for: credential.credential.type)
        let started = ContinuousClock.now
        var sample = try await self.sample(collector, address, credential, groups: Set(CounterGroup.allCases))
        var takenAt = ContinuousClock.now
        var duration = takenAt - started

        var baseline = self.usableBaseline(for: sample, now: takenAt)
        if baseline == nil, self.hasRates(sample), !self.rebooted(sample) {
            baseline = CounterBaseline(sample, takenAt: takenAt)
            // The host works while it waits for its second sample; others use the slot.
            self.lease.release()
            try await Task.sleep(for: self.configuration.secondSampleDelay)
            try await self.lease.reacquire()
            let again = ContinuousClock.now
            let second = try? await self.sample(collector, address, credential, groups: [.processor, .network])
            try Task.checkCancellation()
            takenAt = ContinuousClock.now
            duration += takenAt - again
            if case .success = second?.processor { sample.processor = second?.processor }
            if case .success = second?.network { sample.network = second?.network }
        }
        let result = self.succeeded(sample, rates: baseline, credential: credential, duration: duration)
        return Outcome(result: result, baseline: CounterBaseline(sample, takenAt: takenAt))
    }

    /// One sample under a hard deadline: a collector that does not honour its own can't hold the device.
    private func sample(
        _ collector: any Collector,
        _ address: IPAddress,
        _ credential: DecryptedCredential,
        groups: Set<CounterGroup>
    ) async throws -> RawSample {
        let timeout = self.configuration.timeout
        let deadline = ContinuousClock.now + timeout
        let target = CollectorTarget(
            deviceID: self.target.device.id,
            address: address,
            hostname: self.target.device.hostname,
            credential: credential,
            deadline: deadline,
            gate: self.gate
        )
        return try await withThrowingTaskGroup(of: RawSample?.self) { group in
            group.addTask { try await collector.sample(target, groups: groups) }
            group.addTask {
                try await Task.sleep(for: SlotLease.slowAfter)
                self.lease.markSlow()
                try await Task.sleep(until: deadline + Poller.deadlineGrace)
                return nil
            }
            defer { group.cancelAll() }
            guard let sample = try await group.next(), let sample else {
                throw PollFailure(.timeout, "no answer within \(timeout.components.seconds) s (polling.timeout)")
            }
            return sample
        }
    }

    private func hasRates(_ sample: RawSample) -> Bool {
        (try? sample.processor?.get()) != nil || (try? sample.network?.get()) != nil
    }

    private func rebooted(_ sample: RawSample) -> Bool {
        guard let earlier = self.baseline else { return false }
        let system = try? sample.system?.get()
        return !CounterArithmetic.isSameBoot(earlier.bootTime, system?.bootTime)
    }

    /// The earlier sample, unless it is of another boot or so old that its mean would not be news.
    private func usableBaseline(for sample: RawSample, now: ContinuousClock.Instant) -> CounterBaseline? {
        guard let earlier = self.baseline, !self.rebooted(sample) else { return nil }
        let interval = Duration.seconds(max(self.job.interval, self.target.device.pollingInterval))
        return now - earlier.takenAt <= interval * Poller.baselineIntervals ? earlier : nil
    }

    private func succeeded(
        _ sample: RawSample,
        rates: CounterBaseline?,
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

extension Duration {
    /// Whole milliseconds.
    var milliseconds: Int {
        Int(self.components.seconds * 1000 + self.components.attoseconds / 1_000_000_000_000_000)
    }
}
