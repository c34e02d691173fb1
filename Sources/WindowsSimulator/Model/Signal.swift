#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// A quantity that moves as a base plus sinusoids, so that its integral over any time is a closed form.
///
/// Times are seconds after the fleet's epoch. Nothing here depends on what was asked before: that is what lets the truth
/// endpoint give the exact mean rate over a window after the window has passed.
package struct Signal: Sendable, Hashable {
    /// One sinusoid: `amplitude * sin(frequency * t + phase)`.
    package struct Wave: Sendable, Hashable {
        package var amplitude: Double
        /// Radians per second.
        package var frequency: Double
        package var phase: Double
    }

    package var base: Double
    package var waves: [Wave]

    package init(base: Double, waves: [Wave] = []) {
        self.base = base
        self.waves = waves
    }

    /// A signal with sinusoids drawn from `random`; their amplitudes add up to `swing` times the base.
    init(base: Double, swing: Double, periods: ClosedRange<Double>, random: inout SplitMix64) {
        let shares = [0.5, 0.3, 0.2]
        self.base = base
        self.waves = shares.map { share in
            Wave(
                amplitude: base * swing * share,
                frequency: 2 * Double.pi / random.double(in: periods),
                phase: random.double(in: 0...(2 * Double.pi))
            )
        }
    }

    /// The same quantity without its movement.
    package var frozen: Self { Self(base: self.base) }

    package func value(at time: Double) -> Double {
        self.waves.reduce(self.base) { $0 + $1.amplitude * sin($1.frequency * time + $1.phase) }
    }

    /// The integral over a span of seconds.
    package func integral(from start: Double, to end: Double) -> Double {
        self.waves.reduce(self.base * (end - start)) { sum, wave in
            let first = cos(wave.frequency * start + wave.phase)
            let last = cos(wave.frequency * end + wave.phase)
            return sum + wave.amplitude / wave.frequency * (first - last)
        }
    }

    /// The mean over a span; the value at its end if the span is empty.
    package func mean(from start: Double, to end: Double) -> Double {
        end > start ? self.integral(from: start, to: end) / (end - start) : self.value(at: end)
    }
}

/// A small generator whose results depend on its seed alone, on every platform and in every release.
package struct SplitMix64: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) {
        self.state = seed
    }

    package mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = self.state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    // The standard library's `random(in:using:)` may change between releases; these may not.

    mutating func double(in range: ClosedRange<Double>) -> Double {
        range.lowerBound + Double(self.next() >> 11) / Double(1 << 53) * (range.upperBound - range.lowerBound)
    }

    mutating func int(in range: ClosedRange<Int>) -> Int {
        range.lowerBound + Int(self.next() % UInt64(range.upperBound - range.lowerBound + 1))
    }

    mutating func pick<Element>(_ elements: [Element]) -> Element {
        elements[self.int(in: 0...(elements.count - 1))]
    }
}
