package import Foundation
package import NMSCore

/// Raw counters to values: pure, and nil wherever a value can't be known.
package enum CounterArithmetic {
    /// Boot times that differ by no more than this are the same boot: they drift by a second or so on virtual machines.
    package static let bootTimeTolerance: TimeInterval = 30

    /// `100 × (1 − ΔPercentProcessorTime / ΔTimestamp_Sys100NS)`, clamped to 0…100.
    ///
    /// nil when either counter stood still or went backwards.
    package static func cpuUsagePercent(from earlier: ProcessorReading, to later: ProcessorReading) -> Double? {
        guard later.timestamp100ns > earlier.timestamp100ns, later.idle100ns >= earlier.idle100ns else { return nil }
        let idle = Double(later.idle100ns - earlier.idle100ns)
        let elapsed = Double(later.timestamp100ns - earlier.timestamp100ns)
        return self.percent(100 * (1 - idle / elapsed))
    }

    package struct NetworkRates: Sendable, Equatable {
        package var bytesSentPerSec: Int64?
        package var bytesRecvPerSec: Int64?
        package var utilizationPercent: Double?

        package init(bytesSentPerSec: Int64? = nil, bytesRecvPerSec: Int64? = nil, utilizationPercent: Double? = nil) {
            self.bytesSentPerSec = bytesSentPerSec
            self.bytesRecvPerSec = bytesRecvPerSec
            self.utilizationPercent = utilizationPercent
        }
    }

    /// Sums `Δbytes / (ΔTimestamp_PerfTime / Frequency_PerfTime)` over the interfaces that both readings have.
    ///
    /// Utilisation is `8 × max(in, out) / ΣCurrentBandwidth × 100` over those of them that have carried traffic and
    /// know their bandwidth. All are nil when a counter of any interface went backwards: a reset is never a spike.
    package static func networkRates(from earlier: NetworkReading, to later: NetworkReading) -> NetworkRates {
        let before = self.keyed(earlier.interfaces)
        var total = (sent: 0.0, received: 0.0, count: 0)
        var inUse = (sent: 0.0, received: 0.0, bandwidth: 0.0)
        for (key, now) in self.keyed(later.interfaces) {
            guard let then = before[key],
                let sentNow = now.bytesSent, let sentThen = then.bytesSent,
                let receivedNow = now.bytesReceived, let receivedThen = then.bytesReceived,
                let timeNow = now.timestamp, let timeThen = then.timestamp,
                let frequency = now.frequency, frequency > 0
            else { continue }
            guard sentNow >= sentThen, receivedNow >= receivedThen, timeNow > timeThen else { return NetworkRates() }
            let seconds = Double(timeNow - timeThen) / Double(frequency)
            let sent = Double(sentNow - sentThen) / seconds
            let received = Double(receivedNow - receivedThen) / seconds
            total = (total.sent + sent, total.received + received, total.count + 1)
            if sentNow > 0 || receivedNow > 0, let bandwidth = now.bandwidth, bandwidth > 0 {
                inUse = (inUse.sent + sent, inUse.received + received, inUse.bandwidth + Double(bandwidth))
            }
        }
        guard total.count > 0 else { return NetworkRates() }
        return NetworkRates(
            bytesSentPerSec: Int64(clamping: total.sent),
            bytesRecvPerSec: Int64(clamping: total.received),
            utilizationPercent: inUse.bandwidth > 0
                ? self.percent(8 * max(inUse.sent, inUse.received) / inUse.bandwidth * 100) : nil
        )
    }

    /// Whether two readings of a boot time, either of which may be missing, can be of one boot.
    package static func isSameBoot(_ earlier: Date?, _ later: Date?) -> Bool {
        guard let earlier, let later else { return true }
        return abs(earlier.timeIntervalSince(later)) <= self.bootTimeTolerance
    }

    /// nil when the size is unknown or zero.
    package static func capacity(totalBytes: Int64?, freeBytes: Int64?) -> DeviceMetrics.Capacity {
        guard let total = totalBytes, total > 0 else { return DeviceMetrics.Capacity() }
        guard let free = freeBytes else { return DeviceMetrics.Capacity(totalBytes: total) }
        let used = min(max(total - free, 0), total)
        return DeviceMetrics.Capacity(
            totalBytes: total,
            usedBytes: used,
            usagePercent: self.percent(Double(used) / Double(total) * 100)
        )
    }

    /// The sum of what is known; nil when nothing is.
    package static func sum(_ values: some Sequence<UInt64?>) -> Int64? {
        var sum: UInt64?
        for case .some(let value) in values {
            let (total, overflow) = (sum ?? 0).addingReportingOverflow(value)
            sum = overflow ? .max : total
        }
        return sum.map { Int64(clamping: $0) }
    }

    /// Clamped to 0…100 and rounded to the two places that the column holds.
    static func percent(_ value: Double) -> Double? {
        guard value.isFinite else { return nil }
        return (min(max(value, 0), 100) * 100).rounded() / 100
    }

    private struct InterfaceKey: Hashable {
        var name: String
        /// Adapters of the same name are told apart by their order.
        var ordinal: Int
    }

    private static func keyed(_ interfaces: [NetworkReading.Interface]) -> [InterfaceKey: NetworkReading.Interface] {
        var seen: [String: Int] = [:]
        var result: [InterfaceKey: NetworkReading.Interface] = [:]
        for interface in interfaces {
            let ordinal = seen[interface.name, default: 0]
            seen[interface.name] = ordinal + 1
            result[InterfaceKey(name: interface.name, ordinal: ordinal)] = interface
        }
        return result
    }
}

extension Int64 {
    /// The nearest integer, at the ends of the range where the value lies outside.
    fileprivate init(clamping value: Double) {
        self = Int64(exactly: value.rounded()) ?? (value < 0 ? .min : .max)
    }
}

extension DeviceMetrics {
    /// A row from what a poll read and, for what is a rate, an earlier reading.
    package init(
        deviceID: Int,
        timestamp: Date,
        sample: RawSample,
        rates earlier: CounterBaseline,
        collectionDurationMs: Int,
        jobID: String
    ) {
        self.init(deviceID: deviceID, timestamp: timestamp)
        self.collectionDurationMs = collectionDurationMs
        self.jobID = jobID
        if case .success(let system) = sample.system {
            self.memory = CounterArithmetic.capacity(
                totalBytes: system.memoryTotalBytes,
                freeBytes: system.memoryFreeBytes
            )
            self.processCount = system.processCount
        }
        if case .success(let disk) = sample.disk {
            self.disk = CounterArithmetic.capacity(totalBytes: disk.totalBytes, freeBytes: disk.freeBytes)
        }
        if case .success(let processor) = sample.processor, let before = earlier.processor {
            self.cpu.usagePercent = CounterArithmetic.cpuUsagePercent(from: before.value, to: processor)
        }
        if case .success(let network) = sample.network {
            self.network.packetsSent = CounterArithmetic.sum(network.interfaces.map(\.packetsSent))
            self.network.packetsRecv = CounterArithmetic.sum(network.interfaces.map(\.packetsReceived))
            self.network.errors = CounterArithmetic.sum(network.interfaces.map(\.errors))
            self.network.dropped = CounterArithmetic.sum(network.interfaces.map(\.dropped))
            if let before = earlier.network {
                let rates = CounterArithmetic.networkRates(from: before.value, to: network)
                self.network.bytesSentPerSec = rates.bytesSentPerSec
                self.network.bytesRecvPerSec = rates.bytesRecvPerSec
                self.network.utilizationPercent = rates.utilizationPercent
            }
        }
    }
}

/// The counters of earlier polls that the next one is compared with, each with its own age: a group that could not be
/// read for once keeps its older reading.
package struct CounterBaseline: Sendable, Equatable {
    package struct Reading<Value: Sendable & Equatable>: Sendable, Equatable {
        package var value: Value
        package var takenAt: ContinuousClock.Instant

        package init(_ value: Value, takenAt: ContinuousClock.Instant) {
            self.value = value
            self.takenAt = takenAt
        }
    }

    package var processor: Reading<ProcessorReading>?
    package var network: Reading<NetworkReading>?
    package var bootTime: Date?

    package init() {}

    /// The newest reading of each group.
    package mutating func update(_ sample: RawSample, takenAt: ContinuousClock.Instant) {
        if let value = try? sample.processor?.get() { self.processor = Reading(value, takenAt: takenAt) }
        if let value = try? sample.network?.get() { self.network = Reading(value, takenAt: takenAt) }
        if let system = try? sample.system?.get(), let boot = system.bootTime { self.bootTime = boot }
    }

    /// Without what was read before `instant`.
    package func since(_ instant: ContinuousClock.Instant) -> CounterBaseline {
        var recent = self
        if let reading = self.processor, reading.takenAt < instant { recent.processor = nil }
        if let reading = self.network, reading.takenAt < instant { recent.network = nil }
        return recent
    }
}
