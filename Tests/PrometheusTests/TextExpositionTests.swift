import Foundation
import Metrics
import Testing

@testable import Prometheus

@Suite struct TextExpositionTests {
    /// Everything at once, small enough to be read.
    @Test func isWrittenInAFixedOrder() async {
        let registry = PrometheusRegistry(test: [
            .histogram("b_seconds", labels: ["route"], bounds: [0.1, 1], "How long."),
            .counter("c_total", labels: ["kind", "result"], "How many."),
            .gauge("a_bytes", "How big."),
        ])
        let timer = Metrics.Timer(label: "b_seconds", dimensions: [("route", "/x")], factory: registry)
        for seconds in [0.05, 0.1, 0.5, 7] { timer.recordSeconds(seconds) }
        // Dimensions in any order; series by their labels' values.
        Counter(label: "c_total", dimensions: [("result", "good"), ("kind", "b")], factory: registry).increment(by: 2)
        Counter(label: "c_total", dimensions: [("kind", "a"), ("result", "good")], factory: registry).increment()
        Counter(label: "c_total", dimensions: [("kind", "a"), ("result", "bad")], factory: registry).increment(by: 0)
        Meter(label: "a_bytes", factory: registry).set(1.5)
        let body = """
            # HELP a_bytes How big.
            # TYPE a_bytes gauge
            a_bytes 1.5
            # HELP b_seconds How long.
            # TYPE b_seconds histogram
            b_seconds_bucket{route="/x",le="0.1"} 2
            b_seconds_bucket{route="/x",le="1.0"} 3
            b_seconds_bucket{route="/x",le="+Inf"} 4
            b_seconds_sum{route="/x"} 7.65
            b_seconds_count{route="/x"} 4

            """
        let text =
            body + """
                # HELP c_total How many.
                # TYPE c_total counter
                c_total{kind="a",result="bad"} 0
                c_total{kind="a",result="good"} 1
                c_total{kind="b",result="good"} 2
                # HELP metrics_sampler_failures_total Scrapes that lack some series because what they are read from did not answer.
                # TYPE metrics_sampler_failures_total counter

                """
        #expect(await registry.text() == text)
        let openMetrics =
            body + """
                # HELP c How many.
                # TYPE c counter
                c_total{kind="a",result="bad"} 0
                c_total{kind="a",result="good"} 1
                c_total{kind="b",result="good"} 2
                # HELP metrics_sampler_failures Scrapes that lack some series because what they are read from did not answer.
                # TYPE metrics_sampler_failures counter
                # EOF

                """
        #expect(await registry.text(.openMetrics) == openMetrics)
    }

    /// Values and help that the format has to escape come back as they were, from a parser that no one here wrote.
    @Test(arguments: ExpositionFormat.allCases)
    func survivesAnIndependentParser(_ format: ExpositionFormat) async throws {
        let hostile = [
            "plain", "", "back\\slash", "quo\"te", "line\nfeed", "\\n is no line feed", "\\", "\"", "\\\"", "\r\n",
            "tab\t",
            "ünïcödé 漢字 🙂", "a=\"b\",c=\"d\"} 5", "# HELP x y", "\u{2028}", "e\u{301}", "{}", " ",
        ]
        let help = "Help with \\ and \"quotes\", ünïcödé"
        let registry = PrometheusRegistry(test: [
            .counter("hostile_total", labels: ["text"], help),
            .gauge("number", labels: ["which"], "A number."),
            .histogram("took_seconds", labels: ["text"], bounds: MetricFamily.secondsBounds, "How long."),
            .gauge("absent", "Nothing sets it."),
        ])
        for (index, text) in hostile.enumerated() {
            Counter(label: "hostile_total", dimensions: [("text", text)], factory: registry).increment(by: index + 1)
            let timer = Metrics.Timer(label: "took_seconds", dimensions: [("text", text)], factory: registry)
            for seconds in [0.0001, 0.001, 3, 1e6] { timer.recordSeconds(seconds) }
        }
        let numbers: [(String, Double)] = [
            ("nan", .nan), ("infinity", .infinity), ("negative infinity", -.infinity), ("zero", 0), ("minus", -2.5),
            ("tiny", .leastNonzeroMagnitude), ("small", 1.5e-7), ("huge", .greatestFiniteMagnitude),
            ("whole", 9_007_199_254_740_992),
            ("third", 1.0 / 3), ("negative zero", -0.0), ("beyond Int64", 1e19),
        ]
        for (name, value) in numbers {
            Meter(label: "number", dimensions: [("which", name)], factory: registry).set(value)
        }

        let families = try PrometheusClient.parse(await registry.render(format), format)

        let byName = Dictionary(uniqueKeysWithValues: families.map { ($0.name, $0) })
        let counter = try #require(byName["hostile"])
        #expect(counter.type == "counter" && counter.help == help)
        let counted = Dictionary(uniqueKeysWithValues: counter.samples.map { ($0.labels["text"] ?? "?", $0.number) })
        // As UTF-8: Swift takes two spellings of é for one.
        for (index, text) in hostile.enumerated() {
            let found = counter.samples.first { ($0.labels["text"] ?? "?").utf8.elementsEqual(text.utf8) }
            #expect(found?.number == Double(index + 1), "\(text.debugDescription) in \(counted)")
        }
        #expect(counter.samples.count == hostile.count)
        let gauge = try #require(byName["number"])
        for (name, value) in numbers {
            let parsed = try #require(gauge.samples.first { $0.labels["which"] == name }).value
            #expect(value.isNaN ? parsed == "nan" : Double(parsed) == value, "\(name): \(parsed)")
        }
        let histogram = try #require(byName["took_seconds"])
        #expect(histogram.type == "histogram")
        let plain = histogram.samples.filter { $0.labels["text"] == "plain" }
        #expect(plain.first { $0.labels["le"] == "0.001" }?.number == 2)
        #expect(plain.first { $0.labels["le"] == "+Inf" }?.number == 4)
        #expect(plain.first { $0.name == "took_seconds_count" }?.number == 4)
        #expect(plain.first { $0.name == "took_seconds_sum" }?.number == 1_000_003.0011)
        #expect(byName["absent"]?.samples == [])
    }

    @Test func numbersAreThoseOfTheFormat() {
        #expect(NumberText.value(.nan) == "NaN")
        #expect(NumberText.value(.infinity) == "+Inf")
        #expect(NumberText.value(-.infinity) == "-Inf")
        #expect(NumberText.value(3) == "3")
        #expect(NumberText.value(0.25) == "0.25")
        #expect(NumberText.bound(1) == "1.0")
    }

    @Test(arguments: [
        (nil, ExpositionFormat.text),
        ("", .text),
        ("*/*", .text),
        ("text/html", .text),
        ("text/plain", .text),
        ("application/openmetrics-text", .openMetrics),
        // What Prometheus 2 and 3 send.
        (
            "application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,"
                + "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            .openMetrics
        ),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.6,*/*;q=0.1",
            .text
        ),
        ("Application/OpenMetrics-Text; Version=1.0.0", .openMetrics),
        ("application/openmetrics-text;version=2.0.0", .text),
        ("application/openmetrics-text;q=0", .text),
        ("application/openmetrics-text;q=x", .text),
    ])
    func theFormatIsNegotiated(_ accept: String?, _ format: ExpositionFormat) {
        #expect(ExpositionFormat(accepting: accept) == format)
    }

    /// A scrape of ten thousand series is a matter of a moment; here without the optimiser.
    @Test func tenThousandSeriesAreFast() async throws {
        let registry = PrometheusRegistry(
            test: (0..<10).map { .counter("many_\($0)_total", labels: ["a", "b"], "Many.") }
        )
        for family in 0..<10 {
            for series in 0..<PrometheusRegistry.seriesPerFamily {
                let labels = [("a", "value \(series)"), ("b", "another")]
                Counter(label: "many_\(family)_total", dimensions: labels, factory: registry).increment()
            }
        }
        let start = ContinuousClock.now
        let bytes = await registry.render(.text)
        let took = ContinuousClock.now - start
        #expect(bytes.count(where: { $0 == UInt8(ascii: "\n") }) == 10_000 + 2 * 11)
        #expect(took < .seconds(2), "\(took)")
        print("10,000 series, \(bytes.count) bytes: \(took)")
    }
}
