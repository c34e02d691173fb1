internal import NMSCore

/// Nanoseconds on a clock that only goes forward.
typealias Instant = Int64

/// One connect of a sweep.
struct SweepProbe: Sendable, Hashable {
    /// The address, as an index into the targets.
    var index: Int
    /// The port, as an index into the list of ports.
    var port: Int
}

/// What dialling every port of one address came to.
struct SweptAddress: Sendable, Hashable {
    var index: Int
    /// In the order of the ports.
    var states: [DiscoveryEvidence.PortState]
}

/// Decides what a sweep dials next and when: order, rate, concurrency, and what follows when this machine runs short.
///
/// Addresses go in order, and the ports of one follow one another, so that addresses are done about in order.
struct SweepMachine {
    struct Limits: Sendable, Hashable {
        /// Connects under way at once, 1 or more.
        var concurrency: Int
        /// Connects begun per second, more than 0.
        var rate: Double
    }

    /// What came of a connect.
    enum Outcome: Sendable, Hashable {
        case state(DiscoveryEvidence.PortState)
        /// This machine is short of descriptors, ports or memory; it says nothing about the host.
        case outOfResources
    }

    enum Step: Sendable, Hashable {
        case dial(SweepProbe)
        /// Nothing may be dialled before this instant.
        case wait(until: Instant)
        /// Nothing is to be done before a connect is over.
        case waitForCompletion
        /// All is done, or cancelled and none is under way.
        case finished
    }

    /// Connects that may be begun at once after a pause, in seconds of the rate.
    private static let burst = 0.05
    /// Pauses after running short, doubled each time that it happens again.
    private static let firstPause: Instant = 10_000_000
    private static let longestPause: Instant = 1_000_000_000
    /// Then the port counts as failed. The pauses before that add up to some seconds.
    static let maximumAttempts = 10

    private struct Record {
        var states: [DiscoveryEvidence.PortState?]
        var pending: Int
    }

    private let limits: Limits
    private let addresses: Int
    private let ports: Int
    private var next: SweepProbe
    private var records: [Int: Record] = [:]
    private var attempts: [SweepProbe: Int] = [:]
    private var retries: [SweepProbe] = []
    private var isCancelled = false

    private var tokens: Double
    private var lastRefill: Instant?
    /// At most ``Limits/concurrency``; halved when this machine runs short, and grown again by and by.
    private(set) var allowance: Int
    private var pause: Instant = Self.firstPause
    private var pausedUntil: Instant = .min
    private(set) var inFlight = 0

    /// - Parameters:
    ///   - addresses: how many there are; `start` of them are done.
    ///   - ports: how many ports each is dialled at, 1 or more.
    init(addresses: Int, from start: Int = 0, ports: Int, limits: Limits) {
        precondition(ports > 0 && limits.concurrency > 0 && limits.rate > 0, "limits must be more than zero")
        self.limits = limits
        self.addresses = addresses
        self.ports = ports
        self.next = SweepProbe(index: start, port: 0)
        self.allowance = limits.concurrency
        self.tokens = Self.capacity(limits)
    }

    private static func capacity(_ limits: Limits) -> Double { max(1, limits.rate * self.burst) }

    /// What to do at this instant. A probe that is given out is under way until ``completed(_:_:at:)``.
    mutating func step(at now: Instant) -> Step {
        let hasWork = !self.isCancelled && (!self.retries.isEmpty || self.next.index < self.addresses)
        guard hasWork else { return self.inFlight == 0 ? .finished : .waitForCompletion }
        guard self.inFlight < self.allowance else { return .waitForCompletion }
        guard now >= self.pausedUntil else { return .wait(until: self.pausedUntil) }
        self.refill(now)
        guard self.tokens >= 1 else {
            let seconds = (1 - self.tokens) / self.limits.rate
            return .wait(until: now + max(1, Instant((seconds * 1e9).rounded(.up))))
        }
        self.tokens -= 1
        self.inFlight += 1
        return .dial(self.retries.popLast() ?? self.advance())
    }

    /// Takes what came of a probe.
    ///
    /// - Returns: its address, if this was the last of its ports.
    mutating func completed(_ probe: SweepProbe, _ outcome: Outcome, at now: Instant) -> SweptAddress? {
        self.inFlight -= 1
        switch outcome {
        case .outOfResources:
            self.allowance = max(1, min(self.allowance, self.inFlight + 1) / 2)
            // Those that were under way together fail together: one pause for all of them.
            if now >= self.pausedUntil {
                self.pausedUntil = now + self.pause
                self.pause = min(self.pause * 2, Self.longestPause)
            }
            let attempts = (self.attempts[probe] ?? 0) + 1
            guard attempts >= Self.maximumAttempts else {
                self.attempts[probe] = attempts
                self.retries.append(probe)
                return nil
            }
            self.attempts[probe] = nil
            return self.settle(probe, .failed)
        case .state(let state):
            self.allowance = min(self.allowance + 1, self.limits.concurrency)
            self.pause = Self.firstPause
            if !self.attempts.isEmpty { self.attempts[probe] = nil }
            return self.settle(probe, state)
        }
    }

    /// From now on nothing is dialled.
    mutating func cancel() { self.isCancelled = true }

    private mutating func advance() -> SweepProbe {
        let probe = self.next
        self.next.port += 1
        if self.next.port == self.ports { self.next = SweepProbe(index: probe.index + 1, port: 0) }
        return probe
    }

    private mutating func refill(_ now: Instant) {
        if let last = self.lastRefill, now > last {
            let earned = Double(now - last) / 1e9 * self.limits.rate
            self.tokens = min(self.tokens + earned, Self.capacity(self.limits))
        }
        self.lastRefill = max(now, self.lastRefill ?? now)
    }

    private mutating func settle(_ probe: SweepProbe, _ state: DiscoveryEvidence.PortState) -> SweptAddress? {
        if self.ports == 1 { return SweptAddress(index: probe.index, states: [state]) }
        var record =
            self.records[probe.index] ?? Record(states: Array(repeating: nil, count: self.ports), pending: self.ports)
        record.states[probe.port] = state
        record.pending -= 1
        guard record.pending == 0 else {
            self.records[probe.index] = record
            return nil
        }
        self.records[probe.index] = nil
        return SweptAddress(index: probe.index, states: record.states.compactMap(\.self))
    }
}
