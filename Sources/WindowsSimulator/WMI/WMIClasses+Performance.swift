/// Raw performance counter classes.
enum PerformanceClasses {
    private static let superclass = "Win32_PerfRawData"

    /// The time stamps that every raw class carries, all of the snapshot's one instant.
    private static let stamps: [WMIProperty] = [
        .null("Caption"),
        .null("Description"),
        .constant("Frequency_Object", .uint64, .unsigned(0)),
        .constant("Frequency_PerfTime", .uint64, .unsigned(UInt64(FileTime.ticksPerSecond))),
        .constant("Frequency_Sys100NS", .uint64, .unsigned(UInt64(FileTime.ticksPerSecond))),
        .constant("Timestamp_Object", .uint64, .unsigned(0)),
        WMIProperty("Timestamp_PerfTime", .uint64) { host, _ in .unsigned(host.performanceTime) },
        WMIProperty("Timestamp_Sys100NS", .uint64) { host, _ in .unsigned(UInt64(host.localTime.ticks)) },
    ]

    // MARK: Processors

    /// Instances are the cores in order, then `_Total`.
    private static func core(_ host: HostSnapshot, _ instance: Int) -> Int? {
        instance < host.profile.coreCount ? instance : nil
    }

    private static func busy(_ name: String, _ share: Double) -> WMIProperty {
        WMIProperty(name, .uint64) { host, row in .unsigned(host.busyTicks(core: Self.core(host, row), share: share)) }
    }

    private static func idle(_ name: String) -> WMIProperty {
        WMIProperty(name, .uint64) { host, row in .unsigned(host.idleTicks(core: Self.core(host, row))) }
    }

    private static func events(_ name: String, _ type: CIMType, _ rate: Double) -> WMIProperty {
        let mask: UInt64 = type == .uint32 ? 0xFFFF_FFFF : .max
        return WMIProperty(name, type) { host, row in
            // The total counts every core's events.
            let cores = Self.core(host, row) == nil ? Double(host.profile.coreCount) : 1
            return .unsigned(host.events(perSecond: rate * cores) & mask)
        }
    }

    private static let processorProperties: [WMIProperty] =
        stamps + [
            events("C1TransitionsPersec", .uint64, 900),
            .constant("C2TransitionsPersec", .uint64, .unsigned(0)),
            .constant("C3TransitionsPersec", .uint64, .unsigned(0)),
            .constant("DPCRate", .uint32, .unsigned(2)),
            events("DPCsQueuedPersec", .uint32, 140),
            events("InterruptsPersec", .uint32, 780),
            idle("PercentC1Time"),
            .constant("PercentC2Time", .uint64, .unsigned(0)),
            .constant("PercentC3Time", .uint64, .unsigned(0)),
            busy("PercentDPCTime", 0.01),
            idle("PercentIdleTime"),
            busy("PercentInterruptTime", 0.005),
            busy("PercentPrivilegedTime", 0.3),
            // An inverse counter: what accumulates is idle time.
            idle("PercentProcessorTime"),
            busy("PercentUserTime", 0.7),
        ]

    static let processor = WMIClass(
        "Win32_PerfRawData_PerfOS_Processor",
        superclass: Self.superclass,
        properties: Self.processorProperties + [
            WMIProperty("Name", .string, isKey: true) { host, row in
                .string(Self.core(host, row).map(String.init) ?? "_Total")
            }
        ],
        instanceCount: { $0.profile.coreCount + 1 }
    )

    /// Instances are named by processor group; `0,_Total` stands beside `_Total`.
    static let processorInformation = WMIClass(
        "Win32_PerfRawData_Counters_ProcessorInformation",
        superclass: Self.superclass,
        properties: Self.processorProperties + [
            WMIProperty("Name", .string, isKey: true) { host, row in
                if let core = Self.core(host, row) { return .string("0,\(core)") }
                return .string(row == host.profile.coreCount ? "0,_Total" : "_Total")
            },
            .constant("ParkingStatus", .uint32, .unsigned(0)),
            .constant("PercentofMaximumFrequency", .uint32, .unsigned(100)),
            .constant("PercentPerformanceLimit", .uint32, .unsigned(100)),
            .constant("PerformanceLimitFlags", .uint32, .unsigned(0)),
            .constant("ProcessorFrequency", .uint32, .unsigned(2_400)),
            .constant("ProcessorStateFlags", .uint32, .unsigned(0)),
            events("ClockInterruptsPersec", .uint64, 64),
            busy("PercentPriorityTime", 0.6),
        ],
        instanceCount: { $0.profile.coreCount + 2 }
    )

    // MARK: Network

    private static func adapter(_ host: HostSnapshot, _ row: Int) -> HostProfile.Adapter { host.profile.adapters[row] }

    private static func count(
        _ name: String,
        _ value: @escaping @Sendable (HostSnapshot.AdapterCounters) -> UInt64
    ) -> WMIProperty {
        WMIProperty(name, .uint64) { host, row in .unsigned(value(host.counters(of: Self.adapter(host, row)))) }
    }

    static let networkInterface = WMIClass(
        "Win32_PerfRawData_Tcpip_NetworkInterface",
        superclass: Self.superclass,
        properties: Self.stamps + [
            WMIProperty("Name", .string, isKey: true) { host, row in .string(Self.adapter(host, row).name) },
            count("BytesReceivedPersec") { $0.bytesReceived },
            count("BytesSentPersec") { $0.bytesSent },
            count("BytesTotalPersec") { $0.bytesReceived + $0.bytesSent },
            WMIProperty("CurrentBandwidth", .uint64) { host, row in .unsigned(Self.adapter(host, row).bandwidth) },
            .constant("OffloadedConnections", .uint64, .unsigned(0)),
            .constant("OutputQueueLength", .uint64, .unsigned(0)),
            count("PacketsOutboundDiscarded") { $0.outboundDiscarded },
            count("PacketsOutboundErrors") { $0.outboundErrors },
            count("PacketsPersec") { $0.packetsReceived + $0.packetsSent },
            count("PacketsReceivedDiscarded") { $0.receivedDiscarded },
            count("PacketsReceivedErrors") { $0.receivedErrors },
            count("PacketsReceivedNonUnicastPersec") { $0.packetsReceived / 50 },
            count("PacketsReceivedPersec") { $0.packetsReceived },
            count("PacketsReceivedUnicastPersec") { $0.packetsReceived - $0.packetsReceived / 50 },
            .constant("PacketsReceivedUnknown", .uint64, .unsigned(0)),
            count("PacketsSentNonUnicastPersec") { $0.packetsSent / 80 },
            count("PacketsSentPersec") { $0.packetsSent },
            count("PacketsSentUnicastPersec") { $0.packetsSent - $0.packetsSent / 80 },
        ],
        instanceCount: { $0.profile.adapters.count }
    )
}
