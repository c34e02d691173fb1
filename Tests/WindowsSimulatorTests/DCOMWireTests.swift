import DCOM
import NIOCore
import NIOPosix
import Testing

@testable import WindowsSimulator

/// A fleet's DCOM over real connections, with the client of another room, with and without faults.
@Suite(.serialized)
struct DCOMWireTests {
    private static let disks = "SELECT DeviceID, DriveType, Size FROM Win32_LogicalDisk"
    private static let patience = Duration.seconds(20)

    private static func configuration() throws -> SimulatorConfiguration {
        let base = try #require(IPv4("127.98.0.1"))
        var configuration = SimulatorConfiguration(
            addresses: try #require(AddressRange(base: base, count: 4)),
            password: "Secret-1",
            fleet: HostProfile.Fleet(seed: 9)
        )
        configuration.httpPort = nil
        configuration.httpsPort = nil
        configuration.truthPort = nil
        configuration.resolverPort = 0
        return configuration
    }

    private static func withFleet(
        _ configuration: SimulatorConfiguration? = nil,
        faults: String? = nil,
        _ body: (WindowsSimulator) async throws -> Void
    ) async throws {
        var configuration = try configuration ?? Self.configuration()
        configuration.faults = faults
        let simulator = try WindowsSimulator(configuration)
        try await simulator.start()
        let outcome = await Result { try await body(simulator) }
        await simulator.stop()
        try outcome.get()
    }

    private static func connect(
        _ simulator: WindowsSimulator,
        host: Int = 0,
        limits: WMILimits = WMILimits()
    ) async throws -> WMIConnection {
        let endpoint = WMIEndpoint(
            address: "\(simulator.hosts[host].address)",
            port: try #require(simulator.resolverPort)
        )
        let connector = WMIConnector(group: MultiThreadedEventLoopGroup.singleton, limits: limits)
        return try await connector.connect(to: endpoint, deadline: .now + Self.patience)
    }

    private static func signIn(
        _ connection: WMIConnection,
        password: String = "Secret-1",
        deadline: ContinuousClock.Instant = .now + Self.patience
    ) async throws {
        let credential = WMICredential(username: "Administrator", password: password, domain: "WINSIM")
        try await connection.requestChallenge(for: credential, deadline: deadline)
        try await connection.authenticate(credential, deadline: deadline)
    }

    /// Connects, signs in, asks and closes; gives the rows.
    @discardableResult
    private static func poll(
        _ simulator: WindowsSimulator,
        host: Int = 0,
        query: String = Self.disks,
        password: String = "Secret-1",
        limits: WMILimits = WMILimits(),
        within: Duration = Self.patience
    ) async throws -> [WMIObject] {
        let connection = try await Self.connect(simulator, host: host, limits: limits)
        let deadline = ContinuousClock.now + within
        do {
            try await Self.signIn(connection, password: password, deadline: deadline)
            let rows = try await connection.query(query, namespace: "root/cimv2", deadline: deadline)
            await connection.close(deadline: .now + Self.patience)
            return rows
        } catch {
            await connection.close(deadline: .now + Self.patience)
            throw error
        }
    }

    private static func smart() -> WMILimits {
        var limits = WMILimits()
        limits.enumeration = .smart
        return limits
    }

    // MARK: Without faults

    @Test(arguments: [0, 3]) func everyRowComesAndNothingIsLeftBehind(host: Int) async throws {
        try await Self.withFleet { simulator in
            for limits in [WMILimits(), Self.smart()] {
                let rows = try await Self.poll(simulator, host: host, limits: limits)
                let disks = simulator.hosts[host].profile.disks
                #expect(rows.map { $0["DeviceID"]?.string } == disks.map(\.letter))
                #expect(rows.map { $0["DriveType"]?.uint64 } == disks.map { UInt64($0.kind.rawValue) })
                #expect(rows.map { $0["Size"]?.uint64 } == disks.map(\.size))
            }
            let activity = simulator.hosts[host].activity
            #expect(activity.leakedReferences == 0)
            #expect(activity.heldReferences == 0)
            #expect(activity.excessReleases == 0)
            #expect(activity.failedLogins == 0)
            // The resolver and the objects, each time.
            #expect(activity.authentications == 4)
            #expect(activity.queries == ["win32_logicaldisk": 2])
            #expect(activity.requests > 6)
        }
    }

    @Test func hostsHavePortsOfTheirOwnAndStepAsideFromOthers() async throws {
        var configuration = try Self.configuration()
        let group = MultiThreadedEventLoopGroup.singleton
        let occupant = try await ServerBootstrap(group: group).bind(host: "127.98.0.1", port: 0).get()
        configuration.firstDynamicPort = try #require(occupant.localAddress?.port)
        try await Self.withFleet(configuration) { simulator in
            let first = try #require(simulator.objectPort(of: simulator.hosts[0]))
            #expect(first > configuration.firstDynamicPort)
            #expect(simulator.objectPort(of: simulator.hosts[1]) != first)
            #expect(try await !Self.poll(simulator).isEmpty)
        }
        try await occupant.close()
    }

    @Test func oneListenerServesManyHosts() async throws {
        var configuration = try Self.configuration()
        configuration.maximumListeningAddresses = 1
        // Of nobody else: it listens on all addresses.
        configuration.firstDynamicPort = 52_431
        try await Self.withFleet(configuration) { simulator in
            for host in 0..<4 {
                let rows = try await Self.poll(simulator, host: host, query: "SELECT CSName FROM Win32_OperatingSystem")
                #expect(rows.map { $0["CSName"]?.string } == [simulator.hosts[host].profile.computerName])
            }
            let port = try #require(simulator.resolverPort)
            let connector = WMIConnector(group: MultiThreadedEventLoopGroup.singleton)
            await #expect(throws: WMIError.self) {
                let connection = try await connector.connect(
                    to: WMIEndpoint(address: "127.98.0.77", port: port),
                    deadline: .now + Self.patience
                )
                try await Self.signIn(connection)
            }
        }
    }

    @Test func aWrongPasswordIsOneFailedLogin() async throws {
        try await Self.withFleet { simulator in
            let error = await #expect(throws: WMIError.self) { try await Self.poll(simulator, password: "Secret-2") }
            #expect(error?.category == .authenticationFailed)
            #expect(simulator.hosts[0].activity.failedLogins == 1)
            #expect(simulator.hosts[0].activity.authentications == 0)
        }
    }

    @Test func whatIsUnknownHasItsCode() async throws {
        try await Self.withFleet { simulator in
            let connection = try await Self.connect(simulator)
            try await Self.signIn(connection)
            for (query, namespace, code) in [
                ("SELECT * FROM Win32_Nothing", "root/cimv2", HRESULT.wbemInvalidClass),
                ("SELECT Nothing FROM Win32_LogicalDisk", "root/cimv2", .wbemInvalidQuery),
                (Self.disks, "root/nothing", .wbemInvalidNamespace),
            ] {
                let error = await #expect(throws: WMIError.self) {
                    try await connection.query(query, namespace: namespace, deadline: .now + Self.patience)
                }
                #expect(error?.status == .result(code))
            }
            await connection.close(deadline: .now + Self.patience)
            #expect(simulator.hosts[0].activity.heldReferences == 0)
        }
    }

    // MARK: Faults

    /// Faults that a poll must survive.
    @Test(arguments: [
        "dcom_privacy_required", "hostname_bindings", "foreign_bindings", "small_fragments", "split_answers",
        "smart_enumerator_refused", "objects_reclaimed", "single_rows", "timed_out_first", "pings_denied",
        "single_interface", "tls_untrusted", "plain_refused", "basic_only",
    ])
    func harmless(fault: String) async throws {
        try await Self.withFleet(faults: "- {hosts: all, fault: \(fault)}") { simulator in
            for limits in [WMILimits(), Self.smart()] {
                let rows = try await Self.poll(simulator, limits: limits)
                #expect(rows.count == simulator.hosts[0].profile.disks.count)
            }
            #expect(simulator.hosts[0].activity.leakedReferences == 0)
            // It goes on with the others, too.
            #expect(try await !Self.poll(simulator, host: 1).isEmpty)
        }
    }

    struct Harm: Sendable {
        var fault: String
        var category: WMIError.Category
        var within = DCOMWireTests.patience
    }

    @Test(arguments: [
        Harm(fault: "refused", category: .connectionRefused),
        Harm(fault: "stalled_connection", category: .timeout, within: .seconds(1)),
        Harm(fault: "stalled_connection, at: query", category: .timeout, within: .seconds(1)),
        Harm(fault: "slow_query, class: all", category: .timeout, within: .seconds(1)),
        Harm(fault: "drop_mid_answer", category: .connectionReset),
        Harm(fault: "wrong_password", category: .authenticationFailed),
        Harm(fault: "access_denied", category: .accessDenied),
        Harm(fault: "quota", category: .quotaExceeded),
        Harm(fault: "missing_class, class: Win32_LogicalDisk", category: .missingClass),
        Harm(fault: "provider_failure", category: .queryFailed),
        Harm(fault: "oversized_answer", category: .responseTooLarge),
        Harm(fault: "garbage", category: .protocolError),
        Harm(fault: "activation_denied", category: .accessDenied),
        Harm(fault: "namespace_denied", category: .accessDenied),
        Harm(fault: "enumeration_error", category: .queryFailed),
        Harm(fault: "bad_signature", category: .protocolError),
        Harm(fault: "dynamic_port_closed", category: .connectionRefused),
    ])
    func harmful(harm: Harm) async throws {
        try await Self.withFleet { simulator in
            try simulator.setFaults("- {hosts: \"127.98.0.1\", fault: \(harm.fault)}")
            // Listeners follow within their interval.
            if harm.fault == "refused" { try await Task.sleep(for: .milliseconds(200)) }
            var limits = WMILimits()
            limits.upkeep.closeTimeout = .seconds(1)
            let error = await #expect(throws: WMIError.self) {
                try await Self.poll(simulator, limits: limits, within: harm.within)
            }
            #expect(error?.category == harm.category, "\(harm.fault): \(error.map { "\($0)" } ?? "none")")
            #expect(try await !Self.poll(simulator, host: 1).isEmpty)
        }
    }

    /// A kept connection that the host hangs up needs one more login, and leaves nothing behind.
    @Test func loginsEnd() async throws {
        try await Self.withFleet(faults: "- {hosts: all, fault: unauthorized_after, requests: 3}") { simulator in
            let connection = try await Self.connect(simulator)
            try await Self.signIn(connection)
            let rows = try await connection.query(Self.disks, namespace: "root/cimv2", deadline: .now + Self.patience)
            #expect(!rows.isEmpty)
            let error = await #expect(throws: WMIError.self) {
                try await connection.query(Self.disks, namespace: "root/cimv2", deadline: .now + Self.patience)
            }
            #expect(error?.suggestsReconnect == true)
            await connection.close(deadline: .now + Self.patience)
            #expect(simulator.hosts[0].activity.leakedReferences == 0)
            try simulator.setFaults("- {hosts: all, fault: unauthorized_after, requests: 3, refuse_logins: true}")
            _ = try await Self.poll(simulator, host: 1)
            await #expect(throws: WMIError.self) {
                let connection = try await Self.connect(simulator, host: 2)
                try await Self.signIn(connection)
                for _ in 0..<3 {
                    _ = try await connection.query(Self.disks, namespace: "root/cimv2", deadline: .now + Self.patience)
                }
            }
            let locked = await #expect(throws: WMIError.self) { try await Self.poll(simulator, host: 2) }
            #expect(locked?.category == .authenticationFailed)
        }
    }

    @Test func aBootEndsEverything() async throws {
        try await Self.withFleet { simulator in
            let connection = try await Self.connect(simulator)
            try await Self.signIn(connection)
            _ = try await connection.query(Self.disks, namespace: "root/cimv2", deadline: .now + Self.patience)
            try simulator.setFaults("- {hosts: all, fault: reboot}")
            await #expect(throws: WMIError.self) {
                while true {
                    _ = try await connection.query(Self.disks, namespace: "root/cimv2", deadline: .now + Self.patience)
                }
            }
            await connection.close(deadline: .now + Self.patience)
            #expect(try await !Self.poll(simulator).isEmpty)
        }
    }
}
