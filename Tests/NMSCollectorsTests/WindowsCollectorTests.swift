import Foundation
import NIOPosix
import NMSCore
import Synchronization
import Testing
import WindowsSimulator

@testable import NMSCollectors

/// Lets every sign-in through and counts them.
private final class OpenGate: AuthenticationGate, Sendable {
    let signIns = Mutex(0)
    private let durations = Mutex<[Duration]>([])

    var longest: Duration { self.durations.withLock { $0.max() ?? .zero } }

    func authenticate<Result: Sendable>(
        deviceID: Int,
        credentialID: Int,
        attempt: @Sendable () async throws -> Result
    ) async throws -> Result {
        self.signIns.withLock { $0 += 1 }
        let start = ContinuousClock.now
        defer { self.durations.withLock { $0.append(.now - start) } }
        return try await attempt()
    }
}

/// The hosts' clock; it stands still until it is stepped.
private final class SteppedClock: Sendable {
    private let time = Mutex(FileTime.now())

    var now: FileTime { self.time.withLock { $0 } }

    func step(_ seconds: Double) { self.time.withLock { $0 = $0.adding(seconds: seconds) } }
}

/// The contract of collectors, held against simulated hosts over real sockets.
@Suite(.serialized, .timeLimit(.minutes(2))) struct WindowsCollectorTests {
    private static let password = "c0llector-Test"

    private struct Setting {
        let simulator: WindowsSimulator
        let collectors: CollectorRegistry
        let budget: IdleConnectionBudget
        let gate = OpenGate()

        func target(
            _ type: CredentialType,
            host: Int = 0,
            password: String = WindowsCollectorTests.password,
            deadline: Duration = .seconds(20)
        ) -> CollectorTarget {
            let credential = Credential(
                id: 1,
                name: "c",
                type: type,
                username: "monitor",
                port: type == .wmi ? self.simulator.resolverPort! : self.simulator.httpPort!,
                createdAt: Date(timeIntervalSince1970: 0),
                updatedAt: Date(timeIntervalSince1970: 0)
            )
            return CollectorTarget(
                deviceID: host + 1,
                address: IPAddress(self.simulator.hosts[host].address.description)!,
                hostname: nil,
                credential: DecryptedCredential(credential: credential, password: Secret(password)),
                deadline: .now + deadline,
                gate: self.gate
            )
        }

        func collector(_ type: CredentialType) throws -> any WindowsCollector {
            try #require(try self.collectors.collector(for: type) as? any WindowsCollector)
        }

        func sample(_ target: CollectorTarget) async throws -> RawSample {
            let collector = try self.collectors.collector(for: target.credential.credential.type)
            return try await collector.sample(target, groups: Set(CounterGroup.allCases))
        }

        var signIns: Int { self.gate.signIns.withLock { $0 } }

        func shutDown() async {
            for collector in self.collectors.all { await collector.shutDown() }
        }
    }

    private func with(
        faults: String = "[]",
        hosts: Int = 3,
        idleConnections: Int = 100,
        clock: @escaping @Sendable () -> FileTime = { FileTime.now() },
        _ body: (Setting) async throws -> Void
    ) async throws {
        let base = try #require(IPv4("127.90.0.1"))
        var configuration = SimulatorConfiguration(
            addresses: try #require(AddressRange(base: base, count: hosts)),
            password: Self.password,
            fleet: HostProfile.Fleet(seed: 3, isStatic: true)
        )
        configuration.user = "monitor"
        configuration.httpPort = 0
        configuration.httpsPort = nil
        configuration.resolverPort = 0
        configuration.truthPort = nil
        configuration.faults = faults
        let simulator = try WindowsSimulator(configuration, clock: clock)
        try await simulator.start()
        var limits = WindowsCollectorLimits()
        limits.idleConnections = IdleConnectionBudget(limit: idleConnections)
        limits.queryTimeout = .seconds(10)
        let group = MultiThreadedEventLoopGroup.singleton
        let setting = Setting(
            simulator: simulator,
            collectors: CollectorRegistry([
                WinRMCollector(limits: limits, eventLoopGroup: group),
                WMICollector(limits: limits, eventLoopGroup: group),
            ]),
            budget: limits.idleConnections
        )
        do { try await body(setting) } catch {
            await setting.shutDown()
            await simulator.stop()
            throw error
        }
        await setting.shutDown()
        await simulator.stop()
    }

    @Test(arguments: [CredentialType.winrmNTLM, .wmi])
    func keepsTheContractOfCollectors(type: CredentialType) async throws {
        try await self.with { setting in
            let collector = try setting.collectors.collector(for: type)
            try await CollectorContract.check(collector) { setting.target(type, deadline: $0) }
        }
    }

    @Test(arguments: [CredentialType.winrmNTLM, .wmi])
    func readsEveryGroupOverOneSession(type: CredentialType) async throws {
        try await self.with { setting in
            let host = setting.simulator.hosts[0]
            let first = try await setting.sample(setting.target(type))
            let second = try await setting.sample(setting.target(type))
            let truth = setting.simulator.truth(of: host)
            let system = try #require(try second.system?.get())
            #expect(system.memoryTotalBytes == Int64(truth.memoryTotalBytes))
            #expect(system.memoryTotalBytes! - system.memoryFreeBytes! == Int64(truth.memoryUsedBytes))
            #expect(system.processCount == Int(truth.processCount))
            let disk = try #require(try second.disk?.get())
            #expect(disk.totalBytes == Int64(truth.diskTotalBytes))
            #expect(disk.totalBytes - disk.freeBytes == Int64(truth.diskUsedBytes))
            #expect(second.failures.isEmpty)
            #expect(second.identity.os == truth.os && second.identity.hostname == truth.hostname)
            let cpu = CounterArithmetic.cpuUsagePercent(
                from: try #require(try first.processor?.get()),
                to: try #require(try second.processor?.get())
            )
            #expect(abs(try #require(cpu) - truth.cpuUsagePercent) < 0.5)
            #expect(setting.signIns == 1)
            #expect(try setting.collector(type).idleConnections == 1)
        }
    }

    /// What does not move between two moments is the same whatever the protocol; every kind of host.
    @Test func bothProtocolsTellTheSame() async throws {
        try await self.with(hosts: 24) { setting in
            for host in 0..<24 {
                let winrm = try await setting.sample(setting.target(.winrmNTLM, host: host))
                let wmi = try await setting.sample(setting.target(.wmi, host: host))
                #expect(winrm.failures.isEmpty && wmi.failures.isEmpty)
                #expect(winrm.identity == wmi.identity)
                let systems = (try #require(try winrm.system?.get()), try #require(try wmi.system?.get()))
                #expect(systems.0.memoryTotalBytes == systems.1.memoryTotalBytes)
                #expect(systems.0.memoryFreeBytes == systems.1.memoryFreeBytes)
                #expect(systems.0.processCount == systems.1.processCount)
                #expect(systems.0.bootTime == systems.1.bootTime)
                #expect(try winrm.disk?.get() == wmi.disk?.get())
                let names = [try winrm.network?.get(), try wmi.network?.get()].map { $0?.interfaces.map(\.name) }
                #expect(names[0] == names[1] && names[0]?.isEmpty == false)
                let speeds = [try winrm.network?.get(), try wmi.network?.get()].map {
                    $0?.interfaces.map(\.bandwidth)
                }
                #expect(speeds[0] == speeds[1])
                // Counters went on in between, and both count from the same moment on.
                let processors = (try #require(try winrm.processor?.get()), try #require(try wmi.processor?.get()))
                let usage = CounterArithmetic.cpuUsagePercent(from: processors.0, to: processors.1)
                let truth = setting.simulator.truth(of: setting.simulator.hosts[host])
                if let usage { #expect(abs(usage - truth.cpuUsagePercent) < 2) }
            }
        }
    }

    @Test(arguments: [CredentialType.winrmNTLM, .wmi])
    func aChangedPasswordEndsTheKeptConnection(type: CredentialType) async throws {
        try await self.with { setting in
            _ = try await setting.sample(setting.target(type))
            let failure = await #expect(throws: PollFailure.self) {
                try await setting.sample(setting.target(type, password: "another"))
            }
            #expect(failure?.code == .authFailed)
            #expect(failure?.message.contains("another") == false)
            #expect(try setting.collector(type).idleConnections == 0)
            #expect(setting.simulator.hosts[0].activity.failedLogins == 1)
        }
    }

    @Test(arguments: [CredentialType.winrmNTLM, .wmi])
    func forgettingACredentialClosesItsConnections(type: CredentialType) async throws {
        try await self.with { setting in
            let collector = try setting.collector(type)
            for host in 0..<3 { _ = try await setting.sample(setting.target(type, host: host)) }
            #expect(collector.idleConnections == 3)
            await collector.forget(deviceID: 1)
            #expect(collector.idleConnections == 2)
            await collector.forget(credentialID: 1)
            #expect(collector.idleConnections == 0)
        }
    }

    @Test func collectorsShareOneBudgetOfIdleConnections() async throws {
        // A young session of WMI has two TCP connections, one of WinRM has one.
        try await self.with(idleConnections: 3) { setting in
            let (winrm, wmi) = (try setting.collector(.winrmNTLM), try setting.collector(.wmi))
            _ = try await setting.sample(setting.target(.winrmNTLM, host: 0))
            _ = try await setting.sample(setting.target(.wmi, host: 1))
            _ = try await setting.sample(setting.target(.wmi, host: 2))
            #expect(winrm.idleConnections == 1 && wmi.idleConnections == 1)
            // A poll takes its connection out, and its place with it.
            _ = try await setting.sample(setting.target(.wmi, host: 1))
            #expect(winrm.idleConnections == 1 && wmi.idleConnections == 1)
            await wmi.forget(deviceID: 2)
            _ = try await setting.sample(setting.target(.winrmNTLM, host: 1))
            _ = try await setting.sample(setting.target(.winrmNTLM, host: 2))
            #expect(winrm.idleConnections == 3 && wmi.idleConnections == 0)
        }
    }

    @Test(arguments: [
        (CredentialType.winrmNTLM, "access_denied", PollErrorCode.accessDenied),
        (.winrmNTLM, "quota", .quotaExceeded),
        (.winrmNTLM, "garbage", .protocolError),
        (.winrmNTLM, "drop_mid_answer", .connectionReset),
        (.winrmNTLM, "oversized_answer", .responseTooLarge),
        (.winrmNTLM, "refused", .connectionRefused),
        (.winrmNTLM, "wrong_password", .authFailed),
        (.winrmNTLM, "stalled_connection", .timeout),
        (.winrmNTLM, "provider_failure", .wmiError),
        (.wmi, "access_denied", .accessDenied),
        (.wmi, "quota", .quotaExceeded),
        (.wmi, "garbage", .protocolError),
        (.wmi, "drop_mid_answer", .connectionReset),
        (.wmi, "oversized_answer", .responseTooLarge),
        (.wmi, "refused", .connectionRefused),
        (.wmi, "wrong_password", .authFailed),
        (.wmi, "stalled_connection", .timeout),
        (.wmi, "provider_failure", .wmiError),
        (.wmi, "activation_denied", .accessDenied),
        (.wmi, "namespace_denied", .accessDenied),
        (.wmi, "dynamic_port_closed", .connectionRefused),
    ])
    func aFaultHasItsCode(type: CredentialType, fault: String, code: PollErrorCode) async throws {
        try await self.with(faults: "[{hosts: 127.90.0.1, fault: \(fault)}]") { setting in
            let failure = await #expect(throws: PollFailure.self) {
                try await setting.sample(setting.target(type, deadline: .seconds(4)))
            }
            #expect(failure?.code == code, "\(String(describing: failure))")
            #expect(failure?.message.contains(Self.password) == false)
        }
    }

    /// A firewall in front of the dynamic port keeps nobody else waiting.
    @Test func aClosedDynamicPortIsFoundOutsideTheGate() async throws {
        let fault = "[{hosts: 127.90.0.1, fault: dynamic_port_closed, silently: true}]"
        try await self.with(faults: fault) { setting in
            let failure = await #expect(throws: PollFailure.self) {
                try await setting.sample(setting.target(.wmi, deadline: .seconds(8)))
            }
            #expect(failure?.code == .timeout)
            #expect(setting.gate.longest < .seconds(1), "the gate was held for \(setting.gate.longest)")
        }
    }

    @Test(arguments: [CredentialType.winrmNTLM, .wmi])
    func aMissingClassLeavesTheOtherGroups(type: CredentialType) async throws {
        let fault = "[{hosts: 127.90.0.1, fault: missing_class, class: Win32_PerfRawData_PerfOS_Processor}]"
        try await self.with(faults: fault) { setting in
            let sample = try await setting.sample(setting.target(type))
            #expect(sample.failures.map(\.group) == [.processor])
            #expect(sample.failures.first?.failure.code == .countersMissing)
            #expect((try? sample.network?.get()) != nil)
            #expect(setting.signIns == 1)
        }
    }

    @Test func a401AfterSigningInMeansOneNewSignIn() async throws {
        try await self.with(faults: "[{hosts: 127.90.0.1, fault: unauthorized_after, requests: 7}]") { setting in
            for _ in 0..<3 {
                let sample = try await setting.sample(setting.target(.winrmNTLM))
                #expect(sample.failures.isEmpty)
            }
            #expect(setting.signIns > 1 && setting.signIns <= 4)
        }
    }

    /// Objects that Windows has taken away meanwhile cost a new session, not a failed poll.
    @Test func reclaimedObjectsMeanOneNewSession() async throws {
        let clock = SteppedClock()
        let fault = "[{hosts: 127.90.0.1, fault: objects_reclaimed, age: 5s}]"
        try await self.with(faults: fault, clock: { clock.now }) { setting in
            for poll in 1...3 {
                let sample = try await setting.sample(setting.target(.wmi))
                #expect(sample.failures.isEmpty && setting.signIns == poll)
                clock.step(6)
            }
        }
    }

    @Test func whatAPollObtainedIsGivenBack() async throws {
        try await self.with { setting in
            let host = setting.simulator.hosts[0]
            _ = try await setting.sample(setting.target(.wmi))
            let held = host.activity.heldReferences
            for _ in 0..<10 { _ = try await setting.sample(setting.target(.wmi)) }
            #expect(host.activity.heldReferences <= held)
            await setting.shutDown()
            #expect(host.activity.heldReferences == 0 && host.activity.leakedReferences == 0)
        }
    }
}
