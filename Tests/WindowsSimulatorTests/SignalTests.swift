import Testing

@testable import WindowsSimulator

struct SignalTests {
    private static func signal(seed: UInt64) -> Signal {
        var random = SplitMix64(seed: seed)
        return Signal(base: 1_000, swing: 0.6, periods: 60...600, random: &random)
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func theIntegralIsTheAreaUnderTheCurve(seed: UInt64) {
        let signal = Self.signal(seed: seed)
        let (start, end) = (1_234.5, 2_345.25)
        let steps = 200_000
        let width = (end - start) / Double(steps)
        // Midpoint rule.
        let area = (0..<steps).reduce(0.0) { $0 + signal.value(at: start + (Double($1) + 0.5) * width) * width }
        #expect(abs(signal.integral(from: start, to: end) - area) < area * 1e-8)
    }

    @Test func integralsOfNeighbouringSpansAddUp() {
        let signal = Self.signal(seed: 4)
        let whole = signal.integral(from: 10, to: 900)
        let parts = signal.integral(from: 10, to: 333) + signal.integral(from: 333, to: 900)
        #expect(abs(whole - parts) < 1e-6)
    }

    @Test func itMovesUnlessFrozen() {
        let signal = Self.signal(seed: 5)
        #expect(signal.value(at: 0) != signal.value(at: 30))
        #expect(signal.frozen.value(at: 0) == 1_000)
        #expect(signal.frozen.value(at: 12_345) == 1_000)
        #expect(signal.mean(from: 7, to: 7) == signal.value(at: 7))
    }

    @Test func swingBoundsTheMovement() {
        let signal = Self.signal(seed: 6)
        for second in 0..<3_600 {
            #expect((400.0...1_600.0).contains(signal.value(at: Double(second))))
        }
    }
}

struct TimeTextTests {
    // 2024-02-29T23:59:58.1234567Z
    private let leap = CivilDate(year: 2024, month: 2, day: 29, hour: 23, minute: 59, second: 58, ticks: 1_234_567)
        .fileTime

    @Test func knownInstants() {
        #expect(FileTime(unixSeconds: 0).ticks == 116_444_736_000_000_000)
        #expect(CivilDate(year: 1601, month: 1, day: 1).fileTime.ticks == 0)
        #expect(self.leap.unixSeconds == 1_709_251_198)
        #expect(CivilDate(self.leap).day == 29)
        #expect(CivilDate(year: 2026, month: 11, day: 23).weekday == 1)
        #expect(self.leap.startOfMonth == CivilDate(year: 2024, month: 2, day: 1).fileTime)
    }

    @Test func forms() {
        #expect(TimeText.rfc3339(self.leap) == "2024-02-29T23:59:58.123Z")
        #expect(TimeText.httpDate(self.leap) == "Thu, 29 Feb 2024 23:59:58 GMT")
        #expect(TimeText.cimDateTime(self.leap, offsetMinutes: -300) == "20240229185958.123456-300")
        #expect(TimeText.cimDateTime(self.leap, offsetMinutes: 60) == "20240301005958.123456+060")
        #expect(TimeText.xmlDateTime(self.leap, offsetMinutes: 330) == "2024-03-01T05:29:58.123456+05:30")
        #expect(TimeText.xmlDateTime(FileTime(unixSeconds: 0), offsetMinutes: 0) == "1970-01-01T00:00:00Z")
    }

    @Test(arguments: [
        ("2024-02-29T23:59:58.1234567Z", true), ("2024-03-01T05:29:58.1234567+05:30", true),
        ("2024-02-29T18:59:58.1234567-05:00", true), ("2024-02-29 23:59:58", false), ("2024-02-29T23:59:58", false),
        ("2024-13-01T00:00:00Z", false), ("2024-02-29T23:59:58.Z", false), ("", false),
        ("2024-02-29T23:59:58Zx", false),
    ])
    func rfc3339IsRead(text: String, isGood: Bool) {
        #expect(TimeText.parseRFC3339(text) == (isGood ? self.leap : nil))
    }
}
