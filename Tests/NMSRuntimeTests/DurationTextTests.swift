import Testing

@testable import NMSRuntime

@Suite struct DurationTextTests {
    @Test(arguments: [
        ("30s", Duration.seconds(30)), ("5m", .seconds(300)), ("168h", .seconds(604_800)), ("1m30s", .seconds(90)),
        ("250ms", .milliseconds(250)), ("1.5h", .seconds(5400)), ("0.25s", .milliseconds(250)), ("0", .zero),
        ("1h2m3s4ms5us6ns", .nanoseconds(3_723_004_005_006)), ("90m", .seconds(5400)),
    ])
    func reads(_ text: String, _ duration: Duration) {
        #expect(DurationText.parse(text) == duration)
        #expect(DurationText.parse(DurationText.string(from: duration)) == duration)
    }

    @Test(arguments: [
        "", "30", "s", "-5s", "+5s", " 5s", "5s ", "5 s", "5d", "1.s", ".5s", "5S", "1h-2m", "9223372036854775807h",
        "99999999999999999999s", "9223372036s9223372036s", "٣s", "1e3s",
    ])
    func refuses(_ text: String) { #expect(DurationText.parse(text) == nil) }

    @Test func writesTheShortestText() {
        #expect(DurationText.string(from: .seconds(90)) == "1m30s")
        #expect(DurationText.string(from: .seconds(604_800)) == "168h")
        #expect(DurationText.string(from: .milliseconds(250)) == "250ms")
        #expect(DurationText.string(from: .zero) == "0s")
    }
}
