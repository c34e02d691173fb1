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

    func authenticate<Result: Sendable>(
        deviceID: Int,
        credentialID: Int,
        attempt: @Sendable () async throws -> Result
    ) async throws -> Result {
        self.signIns.withLock { $0 += 1 }
        return try await attempt()
    }
}

/// The collector against simulated hosts over real sockets.
@Suite(.serialized, .timeLimit(.minutes(2))) struct WinRMCollectorTests {
    private static let password = "c0llector-Test"

    private struct Setting {
        let simulator: WindowsSimulator
        let collector: WinRMCollector
        let gate = OpenGate()

        func target(
            host: Int = 0,
            password: String = WinRMCollectorTests.password,
            deadline: Duration = .seconds(20)
        ) -> CollectorTarget {
            let credential = Credential(
                id: 1,
                name: "c",
                type: .winrmNTLM,
                username: "monitor",
                port: self.simulator.httpPort!,
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

        func sample(_ target: CollectorTarget) async throws -> RawSample {
            try await self.collector.sample(target, groups: Set(CounterGroup.allCases))
        }
    }

    private func with(faults: String = "[]", _ body: (Setting) async throws -> Void) async throws {
        let base = try #require(IPv4("127.90.0.1"))
        var configuration = SimulatorConfiguration(
            addresses: try #require(AddressRange(base: base, count: 3)),
            password: Self.password,
            fleet: HostProfile.Fleet(seed: 3, isStatic: true)
        )
        configuration.user = "monitor"
        configuration.httpPort = 0
        configuration.httpsPort = nil
        configuration.truthPort = nil
        configuration.faults = faults
        let simulator = try WindowsSimulator(configuration)
        try await simulator.start()
        var limits = WindowsCollectorLimits()
        limits.queryTimeout = .seconds(10)
        let collector = WinRMCollector(limits: limits, eventLoopGroup: MultiThreadedEventLoopGroup.singleton)
        let setting = Setting(simulator: simulator, collector: collector)
        do { try await body(setting) } catch {
            await collector.shutDown()
            await simulator.stop()
            throw error
        }
        await collector.shutDown()
        await simulator.stop()
    }

    @Test func readsEveryGroupOverOneConnection() async throws {
        try await self.with { setting in
            let host = setting.simulator.hosts[0]
            let first = try await setting.sample(setting.target())
            let second = try await setting.sample(setting.target())
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
            #expect(setting.gate.signIns.withLock { $0 } == 1)
            #expect(setting.collector.idleConnections == 1)
        }
    }

    @Test func aChangedPasswordEndsTheKeptConnection() async throws {
        try await self.with { setting in
            _ = try await setting.sample(setting.target())
            let failure = await #expect(throws: PollFailure.self) {
                try await setting.sample(setting.target(password: "another"))
            }
            #expect(failure?.code == .authFailed)
            #expect(failure?.message.contains("another") == false)
            #expect(setting.collector.idleConnections == 0)
        }
    }

    @Test func forgettingACredentialClosesItsConnections() async throws {
        try await self.with { setting in
            for host in 0..<3 { _ = try await setting.sample(setting.target(host: host)) }
            #expect(setting.collector.idleConnections == 3)
            await setting.collector.forget(deviceID: 1)
            #expect(setting.collector.idleConnections == 2)
            await setting.collector.forget(credentialID: 1)
            #expect(setting.collector.idleConnections == 0)
        }
    }

    @Test(arguments: [
        ("{hosts: 127.90.0.1, fault: access_denied}", PollErrorCode.accessDenied),
        ("{hosts: 127.90.0.1, fault: quota}", .quotaExceeded),
        ("{hosts: 127.90.0.1, fault: garbage}", .protocolError),
        ("{hosts: 127.90.0.1, fault: drop_mid_answer}", .connectionReset),
        ("{hosts: 127.90.0.1, fault: oversized_answer}", .responseTooLarge),
        ("{hosts: 127.90.0.1, fault: refused}", .connectionRefused),
        ("{hosts: 127.90.0.1, fault: wrong_password}", .authFailed),
        ("{hosts: 127.90.0.1, fault: stalled_connection}", .timeout),
        ("{hosts: 127.90.0.1, fault: provider_failure}", .wmiError),
    ])
    func aFaultHasItsCode(fault: String, code: PollErrorCode) async throws {
        try await self.with(faults: "[\(fault)]") { setting in
            let failure = await #expect(throws: PollFailure.self) {
                try await setting.sample(setting.target(deadline: .seconds(4)))
            }
            #expect(failure?.code == code, "\(String(describing: failure))")
            #expect(failure?.message.contains(Self.password) == false)
        }
    }

    @Test func aMissingClassLeavesTheOtherGroups() async throws {
        let fault = "[{hosts: 127.90.0.1, fault: missing_class, class: Win32_PerfRawData_PerfOS_Processor}]"
        try await self.with(faults: fault) { setting in
            let sample = try await setting.sample(setting.target())
            #expect(sample.failures.map(\.group) == [.processor])
            #expect(sample.failures.first?.failure.code == .countersMissing)
            #expect((try? sample.network?.get()) != nil)
            #expect(setting.gate.signIns.withLock { $0 } == 1)
        }
    }

    @Test func a401AfterSigningInMeansOneNewSignIn() async throws {
        try await self.with(faults: "[{hosts: 127.90.0.1, fault: unauthorized_after, requests: 7}]") { setting in
            for _ in 0..<3 {
                let sample = try await setting.sample(setting.target())
                #expect(sample.failures.isEmpty)
            }
            let signIns = setting.gate.signIns.withLock { $0 }
            #expect(signIns > 1 && signIns <= 4)
        }
    }
}
