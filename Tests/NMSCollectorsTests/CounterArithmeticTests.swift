import Foundation
import NMSCore
import Testing

@testable import NMSCollectors

@Suite struct CounterArithmeticTests {
    // MARK: CPU

    func cpu(_ idle: UInt64, _ time: UInt64) -> ProcessorReading {
        ProcessorReading(idle100ns: idle, timestamp100ns: time)
    }

    @Test(arguments: [
        // 10 s in which the processors idled for 5.45 s.
        (1_000_000, 55_500_000, 45.5),
        (1_000_000, 101_000_000, 0),
        (1_000_000, 1_000_000, 100),
        // More idle than elapsed happens by a few ticks: clamped, not negative.
        (1_000_000, 101_000_050, 0),
    ])
    func cpuUsage(before: UInt64, after: UInt64, expected: Double) {
        let start: UInt64 = 133_000_000_000_000_000
        let usage = CounterArithmetic.cpuUsagePercent(
            from: self.cpu(before, start),
            to: self.cpu(after, start + 100_000_000)
        )
        #expect(usage == expected)
    }

    @Test func cpuUsageIsUnknownAfterAResetAndWithoutElapsedTime() {
        #expect(CounterArithmetic.cpuUsagePercent(from: self.cpu(100, 100), to: self.cpu(50, 200)) == nil)
        #expect(CounterArithmetic.cpuUsagePercent(from: self.cpu(100, 200), to: self.cpu(150, 200)) == nil)
        #expect(CounterArithmetic.cpuUsagePercent(from: self.cpu(100, 200), to: self.cpu(150, 100)) == nil)
        #expect(CounterArithmetic.cpuUsagePercent(from: self.cpu(.max, .max), to: self.cpu(0, 0)) == nil)
    }

    // MARK: Network

    func interface(
        _ name: String,
        sent: UInt64?,
        received: UInt64?,
        seconds: Double,
        bandwidth: UInt64? = 1_000_000_000
    ) -> NetworkReading.Interface {
        NetworkReading.Interface(
            name: name,
            bytesReceived: received,
            bytesSent: sent,
            bandwidth: bandwidth,
            timestamp: UInt64(seconds * 10_000_000),
            frequency: 10_000_000
        )
    }

    func rates(
        _ before: [NetworkReading.Interface],
        _ after: [NetworkReading.Interface]
    ) -> CounterArithmetic.NetworkRates {
        CounterArithmetic.networkRates(
            from: NetworkReading(interfaces: before),
            to: NetworkReading(interfaces: after)
        )
    }

    @Test func ratesAreSummedAndUtilisationIsTheLargerDirection() {
        let rates = self.rates(
            [
                self.interface("a", sent: 1000, received: 5000, seconds: 100),
                self.interface("b", sent: 0, received: 10, seconds: 100),
            ],
            [
                self.interface("a", sent: 10_001_000, received: 5000, seconds: 110),
                self.interface("b", sent: 0, received: 50_000_010, seconds: 110),
            ]
        )
        #expect(rates.bytesSentPerSec == 1_000_000)
        #expect(rates.bytesRecvPerSec == 5_000_000)
        // 8 × 5,000,000 / 2,000,000,000 × 100
        #expect(rates.utilizationPercent == 2)
    }

    @Test func eachInterfaceIsMeasuredByItsOwnTimestamps() {
        let rates = self.rates(
            [self.interface("a", sent: 0, received: 0, seconds: 100)],
            [self.interface("a", sent: 100, received: 0, seconds: 100.5)]
        )
        #expect(rates.bytesSentPerSec == 200)
    }

    @Test func aCounterThatWentBackwardsDropsTheDifference() {
        let before = [
            self.interface("a", sent: 4_294_967_000, received: 0, seconds: 100),
            self.interface("b", sent: 0, received: 0, seconds: 100),
        ]
        let after = [
            self.interface("a", sent: 300, received: 0, seconds: 110),
            self.interface("b", sent: 1000, received: 0, seconds: 110),
        ]
        #expect(self.rates(before, after) == CounterArithmetic.NetworkRates())
    }

    @Test func utilisationIsUnknownWithoutBandwidth() {
        for bandwidth in [nil, UInt64(0)] {
            let rates = self.rates(
                [self.interface("a", sent: 0, received: 0, seconds: 1, bandwidth: bandwidth)],
                [self.interface("a", sent: 100, received: 0, seconds: 2, bandwidth: bandwidth)]
            )
            #expect(rates.bytesSentPerSec == 100)
            #expect(rates.utilizationPercent == nil)
        }
    }

    @Test func anUnpluggedAdapterDoesNotDiluteUtilisation() {
        let rates = self.rates(
            [
                self.interface("a", sent: 1, received: 1, seconds: 0),
                self.interface("idle", sent: 0, received: 0, seconds: 0),
            ],
            [
                self.interface("a", sent: 12_500_001, received: 1, seconds: 1),
                self.interface("idle", sent: 0, received: 0, seconds: 1),
            ]
        )
        #expect(rates.utilizationPercent == 10)
    }

    @Test func interfacesOfOneNameAreToldApartAndNewOnesWait() {
        let rates = self.rates(
            [
                self.interface("nic", sent: 0, received: 0, seconds: 0),
                self.interface("nic", sent: 5_000_000, received: 0, seconds: 0),
            ],
            [
                self.interface("nic", sent: 10, received: 0, seconds: 1),
                self.interface("nic", sent: 5_000_020, received: 0, seconds: 1),
                self.interface("new", sent: 9_000_000_000, received: 0, seconds: 1),
            ]
        )
        #expect(rates.bytesSentPerSec == 30)
    }

    @Test func missingValuesAreUnknownNotZero() {
        #expect(
            self.rates(
                [self.interface("a", sent: nil, received: 1, seconds: 0)],
                [self.interface("a", sent: 5, received: 2, seconds: 1)]
            ) == CounterArithmetic.NetworkRates()
        )
        #expect(self.rates([], []) == CounterArithmetic.NetworkRates())
        #expect(CounterArithmetic.sum([nil, nil]) == nil)
        #expect(CounterArithmetic.sum([nil, 4, 5]) == 9)
        #expect(CounterArithmetic.sum([.max, 1]) == .max)
    }

    // MARK: Capacity and boot

    @Test func capacity() {
        let half = CounterArithmetic.capacity(totalBytes: 17_179_869_184, freeBytes: 8_589_934_592)
        #expect(half.usedBytes == 8_589_934_592 && half.usagePercent == 50)
        #expect(CounterArithmetic.capacity(totalBytes: 0, freeBytes: 0) == DeviceMetrics.Capacity())
        #expect(CounterArithmetic.capacity(totalBytes: nil, freeBytes: 5) == DeviceMetrics.Capacity())
        #expect(CounterArithmetic.capacity(totalBytes: 5, freeBytes: nil).usedBytes == nil)
        // Free above total happens while a disk is resized.
        #expect(CounterArithmetic.capacity(totalBytes: 5, freeBytes: 6).usedBytes == 0)
    }

    @Test func bootTimesDrift() {
        let boot = Date(timeIntervalSince1970: 1_764_000_000)
        #expect(CounterArithmetic.isSameBoot(boot, boot.addingTimeInterval(1.4)))
        #expect(!CounterArithmetic.isSameBoot(boot, boot.addingTimeInterval(120)))
        #expect(CounterArithmetic.isSameBoot(nil, boot))
    }
}
