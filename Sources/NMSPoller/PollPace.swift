/// Whether polling keeps up with what is due, and how long intervals really are when it does not.
///
/// Pure bookkeeping over windows of a minute, so that what it says comes at most once a minute.
struct PollPace {
    static let window: Duration = .seconds(60)

    /// What became of the jobs of a window.
    struct Report: Equatable {
        var polled = 0
        /// Dropped because they were older than their device's interval.
        var late = 0
        /// The mean interval of these jobs in seconds.
        var wanted: Double = 0

        /// How much longer than wanted the time between two polls of a device is in the mean; 1 when none is left out.
        var ratio: Double { Double(self.polled + self.late) / Double(max(1, self.polled)) }
        var achieved: Double { self.wanted * self.ratio }
    }

    enum News: Equatable {
        case behind(Report)
        case caughtUp
    }

    private var start: ContinuousClock.Instant?
    private var current = Report()
    private var intervals = 0
    private var isBehind = false

    /// Counts a job that was due.
    /// - Parameters:
    ///   - late: it was dropped; otherwise it gave a result.
    ///   - interval: of its device, in seconds.
    /// - Returns: the window that ended with this moment, if one did, and what is new about it.
    mutating func record(
        late: Bool,
        interval: Int,
        at now: ContinuousClock.Instant
    ) -> (report: Report, news: News?)? {
        let start = self.start ?? now
        self.start = start
        if late { self.current.late += 1 } else { self.current.polled += 1 }
        self.intervals += interval
        guard start.duration(to: now) >= Self.window else { return nil }
        var report = self.current
        report.wanted = Double(self.intervals) / Double(report.polled + report.late)
        let wasBehind = self.isBehind
        (self.start, self.current, self.intervals, self.isBehind) = (now, Report(), 0, report.late > 0)
        if report.late > 0 { return (report, .behind(report)) }
        return (report, wasBehind ? .caughtUp : nil)
    }
}
