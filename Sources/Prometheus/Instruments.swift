internal import Metrics
internal import Synchronization

/// What a series is worth at one moment.
package enum MetricValue: Sendable, Equatable {
    case unsigned(UInt64)
    case number(Double)
    case histogram(HistogramSnapshot)
}

/// A histogram at one moment.
package struct HistogramSnapshot: Sendable, Equatable {
    /// Upper bounds, ascending, without `+Inf`.
    package let bounds: [Double]
    /// Observations of each bound alone, not cumulated; one more for those above the last.
    package let counts: [UInt64]
    package let sum: Double
}

/// What keeps the value of one series.
protocol Instrument: AnyObject, Sendable {
    var value: MetricValue { get }
}

/// Counts whole things. An increment is one atomic addition.
final class CounterInstrument: Instrument, CounterHandler {
    private let count = Atomic<UInt64>(0)

    var value: MetricValue { .unsigned(self.count.load(ordering: .relaxed)) }

    /// A counter never goes back: a negative amount is ignored.
    func increment(by amount: Int64) {
        guard amount > 0 else { return }
        self.count.wrappingAdd(UInt64(amount), ordering: .relaxed)
    }

    func reset() { self.count.store(0, ordering: .relaxed) }
}

/// Counts fractions, such as seconds.
final class FloatingPointCounterInstrument: Instrument, FloatingPointCounterHandler {
    private let sum = AtomicDouble()

    var value: MetricValue { .number(self.sum.load()) }

    /// A counter never goes back: a negative amount, or none that is a number, is ignored.
    func increment(by amount: Double) {
        guard amount > 0, amount.isFinite else { return }
        self.sum.add(amount)
    }

    func reset() { self.sum.store(0) }
}

/// Holds the last value that it was given.
final class GaugeInstrument: Instrument, MeterHandler, RecorderHandler {
    private let last = AtomicDouble()

    var value: MetricValue { .number(self.last.load()) }

    func set(_ value: Int64) { self.last.store(Double(value)) }
    func set(_ value: Double) { self.last.store(value) }
    func increment(by amount: Double) { self.last.add(amount) }
    func decrement(by amount: Double) { self.last.add(-amount) }

    // A recorder that doesn't aggregate is a gauge.
    func record(_ value: Int64) { self.set(value) }
    func record(_ value: Double) { self.set(value) }
}

/// Counts observations by size; timers observe seconds.
final class HistogramInstrument: Instrument, RecorderHandler, TimerHandler {
    private struct State {
        var counts: [UInt64]
        var sum = 0.0
    }

    private let bounds: [Double]
    // One lock rather than an atomic per bucket: a scrape must see buckets and sum of the same observations.
    private let state: Mutex<State>

    init(bounds: [Double]) {
        self.bounds = bounds
        self.state = Mutex(State(counts: Array(repeating: 0, count: bounds.count + 1)))
    }

    var value: MetricValue {
        let state = self.state.withLock { $0 }
        return .histogram(HistogramSnapshot(bounds: self.bounds, counts: state.counts, sum: state.sum))
    }

    func record(_ value: Int64) { self.observe(Double(value)) }
    func record(_ value: Double) { self.observe(value) }
    func recordNanoseconds(_ duration: Int64) { self.observe(Double(duration) / 1e9) }

    /// What is no number belongs to no bucket and would spoil the sum for ever: it is ignored.
    private func observe(_ value: Double) {
        guard value.isFinite else { return }
        // The first bound that is not below the value; the format's buckets include their bound.
        var (low, high) = (0, self.bounds.count)
        while low < high {
            let middle = (low + high) / 2
            if self.bounds[middle] < value { low = middle + 1 } else { high = middle }
        }
        let index = low
        self.state.withLock { state in
            state.counts[index] += 1
            state.sum += value
        }
    }
}

/// A Double that threads share, as its bits.
private struct AtomicDouble: ~Copyable, Sendable {
    private let bits = Atomic<UInt64>(0)

    func load() -> Double { Double(bitPattern: self.bits.load(ordering: .relaxed)) }

    func store(_ value: Double) { self.bits.store(value.bitPattern, ordering: .relaxed) }

    func add(_ amount: Double) {
        var old = self.bits.load(ordering: .relaxed)
        while true {
            let new = (Double(bitPattern: old) + amount).bitPattern
            let (exchanged, original) = self.bits.weakCompareExchange(expected: old, desired: new, ordering: .relaxed)
            if exchanged { return }
            old = original
        }
    }
}
