package import Foundation
package import NMSCore

/// An instance as any protocol delivers it. Property names compare without case; null and missing are both nil.
package protocol WMIInstance {
    func string(_ property: String) -> String?
    func unsigned(_ property: String) -> UInt64?
    func boolean(_ property: String) -> Bool?
    /// CIM_DATETIME.
    func dateTime(_ property: String) -> Date?
}

/// The queries of a poll and what their rows mean, the same for every protocol.
package enum WindowsQueries {
    package static let namespace = "root/cimv2"

    /// The WQL query of a group; property lists, never `*`, and English names on every locale.
    package static func wql(_ group: CounterGroup) -> String {
        switch group {
        case .system:
            "SELECT TotalVisibleMemorySize, FreePhysicalMemory, NumberOfProcesses, Caption, Version, BuildNumber, "
                + "LastBootUpTime, LocalDateTime FROM Win32_OperatingSystem"
        case .disk:
            "SELECT DeviceID, Size, FreeSpace FROM Win32_LogicalDisk WHERE DriveType=3"
        case .processor:
            "SELECT Name, PercentProcessorTime, Timestamp_Sys100NS FROM Win32_PerfRawData_PerfOS_Processor "
                + "WHERE Name='_Total'"
        case .network:
            "SELECT Name, BytesReceivedPersec, BytesSentPersec, PacketsReceivedPersec, PacketsSentPersec, "
                + "PacketsReceivedErrors, PacketsOutboundErrors, PacketsReceivedDiscarded, PacketsOutboundDiscarded, "
                + "CurrentBandwidth, Timestamp_PerfTime, Frequency_PerfTime "
                + "FROM Win32_PerfRawData_Tcpip_NetworkInterface"
        }
    }

    /// Asked once per boot.
    package static let computerSystem = "SELECT DNSHostName, Domain, PartOfDomain FROM Win32_ComputerSystem"

    /// The order in which groups are asked: those that make rates last and next to each other.
    package static let order: [CounterGroup] = [.system, .disk, .processor, .network]

    /// Puts a group's rows into the sample. No row, or none that can be used, is a failure: empty is never healthy.
    package static func decode(_ group: CounterGroup, rows: [some WMIInstance], into sample: inout RawSample) {
        switch group {
        case .system:
            sample.system = Result { () throws(PollFailure) in try self.system(rows, identity: &sample.identity) }
        case .disk: sample.disk = Result { () throws(PollFailure) in try self.disk(rows) }
        case .processor: sample.processor = Result { () throws(PollFailure) in try self.processor(rows) }
        case .network: sample.network = Result { () throws(PollFailure) in try self.network(rows) }
        }
    }

    /// Marks a group as failed.
    package static func fail(_ group: CounterGroup, _ failure: PollFailure, in sample: inout RawSample) {
        switch group {
        case .system: sample.system = .failure(failure)
        case .disk: sample.disk = .failure(failure)
        case .processor: sample.processor = .failure(failure)
        case .network: sample.network = .failure(failure)
        }
    }

    /// The DNS name: host and domain for a domain's member, else the host alone.
    package static func hostname(_ rows: [some WMIInstance]) -> String? {
        guard let row = rows.first, let host = row.string("DNSHostName"), !host.isEmpty else { return nil }
        guard row.boolean("PartOfDomain") == true, let domain = row.string("Domain"), !domain.isEmpty else {
            return host
        }
        return "\(host).\(domain)"
    }

    private static func system(
        _ rows: [some WMIInstance],
        identity: inout HostIdentity
    ) throws(PollFailure) -> SystemReading {
        guard let row = rows.first else { throw self.empty("Win32_OperatingSystem") }
        identity.os = row.string("Caption").map(Self.trimmed)
        identity.build = row.string("BuildNumber")
        return SystemReading(
            memoryTotalBytes: row.unsigned("TotalVisibleMemorySize").map(self.bytesOfKiB),
            memoryFreeBytes: row.unsigned("FreePhysicalMemory").map(self.bytesOfKiB),
            processCount: row.unsigned("NumberOfProcesses").flatMap { Int32(exactly: $0).map(Int.init) },
            bootTime: row.dateTime("LastBootUpTime")
        )
    }

    private static func disk(_ rows: [some WMIInstance]) throws(PollFailure) -> DiskReading {
        var reading = DiskReading(totalBytes: 0, freeBytes: 0)
        for row in rows {
            // A drive without a medium, or one that is locked, has no size.
            guard let size = row.unsigned("Size"), size > 0, let free = row.unsigned("FreeSpace") else { continue }
            reading.totalBytes = CounterArithmetic.sum([UInt64(reading.totalBytes), size]) ?? 0
            reading.freeBytes = CounterArithmetic.sum([UInt64(reading.freeBytes), min(free, size)]) ?? 0
        }
        guard reading.totalBytes > 0 else { throw self.empty("Win32_LogicalDisk") }
        return reading
    }

    private static func processor(_ rows: [some WMIInstance]) throws(PollFailure) -> ProcessorReading {
        let total = rows.first { $0.string("Name") == "_Total" }
        guard let idle = total?.unsigned("PercentProcessorTime"), let time = total?.unsigned("Timestamp_Sys100NS")
        else { throw self.empty("Win32_PerfRawData_PerfOS_Processor") }
        return ProcessorReading(idle100ns: idle, timestamp100ns: time)
    }

    private static func network(_ rows: [some WMIInstance]) throws(PollFailure) -> NetworkReading {
        let interfaces = rows.compactMap { row -> NetworkReading.Interface? in
            guard let name = row.string("Name"), !self.isPseudoInterface(name) else { return nil }
            return NetworkReading.Interface(
                name: name,
                bytesReceived: row.unsigned("BytesReceivedPersec"),
                bytesSent: row.unsigned("BytesSentPersec"),
                packetsReceived: row.unsigned("PacketsReceivedPersec"),
                packetsSent: row.unsigned("PacketsSentPersec"),
                errors: self.sum(row, "PacketsReceivedErrors", "PacketsOutboundErrors"),
                dropped: self.sum(row, "PacketsReceivedDiscarded", "PacketsOutboundDiscarded"),
                bandwidth: row.unsigned("CurrentBandwidth"),
                timestamp: row.unsigned("Timestamp_PerfTime"),
                frequency: row.unsigned("Frequency_PerfTime")
            )
        }
        guard !interfaces.isEmpty else { throw self.empty("Win32_PerfRawData_Tcpip_NetworkInterface") }
        return NetworkReading(interfaces: interfaces)
    }

    /// Loopback, isatap and Teredo carry what other interfaces have counted already.
    static func isPseudoInterface(_ name: String) -> Bool {
        let lowered = name.lowercased().utf8
        return ["loopback", "isatap", "teredo"].contains { lowered.containsRun($0.utf8) }
    }

    /// Captions were seen with a space at their end.
    package static func trimmed(_ text: String) -> String {
        // Foundation takes as long for this as decoding the row does.
        guard text.first?.isWhitespace == true || text.last?.isWhitespace == true else { return text }
        return text.trimmingCharacters(in: .whitespaces)
    }

    private static func sum(_ row: some WMIInstance, _ first: String, _ second: String) -> UInt64? {
        CounterArithmetic.sum([row.unsigned(first), row.unsigned(second)]).map(UInt64.init)
    }

    private static func bytesOfKiB(_ value: UInt64) -> Int64 {
        Int64(clamping: value.multipliedReportingOverflow(by: 1024).overflow ? .max : value * 1024)
    }

    private static func empty(_ className: String) -> PollFailure {
        PollFailure(
            .countersMissing,
            "\(className) brought no usable instance; if it is a performance class, run `lodctr /R` on the host"
        )
    }
}

extension String.UTF8View {
    /// Whether these bytes stand in it side by side.
    fileprivate func containsRun(_ other: String.UTF8View) -> Bool {
        var rest = self[...]
        while rest.count >= other.count {
            if rest.starts(with: other) { return true }
            rest = rest.dropFirst()
        }
        return other.isEmpty
    }
}
