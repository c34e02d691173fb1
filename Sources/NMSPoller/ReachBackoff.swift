internal import NMSCore

/// Which devices cannot be reached, so that their next polls ask with a cheap TCP connection first.
///
/// Pure bookkeeping. Only failures of reaching a device count; a refused password or a denied query is an answer. A
/// device that is not in it costs nothing, and one that answers leaves it at once.
struct ReachBackoff {
    /// Failures in a row after which a host that refuses at once is asked cheaply first.
    let threshold: Int
    private var failures: [Int: Int] = [:]

    /// - Parameter threshold: `polling.unreachable_after`, at least 1.
    init(threshold: Int) { self.threshold = max(1, threshold) }

    /// Devices that failed to be reached last time.
    var count: Int { self.failures.count }

    /// Whether a job is to try the device's ports before it takes a worker.
    func asksFirst(deviceID: Int) -> Bool { (self.failures[deviceID] ?? 0) >= self.threshold }

    /// Takes what a poll or a probe came to.
    /// - Parameter failure: nil for any other outcome than that the device could not be reached.
    mutating func record(deviceID: Int, unreached failure: PollErrorCode?) {
        guard let failure else {
            self.failures[deviceID] = nil
            return
        }
        // Silence costs a worker seconds, so one is enough; a refusal costs nothing.
        let step = failure == .timeout ? self.threshold : 1
        self.failures[deviceID] = min(self.threshold, (self.failures[deviceID] ?? 0) + step)
    }

    mutating func forget(deviceID: Int) { self.failures[deviceID] = nil }

    /// The failure that a host's ports say, or nil when one is open.
    /// - Parameter answers: by port, in the order of the device's credentials.
    static func failure(_ answers: [(port: Int, answer: ReachAnswer)]) -> PollFailure? {
        guard let (port, answer) = answers.first, !answers.contains(where: { $0.answer == .open }) else { return nil }
        switch answer {
        case .open, .localShortage: return nil
        case .refused:
            return PollFailure(
                .connectionRefused,
                "TCP port \(port): the host refused the connection: nothing listens on this port"
            )
        case .silent:
            return PollFailure(.timeout, "TCP port \(port): the host did not answer in time (connecting)")
        case .unreachable(let why):
            return PollFailure(.hostUnreachable, "TCP port \(port): \(why)")
        }
    }
}
