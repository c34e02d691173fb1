import NIOCore
import NIOPosix

/// A fleet of simulated Windows hosts in this process.
///
/// ```
/// let simulator = try WindowsSimulator(configuration)
/// try await simulator.start()
/// ...
/// await simulator.stop()
/// ```
package final class WindowsSimulator: Sendable {
    package let configuration: SimulatorConfiguration
    package let hosts: [SimulatedHost]
    /// The certification authority's certificate in PEM; nil without an HTTPS port.
    package var caPEM: String? { self.fleet.certificates?.caPEM }

    private let fleet: FleetContext
    private let group: MultiThreadedEventLoopGroup
    private let listener: FleetListener
    private let truth: TruthServer

    /// - Parameter clock: what `after` in fault files counts from is its time now.
    /// - Throws: ``FaultFile/Failure`` for a bad fault file.
    package init(
        _ configuration: SimulatorConfiguration,
        clock: @escaping @Sendable () -> FileTime = { FileTime.now() }
    ) throws {
        self.configuration = configuration
        let startTime = clock()
        self.hosts = (0..<configuration.addresses.count).map { index in
            SimulatedHost(
                address: configuration.addresses[index],
                profile: HostProfile(index: index, fleet: configuration.fleet),
                objectTimes: configuration.objectTimes
            )
        }
        self.fleet = FleetContext(
            configuration: configuration,
            hosts: self.hosts,
            certificates: configuration.httpsPort == nil ? nil : try CertificateStore(),
            clock: clock
        )
        self.group = MultiThreadedEventLoopGroup(numberOfThreads: configuration.threads)
        self.listener = FleetListener(fleet: self.fleet, group: self.group)
        self.truth = TruthServer(fleet: self.fleet, startTime: startTime)
        if let faults = configuration.faults { try self.setFaults(faults) }
    }

    /// Listens; when this returns, every host answers but those that a fault keeps down, which were never open.
    ///
    /// - Throws: ``SimulatorError`` for a port that cannot be had. Nothing listens then.
    package func start() async throws {
        do {
            try await self.listener.start()
            if let port = self.configuration.truthPort {
                try await self.truth.start(port: port, group: self.group)
            }
        } catch {
            await self.stop()
            throw error
        }
    }

    /// Closes everything. A stopped simulator cannot start again.
    package func stop() async {
        await self.listener.stop()
        await self.truth.stop()
        try? await self.group.shutdownGracefully()
    }

    /// The hosts' HTTP port once they listen; nil without one.
    package var httpPort: Int? { self.listener.port(.http) }

    /// The hosts' HTTPS port once they listen; nil without one.
    package var httpsPort: Int? { self.listener.port(.https) }

    /// The port of the hosts' DCOM resolver once they listen; nil without one.
    package var resolverPort: Int? { self.listener.port(.resolver) }

    /// The port of a host's DCOM objects once it listens.
    package func objectPort(of host: SimulatedHost) -> Int? { self.listener.port(.objects, of: host.index) }

    /// The truth endpoint's port once it listens.
    package var truthPort: Int? { self.truth.port }

    /// Replaces the faults; `after` counts from now.
    ///
    /// - Throws: ``FaultFile/Failure``; the old faults stay.
    package func setFaults(_ yaml: String) throws {
        let file = FaultFile(addresses: self.configuration.addresses, start: self.fleet.clock())
        self.fleet.replaceFaults(try file.parse(yaml))
    }

    /// A host's true state now, or at `end` with mean rates since `start`.
    package func truth(of host: SimulatedHost, from start: FileTime? = nil, to end: FileTime? = nil) -> HostTruth {
        let time = end ?? self.fleet.clock()
        return HostTruth(self.fleet.snapshot(of: host, at: time), ratesSince: start)
    }
}
