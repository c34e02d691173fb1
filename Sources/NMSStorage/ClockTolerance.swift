internal import Foundation

/// How far ahead of the clock a stored time may be.
///
/// Every instance stamps by its own clock, so that a little is normal. Anything further comes of a clock that was
/// wrong for a while, and what it stamped must not outrank everything that is measured until then.
enum ClockTolerance {
    static let ahead: TimeInterval = 60

    /// The latest time that is believed.
    static func latest(now: Date) -> Date { now.addingTimeInterval(self.ahead) }

    static func isCredible(_ time: Date, now: Date) -> Bool { time <= self.latest(now: now) }
}
