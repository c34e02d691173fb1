internal import NMSCore

/// Keeps count of a discovery: what is done, up to where everything is, and what is still to be reported.
struct JobTracker {
    /// Share of the newest measurement in the rate.
    private static let smoothing = 0.3

    private let total: Int
    /// What was told before a restart.
    private let floor: Int
    /// Done, but behind the first one that is not.
    private var ahead: [Int: AddressOutcome] = [:]
    private var checkpoint: DiscoveryCheckpoint
    private var counts: OutcomeCounts
    private var hosts: [DiscoveredHost] = []
    private var done: Int
    private var rate = 0.0
    private var last: (done: Int, at: Instant)

    init(total: Int, resume: DiscoveryCheckpoint, scanned: Int, at now: Instant) {
        self.total = total
        self.checkpoint = DiscoveryCheckpoint(index: min(max(resume.index, 0), total), counts: resume.counts)
        self.counts = resume.counts
        self.done = self.checkpoint.index
        self.floor = min(scanned, total)
        self.last = (self.done, now)
    }

    /// Where to go on.
    var start: Int { self.checkpoint.index }

    /// Takes an address's outcome, and its host together with it.
    mutating func done(_ index: Int, _ outcome: AddressOutcome, host: DiscoveredHost? = nil) {
        guard index >= self.checkpoint.index, self.ahead.updateValue(outcome, forKey: index) == nil else { return }
        self.done += 1
        self.counts[outcome] += 1
        if let host { self.hosts.append(host) }
        while let next = self.ahead.removeValue(forKey: self.checkpoint.index) {
            self.checkpoint.index += 1
            self.checkpoint.counts[next] += 1
        }
    }

    /// Hosts that were not reported yet, and a progress that is true once they are stored.
    mutating func report(at now: Instant) -> (hosts: [DiscoveredHost], progress: DiscoveryProgress) {
        let seconds = Double(now - self.last.at) / 1e9
        if seconds > 0 {
            let current = Double(self.done - self.last.done) / seconds
            self.rate = self.rate == 0 ? current : self.rate + Self.smoothing * (current - self.rate)
            self.last = (self.done, now)
        }
        defer { self.hosts = [] }
        return (self.hosts, self.progress)
    }

    var progress: DiscoveryProgress {
        let left = self.total - self.done
        let eta: Double? = left == 0 ? 0 : self.rate > 0 ? Double(left) / self.rate : nil
        return DiscoveryProgress(
            scanned: max(self.done, self.floor),
            total: self.total,
            counts: self.counts,
            checkpoint: self.checkpoint,
            rate: self.rate,
            etaSeconds: eta
        )
    }
}
