import Metrics
import Synchronization
import Testing

@testable import Prometheus

@Suite struct PrometheusRegistryTests {
    private static let families: [MetricFamily] = [
        .counter("requests_total", labels: ["route"], "Requests."),
        .counter("spent_seconds_total", "Seconds."),
        .gauge("depth", "Depth."),
        .gauge("sampled", labels: ["which"], "Read when asked for."),
        .histogram("took_seconds", bounds: [0.5, 1], "Seconds."),
    ]

    // MARK: - What is declared

    @Test(arguments: [
        (MetricFamily.counter("requests", "x"), "_total"),
        (.gauge("requests_total", "x"), "_total"),
        (.counter("9_total", "x"), "name"),
        (.counter("a-b_total", "x"), "name"),
        (.gauge("", "x"), "name"),
        (.gauge("a", ""), "help"),
        (.gauge("a", labels: ["le"], "x"), "reserved"),
        (.gauge("a", labels: ["__name__"], "x"), "reserved"),
        (.gauge("a", labels: ["a:b"], "x"), "label"),
        (.gauge("a", labels: ["b", "b"], "x"), "twice"),
        (.histogram("a", bounds: [], "x"), "bounds"),
        (.histogram("a", bounds: [2, 1], "x"), "bounds"),
        (.histogram("a", bounds: [1, .infinity], "x"), "bounds"),
        (.histogram("a_count", bounds: [1], "x"), "_count"),
    ])
    func familiesThatTheFormatForbidsAreNotDeclared(_ family: MetricFamily, _ problem: String) {
        #expect(family.problem?.contains(problem) == true, "\(family.problem ?? "no problem")")
    }

    @Test func wellFormedFamiliesAre() {
        for family in Self.families + ProcessMetrics.families { #expect(family.problem == nil) }
        #expect(MetricFamily.gauge("ns:a_B9", "x").problem == nil)
    }

    // MARK: - The backend

    @Test func everyInstrumentCounts() async {
        let registry = PrometheusRegistry(test: Self.families)
        let requests = Counter(label: "requests_total", dimensions: [("route", "/a")], factory: registry)
        requests.increment()
        requests.increment(by: 41)
        // A second one is the same series.
        Counter(label: "requests_total", dimensions: [("route", "/a")], factory: registry).increment()
        #expect(await registry.lines("requests_total") == ["requests_total{route=\"/a\"} 43"])

        let spent = FloatingPointCounter(label: "spent_seconds_total", factory: registry)
        spent.increment(by: 0.25)
        spent.increment(by: 0.5)
        #expect(await registry.lines("spent") == ["spent_seconds_total 0.75"])

        let depth = Meter(label: "depth", factory: registry)
        depth.set(7)
        depth.increment(by: 3)
        depth.decrement(by: 0.5)
        #expect(await registry.lines("depth") == ["depth 9.5"])
        // A recorder that doesn't aggregate is the same gauge.
        Gauge(label: "depth", factory: registry).record(2)
        #expect(await registry.lines("depth") == ["depth 2"])

        Metrics.Timer(label: "took_seconds", factory: registry).record(duration: .milliseconds(500))
        Recorder(label: "took_seconds", factory: registry).record(2.5)
        #expect(
            await registry.lines("took_seconds") == [
                "took_seconds_bucket{le=\"0.5\"} 1", "took_seconds_bucket{le=\"1.0\"} 1",
                "took_seconds_bucket{le=\"+Inf\"} 2", "took_seconds_sum 3", "took_seconds_count 2",
            ]
        )
    }

    @Test func countersNeverGoBack() async {
        let registry = PrometheusRegistry(test: Self.families)
        let requests = Counter(label: "requests_total", dimensions: [("route", "/a")], factory: registry)
        requests.increment(by: 5)
        requests.increment(by: -3)
        let spent = FloatingPointCounter(label: "spent_seconds_total", factory: registry)
        spent.increment(by: 1)
        spent.increment(by: -0.5)
        spent.increment(by: Double.nan)
        spent.increment(by: Double.infinity)
        #expect(await registry.lines("requests") == ["requests_total{route=\"/a\"} 5"])
        #expect(await registry.lines("spent") == ["spent_seconds_total 1"])
    }

    @Test func aHistogramIgnoresWhatIsNoNumber() async {
        let registry = PrometheusRegistry(test: Self.families)
        let recorder = Recorder(label: "took_seconds", factory: registry)
        recorder.record(Double.nan)
        recorder.record(Double.infinity)
        recorder.record(-1)
        #expect(await registry.lines("took_seconds_count") == ["took_seconds_count 1"])
        #expect(await registry.lines("took_seconds_sum") == ["took_seconds_sum -1"])
        #expect(await registry.lines("took_seconds_bucket{le=\"0.5\"") == ["took_seconds_bucket{le=\"0.5\"} 1"])
    }

    /// A name, a kind or labels that were not declared count nowhere, and harm nobody.
    @Test func whatIsNotDeclaredIsRefused() async {
        let registry = PrometheusRegistry(test: Self.families)
        let before = await registry.text()
        Counter(label: "unknown_total", factory: registry).increment()
        Counter(label: "requests_total", factory: registry).increment()
        Counter(label: "requests_total", dimensions: [("path", "/x")], factory: registry).increment()
        Counter(label: "requests_total", dimensions: [("route", "/a"), ("device", "7")], factory: registry).increment()
        Counter(label: "depth", factory: registry).increment()
        Meter(label: "took_seconds", factory: registry).set(1)
        Metrics.Timer(label: "depth", factory: registry).recordSeconds(1)
        Recorder(label: "sampled", dimensions: [("which", "a")], factory: registry).record(1)
        #expect(await registry.text() == before)
    }

    @Test func theNumberOfSeriesIsBounded() async {
        let registry = PrometheusRegistry(test: Self.families)
        for number in 0..<(PrometheusRegistry.seriesPerFamily + 50) {
            Counter(label: "requests_total", dimensions: [("route", "/\(number)")], factory: registry).increment()
        }
        registry.addSampler("many") { samples in
            for number in 0..<(PrometheusRegistry.seriesPerFamily + 50) {
                samples.set("sampled", [("which", "\(number)")], to: 1)
            }
        }
        #expect(await registry.lines("requests_total").count == PrometheusRegistry.seriesPerFamily)
        #expect(await registry.lines("sampled").count == PrometheusRegistry.seriesPerFamily)
        // Those that are there go on counting.
        Counter(label: "requests_total", dimensions: [("route", "/0")], factory: registry).increment()
        #expect(await registry.lines("requests_total{route=\"/0\"}") == ["requests_total{route=\"/0\"} 2"])
    }

    // MARK: - Many at once

    @Test func nothingIsLostBetweenThreads() async {
        let registry = PrometheusRegistry(test: Self.families)
        let (tasks, each) = (8, 5000)
        await withTaskGroup(of: Void.self) { group in
            for task in 0..<tasks {
                group.addTask {
                    // Each makes its own: all of them must meet in the same series.
                    let dimensions = [("route", "/\(task % 2)")]
                    let counter = Counter(label: "requests_total", dimensions: dimensions, factory: registry)
                    let spent = FloatingPointCounter(label: "spent_seconds_total", factory: registry)
                    let meter = Meter(label: "depth", factory: registry)
                    let timer = Metrics.Timer(label: "took_seconds", factory: registry)
                    for _ in 0..<each {
                        counter.increment()
                        spent.increment(by: 0.5)
                        meter.increment(by: 1)
                        timer.recordNanoseconds(750_000_000)
                    }
                }
            }
            group.addTask {
                // A scrape meanwhile: a histogram's parts are of one moment.
                for _ in 0..<50 {
                    let histogram = await registry.gather().first { $0.family.name == "took_seconds" }?.series.first
                    guard case .histogram(let snapshot)? = histogram?.value else { continue }
                    #expect(snapshot.sum == Double(snapshot.counts.reduce(0, +)) * 0.75)
                }
            }
        }
        let total = tasks * each
        #expect(
            await registry.lines("requests_total") == [
                "requests_total{route=\"/0\"} \(total / 2)", "requests_total{route=\"/1\"} \(total / 2)",
            ]
        )
        #expect(await registry.lines("spent") == ["spent_seconds_total \(total / 2)"])
        #expect(await registry.lines("depth") == ["depth \(total)"])
        #expect(await registry.lines("took_seconds_count") == ["took_seconds_count \(total)"])
    }

    /// Nothing but increments, so that threads meet as often as they can.
    @Test func incrementsNeverOverwriteEachOther() async {
        let registry = PrometheusRegistry(test: Self.families)
        let counter = Counter(label: "requests_total", dimensions: [("route", "/a")], factory: registry)
        let spent = FloatingPointCounter(label: "spent_seconds_total", factory: registry)
        let (tasks, each) = (4, 200_000)
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<tasks {
                group.addTask {
                    for _ in 0..<each { counter.increment() }
                    for _ in 0..<each / 10 { spent.increment(by: 0.5) }
                }
            }
        }
        #expect(await registry.lines("requests_total") == ["requests_total{route=\"/a\"} \(tasks * each)"])
        #expect(await registry.lines("spent") == ["spent_seconds_total \(tasks * each / 20)"])
    }

    // MARK: - State that is read

    @Test func samplersAreAskedAtEachScrape() async {
        let registry = PrometheusRegistry(test: Self.families)
        let source = ValueSource()
        registry.addSampler("one") { samples in
            samples.set("sampled", [("which", "a")], to: source.next())
            samples.set("sampled", [("which", "b")], to: -1)
            samples.set("sampled", [("which", "c")], to: Duration.milliseconds(1500))
            samples.set("sampled", [("which", "d")], to: true)
            // Not declared like this.
            samples.set("sampled", to: 1)
            samples.set("took_seconds", to: 1)
            samples.set("unknown", to: 1)
        }
        #expect(
            await registry.lines("sampled") == [
                "sampled{which=\"a\"} 1", "sampled{which=\"b\"} -1", "sampled{which=\"c\"} 1.5",
                "sampled{which=\"d\"} 1",
            ]
        )
        #expect(await registry.lines("sampled{which=\"a\"") == ["sampled{which=\"a\"} 2"])
        #expect(await registry.lines("took_seconds").isEmpty)
    }

    /// One source that is away costs its own series, nothing else, and is counted.
    @Test(.timeLimit(.minutes(1))) func aSamplerThatFailsOrHangsCostsItsOwnSeriesOnly() async {
        struct Away: Error {}
        let registry = PrometheusRegistry(test: Self.families, samplerTimeout: .milliseconds(50))
        registry.addSampler("good") { $0.set("sampled", [("which", "good")], to: 1) }
        registry.addSampler("away") { samples in
            samples.set("sampled", [("which", "away")], to: 1)
            throw Away()
        }
        registry.addSampler("hangs") { samples in
            samples.set("sampled", [("which", "hangs")], to: 1)
            try await Task.sleep(for: .seconds(3600))
        }
        let start = ContinuousClock.now
        #expect(await registry.lines("sampled") == ["sampled{which=\"good\"} 1"])
        #expect(ContinuousClock.now - start < .seconds(3))
        #expect(
            await registry.lines("metrics_sampler_failures_total") == [
                "metrics_sampler_failures_total{sampler=\"away\"} 2",
                "metrics_sampler_failures_total{sampler=\"good\"} 0",
                "metrics_sampler_failures_total{sampler=\"hangs\"} 2",
            ]
        )
    }
}

private final class ValueSource: Sendable {
    private let value = Atomic<Int>(0)

    func next() -> Int { self.value.wrappingAdd(1, ordering: .relaxed).newValue }
}
