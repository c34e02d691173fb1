/// What happened to a host that its profile does not know; faults cause it.
package struct HostConditions: Sendable, Hashable {
    /// Added to everything the host's own clock says.
    package var clockOffset: Int64 = 0
    /// A later start than the profile's.
    package var bootTime: FileTime?
    /// When performance counters last fell to zero without a boot.
    package var countersSince: FileTime?
    /// Whether the network counters have 32 bits and wrap.
    package var hasNarrowCounters = false

    package init() {}
}

/// A host at one instant: every value that WMI shows is computed from here.
package struct HostSnapshot: Sendable {
    /// Bytes of an NTFS cluster: sizes and free space are multiples.
    static let clusterSize: UInt64 = 4_096

    package let profile: HostProfile
    package let conditions: HostConditions
    /// The true instant.
    package let time: FileTime

    /// Seconds after the fleet's epoch.
    private let seconds: Double
    /// Where the counters started, in the same seconds.
    private let counterStart: Double
    /// Integral of the load since then, in seconds of all cores.
    private let busySeconds: Double

    package init(profile: HostProfile, time: FileTime, conditions: HostConditions = HostConditions()) {
        self.profile = profile
        self.conditions = conditions
        self.time = time
        let epoch = profile.fleet.epoch
        self.seconds = time.seconds(since: epoch)
        let boot = conditions.bootTime ?? profile.bootTime
        // Asked for a time before the boot, counters are at zero.
        self.counterStart = min(max(boot, conditions.countersSince ?? boot).seconds(since: epoch), self.seconds)
        self.busySeconds = profile.load.integral(from: self.counterStart, to: self.seconds)
    }

    // MARK: Clocks

    /// The host's own idea of the time.
    package var localTime: FileTime { FileTime(ticks: self.time.ticks + self.conditions.clockOffset) }

    /// The boot time as the host tells it: the kernel moves it along when the clock is set.
    package var bootTime: FileTime {
        FileTime(ticks: (self.conditions.bootTime ?? self.profile.bootTime).ticks + self.conditions.clockOffset)
    }

    /// `Timestamp_PerfTime`: ticks of 10 MHz since the boot, whatever the clock was set to.
    package var performanceTime: UInt64 {
        UInt64(max(0, self.time.ticks - (self.conditions.bootTime ?? self.profile.bootTime).ticks))
    }

    // MARK: Processor

    /// Share of all cores that is busy at this instant, 0…1.
    package var load: Double { self.profile.load.value(at: self.seconds) }

    /// Idle time of a core since the counters started in 100 ns; of the mean of all cores for nil.
    package func idleTicks(core: Int?) -> UInt64 {
        self.counter(self.seconds - self.counterStart - self.busy(core), scale: 1e7)
    }

    /// Busy time as for ``idleTicks(core:)``, times a share.
    package func busyTicks(core: Int?, share: Double) -> UInt64 {
        self.counter(self.busy(core) * share, scale: 1e7)
    }

    /// Events that come at a constant rate while the counters run.
    package func events(perSecond rate: Double) -> UInt64 {
        self.counter(self.seconds - self.counterStart, scale: rate)
    }

    private func busy(_ core: Int?) -> Double {
        core.map { self.busySeconds * self.profile.coreSkew[$0] } ?? self.busySeconds
    }

    // MARK: Memory, processes and disks

    package var freeMemoryKiB: UInt64 {
        let used = self.profile.memoryUsed.value(at: self.seconds)
        // Pages of 4 KiB.
        return UInt64(Double(self.profile.memoryKiB) * (1 - used)) / 4 * 4
    }

    package var processCount: UInt32 { UInt32(self.profile.processes.value(at: self.seconds)) }

    /// Free bytes of a disk, nil without a medium.
    package func freeSpace(of disk: HostProfile.Disk) -> UInt64? {
        disk.size.map { size in
            UInt64(Double(size) * (1 - disk.used.value(at: self.seconds))) / Self.clusterSize * Self.clusterSize
        }
    }

    // MARK: Network

    /// The cumulative counters of one interface.
    package struct AdapterCounters: Sendable, Hashable {
        package var bytesReceived: UInt64
        package var bytesSent: UInt64
        package var packetsReceived: UInt64
        package var packetsSent: UInt64
        package var receivedErrors: UInt64
        package var outboundErrors: UInt64
        package var receivedDiscarded: UInt64
        package var outboundDiscarded: UInt64
    }

    package func counters(of adapter: HostProfile.Adapter) -> AdapterCounters {
        let received = adapter.received.integral(from: self.counterStart, to: self.seconds)
        let sent = adapter.sent.integral(from: self.counterStart, to: self.seconds)
        let packetsReceived = received / adapter.receivedPacketSize
        let packetsSent = sent / adapter.sentPacketSize
        let share = adapter.faultShare
        return AdapterCounters(
            bytesReceived: self.narrow(received),
            bytesSent: self.narrow(sent),
            packetsReceived: self.narrow(packetsReceived),
            packetsSent: self.narrow(packetsSent),
            receivedErrors: self.narrow(packetsReceived * share * 0.4),
            outboundErrors: self.narrow(packetsSent * share * 0.1),
            receivedDiscarded: self.narrow(packetsReceived * share),
            outboundDiscarded: self.narrow(packetsSent * share * 0.3)
        )
    }

    private func narrow(_ value: Double) -> UInt64 {
        let wide = UInt64(max(0, value))
        return self.conditions.hasNarrowCounters ? wide & 0xFFFF_FFFF : wide
    }

    private func counter(_ value: Double, scale: Double) -> UInt64 {
        UInt64(max(0, value * scale))
    }
}
