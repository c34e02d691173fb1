internal import NMSCore

/// Which failed logins are written to the audit one by one, and which as a number: anybody can cause them, and must not
/// be able to fill the table; pure.
///
/// The first failure of a (user name, client) is written at once, those of the following ``window`` together at its end.
/// Beyond ``maximumKeys`` pairs within a window the rest count as one, so that an instance writes at most twice
/// `maximumKeys + 1` entries per window, whatever the number of clients and names. The log has each failure.
///
/// Names that exist and names that don't are treated alike: else the time that an answer takes would tell which is which.
struct AuditedFailures: Sendable {
    static let window: Duration = .seconds(300)
    static let maximumKeys = 100

    /// A user that exists and somebody tried to be.
    struct User: Sendable, Equatable {
        var id: Int
        var username: String
    }

    /// Failures that were not written yet.
    struct Summary: Sendable, Equatable {
        /// nil for names that don't exist, and where many names were counted together.
        var user: User?
        /// Of the last attempt; nil where many clients were counted together.
        var address: String?
        var attempts: Int
    }

    private enum Key: Hashable {
        case pair(username: String, client: ClientKey)
        case rest
    }

    private struct Count {
        var summary: Summary
        var endsAt: ContinuousClock.Instant
    }

    private var counts: [Key: Count] = [:]

    /// Takes note of a failed login.
    ///
    /// - Parameters:
    ///   - username: as given, in lower case.
    ///   - user: who has this name, if anybody.
    /// - Returns: what to write now; nil when it was only counted.
    mutating func note(username: String, user: User?, address: String, now: ContinuousClock.Instant) -> Summary? {
        var key = Key.pair(username: username, client: ClientKey(address))
        if self.counts[key] == nil, !self.hasRoom(now: now) { key = .rest }
        var summary = Summary(attempts: 1)
        if key != .rest { summary = Summary(user: user, address: IPAddress(address)?.description, attempts: 1) }
        if let count = self.counts[key] {
            summary.attempts += count.summary.attempts
            if count.endsAt > now {
                self.counts[key]?.summary = summary
                return nil
            }
        }
        var rest = summary
        rest.attempts = 0
        self.counts[key] = Count(summary: rest, endsAt: now + Self.window)
        return summary
    }

    /// Forgets the pairs whose window has ended; returns what was only counted of them.
    mutating func takeEnded(now: ContinuousClock.Instant) -> [Summary] {
        let ended = self.counts.filter { $0.value.endsAt <= now }
        for key in ended.keys { self.counts[key] = nil }
        return ended.values.map(\.summary).filter { $0.attempts > 0 }
    }

    private mutating func hasRoom(now: ContinuousClock.Instant) -> Bool {
        if self.counts.count < Self.maximumKeys { return true }
        // Whatever has nothing left to be written.
        self.counts = self.counts.filter { $0.value.endsAt > now || $0.value.summary.attempts > 0 }
        return self.counts.count < Self.maximumKeys
    }
}
