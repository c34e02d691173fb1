/// One token bucket per client; pure. A full bucket holds one second's worth.
struct TokenBuckets: Sendable {
    /// How many clients are remembered at most.
    static let maximumClients = 10_000

    private struct Bucket {
        var tokens: Double
        var updatedAt: ContinuousClock.Instant
    }

    private let rate: Double
    private var buckets: [ClientKey: Bucket] = [:]

    /// - Parameter rate: tokens per second, at least 1; also the size of a bucket.
    init(rate: Int) { self.rate = Double(max(1, rate)) }

    var clientCount: Int { self.buckets.count }

    /// Takes a token; nil when there was one, else how long until there is.
    mutating func take(client: String, now: ContinuousClock.Instant) -> Duration? {
        let key = ClientKey(client)
        var bucket = self.buckets[key] ?? Bucket(tokens: self.rate, updatedAt: now)
        bucket.tokens = min(self.rate, bucket.tokens + self.rate * Self.seconds(from: bucket.updatedAt, to: now))
        bucket.updatedAt = now
        defer {
            self.buckets[key] = bucket
            if self.buckets.count > Self.maximumClients { self.evict(now: now) }
        }
        guard bucket.tokens >= 1 else { return .seconds((1 - bucket.tokens) / self.rate) }
        bucket.tokens -= 1
        return nil
    }

    /// A bucket that is full again says nothing; if that is not enough, the longest unused go, a tenth at a time.
    private mutating func evict(now: ContinuousClock.Instant) {
        self.buckets = self.buckets.filter { bucket in
            bucket.value.tokens + self.rate * Self.seconds(from: bucket.value.updatedAt, to: now) < self.rate
        }
        guard self.buckets.count > Self.maximumClients else { return }
        let keep = Self.maximumClients - Self.maximumClients / 10
        let victims = self.buckets.sorted { $0.value.updatedAt < $1.value.updatedAt }.prefix(self.buckets.count - keep)
        for (key, _) in victims { self.buckets[key] = nil }
    }

    private static func seconds(from start: ContinuousClock.Instant, to end: ContinuousClock.Instant) -> Double {
        let parts = (end - start).components
        return max(0, Double(parts.seconds) + Double(parts.attoseconds) / 1e18)
    }
}
