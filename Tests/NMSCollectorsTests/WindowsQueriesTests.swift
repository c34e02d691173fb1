import Foundation
import NMSCore
import Testing

@testable import NMSCollectors

/// An instance as a table of texts.
private struct Row: WMIInstance {
    var values: [String: String?]

    init(_ values: [String: String?]) { self.values = values }

    func string(_ property: String) -> String? {
        self.values.first { $0.key.lowercased() == property.lowercased() }?.value ?? nil
    }
    func unsigned(_ property: String) -> UInt64? { self.string(property).flatMap { UInt64($0) } }
    func boolean(_ property: String) -> Bool? { self.string(property).map { $0 == "TRUE" } }
    func dateTime(_ property: String) -> Date? { self.string(property).flatMap { RFC3339.date(from: $0) } }
}

@Suite struct WindowsQueriesTests {
    private func decode(_ group: CounterGroup, _ rows: [Row]) -> RawSample {
        var sample = RawSample()
        WindowsQueries.decode(group, rows: rows, into: &sample)
        return sample
    }

    @Test func system() throws {
        let sample = self.decode(
            .system,
            [
                Row([
                    "TotalVisibleMemorySize": "16777216", "FreePhysicalMemory": "8388608", "NumberOfProcesses": "142",
                    "Caption": "Microsoft Windows Server 2022 Standard ", "BuildNumber": "20348",
                    "LastBootUpTime": "2025-12-01T00:00:00Z",
                ])
            ]
        )
        let reading = try #require(try sample.system?.get())
        #expect(reading.memoryTotalBytes == 17_179_869_184)
        #expect(reading.memoryFreeBytes == 8_589_934_592)
        #expect(reading.processCount == 142)
        #expect(reading.bootTime == RFC3339.date(from: "2025-12-01T00:00:00Z"))
        #expect(sample.identity.os == "Microsoft Windows Server 2022 Standard")
        #expect(sample.identity.build == "20348")
    }

    @Test func disksWithoutSizeAreSkipped() throws {
        let sample = self.decode(
            .disk,
            [
                Row(["DeviceID": "C:", "Size": "1000", "FreeSpace": "400"]),
                Row(["DeviceID": "D:", "Size": nil, "FreeSpace": nil]),
                Row(["DeviceID": "E:", "Size": "0", "FreeSpace": "0"]),
                Row(["DeviceID": "F:", "Size": "500", "FreeSpace": "100"]),
            ]
        )
        #expect(try sample.disk?.get() == DiskReading(totalBytes: 1500, freeBytes: 500))
    }

    @Test func onlyTheTotalProcessorCounts() throws {
        let sample = self.decode(
            .processor,
            [
                Row(["Name": "0", "PercentProcessorTime": "1", "Timestamp_Sys100NS": "2"]),
                Row(["Name": "_Total", "PercentProcessorTime": "3", "Timestamp_Sys100NS": "4"]),
            ]
        )
        #expect(try sample.processor?.get() == ProcessorReading(idle100ns: 3, timestamp100ns: 4))
    }

    @Test func pseudoInterfacesAreLeftOutAndNamesCompareWithoutCase() throws {
        let sample = self.decode(
            .network,
            [
                Row(["Name": "MS TCP Loopback interface", "BytesSentPersec": "9"]),
                Row(["Name": "isatap.{E2A1F2A5}", "BytesSentPersec": "9", "CurrentBandwidth": "100000"]),
                Row(["Name": "Teredo Tunneling Pseudo-Interface", "BytesSentPersec": "9"]),
                Row([
                    "Name": "Intel[R] 82574L", "BytesSentPerSec": "11", "BytesReceivedPerSec": "12",
                    "PacketsReceivedErrors": "1", "PacketsOutboundErrors": "2", "PacketsReceivedDiscarded": "3",
                    "PacketsOutboundDiscarded": nil,
                ]),
            ]
        )
        let interfaces = try #require(try sample.network?.get()).interfaces
        #expect(interfaces.map(\.name) == ["Intel[R] 82574L"])
        #expect(interfaces[0].bytesSent == 11 && interfaces[0].bytesReceived == 12)
        #expect(interfaces[0].errors == 3 && interfaces[0].dropped == 3)
        #expect(interfaces[0].bandwidth == nil)
    }

    @Test(arguments: CounterGroup.allCases)
    func emptyIsNeverHealthy(group: CounterGroup) {
        let sample = self.decode(group, [])
        #expect(sample.failures.map(\.group) == [group])
        #expect(sample.failures.first?.failure.code == .countersMissing)
    }

    @Test func hostnames() {
        let member = Row(["DNSHostName": "srv1", "Domain": "corp.example", "PartOfDomain": "TRUE"])
        #expect(WindowsQueries.hostname([member]) == "srv1.corp.example")
        let alone = Row(["DNSHostName": "WIN-1", "Domain": "WORKGROUP", "PartOfDomain": "FALSE"])
        #expect(WindowsQueries.hostname([alone]) == "WIN-1")
        #expect(WindowsQueries.hostname([Row]()) == nil)
    }
}
