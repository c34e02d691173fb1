package import Metrics
internal import NMSCore

/// What the poller counts, each counter taken once and kept.
///
/// `nmslite_polls_total` by result and `nmslite_poll_duration_seconds` are of polls whose result is in the queue;
/// `nmslite_poll_jobs_dropped_total` of jobs that gave none.
package struct PollMetrics: Sendable {
    /// Why a job gave no result.
    package enum Drop: String, Sendable, CaseIterable {
        /// Older than its device's interval.
        case late
        /// Its device was still being polled.
        case overlapped
        /// Its device is gone or no longer provisioned.
        case orphaned
        /// Handed back to the queue, which delivers it again.
        case returned
    }

    /// The value of `result` of a poll with nothing amiss; the others are the codes of errors.
    package static let success = "success"

    private let succeeded: Counter
    private let failed: [PollErrorCode: Counter]
    private let dropped: [Drop: Counter]
    private let shortages: Counter
    private let intervalRatio: Gauge
    private let duration: (good: Metrics.Timer, bad: Metrics.Timer)

    package init(factory: any MetricsFactory = MetricsSystem.factory) {
        func results(_ result: String) -> Counter {
            Counter(label: "nmslite_polls_total", dimensions: [("result", result)], factory: factory)
        }
        func duration(_ outcome: String) -> Metrics.Timer {
            Metrics.Timer(
                label: "nmslite_poll_duration_seconds",
                dimensions: [("outcome", outcome)],
                factory: factory
            )
        }
        self.succeeded = results(Self.success)
        self.failed = Dictionary(uniqueKeysWithValues: PollErrorCode.allCases.map { ($0, results($0.rawValue)) })
        self.dropped = Dictionary(
            uniqueKeysWithValues: Drop.allCases.map { drop in
                let reason = [("reason", drop.rawValue)]
                return (
                    drop, Counter(label: "nmslite_poll_jobs_dropped_total", dimensions: reason, factory: factory)
                )
            }
        )
        self.intervalRatio = Gauge(label: "nmslite_poll_achieved_interval_ratio", factory: factory)
        self.intervalRatio.record(1)
        self.shortages = Counter(label: "nmslite_poll_local_shortages_total", factory: factory)
        self.duration = (duration("success"), duration("failure"))
    }

    /// - Parameter duration: of the whole poll, the pause before a second sample included.
    func count(_ result: MetricsResult, duration: Duration) {
        if let code = result.errorCode { self.failed[code]?.increment() } else { self.succeeded.increment() }
        (result.success ? self.duration.good : self.duration.bad).record(duration: duration)
    }

    /// A poll that this machine had no descriptors, ports or memory for; its job is counted as `returned` beside.
    func countShortage() { self.shortages.increment() }

    func record(intervalRatio ratio: Double) { self.intervalRatio.record(ratio) }

    func count(_ drop: Drop) { self.dropped[drop]?.increment() }
}

extension PollMetrics.Drop {
    var statistic: any WritableKeyPath<Poller.Statistics, UInt64> & Sendable {
        switch self {
        case .late: \.stale
        case .overlapped: \.overlapping
        case .orphaned: \.orphaned
        case .returned: \.returned
        }
    }
}
