/// Slows down guessing of passwords: counts failures per (user, address) and per address; pure.
///
/// A password is being checked for a quarter of a second, in which more attempts can arrive: those count as well, up to
/// an allowance, so that a burst of good logins passes and a burst of guesses gains at most that allowance.
///
/// Peers on this machine have no limit per address: a reverse proxy here brings everybody's logins, and a hundred wrong
/// ones would shut everybody out. The limit per user holds for them, too.
package struct LoginThrottle: Sendable {
    package struct Limits: Sendable {
        /// Failures of one user name from one address, within ``window``.
        package var perUser = 10
        /// Failures from one address that is not of this machine, within ``window``.
        package var perAddress = 100
        /// How long after the first failure the count is forgotten.
        package var window: Duration = .seconds(300)
        /// Attempts that may be under way beyond the limit.
        package var concurrencyAllowance = 32
        /// How many keys are remembered; beyond it the one that expires first is forgotten.
        package var maximumKeys = 20_000

        package init() {}
    }

    private enum Key: Hashable {
        case user(String, client: ClientKey)
        case client(ClientKey)
    }

    private struct Count {
        var failures = 0
        var underWay = 0
        var expiresAt: ContinuousClock.Instant
    }

    private let limits: Limits
    private var counts: [Key: Count] = [:]

    package init(limits: Limits = Limits()) { self.limits = limits }

    package var keyCount: Int { self.counts.count }

    /// Asks to check one password.
    ///
    /// - Returns: nil when it may be checked — ``finish(user:address:succeeded:now:)`` must follow —, else after what
    ///   time to try again.
    package mutating func begin(user: String, address: String, now: ContinuousClock.Instant) -> Duration? {
        let keys = Self.keys(user: user, address: address)
        for key in keys {
            let limit = self.limit(of: key)
            guard let count = self.counts[key], count.expiresAt > now else { continue }
            if count.failures >= limit || count.failures + count.underWay >= limit + self.limits.concurrencyAllowance {
                return count.expiresAt - now
            }
        }
        for key in keys {
            var count = self.current(key, now: now)
            count.underWay += 1
            self.counts[key] = count
        }
        self.evict(now: now)
        return nil
    }

    /// Tells how the attempt ended; `succeeded` nil means that it was given up before the password was judged.
    package mutating func finish(user: String, address: String, succeeded: Bool?, now: ContinuousClock.Instant) {
        for key in Self.keys(user: user, address: address) {
            var count = self.current(key, now: now)
            count.underWay = max(0, count.underWay - 1)
            switch succeeded {
            case false: count.failures += 1
            case true:
                // A good password clears its own pair; an address may be shared, and keeps what others did.
                if case .user = key { count.failures = 0 }
            case nil: break
            }
            self.counts[key] = count.failures == 0 && count.underWay == 0 ? nil : count
        }
    }

    /// Forgets what has expired.
    package mutating func removeExpired(now: ContinuousClock.Instant) {
        self.counts = self.counts.filter { $0.value.expiresAt > now || $0.value.underWay > 0 }
    }

    private static func keys(user: String, address: String) -> [Key] {
        let client = ClientKey(address)
        let pair = Key.user(user, client: client)
        return client.isLoopback ? [pair] : [pair, .client(client)]
    }

    private func limit(of key: Key) -> Int {
        switch key {
        case .user: self.limits.perUser
        case .client: self.limits.perAddress
        }
    }

    private func current(_ key: Key, now: ContinuousClock.Instant) -> Count {
        guard let count = self.counts[key] else { return Count(expiresAt: now + self.limits.window) }
        if count.expiresAt > now { return count }
        return Count(underWay: count.underWay, expiresAt: now + self.limits.window)
    }

    private mutating func evict(now: ContinuousClock.Instant) {
        guard self.counts.count > self.limits.maximumKeys else { return }
        self.removeExpired(now: now)
        // One sweep makes room for a tenth, so that a flood of names does not cost a sweep each.
        guard self.counts.count > self.limits.maximumKeys else { return }
        let keep = self.limits.maximumKeys - self.limits.maximumKeys / 10
        let victims = self.counts.sorted { $0.value.expiresAt < $1.value.expiresAt }
            .prefix(self.counts.count - keep)
        for (key, _) in victims { self.counts[key] = nil }
    }
}
