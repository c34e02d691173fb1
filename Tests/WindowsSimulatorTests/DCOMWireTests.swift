import DCOM
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import WindowsSimulator

/// A fleet's DCOM over real connections, with the client of another room, with and without faults.
@Suite(.serialized, .timeLimit(.minutes(3)))
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
        clock: @escaping @Sendable () -> FileTime = { FileTime.now() },
        _ body: (WindowsSimulator) async throws -> Void
    ) async throws {
        var configuration = try configuration ?? Self.configuration()
        configuration.faults = faults
        let simulator = try WindowsSimulator(configuration, clock: clock)
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
        try await connection.openExporter(for: credential, deadline: deadline)
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

    @Test func whoMayNotHaveTheResolversPortIsToldWhatToDo() {
        let denied = IOError(errnoCode: EACCES, reason: "bind")
        let advice = FleetListener.advice(denied, port: 135, kind: .resolver)
        #expect(advice.contains("135 needs root") && advice.contains("--epm-port above 1023, or 0 for no DCOM"))
        #expect(!FleetListener.advice(denied, port: 80, kind: .http).contains("--epm-port"))
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
        "smart_enumerator_refused", "single_rows", "timed_out_first", "single_interface", "tls_untrusted",
        "plain_refused", "basic_only",
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

    /// A clock that stands still until it is stepped.
    private final class SteppedClock: Sendable {
        private let time = Mutex(FileTime.now())

        var now: FileTime { self.time.withLock { $0 } }

        func step(_ seconds: Double) { self.time.withLock { $0 = $0.adding(seconds: seconds) } }
    }

    /// A kept connection whose objects the host has taken back must be made anew, no more.
    @Test func reclaimedObjectsNeedANewConnection() async throws {
        let clock = SteppedClock()
        let faults = "- {hosts: all, fault: objects_reclaimed, age: 2s}"
        try await Self.withFleet(faults: faults, clock: { clock.now }) { simulator in
            let connection = try await Self.connect(simulator)
            try await Self.signIn(connection)
            let deadline = ContinuousClock.now + Self.patience
            clock.step(1)
            #expect(try await !connection.query(Self.disks, namespace: "root/cimv2", deadline: deadline).isEmpty)
            clock.step(2)
            let error = await #expect(throws: WMIError.self) {
                try await connection.query(Self.disks, namespace: "root/cimv2", deadline: deadline)
            }
            #expect(error?.suggestsReconnect == true)
            await connection.close(deadline: .now + Self.patience)
            #expect(try await !Self.poll(simulator).isEmpty)
            #expect(simulator.hosts[0].activity(at: clock.now).leakedReferences == 0)
        }
    }

    /// Where pings without a sign-in are denied, signed ones keep the objects.
    @Test func deniedPingsAreSigned() async throws {
        try await Self.withFleet(faults: "- {hosts: all, fault: pings_denied}") { simulator in
            var limits = WMILimits()
            limits.upkeep.firstPing = .milliseconds(20)
            let connection = try await Self.connect(simulator, limits: limits)
            try await Self.signIn(connection)
            // The host denies all others, so only a signed ping can make a set.
            let host = simulator.hosts[0]
            #expect(try await Self.waits { host.withExporter { $0.pingSetCount } == 1 })
            let deadline = ContinuousClock.now + Self.patience
            #expect(try await !connection.query(Self.disks, namespace: "root/cimv2", deadline: deadline).isEmpty)
            await connection.close(deadline: .now + Self.patience)
            #expect(host.activity.heldReferences == 0 && host.activity.leakedReferences == 0)
        }
    }

    /// Whether something becomes true in time.
    private static func waits(until isDone: () -> Bool) async throws -> Bool {
        let end = ContinuousClock.now + Self.patience
        while !isDone() {
            guard .now < end else { return false }
            try await Task.sleep(for: .milliseconds(5))
        }
        return true
    }

    /// The number of a client's first security context.
    private static let securityContext: UInt32 = 1

    /// How a client's connection can end without RemRelease and without a word, as the host's side sees it.
    enum AbruptEnd: String, CaseIterable, Sendable {
        case reset
        case noRPC
        case badSignature
        case outOfOrder
    }

    @Test(arguments: AbruptEnd.allCases) func abruptEndsLeak(end: AbruptEnd) async throws {
        try await Self.withFleet { simulator in
            let host = simulator.hosts[0]
            let connection = try await Self.connect(simulator)
            try await Self.signIn(connection)
            _ = try await connection.query(Self.disks, namespace: "root/cimv2", deadline: .now + Self.patience)
            let held = host.activity.heldReferences
            #expect(held > 0 && host.activity.leakedReferences == 0)
            let port = simulator.objectPort(of: host)
            let channel = try #require(host.openChannels.first { $0.localAddress?.port == port })
            switch end {
            case .reset:
                // As NIO tells of a client that closed with SO_LINGER 0.
                channel.pipeline.fireErrorCaught(IOError(errnoCode: ECONNRESET, reason: "read"))
            case .noRPC:
                channel.pipeline.fireChannelRead(ByteBuffer(string: "GET / HTTP/1.1\r\nHost: nobody\r\n\r\n"))
            case .badSignature:
                let request = RPCPDU(
                    .request(RPCRequest(contextID: 0, opnum: 5, stub: [])),
                    callID: 77,
                    verifier: RPCVerifier(
                        type: .ntlm,
                        level: .packetPrivacy,
                        contextID: Self.securityContext,
                        value: [UInt8](repeating: 1, count: 16)
                    )
                )
                channel.pipeline.fireChannelRead(ByteBuffer(bytes: request.encoded()))
            case .outOfOrder:
                let bind = RPCPDU(.bind(RPCBind(contexts: [])), callID: 77)
                channel.pipeline.fireChannelRead(ByteBuffer(bytes: bind.encoded()))
            }
            #expect(try await Self.waits { !channel.isActive && host.activity.leakedReferences > 0 })
            #expect(host.activity.leakedReferences == held)
            #expect(host.activity.heldReferences == 0)
            await connection.close(deadline: .now + .seconds(1))
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
            if harm.fault == "drop_mid_answer" {
                // The host's own cut leaves nothing behind, not even what was activated and never told.
                let later = FileTime.now().adding(seconds: 60)
                #expect(try await Self.waits { simulator.hosts[0].activity(at: later).heldReferences == 0 })
                #expect(simulator.hosts[0].activity(at: later).leakedReferences == 0)
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
                // Listeners follow within their interval.
                let end = ContinuousClock.now + Self.patience
                while .now < end {
                    _ = try await connection.query(Self.disks, namespace: "root/cimv2", deadline: .now + Self.patience)
                }
            }
            await connection.close(deadline: .now + Self.patience)
            #expect(try await !Self.poll(simulator).isEmpty)
        }
    }
}
