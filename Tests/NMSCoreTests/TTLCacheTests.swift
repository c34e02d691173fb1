import NMSCore
import Synchronization
import Testing

@Suite struct TTLCacheTests {
    final class Clock: Sendable {
        let instant = Mutex(ContinuousClock.now)
        func advance(_ duration: Duration) { self.instant.withLock { $0 += duration } }
        var now: ContinuousClock.Instant { self.instant.withLock { $0 } }
    }

    let clock = Clock()

    func cache() -> TTLCache<Int, String> {
        let clock = self.clock
        return TTLCache(ttl: .seconds(30), now: { clock.now })
    }

    @Test func anEntryLivesForItsTTL() {
        let cache = self.cache()
        cache.set("a", for: 1)
        self.clock.advance(.seconds(29))
        #expect(cache.value(for: 1) == "a")
        self.clock.advance(.seconds(1))
        #expect(cache.value(for: 1) == nil)
        #expect(cache.count == 1)
        cache.removeExpired()
        #expect(cache.count == 0)
        #expect(cache.statistics.hits == 1)
        #expect(cache.statistics.misses == 1)
    }

    @Test func loadsOnceAndForgetsOnInvalidation() async {
        let cache = self.cache()
        let loads = Mutex(0)
        func load() -> String { loads.withLock { $0 += 1 }; return "v\(loads.withLock { $0 })" }
        #expect(await cache.value(for: 1) { load() } == "v1")
        #expect(await cache.value(for: 1) { load() } == "v1")
        cache.invalidate(1)
        #expect(await cache.value(for: 1) { load() } == "v2")
        cache.invalidateAll()
        #expect(await cache.value(for: 1) { load() } == "v3")
    }

    @Test func anInvalidationDuringALoadWins() async {
        let cache = self.cache()
        let first = await cache.value(for: 1) {
            cache.invalidate(1)  // the row changed after it was read
            return "stale"
        }
        #expect(first == "stale")
        #expect(cache.value(for: 1) == nil)
    }

    @Test func nothingIsNotKept() async {
        let cache = self.cache()
        #expect(await cache.value(for: 1) { nil } == nil)
        #expect(await cache.value(for: 1) { "now" } == "now")
    }
}
