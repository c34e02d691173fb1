import Testing

@testable import WindowsSimulator

struct HostModelTests {
    static let epoch = CivilDate(year: 2026, month: 5, day: 1).fileTime

    static func profile(_ index: Int, isStatic: Bool = false, seed: UInt64 = 1) -> HostProfile {
        HostProfile(index: index, fleet: HostProfile.Fleet(seed: seed, epoch: Self.epoch, isStatic: isStatic))
    }

    private static func snapshot(_ profile: HostProfile, _ seconds: Double, _ conditions: HostConditions = .init())
        -> HostSnapshot
    {
        HostSnapshot(profile: profile, time: Self.epoch.adding(seconds: seconds), conditions: conditions)
    }

    @Test func aHostIsAFunctionOfSeedAndIndex() {
        let (one, same) = (Self.profile(7), Self.profile(7))
        #expect(one.computerName == same.computerName)
        #expect(one.adapters == same.adapters)
        #expect(one.disks == same.disks)
        #expect(HostTruth(Self.snapshot(one, 99)) == HostTruth(Self.snapshot(same, 99)))
        #expect(one.computerName != Self.profile(7, seed: 2).computerName)
        #expect(one.computerName != Self.profile(8).computerName)
    }

    @Test func namesFit() {
        for index in 0..<500 {
            let profile = Self.profile(index)
            #expect(profile.computerName.utf8.count <= 15)
            #expect(profile.dnsHostName.uppercased().hasPrefix(profile.computerName))
        }
        let names = Set((0..<500).map { Self.profile($0).dnsHostName })
        #expect(names.count == 500)
    }

    @Test(arguments: 0..<40) func valuesArePlausible(index: Int) {
        let profile = Self.profile(index)
        #expect(profile.bootTime < Self.epoch)
        #expect((profile.coreSkew.reduce(0, +) / Double(profile.coreCount) - 1).magnitude < 1e-12)
        for second in stride(from: 0.0, to: 86_400, by: 997) {
            let host = Self.snapshot(profile, second)
            for core in 0..<profile.coreCount { #expect((0...1).contains(host.load * profile.coreSkew[core])) }
            #expect(host.freeMemoryKiB < profile.memoryKiB)
            #expect(host.processCount > 20)
            for disk in profile.disks {
                guard let size = disk.size, let free = host.freeSpace(of: disk) else { continue }
                #expect(free <= size)
                #expect(free % HostSnapshot.clusterSize == 0)
            }
            for adapter in profile.adapters where adapter.kind == .physical {
                #expect(UInt64(adapter.received.value(at: second) * 8) < adapter.bandwidth)
            }
        }
    }

    @Test(arguments: 0..<20) func countersAgreeWithTheTruthOverAnyWindow(index: Int) {
        let profile = Self.profile(index)
        for (start, end) in [(100.0, 101.0), (5_000.0, 5_060.0), (70_000.0, 90_000.0)] {
            let (first, last) = (Self.snapshot(profile, start), Self.snapshot(profile, end))
            let truth = HostTruth(last, ratesSince: first.time)
            let idle = Double(last.idleTicks(core: nil) - first.idleTicks(core: nil))
            let elapsed = Double(last.localTime.ticks - first.localTime.ticks)
            // Counters are whole 100 ns: their differences are off by less than one.
            #expect(abs(100 * (1 - idle / elapsed) - truth.cpuUsagePercent) < 100 / elapsed + 1e-6)
            var sent = 0.0
            for adapter in profile.adapters where adapter.kind != .pseudo {
                sent += Double(last.counters(of: adapter).bytesSent - first.counters(of: adapter).bytesSent)
            }
            #expect(
                abs(sent / (end - start) - truth.bytesSentPerSec) < 3 / (end - start) + truth.bytesSentPerSec * 1e-6
            )
        }
    }

    @Test func countersNeverFall() {
        let profile = Self.profile(3)
        var previous = Self.snapshot(profile, 0)
        for second in 1...600 {
            let host = Self.snapshot(profile, Double(second))
            for core in [nil, 0, profile.coreCount - 1] {
                #expect(host.idleTicks(core: core) >= previous.idleTicks(core: core))
            }
            for adapter in profile.adapters {
                #expect(host.counters(of: adapter).bytesReceived >= previous.counters(of: adapter).bytesReceived)
            }
            previous = host
        }
    }

    @Test func aStaticFleetStandsStillButCountersGoOn() {
        let profile = Self.profile(2, isStatic: true)
        let (first, last) = (Self.snapshot(profile, 10), Self.snapshot(profile, 3_610))
        let (before, after) = (HostTruth(first, ratesSince: Self.epoch), HostTruth(last, ratesSince: first.time))
        #expect(before.memoryUsedBytes == after.memoryUsedBytes)
        #expect(before.diskUsedBytes == after.diskUsedBytes)
        #expect(before.processCount == after.processCount)
        #expect(abs(before.cpuUsagePercent - after.cpuUsagePercent) < 1e-6)
        #expect(abs(before.bytesRecvPerSec - after.bytesRecvPerSec) < 1e-3)
        #expect(after.packetsSent > before.packetsSent)
    }

    @Test func truthLeavesOutWhatMetricsLeaveOut() {
        let profile = Self.profile(0)
        let host = Self.snapshot(profile, 1_000)
        let truth = HostTruth(host)
        let fixed = profile.disks.filter { $0.kind == .fixed }.compactMap(\.size).reduce(0, +)
        #expect(truth.diskTotalBytes == fixed)
        #expect(profile.disks.contains { $0.kind == .network })
        #expect(profile.disks.contains { $0.kind == .compactDisc && $0.size == nil })
        let all = profile.adapters.map { host.counters(of: $0).packetsSent }.reduce(0, +)
        #expect(truth.packetsSent < all)
        #expect(profile.adapters.contains { $0.name.hasPrefix("isatap") })
        #expect(profile.adapters.contains { $0.name.contains("Loopback") })
        #expect(profile.adapters.contains { $0.name.hasPrefix("Teredo") })
    }

    // MARK: Conditions

    @Test func aRebootStartsCountersAndUptimeAnew() {
        let profile = Self.profile(1)
        var conditions = HostConditions()
        conditions.bootTime = Self.epoch.adding(seconds: 500)
        let host = Self.snapshot(profile, 510, conditions)
        #expect(host.performanceTime == 100_000_000)
        #expect(host.bootTime == conditions.bootTime)
        #expect(host.idleTicks(core: nil) < 100_000_000)
        #expect(Self.snapshot(profile, 510).idleTicks(core: nil) > 100_000_000)
    }

    @Test func aCounterResetKeepsTheBootTime() {
        let profile = Self.profile(1)
        var conditions = HostConditions()
        conditions.countersSince = Self.epoch.adding(seconds: 500)
        let host = Self.snapshot(profile, 510, conditions)
        #expect(host.bootTime == profile.bootTime)
        #expect(
            host.counters(of: profile.adapters[0]).bytesSent
                < Self.snapshot(profile, 510).counters(of: profile.adapters[0]).bytesSent
        )
    }

    @Test func aWrongClockMovesTheBootTimeAlong() {
        let profile = Self.profile(1)
        var conditions = HostConditions()
        conditions.clockOffset = -3_600 * FileTime.ticksPerSecond
        let (right, wrong) = (Self.snapshot(profile, 10), Self.snapshot(profile, 10, conditions))
        #expect(wrong.localTime < right.localTime)
        #expect(right.bootTime.ticks - wrong.bootTime.ticks == right.localTime.ticks - wrong.localTime.ticks)
        #expect(wrong.performanceTime == right.performanceTime)
    }

    @Test func narrowCountersWrap() {
        let profile = Self.profile(0)
        var conditions = HostConditions()
        conditions.hasNarrowCounters = true
        let (wide, narrow) = (Self.snapshot(profile, 0), Self.snapshot(profile, 0, conditions))
        let adapter = profile.adapters[0]
        #expect(wide.counters(of: adapter).bytesSent > UInt64(UInt32.max))
        #expect(narrow.counters(of: adapter).bytesSent == wide.counters(of: adapter).bytesSent & 0xFFFF_FFFF)
    }
}

struct AddressRangeTests {
    @Test func addressesAreConsecutiveAndNoneIsSkipped() throws {
        let base = try #require(IPv4("127.1.0.250"))
        let range = try #require(AddressRange(base: base, count: 10))
        #expect(range[5].description == "127.1.0.255")
        #expect(range[6].description == "127.1.1.0")
        #expect(range.index(of: range[9]) == 9)
        #expect(range.index(of: IPv4(value: base.value + 10)) == nil)
        #expect(range.index(of: IPv4(value: base.value - 1)) == nil)
        #expect(AddressRange(base: IPv4(value: .max), count: 2) == nil)
    }

    @Test(arguments: ["127.1.0", "127.1.0.256", "127.1.0.01", "", "a.b.c.d", "127.1.0.1.1"])
    func whatIsNoAddressIsRefused(text: String) {
        #expect(IPv4(text) == nil)
    }
}
