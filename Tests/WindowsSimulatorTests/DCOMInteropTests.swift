import Foundation
import Testing

@testable import WindowsSimulator

/// impacket and aiowmi against a fleet in this process: what they read over DCOM must be what the model says.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct DCOMInteropTests {
    private static let password = "S3cret-of-the-fleet"

    /// A client and how it is to work.
    struct Way: Sendable, CustomTestStringConvertible {
        var script = "dcom_impacket.py"
        var level = "privacy"
        /// Rows a call; impacket's own tools ask for one.
        var batch = 1
        /// aiowmi's use of the smart enumerator.
        var optimize = true
        var fault: String?

        var isImpacket: Bool { self.script == "dcom_impacket.py" }

        var testDescription: String {
            let how = self.isImpacket ? "\(self.level), \(self.batch) rows a call" : "smart \(self.optimize)"
            return "\(self.script): \(how)\(self.fault.map { ", \($0)" } ?? "")"
        }
    }

    static let ways = [
        Way(),
        Way(level: "integrity", batch: 20),
        Way(batch: 20, fault: "small_fragments, bytes: 1432"),
        Way(level: "integrity", fault: "split_answers, bytes: 64"),
        Way(script: "dcom_aiowmi.py"),
        Way(script: "dcom_aiowmi.py", optimize: false),
        Way(script: "dcom_aiowmi.py", optimize: false, fault: "smart_enumerator_refused"),
        Way(script: "dcom_aiowmi.py", fault: "split_answers, bytes: 64"),
    ]

    private struct Job: Encodable {
        var address: String
        var port: Int
        var username = "Administrator"
        var password = DCOMInteropTests.password
        var domain = "WINSIM"
        var level: String
        var namespace: String
        var batch: Int
        var optimize: Bool
        var ignore_defaults = true
        var queries: [String: String]
    }

    private struct Outcome: Decodable {
        struct Problem: Decodable {
            var type: String
            var text: String
        }

        var rows: [String: [[String: Printed]]]?
        var error: Problem?
    }

    /// A property's value as the scripts print it.
    private enum Printed: Decodable, Equatable {
        case null
        case boolean(Bool)
        case text(String)
        case unsigned(UInt64)
        case signed(Int64)
        case array([Printed])

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if container.decodeNil() {
                self = .null
            } else if let value = try? container.decode(Bool.self) {
                self = .boolean(value)
            } else if let value = try? container.decode(String.self) {
                self = .text(value)
            } else if let value = try? container.decode(UInt64.self) {
                self = .unsigned(value)
            } else if let value = try? container.decode(Int64.self) {
                self = .signed(value)
            } else {
                self = .array(try container.decode([Printed].self))
            }
        }

        var number: UInt64? {
            if case .unsigned(let value) = self { value } else { nil }
        }
    }

    // MARK: - Rows

    @Test(arguments: Self.ways) func everyClassIsReadAsItIs(way: Way) async throws {
        try await Self.withFleet(fault: way.fault) { simulator in
            for host in simulator.hosts where Self.understands(way, host) {
                let before = HostSnapshot(profile: host.profile, time: .now())
                let outcome = try await Self.run(way, simulator, host, queries: Self.allClasses)
                let after = HostSnapshot(profile: host.profile, time: .now())
                #expect(outcome.error == nil, "\(String(describing: outcome.error))")
                for wmiClass in WMIRepository.classes {
                    let found = try #require(outcome.rows?[wmiClass.name], "\(wmiClass.name)")
                    Self.compare(found, wmiClass, before, after, zerosAreNull: !way.isImpacket)
                }
                #expect(host.activity.failedLogins == 0)
                #expect(host.activity.excessReleases == 0)
            }
        }
    }

    /// The poll's own queries, in the terms of the truth endpoint.
    @Test(arguments: [Way(batch: 50), Way(script: "dcom_aiowmi.py")]) func pollsReadTheTruth(way: Way) async throws {
        try await Self.withFleet { simulator in
            for host in simulator.hosts where Self.understands(way, host) {
                let outcome = try await Self.run(way, simulator, host, queries: Self.poll)
                let truth = simulator.truth(of: host)
                let rows = try #require(outcome.rows)
                let system = try #require(rows["system"]?.first)
                let total = try #require(system["TotalVisibleMemorySize"]?.number)
                let free = try #require(system["FreePhysicalMemory"]?.number)
                #expect(total * 1024 == truth.memoryTotalBytes)
                #expect((total - free) * 1024 == truth.memoryUsedBytes)
                #expect(system["NumberOfProcesses"] == .unsigned(UInt64(truth.processCount)))
                #expect(system["Caption"] == .text(truth.os))
                let disks = try #require(rows["disk"])
                let sizes = disks.compactMap { $0["Size"]?.number }.reduce(0, +)
                let space = disks.compactMap { $0["FreeSpace"]?.number }.reduce(0, +)
                #expect(sizes == truth.diskTotalBytes)
                #expect(sizes - space == truth.diskUsedBytes)
                let processors = try #require(rows["processor"])
                #expect(processors.map { $0["Name"] } == [.text("_Total")])
                let adapters = try #require(rows["network"]).filter { adapter in
                    guard case .text(let name) = adapter["Name"] else { return false }
                    return !["isatap", "teredo", "loopback"].contains { name.lowercased().contains($0) }
                }
                // Packets go on; the truth is asked for a moment later.
                let received = adapters.compactMap { $0["PacketsReceivedPersec"]?.number }.reduce(0, +)
                #expect(received <= truth.packetsRecv)
                #expect(Double(received) > 0.999 * Double(truth.packetsRecv))
                let computer = try #require(rows["computer"]?.first)
                guard case .text(let name) = computer["DNSHostName"] else {
                    Issue.record("\(computer)")
                    continue
                }
                #expect(truth.hostname == name || truth.hostname.hasPrefix(name + "."))
                #expect(computer["PartOfDomain"] == .boolean(truth.hostname != name))
                #expect(host.activity.queries.count == 5)
            }
        }
    }

    private static func compare(
        _ found: [[String: Printed]],
        _ wmiClass: WMIClass,
        _ before: HostSnapshot,
        _ after: HostSnapshot,
        zerosAreNull: Bool
    ) {
        #expect(found.count == wmiClass.instanceCount(before), "\(wmiClass.name)")
        for (number, row) in found.enumerated() {
            let properties = wmiClass.properties.filter { !$0.isArray }
            #expect(Set(row.keys) == Set(properties.map(\.name)), "\(wmiClass.name)")
            for property in properties {
                guard let value = row[property.name] else { continue }
                let (low, high) = (property.value(before, number), property.value(after, number))
                #expect(
                    Self.lies(value, between: low, and: high, zerosAreNull: zerosAreNull),
                    "\(wmiClass.name).\(property.name)[\(number)]: \(value), but \(low) to \(high)"
                )
            }
        }
    }

    /// Numbers and times may move while the script runs; everything else must be equal.
    private static func lies(
        _ value: Printed,
        between low: CIMValue,
        and high: CIMValue,
        zerosAreNull: Bool
    ) -> Bool {
        switch (value, low, high) {
        case (.null, _, _):
            // aiowmi cannot tell zeros from NULL, neither of them all ones in 32 bits.
            low == .null || low == .unsigned(UInt64(UInt32.max))
                || zerosAreNull && [.unsigned(0), .signed(0), .boolean(false)].contains(low)
        case (.text(let text), .string(let expected), _): text == expected
        case (.boolean(let value), .boolean(let expected), _): value == expected
        case (.signed(let value), .signed(let expected), _): value == expected
        case (.unsigned(let value), .signed(let expected), _): Int64(exactly: value) == expected
        case (.unsigned(let value), .unsigned(let low), .unsigned(let high)):
            (min(low, high)...max(low, high)).contains(value)
        case (.text(let text), .datetime(let low, let offset), .datetime(let high, _)):
            // Texts of one offset, in the order of the instants; Windows tells microseconds.
            text >= TimeText.cimDateTime(low, offsetMinutes: offset)
                && text <= TimeText.cimDateTime(high, offsetMinutes: offset)
        default: false
        }
    }

    // MARK: - Refusals

    @Test(arguments: [
        (Way(), "rpc_s_access_denied"),
        // aiowmi does not look at the status of a fault.
        (Way(script: "dcom_aiowmi.py"), "RPC_S_SEC_PKG_ERROR; Please verify credentials and time/date sync (1825)"),
    ])
    func wrongPasswords(way: Way, message: String) async throws {
        try await Self.withFleet { simulator in
            let host = simulator.hosts[0]
            let outcome = try await Self.run(way, simulator, host, password: "wrong", queries: Self.poll)
            #expect(outcome.rows == nil)
            #expect(outcome.error?.text == message)
            #expect(host.activity.failedLogins == 1)
            #expect(host.activity.authentications == 0)
        }
    }

    @Test(arguments: [
        ("root/none", nil, "WBEM_E_INVALID_NAMESPACE"),
        ("root/cimv2", "namespace_denied", "WBEM_E_ACCESS_DENIED"),
    ])
    func namespaces(namespace: String, fault: String?, name: String) async throws {
        try await Self.withFleet(fault: fault) { simulator in
            for way in [Way(), Way(script: "dcom_aiowmi.py")] {
                let outcome = try await Self.run(
                    way,
                    simulator,
                    simulator.hosts[0],
                    namespace: way.isImpacket ? "//./" + namespace : namespace,
                    queries: Self.poll
                )
                #expect(outcome.error?.text.contains(name) == true, "\(String(describing: outcome.error))")
            }
        }
    }

    @Test(arguments: [
        ("SELECT * FROM Win32_Nothing", "WBEM_E_INVALID_CLASS"), ("SELECT FROM", "WBEM_E_INVALID_QUERY"),
    ])
    func queries(text: String, name: String) async throws {
        try await Self.withFleet { simulator in
            for way in [Way(), Way(script: "dcom_aiowmi.py", optimize: false)] {
                let outcome = try await Self.run(way, simulator, simulator.hosts[0], queries: ["q": text])
                #expect(outcome.error?.text.contains(name) == true, "\(String(describing: outcome.error))")
            }
        }
    }

    /// Hosts since KB5004442 take activation at packet integrity; some namespaces and this fault want privacy.
    @Test func privacyRequired() async throws {
        try await Self.withFleet(fault: "dcom_privacy_required") { simulator in
            let host = simulator.hosts[0]
            let signed = try await Self.run(Way(level: "integrity"), simulator, host, queries: Self.poll)
            #expect(signed.error?.text.contains("access_denied") == true, "\(String(describing: signed.error))")
        }
    }

    // MARK: - Hanging

    /// Scripts that wait for ever end with their task, long before their own alarm.
    @Test(.timeLimit(.minutes(1)), arguments: [Way(), Way(script: "dcom_aiowmi.py")])
    func cancelledScriptsEnd(way: Way) async throws {
        try await Self.withFleet(fault: "stalled_connection") { simulator in
            let host = simulator.hosts[0]
            let task = Task { try await Self.run(way, simulator, host, queries: Self.poll) }
            while host.activity.openConnections == 0 { try await Task.sleep(for: .milliseconds(10)) }
            let start = ContinuousClock.now
            task.cancel()
            await #expect(throws: CancellationError.self) { try await task.value }
            #expect(ContinuousClock.now - start < .seconds(20))
        }
    }

    // MARK: - Running

    private static let allClasses = Dictionary(
        uniqueKeysWithValues: WMIRepository.classes.map { wmiClass in
            let names = wmiClass.properties.filter { !$0.isArray }.map(\.name).joined(separator: ", ")
            return (wmiClass.name, "SELECT \(names) FROM \(wmiClass.name)")
        }
    )

    /// Those of NMSCollectors/WindowsQueries.swift.
    private static let poll = [
        "system":
            "SELECT TotalVisibleMemorySize, FreePhysicalMemory, NumberOfProcesses, Caption, Version, BuildNumber, "
            + "LastBootUpTime, LocalDateTime FROM Win32_OperatingSystem",
        "disk": "SELECT DeviceID, Size, FreeSpace FROM Win32_LogicalDisk WHERE DriveType=3",
        "processor": "SELECT Name, PercentProcessorTime, Timestamp_Sys100NS FROM Win32_PerfRawData_PerfOS_Processor "
            + "WHERE Name='_Total'",
        "network": "SELECT Name, BytesReceivedPersec, BytesSentPersec, PacketsReceivedPersec, PacketsSentPersec, "
            + "PacketsReceivedErrors, PacketsOutboundErrors, PacketsReceivedDiscarded, PacketsOutboundDiscarded, "
            + "CurrentBandwidth, Timestamp_PerfTime, Frequency_PerfTime FROM Win32_PerfRawData_Tcpip_NetworkInterface",
        "computer": "SELECT DNSHostName, Domain, PartOfDomain FROM Win32_ComputerSystem",
    ]

    private static func withFleet(fault: String? = nil, _ body: (WindowsSimulator) async throws -> Void) async throws {
        let base = try #require(IPv4("127.98.1.1"))
        // Every way of encoding is among these, and each bit of the host's index that chooses one.
        var configuration = SimulatorConfiguration(
            addresses: try #require(AddressRange(base: base, count: 7)),
            password: Self.password,
            fleet: HostProfile.Fleet(seed: 42, isStatic: true)
        )
        configuration.httpPort = nil
        configuration.httpsPort = nil
        configuration.truthPort = nil
        configuration.resolverPort = 0
        configuration.faults = fault.map { "- {hosts: \"127.98.1.1-127.98.1.7\", fault: \($0)}\n" }
        let simulator = try WindowsSimulator(configuration)
        try await simulator.start()
        let outcome = await Result { try await body(simulator) }
        await simulator.stop()
        try outcome.get()
    }

    /// Neither client understands instances that inherit defaults of their classes, and aiowmi cuts off strings in
    /// UTF-16, which the seventh host has.
    private static func understands(_ way: Way, _ host: SimulatedHost) -> Bool {
        !host.quirks.classes.inheritsDefaults && (way.isImpacket || host.index != 6)
    }

    private static func run(
        _ way: Way,
        _ simulator: WindowsSimulator,
        _ host: SimulatedHost,
        password: String = Self.password,
        namespace: String? = nil,
        queries: [String: String]
    ) async throws -> Outcome {
        var job = Job(
            address: "\(host.address)",
            port: try #require(simulator.resolverPort),
            level: way.level,
            namespace: namespace ?? (way.isImpacket ? "//./root/cimv2" : "root/cimv2"),
            batch: way.batch,
            optimize: way.optimize,
            queries: queries
        )
        job.password = password
        return try await Python.run(way.script, job)
    }
}
