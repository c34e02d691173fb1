package import Logging
package import Metrics
internal import Synchronization

/// Keeps the series of declared metrics: the backend of swift-metrics, and what a scrape reads.
///
/// A label of swift-metrics is a metric's name, its dimensions are the labels. A counter, meter, recorder or timer whose
/// name, kind or labels were not declared counts nowhere; so does one beyond ``seriesPerFamily``. That bounds what a
/// scrape can weigh, whatever a library or a mistake asks for.
package final class PrometheusRegistry: Sendable {
    /// A closed set of label values stays far below; one that grows with clients or devices reaches it.
    package static let seriesPerFamily = 1000
    /// What reading state may take; a scraper waits 10 s by default.
    package static let samplerTimeout: Duration = .seconds(3)

    package typealias Sampler = @Sendable (inout MetricSamples) async throws -> Void

    /// Series are told apart by their labels' values, in the declared order.
    private typealias SeriesKey = [String]

    private struct State {
        var instruments: [String: [SeriesKey: any Instrument]] = [:]
        var samplers: [(name: String, body: Sampler)] = []
        /// What was refused, to be told once each.
        var refused: Set<String> = []
    }

    /// The registry's own.
    static let samplerFailures = MetricFamily.counter(
        "metrics_sampler_failures_total",
        labels: ["sampler"],
        "Scrapes that lack some series because what they are read from did not answer."
    )
    /// Names of refused metrics that are told.
    private static let refusedLimit = 100

    private let families: [String: MetricFamily]
    /// By name.
    private let order: [MetricFamily]
    private let state = Mutex(State())
    private let logger: Logger
    private let timeout: Duration

    /// - Precondition: each family is well-formed, and no two have one name.
    package init(
        _ families: [MetricFamily],
        samplerTimeout: Duration = PrometheusRegistry.samplerTimeout,
        logger: Logger
    ) {
        let all = families + [Self.samplerFailures]
        for family in all {
            if let problem = family.problem { preconditionFailure("the metric \(family.name): \(problem)") }
        }
        self.families = Dictionary(all.map { ($0.name, $0) }) { first, _ in
            preconditionFailure("the metric \(first.name) is declared twice")
        }
        self.order = all.sorted { $0.name < $1.name }
        self.timeout = samplerTimeout
        self.logger = logger
    }

    /// Everything that is declared, by name.
    package var declared: [MetricFamily] { self.order }

    /// Reads state at each scrape. What it sets appears in that scrape only.
    ///
    /// One that throws, or doesn't end within the time-out (when it is cancelled), costs the scrape its series and is
    /// counted in `metrics_sampler_failures_total`.
    /// - Parameter name: for that count; one of few.
    package func addSampler(_ name: String, _ body: @escaping Sampler) {
        self.state.withLock { $0.samplers.append((name, body)) }
        _ = self.failures(of: name)
    }

    /// Every series with its value now, by name and label values.
    package func gather() async -> [FamilySnapshot] {
        let sampled = await self.sample()
        let instruments = self.state.withLock { $0.instruments }
        return self.order.map { family in
            var values = instruments[family.name]?.mapValues(\.value) ?? [:]
            for (key, value) in sampled[family.name] ?? [:] { values[key] = value }
            let series = values.sorted { $0.key.lexicographicallyPrecedes($1.key) }
                .map { SeriesSnapshot(labels: LabelText.of(names: family.labels, values: $0.key), value: $0.value) }
            return FamilySnapshot(family: family, series: series)
        }
    }

    /// A scrape's answer.
    package func render(_ format: ExpositionFormat) async -> [UInt8] {
        TextExposition.render(await self.gather(), format)
    }

    // MARK: - State that is read

    private func sample() async -> [String: [SeriesKey: MetricValue]] {
        let samplers = self.state.withLock { $0.samplers }
        var values: [String: [SeriesKey: MetricValue]] = [:]
        await withTaskGroup(of: (name: String, samples: [MetricSamples.Sample]?).self) { group in
            for (name, body) in samplers {
                group.addTask { (name, await self.limited(name, body)?.samples) }
            }
            for await (name, samples) in group {
                guard let samples else {
                    self.failures(of: name)?.increment(by: 1)
                    continue
                }
                for sample in samples {
                    guard let family = self.family(named: sample.name), !family.isHistogram,
                        let key = self.key(family, sample.labels)
                    else { continue }
                    let isNew = values[family.name]?[key] == nil
                    guard !isNew || values[family.name]?.count ?? 0 < Self.seriesPerFamily else {
                        self.refuse(family.name, "too many series")
                        continue
                    }
                    values[family.name, default: [:]][key] = sample.value
                }
            }
        }
        return values
    }

    /// nil when it failed.
    private func limited(_ name: String, _ body: @escaping Sampler) async -> MetricSamples? {
        do {
            return try await withThrowingTaskGroup(of: MetricSamples?.self) { group in
                group.addTask {
                    var samples = MetricSamples()
                    try await body(&samples)
                    return samples
                }
                group.addTask { [timeout] in
                    try await Task.sleep(for: timeout)
                    return nil
                }
                defer { group.cancelAll() }
                return try await group.next() ?? nil
            }
        } catch {
            self.logger.debug("metrics not read", metadata: ["sampler": "\(name)", "error": "\(error)"])
            return nil
        }
    }

    private func failures(of sampler: String) -> CounterInstrument? {
        self.instrument(Self.samplerFailures, [("sampler", sampler)]) { CounterInstrument() }
    }

    // MARK: - Series

    private func family(named name: String) -> MetricFamily? {
        guard let family = self.families[name] else {
            self.refuse(name, "not declared")
            return nil
        }
        return family
    }

    /// nil when the labels are not the declared ones.
    private func key(_ family: MetricFamily, _ labels: [(String, String)]) -> SeriesKey? {
        let values = family.labels.compactMap { label in labels.first { $0.0 == label }?.1 }
        guard values.count == family.labels.count, labels.count == values.count else {
            self.refuse(family.name, "its labels are \(family.labels), not \(labels.map(\.0))")
            return nil
        }
        return values
    }

    /// The series, made if need be; nil when it can't be had.
    private func instrument<Made: Instrument>(
        _ family: MetricFamily,
        _ labels: [(String, String)],
        make: () -> Made
    ) -> Made? {
        guard let key = self.key(family, labels) else { return nil }
        let (found, isFull) = self.state.withLock { state -> ((any Instrument)?, Bool) in
            if let known = state.instruments[family.name]?[key] { return (known, false) }
            guard state.instruments[family.name]?.count ?? 0 < Self.seriesPerFamily else { return (nil, true) }
            let made = make()
            state.instruments[family.name, default: [:]][key] = made
            return (made, false)
        }
        if isFull { self.refuse(family.name, "too many series") }
        guard let found else { return nil }
        guard let instrument = found as? Made else {
            self.refuse(family.name, "it is of another kind")
            return nil
        }
        return instrument
    }

    private func refuse(_ name: String, _ reason: String) {
        let isNew = self.state.withLock { state in
            state.refused.count < Self.refusedLimit && state.refused.insert(name).inserted
        }
        guard isNew else { return }
        self.logger.warning("a metric is not counted", metadata: ["metric": "\(name)", "reason": "\(reason)"])
    }
}

extension MetricFamily {
    fileprivate var isHistogram: Bool {
        if case .histogram = self.kind { true } else { false }
    }
}

extension PrometheusRegistry: MetricsFactory {
    package func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        guard let family = self.family(named: label, .counter) else { return NOOPMetricsHandler.instance }
        return self.instrument(family, dimensions) { CounterInstrument() } ?? NOOPMetricsHandler.instance
    }

    package func makeFloatingPointCounter(
        label: String,
        dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler {
        guard let family = self.family(named: label, .counter) else { return NOOPMetricsHandler.instance }
        return self.instrument(family, dimensions) { FloatingPointCounterInstrument() } ?? NOOPMetricsHandler.instance
    }

    package func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        guard let family = self.family(named: label, .gauge) else { return NOOPMetricsHandler.instance }
        return self.instrument(family, dimensions) { GaugeInstrument() } ?? NOOPMetricsHandler.instance
    }

    package func makeRecorder(
        label: String,
        dimensions: [(String, String)],
        aggregate: Bool
    ) -> any RecorderHandler {
        if aggregate { return self.histogram(label, dimensions) ?? NOOPMetricsHandler.instance }
        guard let family = self.family(named: label, .gauge) else { return NOOPMetricsHandler.instance }
        return self.instrument(family, dimensions) { GaugeInstrument() } ?? NOOPMetricsHandler.instance
    }

    package func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        self.histogram(label, dimensions) ?? NOOPMetricsHandler.instance
    }

    // Series stay until the process ends: one that vanished and came again would count from 0.
    package func destroyCounter(_ handler: any CounterHandler) {}
    package func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}
    package func destroyMeter(_ handler: any MeterHandler) {}
    package func destroyRecorder(_ handler: any RecorderHandler) {}
    package func destroyTimer(_ handler: any TimerHandler) {}

    private func family(named name: String, _ kind: MetricFamily.Kind) -> MetricFamily? {
        guard let family = self.family(named: name) else { return nil }
        guard family.kind == kind else {
            self.refuse(name, "it is of another kind")
            return nil
        }
        return family
    }

    private func histogram(_ name: String, _ labels: [(String, String)]) -> HistogramInstrument? {
        guard let family = self.family(named: name) else { return nil }
        guard case .histogram(let bounds) = family.kind else {
            self.refuse(name, "it is of another kind")
            return nil
        }
        return self.instrument(family, labels) { HistogramInstrument(bounds: bounds) }
    }
}
