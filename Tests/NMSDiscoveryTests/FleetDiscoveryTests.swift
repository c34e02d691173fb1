import Foundation
import NIOCore
import NIOPosix
import NMSCollectors
import NMSCore
import Synchronization
import Testing
import WindowsSimulator

@testable import NMSDiscovery

/// A whole discovery of simulated hosts of every kind.
@Suite(.serialized, .timeLimit(.minutes(2))) struct FleetDiscoveryTests {
    private static let ports = [25_985, 25_986, 20_135, 20_445]
    private static let password = "Winsim-Passw0rd"
    private static let hosts = 16

    /// What each host of the fleet is, by index; those that are not named are plain Windows machines.
    private static let faults = """
        - {hosts: 127.77.0.4, fault: ports_closed, ports: "winrms, dcom"}
        - {hosts: 127.77.0.7, fault: ports_closed, ports: "winrm, winrms"}
        - {hosts: 127.77.0.10, fault: ports_closed, ports: "winrm, dcom"}
        - {hosts: 127.77.0.13, fault: ports_silent, ports: "winrm"}
        - {hosts: 127.77.0.16, fault: wrong_password}
        - {hosts: 127.77.0.19, fault: not_windows_http}
        - {hosts: 127.77.0.22, fault: ssh_banner}
        - {hosts: 127.77.0.25, fault: tar_pit}
        - {hosts: 127.77.0.28, fault: other_wsman}
        - {hosts: 127.77.0.31, fault: samba_only}
        - {hosts: 127.77.0.34, fault: ports_silent, ports: "winrm, winrms, dcom"}
        - {hosts: 127.77.0.37, fault: garbage}
        - {hosts: 127.77.0.40, fault: drop_mid_answer}
        """
    private static let windows: Set<Int> = [0, 1, 2, 3, 4, 5, 13, 14, 15]

    private static func fleet() throws -> WindowsSimulator {
        let base = try #require(IPv4("127.77.0.1"))
        let addresses = try #require(AddressRange(base: base, count: Self.hosts, step: 3))
        var configuration = SimulatorConfiguration(
            addresses: addresses,
            password: Self.password,
            fleet: HostProfile.Fleet(seed: 5)
        )
        configuration.httpPort = Self.ports[0]
        configuration.httpsPort = Self.ports[1]
        configuration.resolverPort = Self.ports[2]
        configuration.smbPort = Self.ports[3]
        configuration.truthPort = nil
        configuration.faults = Self.faults
        return try WindowsSimulator(configuration)
    }

    private static var configuration: DiscoveryConfiguration {
        var configuration = DiscoveryConfiguration(
            probeTimeout: .seconds(2),
            bannerTimeout: .milliseconds(300),
            reportInterval: .milliseconds(100)
        )
        configuration.services = [25_985: .http, 25_986: .https, 20_135: .resolver, 20_445: .hint]
        return configuration
    }

    private static func credentials() -> [DecryptedCredential] {
        let now = Date(timeIntervalSince1970: 0)
        func make(_ id: Int, _ type: CredentialType, port: Int, _ password: String) -> DecryptedCredential {
            var credential = Credential(
                id: id,
                name: "c\(id)",
                type: type,
                username: "Administrator",
                port: port,
                createdAt: now,
                updatedAt: now
            )
            credential.useSSL = port == 25_986
            credential.tlsVerify = .none
            return DecryptedCredential(credential: credential, password: Secret(password))
        }
        return [
            make(1, .winrmNTLM, port: 25_985, self.password), make(2, .winrmNTLM, port: 25_986, self.password),
            make(3, .wmi, port: 20_135, self.password),
        ]
    }

    private static func run(
        _ credentials: [DecryptedCredential],
        _ sink: MemorySink = MemorySink(),
        _ body: (WindowsSimulator, MemorySink, OpenGate, DiscoveryProgress) throws -> Void
    ) async throws {
        let fleet = try Self.fleet()
        try await fleet.start()
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let limits = WindowsCollectorLimits()
        let collectors: [any WindowsIdentifier] = [
            WinRMCollector(limits: limits, eventLoopGroup: group), WMICollector(limits: limits, eventLoopGroup: group),
        ]
        let gate = OpenGate()
        let runner = DiscoveryJobRunner(
            configuration: Self.configuration,
            eventLoopGroup: group,
            identifiers: collectors,
            gate: gate
        )
        let targets = try DiscoveryTargets(parsing: "127.77.0.0/26")
        let job = DiscoveryJob(targets: targets, ports: Self.ports, credentials: credentials)
        do {
            let progress = try await runner.run(job, sink: sink)
            try body(fleet, sink, gate, progress)
        } catch {
            await fleet.stop()
            throw error
        }
        await fleet.stop()
        try await group.shutdownGracefully()
    }

    @Test func findsExactlyTheWindowsMachinesWithoutACredential() async throws {
        try await Self.run([]) { fleet, sink, _, progress in
            let found = sink.hosts
            #expect(Set(found.keys) == Set(Self.windows.map { "127.77.0.\(1 + 3 * $0)" }))
            for index in Self.windows {
                let host = fleet.hosts[index]
                let seen = try #require(found["\(host.address)"])
                #expect(seen.hostname == host.profile.fullyQualifiedName)
                #expect(seen.build == "\(host.profile.release.build)")
                #expect(seen.domain == (host.profile.isDomainMember ? host.profile.domain : nil))
                #expect(seen.credentialID == nil && seen.trials.isEmpty)
                #expect(!seen.evidence.reasons.isEmpty)
                #expect(abs(seen.evidence.ntlm?.clockOffset ?? 99) < 5)
                #expect(try JSONEncoder().encode(seen.evidence).count < 4_096)
            }
            let https = try #require(found["127.77.0.10"])
            #expect(https.evidence.certificate?.issuer?.contains("winsim CA") == true)
            #expect(https.evidence.certificate?.names.contains("127.77.0.10") == true)
            #expect(try #require(found["127.77.0.7"]).evidence.resolver?.bindings.contains("127.77.0.7") == true)
            #expect(found["127.77.0.1"]?.evidence.wsman.first?.vendor == "Microsoft Corporation")
            #expect(progress.counts[.windows] == 9)
            // The web server, SSH and the other WS-Management server say so; tar pit, SMB and garbage say nothing.
            #expect(progress.counts[.notWindows] == 3)
            #expect(progress.counts[.unidentified] == 3)
            #expect(progress.counts[.silent] == 0)
            #expect(progress.counts[.closed] == 62 - 9 - 3 - 3)
            #expect(progress.scanned == 62 && progress.checkpoint.index == 62)
            #expect(fleet.hosts.allSatisfy { $0.activity.failedLogins == 0 })
        }
    }

    @Test func signsInToThoseThatItCan() async throws {
        try await Self.run(Self.credentials()) { fleet, sink, gate, _ in
            let found = sink.hosts
            #expect(found.count == 9)
            let opened: [Int: Int] = [0: 1, 1: 1, 2: 3, 3: 2, 4: 2, 14: 1, 15: 1]
            for (index, credential) in opened {
                let host = fleet.hosts[index]
                let seen = try #require(found["\(host.address)"])
                #expect(seen.credentialID == credential, "\(host.address): \(seen.trials)")
                #expect(seen.os == host.profile.release.caption)
                #expect(seen.hostname == host.profile.fullyQualifiedName)
                #expect(seen.domain == host.profile.domain)
                #expect(seen.osVersion?.hasSuffix(".\(host.profile.release.build)") == true)
            }
            let refused = try #require(found["127.77.0.16"])
            #expect(refused.credentialID == nil)
            #expect(refused.os == "Microsoft Windows \(refused.osVersion ?? "")")
            #expect(refused.trials.map(\.error) == [.authFailed, .authFailed, .authFailed])
            #expect(fleet.hosts[5].activity.failedLogins == 3)
            #expect(fleet.hosts.reduce(0) { $0 + $1.activity.failedLogins } == 3)
            #expect(gate.failures.withLock { $0 } == 3)
            #expect(fleet.hosts.allSatisfy { $0.activity.heldReferences == 0 && $0.activity.leakedReferences == 0 })
        }
    }

    @Test func aWrongCredentialIsRefusedByThreeHostsInAll() async throws {
        var wrong = Self.credentials()[0]
        wrong.password = Secret("wrong")
        try await Self.run([wrong]) { fleet, sink, _, _ in
            #expect(sink.hosts.count == 9)
            #expect(fleet.hosts.reduce(0) { $0 + $1.activity.failedLogins } == 3)
        }
    }

    @Test func aCancelledDiscoveryStopsDialling() async throws {
        let fleet = try Self.fleet()
        try await fleet.start()
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let sink = MemorySink()
        var configuration = Self.configuration
        configuration.rate = 40
        let runner = DiscoveryJobRunner(
            configuration: configuration,
            eventLoopGroup: group,
            identifiers: [],
            gate: OpenGate()
        )
        let targets = try DiscoveryTargets(parsing: "127.77.0.0/26")
        let task = Task { try await runner.run(DiscoveryJob(targets: targets, ports: Self.ports), sink: sink) }
        await sink.waitForHost()
        let cancelled = ContinuousClock.now
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(ContinuousClock.now - cancelled < .seconds(1))
        let last = try #require(sink.last)
        #expect(last.scanned < last.total)
        // From where it was stopped, the rest is found.
        configuration.rate = 10_000
        let again = DiscoveryJobRunner(
            configuration: configuration,
            eventLoopGroup: group,
            identifiers: [],
            gate: OpenGate()
        )
        let rest = DiscoveryJob(
            targets: targets,
            ports: Self.ports,
            resume: last.checkpoint,
            scanned: last.scanned
        )
        let progress = try await again.run(rest, sink: sink)
        #expect(progress.counts[.windows] == 9)
        #expect(progress.scanned == 62)
        #expect(sink.hosts.count == 9)
        #expect(sink.neverWentBack)
        await fleet.stop()
        try await group.shutdownGracefully()
    }
}

/// Keeps what is reported.
final class MemorySink: DiscoverySink {
    private struct State {
        var hosts: [String: DiscoveredHost] = [:]
        var progress: [DiscoveryProgress] = []
        var waiter: CheckedContinuation<Void, Never>?
    }

    private let state = Mutex(State())

    var hosts: [String: DiscoveredHost] { self.state.withLock { $0.hosts } }
    var last: DiscoveryProgress? { self.state.withLock { $0.progress.last } }
    var neverWentBack: Bool {
        self.state.withLock { state in
            zip(state.progress, state.progress.dropFirst()).allSatisfy {
                $0.scanned <= $1.scanned && $0.checkpoint.index <= $1.checkpoint.index
            }
        }
    }

    func store(hosts: [DiscoveredHost], progress: DiscoveryProgress) async throws {
        let waiter = self.state.withLock { state in
            for host in hosts { state.hosts[host.ip] = host }
            state.progress.append(progress)
            return state.hosts.isEmpty ? nil : state.waiter.take()
        }
        waiter?.resume()
    }

    func waitForHost() async {
        await withCheckedContinuation { continuation in
            let isThere = self.state.withLock { state in
                if state.hosts.isEmpty { state.waiter = continuation }
                return !state.hosts.isEmpty
            }
            if isThere { continuation.resume() }
        }
    }
}

/// Lets everybody in, and counts failures.
final class OpenGate: AddressAuthenticationGate {
    let failures = Mutex(0)

    func authenticate<Result: Sendable>(
        address: IPAddress,
        credentialID: Int,
        attempt: @Sendable () async throws -> Result
    ) async throws -> Result {
        do { return try await attempt() } catch let failure as PollFailure where failure.code == .authFailed {
            self.failures.withLock { $0 += 1 }
            throw failure
        }
    }

    func isSuspended(credentialID: Int) async throws -> Bool { false }
}
