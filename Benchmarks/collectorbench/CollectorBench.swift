import ArgumentParser
import Foundation
import NIOPosix
import NMSCollectors
import NMSCore

/// What a poll costs the client in processor time, over either protocol; `scripts/bench-collectors` runs it.
@main
struct CollectorBench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Polls simulated hosts and prints what that cost this process, as JSON.",
        discussion: "The password comes from WINSIM_PASSWORD."
    )

    @Option(help: "winrm_ntlm or wmi.")
    var type = "winrm_ntlm"
    @Option(help: "The first host's address.")
    var baseAddress = "127.60.0.1"
    @Option(help: "How many hosts, at consecutive addresses.")
    var hosts = 20
    @Option(help: "Polls of each host on a kept session, after the first one.")
    var polls = 50
    @Option(help: "Hosts that are polled at a time, as polling.worker_count.")
    var atOnce = 10
    @Option(help: "The user to sign in as.")
    var user = "Administrator"

    func run() async throws {
        guard let type = CredentialType(rawValue: self.type) else {
            throw ValidationError("--type \(self.type): give winrm_ntlm or wmi")
        }
        guard let password = ProcessInfo.processInfo.environment["WINSIM_PASSWORD"] else {
            throw ValidationError("WINSIM_PASSWORD is not set: it is the password of the simulated hosts")
        }
        let targets = try self.targets(type: type, password: Secret(password))
        let limits = WindowsCollectorLimits()
        let group = MultiThreadedEventLoopGroup.singleton
        let registry = CollectorRegistry([
            WinRMCollector(limits: limits, eventLoopGroup: group), WMICollector(limits: limits, eventLoopGroup: group),
        ])
        let collector = try registry.collector(for: type)
        let cold = try await self.measure(collector, targets, rounds: 1)
        let warm = try await self.measure(collector, targets, rounds: self.polls)
        await collector.shutDown()
        let report: [String: Any] = [
            "type": self.type, "at_once": self.atOnce, "hosts": self.hosts, "warm_polls": self.hosts * self.polls,
            "cold_cpu_us": cold.processor, "cold_wall_us": cold.wall,
            "warm_cpu_us": warm.processor, "warm_wall_us": warm.wall,
        ]
        print(
            String(decoding: try JSONSerialization.data(withJSONObject: report, options: [.sortedKeys]), as: UTF8.self)
        )
    }

    private func targets(type: CredentialType, password: Secret) throws -> [CollectorTarget] {
        guard let base = IPAddress(self.baseAddress), self.hosts > 0 else {
            throw ValidationError("--base-address \(self.baseAddress) with \(self.hosts) hosts: no addresses")
        }
        let credential = Credential(
            id: 1,
            name: "bench",
            type: type,
            username: self.user,
            createdAt: .now,
            updatedAt: .now
        )
        let parts = base.description.split(separator: ".").compactMap { UInt32($0) }
        guard parts.count == 4 else {
            throw ValidationError("--base-address \(self.baseAddress): give an IPv4 address")
        }
        let first = parts.reduce(0) { $0 << 8 | $1 }
        return (0..<UInt32(self.hosts)).compactMap { index in
            let value = first + index
            let text = [24, 16, 8, 0].map { String(value >> $0 & 255) }.joined(separator: ".")
            return IPAddress(text).map {
                CollectorTarget(
                    deviceID: Int(index) + 1,
                    address: $0,
                    hostname: nil,
                    credential: DecryptedCredential(credential: credential, password: password),
                    deadline: .now + .seconds(3600),
                    gate: OpenGate()
                )
            }
        }
    }

    /// Microseconds a poll, on average.
    private func measure(
        _ collector: any Collector,
        _ targets: [CollectorTarget],
        rounds: Int
    ) async throws -> (processor: Int, wall: Int) {
        let (startedAt, used) = (ContinuousClock.now, Self.processorTime())
        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in 0..<self.atOnce {
                // A host is always the same worker's: one poll of it at a time.
                let share = targets.enumerated().filter { $0.offset % self.atOnce == worker }.map(\.element)
                group.addTask {
                    for _ in 0..<rounds {
                        for target in share {
                            let sample = try await collector.sample(target, groups: Set(CounterGroup.allCases))
                            if let failure = sample.failures.first { throw failure.failure }
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        let count = rounds * targets.count
        let wall = ContinuousClock.now - startedAt
        return (
            (Self.processorTime() - used) / count,
            Int(wall.components.seconds * 1_000_000 + wall.components.attoseconds / 1_000_000_000_000) / count
        )
    }

    /// User and system time of this process in microseconds.
    private static func processorTime() -> Int {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        let seconds = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec
        return seconds * 1_000_000 + Int(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec)
    }
}

private struct OpenGate: AuthenticationGate {
    func authenticate<Result: Sendable>(
        deviceID: Int,
        credentialID: Int,
        attempt: @Sendable () async throws -> Result
    ) async throws -> Result { try await attempt() }
}
