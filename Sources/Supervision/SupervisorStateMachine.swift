/// How restarts of a child are spaced.
package struct BackOff: Sendable, Equatable {
    /// Before the first restart.
    package var initial: Duration
    package var multiplier: Double
    /// No pause is longer.
    package var maximum: Duration
    /// A child that was ready for so long starts anew at ``initial`` when it ends.
    package var stableAfter: Duration
    /// Starts that may fail before the child was ready for the first time.
    package var firstStarts: Int

    package init(
        initial: Duration = .milliseconds(250),
        multiplier: Double = 2,
        maximum: Duration = .seconds(30),
        stableAfter: Duration = .seconds(60),
        firstStarts: Int = 3
    ) {
        self.initial = initial
        self.multiplier = multiplier
        self.maximum = maximum
        self.stableAfter = stableAfter
        self.firstStarts = firstStarts
    }

    /// The pause after `failures` (1 or more) ends in a row.
    func pause(failures: Int) -> Duration {
        var pause = self.initial
        for _ in 1..<max(failures, 1) {
            pause = min(pause * self.multiplier, self.maximum)
            if pause == self.maximum { break }
        }
        return min(pause, self.maximum)
    }
}

/// Decides when a supervised child starts, restarts and is given up. Pure: times are passed in.
struct SupervisorStateMachine {
    enum Action: Equatable {
        case start
        /// Wait so long, then say ``pauseEnded()``.
        case pause(Duration)
        /// It never became ready.
        case fail
        case finish
    }

    private enum State {
        case idle
        case starting
        case ready(since: Duration)
        case pausing
        case stopping
        case ended
    }

    private let backOff: BackOff
    private var state: State = .idle
    private var failuresInRow = 0
    private var wasReady = false
    /// Starts after the first.
    private(set) var restarts = 0

    init(backOff: BackOff) {
        self.backOff = backOff
    }

    mutating func begin() -> Action {
        guard case .idle = self.state else { return .finish }
        self.state = .starting
        return .start
    }

    /// The child answers. Ignored when it has ended meanwhile.
    mutating func becameReady(at now: Duration) {
        guard case .starting = self.state else { return }
        self.state = .ready(since: now)
        self.wasReady = true
    }

    /// The child has ended, or could not be started.
    mutating func childEnded(at now: Duration) -> Action {
        switch self.state {
        case .ready(let since):
            self.failuresInRow = now - since >= self.backOff.stableAfter ? 1 : self.failuresInRow + 1
        case .starting:
            self.failuresInRow += 1
        case .idle, .pausing, .stopping, .ended:
            self.state = .ended
            return .finish
        }
        if !self.wasReady, self.failuresInRow >= self.backOff.firstStarts {
            self.state = .ended
            return .fail
        }
        self.state = .pausing
        return .pause(self.backOff.pause(failures: self.failuresInRow))
    }

    mutating func pauseEnded() -> Action {
        guard case .pausing = self.state else { return .finish }
        self.state = .starting
        self.restarts += 1
        return .start
    }

    /// Somebody wants it to end; the child is asked to.
    mutating func stopRequested() {
        if case .ended = self.state { return }
        self.state = .stopping
    }
}
