/// Lets a warning that could come with every poll come once a minute, with how often it was meant.
struct WarningPace {
    static let interval: Duration = .seconds(60)

    private var last: ContinuousClock.Instant?
    private var counted = 0

    /// Counts one occasion.
    /// - Returns: the occasions since the last warning if one is due now.
    mutating func count(at now: ContinuousClock.Instant) -> Int? {
        self.counted += 1
        if let last = self.last, last.duration(to: now) < Self.interval { return nil }
        defer { self.counted = 0 }
        self.last = now
        return self.counted
    }
}
