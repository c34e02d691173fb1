internal import Foundation
package import NIOCore
package import NMSCollectors
package import NMSCore
internal import Synchronization

/// Runs discoveries: sweep and identification as a pipeline, and reports to a sink.
package struct DiscoveryJobRunner: Sendable {
    private let configuration: DiscoveryConfiguration
    private let identifiers: [any WindowsIdentifier]
    private let gate: any AddressAuthenticationGate
    private let probe: HostProbe

    /// - Parameters:
    ///   - eventLoopGroup: of NIOPosix; best one of discovery's own, so that nobody else waits behind a sweep.
    ///   - identifiers: the first that supports a credential's type is used for it.
    package init(
        configuration: DiscoveryConfiguration = DiscoveryConfiguration(),
        eventLoopGroup: any EventLoopGroup,
        identifiers: [any WindowsIdentifier],
        gate: any AddressAuthenticationGate
    ) {
        self.configuration = configuration
        self.identifiers = identifiers
        self.gate = gate
        self.probe = HostProbe(group: eventLoopGroup, configuration: configuration)
    }

    /// Runs a discovery to its end.
    ///
    /// - Returns: the last progress, as stored.
    /// - Throws: `CancellationError` soon after the task was cancelled (nothing is dialled from then on, and what was found
    ///   until then is stored), what the sink throws, and what keeps the lockout guard from deciding.
    package func run(_ job: DiscoveryJob, sink: any DiscoverySink) async throws -> DiscoveryProgress {
        let run = DiscoveryRun(
            job: job,
            configuration: self.configuration,
            probe: self.probe,
            trials: CredentialTrials(
                credentials: job.credentials,
                identifiers: self.identifiers,
                gate: self.gate,
                timeout: self.configuration.credentialTimeout
            ),
            sink: sink
        )
        return try await run.run()
    }
}

/// One discovery.
private final class DiscoveryRun: Sendable {
    private let job: DiscoveryJob
    private let ports: [Int]
    private let services: [Int: DiscoveryService]
    private let configuration: DiscoveryConfiguration
    private let probe: HostProbe
    private let trials: CredentialTrials
    private let sink: any DiscoverySink
    private let tracker: Mutex<JobTracker>

    init(
        job: DiscoveryJob,
        configuration: DiscoveryConfiguration,
        probe: HostProbe,
        trials: CredentialTrials,
        sink: any DiscoverySink
    ) {
        self.job = job
        self.ports = DiscoveryJob.ports(job.ports) ?? DiscoveryConfiguration.defaultPorts
        self.services = DiscoveryService.services(ports: self.ports, credentials: job.credentials)
            .merging(configuration.services) { _, told in told }
        self.configuration = configuration
        self.probe = probe
        self.trials = trials
        self.sink = sink
        let tracker = JobTracker(total: job.targets.count, resume: job.resume, scanned: job.scanned, at: Self.now)
        self.tracker = Mutex(tracker)
    }

    private static var now: Instant { MonotonicClock.now }

    func run() async throws -> DiscoveryProgress {
        do {
            try await withThrowingTaskGroup(of: Bool.self) { tasks in
                tasks.addTask {
                    try await self.work()
                    return true
                }
                tasks.addTask {
                    while true {
                        try await Task.sleep(for: self.configuration.reportInterval)
                        _ = try await self.report()
                    }
                }
                defer { tasks.cancelAll() }
                while let isDone = try await tasks.next(), !isDone {}
            }
        } catch is CancellationError {
            _ = try await self.report()
            throw CancellationError()
        }
        return try await self.report()
    }

    /// In a task of its own: what is handed over must be stored, even when the discovery is cancelled at this moment.
    private func report() async throws -> DiscoveryProgress {
        let (hosts, progress) = self.tracker.withLock { $0.report(at: Self.now) }
        let sink = self.sink
        try await Task { try await sink.store(hosts: hosts, progress: progress) }.value
        return progress
    }

    // MARK: - Pipeline

    private func work() async throws {
        let (open, continuation) = AsyncStream.makeStream(of: SweptAddress.self)
        let descriptors = DiscoveryConfiguration.descriptorLimit
        let sweep = Sweep(
            targets: self.job.targets,
            from: self.tracker.withLock { $0.start },
            ports: self.ports,
            limits: SweepMachine.Limits(
                concurrency: self.configuration.concurrency(descriptors: descriptors),
                rate: Double(max(self.configuration.rate, 1))
            ),
            connectTimeout: self.configuration.connectTimeout
        ) { swept in
            if swept.states.contains(.open) {
                continuation.yield(swept)
            } else {
                let outcome = WindowsVerdict.outcome(withoutOpenPorts: swept.states)
                self.tracker.withLock { $0.done(swept.index, outcome) }
            }
        }
        async let sweeping: Void = {
            await sweep.run()
            continuation.finish()
        }()
        try await self.identify(
            open,
            atOnce: self.configuration.identificationConcurrency(descriptors: descriptors)
        )
        await sweeping
        try Task.checkCancellation()
    }

    private func identify(_ open: AsyncStream<SweptAddress>, atOnce: Int) async throws {
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            var running = 0
            for await swept in open {
                if running == atOnce {
                    try await tasks.next()
                    running -= 1
                }
                tasks.addTask { try await self.identify(swept) }
                running += 1
            }
            try await tasks.waitForAll()
        }
    }

    private func identify(_ swept: SweptAddress) async throws {
        let address = self.job.targets[swept.index]
        let ports = zip(self.ports, swept.states).map { DiscoveryEvidence.Port(port: $0, state: $1) }
        var evidence = await self.probe.evidence(of: address, ports: ports, services: self.services)
        try Task.checkCancellation()
        let verdict = WindowsVerdict(evidence)
        guard verdict.outcome == .windows else {
            self.tracker.withLock { $0.done(swept.index, verdict.outcome) }
            return
        }
        evidence.reasons = StrangersText.clean(verdict.reasons, count: DiscoveryEvidence.maximumListCount)
        let result = try await self.trials.run(address, ports: ports)
        let host = DiscoveredHost(address, evidence: evidence, trials: result)
        self.tracker.withLock { $0.done(swept.index, .windows, host: host) }
    }
}

extension DiscoveredHost {
    /// What signing in told counts before what the host told strangers.
    init(_ address: IPAddress, evidence: DiscoveryEvidence, trials: CredentialTrials.Result) {
        let ntlm = evidence.ntlm
        let identity = trials.identity
        // Outside a domain the host names itself there.
        let dnsDomain = ntlm?.dnsDomain.flatMap { $0 == ntlm?.dnsComputer ? nil : $0 }
        let netbiosDomain = ntlm?.netbiosDomain.flatMap { $0 == ntlm?.netbiosComputer ? nil : $0 }
        let version = StrangersText.clean(identity?.version) ?? ntlm?.version
        self.init(
            ip: address.description,
            hostname: StrangersText.clean(identity?.hostname) ?? ntlm?.dnsComputer ?? ntlm?.netbiosComputer,
            domain: StrangersText.clean(identity?.domain) ?? dnsDomain ?? netbiosDomain,
            os: StrangersText.clean(identity?.os) ?? version.map { "Microsoft Windows \($0)" },
            osVersion: version,
            build: StrangersText.clean(identity?.build) ?? version?.split(separator: ".").last.map(String.init),
            credentialID: trials.credentialID,
            trials: trials.trials,
            evidence: evidence
        )
    }
}
