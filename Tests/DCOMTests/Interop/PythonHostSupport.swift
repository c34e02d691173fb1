import NIOCore
import NIOPosix
import Testing

@testable import DCOM

extension PythonHost {
    /// What a poll asks, and classes that hold what polls do not.
    static let queries = [
        "SELECT TotalVisibleMemorySize, FreePhysicalMemory, NumberOfProcesses, Caption, Version, BuildNumber, "
            + "LastBootUpTime, LocalDateTime FROM Win32_OperatingSystem",
        "SELECT DeviceID, Size, FreeSpace FROM Win32_LogicalDisk WHERE DriveType=3",
        "SELECT Name, PercentProcessorTime, Timestamp_Sys100NS FROM Win32_PerfRawData_PerfOS_Processor "
            + "WHERE Name='_Total'",
        "SELECT * FROM Win32_PerfRawData_Tcpip_NetworkInterface",
        "SELECT DNSHostName, Domain, PartOfDomain FROM Win32_ComputerSystem",
        "SELECT * FROM NMS_Everything",
        "SELECT * FROM NMS_Nulls",
        "SELECT * FROM NMS_Nothing",
    ]

    static var credential: WMICredential {
        WMICredential(username: Self.account.user, password: Self.account.password, domain: Self.account.domain)
    }

    static func soon(_ seconds: Int = 20) -> ContinuousClock.Instant { .now + .seconds(seconds) }

    /// A connection that is signed in; closed, so that everything is released, before this returns or throws.
    func withConnection<Result: Sendable>(
        limits: WMILimits = WMILimits(),
        credential: WMICredential = Self.credential,
        signInDeadline: ContinuousClock.Instant = Self.soon(),
        body: (WMIConnection) async throws -> Result
    ) async throws -> Result {
        let connector = WMIConnector(group: MultiThreadedEventLoopGroup.singleton, limits: limits)
        let endpoint = WMIEndpoint(address: "127.0.0.1", port: self.port)
        let connection = try await connector.connect(to: endpoint, deadline: Self.soon())
        do {
            try await connection.requestChallenge(for: credential, deadline: signInDeadline)
            try await connection.authenticate(credential, deadline: signInDeadline)
            try await connection.openExporter(for: credential, deadline: signInDeadline)
            let result = try await body(connection)
            await connection.close(deadline: Self.soon(5))
            return result
        } catch {
            await connection.close(deadline: Self.soon(5))
            throw error
        }
    }

    /// Rows by query.
    static func poll(_ connection: WMIConnection) async throws -> [String: [WMIObject]] {
        var rows: [String: [WMIObject]] = [:]
        for query in Self.queries {
            rows[query] = try await connection.query(query, namespace: "root/cimv2", deadline: Self.soon())
        }
        return rows
    }
}

extension PythonHost.Summary {
    /// Holds rows against what the host has.
    func compare(_ rows: [String: [WMIObject]]) throws {
        for (query, found) in rows {
            let className = try #require(query.components(after: " FROM "))
            let expected = try #require(self.truth[className])
            #expect(found.count == expected.count, "\(className)")
            for (row, truth) in zip(found, expected) {
                #expect(row.className == className)
                for property in row.properties {
                    guard property.name != "C_object" else { continue }
                    let value = try #require(truth[property.name], "\(className).\(property.name)")
                    #expect(
                        value.isSame(as: row[property.name]),
                        "\(className).\(property.name): \(String(describing: row[property.name])), but \(value)"
                    )
                }
                if query.contains("*") { #expect(row.properties.count >= truth.count, "\(className)") }
            }
        }
    }

    /// Nothing that a careful client would not do, and nothing left behind.
    func expectClean() {
        #expect(self.oddities == [])
        #expect(self.refusals == [])
        #expect(self.leaked.isEmpty, "\(self.leaked)")
    }
}

extension String {
    /// The word behind a separator.
    fileprivate func components(after separator: String) -> String? {
        guard let range = self.firstRange(of: separator) else { return nil }
        return self[range.upperBound...].split(separator: " ").first.map(String.init)
    }
}

extension PythonHost {
    func identify() async throws -> WMIHostIdentity {
        try await WMIConnector(group: MultiThreadedEventLoopGroup.singleton)
            .identify(WMIEndpoint(address: "127.0.0.1", port: self.port), deadline: Self.soon())
    }
}
