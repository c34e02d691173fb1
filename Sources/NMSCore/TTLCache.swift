internal import Synchronization

/// A dictionary whose entries expire (specification §7): in memory, thread-safe, with an injected clock.
package final class TTLCache<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    private struct Entry {
        let value: Value
        let expiresAt: ContinuousClock.Instant
    }

    private struct State {
        var entries: [Key: Entry] = [:]
        /// Counts invalidations, so that a value read before one is not stored after it.
        var generation: UInt64 = 0
        var hits: UInt64 = 0
        var misses: UInt64 = 0
    }

    private let state = Mutex(State())
    private let ttl: Duration
    private let now: @Sendable () -> ContinuousClock.Instant

    package init(ttl: Duration, now: @escaping @Sendable () -> ContinuousClock.Instant = { ContinuousClock.now }) {
        self.ttl = ttl
        self.now = now
    }

    /// The live value, if there is one.
    package func value(for key: Key) -> Value? {
        let now = self.now()
        return self.state.withLock { state in
            guard let entry = state.entries[key], entry.expiresAt > now else {
                state.misses += 1
                return nil
            }
            state.hits += 1
            return entry.value
        }
    }

    /// The live value, else what `load` brings; nil from `load` is not kept.
    ///
    /// An invalidation that arrives while `load` runs wins: the loaded value is returned but not kept.
    package func value(for key: Key, load: () async throws -> Value?) async rethrows -> Value? {
        if let value = self.value(for: key) { return value }
        let generation = self.state.withLock { $0.generation }
        guard let loaded = try await load() else { return nil }
        let expiresAt = self.now() + self.ttl
        self.state.withLock { state in
            guard state.generation == generation else { return }
            state.entries[key] = Entry(value: loaded, expiresAt: expiresAt)
        }
        return loaded
    }

    package func set(_ value: Value, for key: Key) {
        let expiresAt = self.now() + self.ttl
        self.state.withLock { $0.entries[key] = Entry(value: value, expiresAt: expiresAt) }
    }

    package func invalidate(_ key: Key) {
        self.state.withLock { state in
            state.generation &+= 1
            state.entries[key] = nil
        }
    }

    package func invalidateAll() {
        self.state.withLock { state in
            state.generation &+= 1
            state.entries.removeAll()
        }
    }

    /// Drops what has expired; called by the background clean-up every `cache.cleanup_interval`.
    package func removeExpired() {
        let now = self.now()
        self.state.withLock { state in
            state.entries = state.entries.filter { $0.value.expiresAt > now }
        }
    }

    package var count: Int { self.state.withLock { $0.entries.count } }

    /// Look-ups answered from memory and not, since the start.
    package var statistics: (hits: UInt64, misses: UInt64) { self.state.withLock { ($0.hits, $0.misses) } }
}
