/// Values that exist somewhere as state and are read when they are asked for.
package struct MetricSamples: Sendable {
    struct Sample: Sendable {
        let name: String
        let labels: [(String, String)]
        let value: MetricValue
    }

    private(set) var samples: [Sample] = []

    init() {}

    /// - Parameters:
    ///   - name: of a declared counter or gauge.
    ///   - labels: exactly those that the metric was declared with, in any order.
    package mutating func set(_ name: String, _ labels: [(String, String)] = [], to value: Double) {
        self.samples.append(Sample(name: name, labels: labels, value: .number(value)))
    }

    package mutating func set(_ name: String, _ labels: [(String, String)] = [], to value: some BinaryInteger) {
        if let unsigned = UInt64(exactly: value) {
            self.samples.append(Sample(name: name, labels: labels, value: .unsigned(unsigned)))
        } else {
            self.set(name, labels, to: Double(value))
        }
    }

    package mutating func set(_ name: String, _ labels: [(String, String)] = [], to value: Bool) {
        self.set(name, labels, to: value ? 1 : 0)
    }

    package mutating func set(_ name: String, _ labels: [(String, String)] = [], to value: Duration) {
        let (seconds, attoseconds) = value.components
        self.set(name, labels, to: Double(seconds) + Double(attoseconds) / 1e18)
    }
}
