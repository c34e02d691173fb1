import Testing

@testable import DCOM

/// What our client makes of a third-party host's errors, one at each step.
@Suite(.serialized, .timeLimit(.minutes(3))) struct PythonHostFaultTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var fault: PythonHost.Fault
        var category: WMIError.Category
        /// Whether the same connection answers the next query.
        var survives = false

        var testDescription: String {
            let value = self.fault.value.map { " 0x" + String($0, radix: 16) } ?? ""
            let skipped = self.fault.skip.map { " after \($0)" } ?? ""
            return "\(self.fault.at)\(skipped): \(self.fault.do)\(value)\(self.fault.what.map { " " + $0 } ?? "")"
        }

        init(
            _ at: String,
            _ what: String,
            _ value: UInt32? = nil,
            spoil: String? = nil,
            skip: Int? = nil,
            gives category: WMIError.Category,
            survives: Bool = false
        ) {
            self.fault = PythonHost.Fault(at: at, do: what, value: value, what: spoil, skip: skip)
            self.category = category
            self.survives = survives
        }
    }

    /// The second bind is that of the object exporter.
    static let signingIn = [
        Case("bind", "close", gives: .connectionReset),
        Case("bind", "reset", gives: .connectionReset),
        Case("bind", "silence", gives: .timeout),
        Case("bind", "nak", 4, gives: .protocolError),
        Case("RemoteCreateInstance", "status", 0x8007_0005, gives: .accessDenied),
        Case("RemoteCreateInstance", "status", 0x8004_0154, gives: .queryFailed),
        Case("RemoteCreateInstance", "fault", 0x1C01_0003, gives: .protocolError),
        Case("RemoteCreateInstance", "close", gives: .connectionReset),
        Case("RemoteCreateInstance", "silence", gives: .timeout),
        Case("RemoteCreateInstance", "spoil", spoil: "signature", gives: .protocolError),
        Case("RemoteCreateInstance", "spoil", spoil: "sequence", gives: .protocolError),
        Case("RemoteCreateInstance", "spoil", spoil: "body", gives: .protocolError),
        Case("bind", "close", skip: 1, gives: .connectionReset),
        Case("bind", "silence", skip: 1, gives: .timeout),
    ]

    static let asking = [
        Case("NTLMLogin", "status", 0x8004_1003, gives: .accessDenied, survives: true),
        Case("NTLMLogin", "status", 0x8004_100E, gives: .queryFailed, survives: true),
        Case("NTLMLogin", "silence", gives: .timeout),
        Case("ExecQuery", "status", 0x8004_1010, gives: .missingClass, survives: true),
        Case("ExecQuery", "status", 0x8004_1017, gives: .queryFailed, survives: true),
        Case("ExecQuery", "status", 0x8004_106C, gives: .quotaExceeded, survives: true),
        Case("ExecQuery", "fault", 0x8001_0108, gives: .connectionReset),
        Case("ExecQuery", "close", gives: .connectionReset),
        Case("ExecQuery", "reset", gives: .connectionReset),
        Case("ExecQuery", "spoil", spoil: "signature", gives: .protocolError),
        Case("Next", "status", 0x8004_1032, gives: .queryFailed, survives: true),
        Case("Next", "status", 0x8004_1032, skip: 2, gives: .queryFailed, survives: true),
        Case("Next", "status", 0x8004_1033, skip: 1, gives: .connectionReset),
        Case("Next", "fault", 0x1C00_001B, skip: 1, gives: .quotaExceeded, survives: true),
        Case("Next", "close", skip: 1, gives: .connectionReset),
        Case("Next", "silence", skip: 1, gives: .timeout),
        Case("Next", "spoil", spoil: "signature", skip: 1, gives: .protocolError),
        Case("Next", "spoil", spoil: "sequence", skip: 1, gives: .protocolError),
        Case("Next", "spoil", spoil: "body", skip: 1, gives: .protocolError),
    ]

    @Test(arguments: Self.signingIn) func whileSigningIn(one: Case) async throws {
        var options = PythonHost.Options()
        options.faults = [one.fault]
        let summary = try await PythonHost.run(options) { host in
            let start = ContinuousClock.now
            let error = await PythonHostTests.failure {
                try await host.withConnection(signInDeadline: PythonHost.soon(2)) { _ in }
            }
            #expect(error?.category == one.category, "\(String(describing: error))")
            #expect(error?.countsAsFailedLogin == false)
            #expect(error?.suggestsReconnect == false)
            // Nothing outlives its deadline; closing has five seconds more.
            #expect(ContinuousClock.now - start < .seconds(8))
        }
        #expect(summary.oddities == [])
        #expect(summary.counts["failed_logins"] == nil)
    }

    @Test(arguments: Self.asking) func whileAsking(one: Case) async throws {
        let query = "SELECT * FROM Win32_PerfRawData_Tcpip_NetworkInterface"
        var options = PythonHost.Options()
        options.batch = 10
        options.faults = [one.fault]
        let summary = try await PythonHost.run(options) { host in
            try await host.withConnection { connection in
                let start = ContinuousClock.now
                let error = await PythonHostTests.failure {
                    try await connection.query(query, namespace: "root/cimv2", deadline: PythonHost.soon(2))
                }
                #expect(error?.category == one.category, "\(String(describing: error))")
                #expect(error?.countsAsFailedLogin == false)
                #expect(ContinuousClock.now - start < .seconds(4))
                #expect(connection.isOpen == one.survives)
                guard one.survives else { return }
                let rows = try await connection.query(query, namespace: "root/cimv2", deadline: PythonHost.soon())
                #expect(rows.count == 40)
            }
        }
        #expect(summary.oddities == [])
        if one.survives { #expect(summary.leaked.isEmpty, "\(summary.leaked)") }
    }

    /// A host that does not answer releases holds nobody up.
    @Test(arguments: ["silence", "close", "status", "fault"]) func releasingFails(how: String) async throws {
        var options = PythonHost.Options()
        let value: UInt32? = how == "status" || how == "fault" ? 0x8001_0108 : nil
        options.faults = [PythonHost.Fault(at: "RemRelease", do: how, value: value, always: true)]
        _ = try await PythonHost.run(options) { host in
            let start = ContinuousClock.now
            try await host.withConnection { connection in
                let query = "SELECT Domain FROM Win32_ComputerSystem"
                let rows = try await connection.query(query, namespace: "root/cimv2", deadline: PythonHost.soon())
                #expect(rows.count == 1)
            }
            #expect(ContinuousClock.now - start < .seconds(9))
        }
    }
}
