import ArgumentParser
import Foundation
import NIOCore
import NIOPosix
import NMSCollectors
import NMSCore
import NMSDiscovery

/// Discovers once and prints what it took, as JSON.
@main
struct DiscoveryBench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "discoverybench",
        abstract: "Runs one discovery without a database and prints its figures as JSON."
    )

    @Argument(help: "Addresses, as in POST /devices/discover.")
    var targets: String

    @Option(help: "Ports, with commas.")
    var ports = "5985,5986,135"

    @Option(help: "Connects at once.")
    var concurrency = 2048

    @Option(help: "Connects per second.")
    var rate = 1_000_000

    func run() async throws {
        guard let ports = DiscoveryJob.ports(self.ports.split(separator: ",").compactMap { Int($0) }) else {
            throw ValidationError("--ports: \(self.ports)")
        }
        let targets = try DiscoveryTargets(parsing: self.targets)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let runner = DiscoveryJobRunner(
            configuration: DiscoveryConfiguration(concurrency: self.concurrency, rate: self.rate),
            eventLoopGroup: group,
            identifiers: [],
            gate: NoGate()
        )
        let cpu = Self.processorTime()
        let start = ContinuousClock.now
        let progress = try await runner.run(DiscoveryJob(targets: targets, ports: ports), sink: NoSink())
        let wall = (ContinuousClock.now - start) / .seconds(1)
        var figures: [String: Double] = [
            "wall_s": wall, "cpu_s": Self.processorTime() - cpu, "addresses": Double(targets.count),
            "connects_per_s": Double(targets.count * ports.count) / wall,
        ]
        for outcome in AddressOutcome.allCases { figures[outcome.rawValue] = Double(progress.counts[outcome]) }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        print(String(decoding: try encoder.encode(figures), as: UTF8.self))
        try await group.shutdownGracefully()
    }

    /// Seconds of this process, of its own and of the system in its name.
    private static func processorTime() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}

private struct NoSink: DiscoverySink {
    func store(hosts: [DiscoveredHost], progress: DiscoveryProgress) async throws {}
}

/// Nobody signs in here.
private struct NoGate: AddressAuthenticationGate {
    func authenticate<Result: Sendable>(
        address: IPAddress,
        credentialID: Int,
        attempt: @Sendable () async throws -> Result
    ) async throws -> Result {
        throw PollFailure(.credentialSuspended, "no sign-ins here")
    }

    func isSuspended(credentialID: Int) async throws -> Bool { true }
}
