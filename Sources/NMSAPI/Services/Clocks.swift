package import struct Foundation.Date

/// The two clocks, injected: what the world says, and what never jumps.
package struct APIClocks: Sendable {
    package var wall: @Sendable () -> Date
    package var monotonic: @Sendable () -> ContinuousClock.Instant

    package init(
        wall: @escaping @Sendable () -> Date = { Date() },
        monotonic: @escaping @Sendable () -> ContinuousClock.Instant = { ContinuousClock.now }
    ) {
        self.wall = wall
        self.monotonic = monotonic
    }
}
