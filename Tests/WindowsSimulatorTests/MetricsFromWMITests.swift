import Testing

@testable import WindowsSimulator

/// Metrics that a collector would compute from WMI alone must be the truth that the endpoint tells.
struct MetricsFromWMITests {
    private static func snapshot(_ index: Int, _ seconds: Double) -> HostSnapshot {
        HostSnapshot(
            profile: HostModelTests.profile(index),
            time: HostModelTests.epoch.adding(seconds: seconds)
        )
    }

    /// Rows of a query as text by property; null is left out.
    private static func rows(_ query: String, _ host: HostSnapshot) throws -> [[String: CIMValue]] {
        let plan = try WMIPlan(query)
        return plan.instances(of: host).map { instance in
            var row: [String: CIMValue] = [:]
            for column in plan.columns {
                let property = plan.wmiClass.properties[column]
                row[property.name] = property.value(host, instance)
            }
            return row
        }
    }

    private static func number(_ row: [String: CIMValue]?, _ name: String) throws -> UInt64 {
        guard case .unsigned(let number)? = row?[name] else { throw Missing(name: name) }
        return number
    }

    private static func text(_ row: [String: CIMValue]?, _ name: String) throws -> String {
        guard case .string(let text)? = row?[name] else { throw Missing(name: name) }
        return text
    }

    private struct Missing: Error {
        let name: String
    }

    @Test(arguments: 0..<24) func gaugesAndIdentity(index: Int) throws {
        let host = Self.snapshot(index, 4_321)
        let truth = HostTruth(host)
        let system = try Self.rows("SELECT * FROM Win32_OperatingSystem", host).first
        let total = try Self.number(system, "TotalVisibleMemorySize") * 1_024
        #expect(total == truth.memoryTotalBytes)
        #expect(total - (try Self.number(system, "FreePhysicalMemory")) * 1_024 == truth.memoryUsedBytes)
        #expect(try Self.number(system, "NumberOfProcesses") == UInt64(truth.processCount))
        #expect(try Self.text(system, "Caption") == truth.os)
        let computer = try Self.rows("SELECT * FROM Win32_ComputerSystem", host).first
        let names = [try Self.text(computer, "DNSHostName"), try Self.text(computer, "Domain")]
        let isMember = host.profile.isDomainMember
        #expect((isMember ? names.joined(separator: ".") : names[0]) == truth.hostname)
        for (query, size) in [
            ("SELECT * FROM Win32_LogicalDisk WHERE DriveType=3", "Size"),
            ("SELECT * FROM Win32_Volume WHERE DriveType=3", "Capacity"),
        ] {
            let disks = try Self.rows(query, host)
            let sizes = try disks.map { try Self.number($0, size) }.reduce(0, +)
            let free = try disks.map { try Self.number($0, "FreeSpace") }.reduce(0, +)
            #expect(sizes == truth.diskTotalBytes)
            #expect(sizes - free == truth.diskUsedBytes)
        }
    }

    @Test(arguments: 0..<24) func ratesAndCounters(index: Int) throws {
        let (first, last) = (Self.snapshot(index, 1_000), Self.snapshot(index, 1_010))
        let truth = HostTruth(last, ratesSince: first.time)
        for query in [
            "SELECT * FROM Win32_PerfRawData_PerfOS_Processor WHERE Name='_Total'",
            "SELECT * FROM Win32_PerfRawData_Counters_ProcessorInformation WHERE Name='_Total'",
        ] {
            func difference(_ name: String) throws -> Double {
                let before = try Self.number(try Self.rows(query, first).first, name)
                return Double(try Self.number(try Self.rows(query, last).first, name) - before)
            }
            let idle = try difference("PercentProcessorTime")
            let cpu = try 100 * (1 - idle / difference("Timestamp_Sys100NS"))
            #expect(abs(cpu - truth.cpuUsagePercent) < 1e-3)
            #expect(abs(try difference("PercentUserTime") + difference("PercentPrivilegedTime") + idle - 1e8) < 10)
        }

        let query =
            "SELECT * FROM Win32_PerfRawData_Tcpip_NetworkInterface WHERE NOT Name LIKE '%loopback%' "
            + "AND NOT Name LIKE 'isatap%' AND NOT Name LIKE 'Teredo%'"
        let (before, after) = (try Self.rows(query, first), try Self.rows(query, last))
        func sum(_ rows: [[String: CIMValue]], _ name: String) throws -> UInt64 {
            try rows.map { try Self.number($0, name) }.reduce(0, +)
        }
        let ticks = try Self.number(after.first, "Timestamp_PerfTime") - Self.number(before.first, "Timestamp_PerfTime")
        let seconds = Double(ticks) / Double(try Self.number(after.first, "Frequency_PerfTime"))
        #expect(seconds == 10)
        let sent = Double(try sum(after, "BytesSentPersec") - sum(before, "BytesSentPersec")) / seconds
        let received = Double(try sum(after, "BytesReceivedPersec") - sum(before, "BytesReceivedPersec")) / seconds
        #expect(abs(sent - truth.bytesSentPerSec) < truth.bytesSentPerSec * 1e-4)
        #expect(abs(received - truth.bytesRecvPerSec) < truth.bytesRecvPerSec * 1e-4)
        let bandwidth = Double(try sum(after, "CurrentBandwidth"))
        #expect(abs(800 * max(sent, received) / bandwidth - (truth.utilizationPercent ?? -1)) < 1e-3)
        #expect(try sum(after, "PacketsSentPersec") == truth.packetsSent)
        #expect(try sum(after, "PacketsReceivedPersec") == truth.packetsRecv)
        let errors = try sum(after, "PacketsReceivedErrors") + sum(after, "PacketsOutboundErrors")
        #expect(errors == truth.errors)
        let dropped = try sum(after, "PacketsReceivedDiscarded") + sum(after, "PacketsOutboundDiscarded")
        #expect(dropped == truth.dropped)
    }
}
