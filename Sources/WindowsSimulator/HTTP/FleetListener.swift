import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Synchronization

/// The fleet's listening sockets: one for each address and port, or one for each port that serves all addresses.
final class FleetListener: Sendable {
    /// How often listeners are brought in line with faults that close them.
    private static let faultInterval = TimeAmount.milliseconds(50)
    private static let backlog: CInt = 256

    private struct State {
        /// Listening channels by host; those of the wildcard address under nil.
        var channels: [Int?: [any Channel]] = [:]
        var down: Set<Int> = []
        var lastCheck: FileTime
        var isStopped = false
    }

    private let fleet: FleetContext
    private let group: MultiThreadedEventLoopGroup
    private let state: Mutex<State>
    private let task = Mutex<RepeatedTask?>(nil)

    init(fleet: FleetContext, group: MultiThreadedEventLoopGroup) {
        self.fleet = fleet
        self.group = group
        self.state = Mutex(State(lastCheck: fleet.clock()))
    }

    private var isWildcard: Bool { self.fleet.hosts.count > self.fleet.configuration.maximumListeningAddresses }

    private var ports: [(port: Int, isTLS: Bool)] {
        [(self.fleet.configuration.httpPort, false), (self.fleet.configuration.httpsPort, true)]
            .compactMap { port, isTLS in port.map { ($0, isTLS) } }
    }

    // MARK: Starting and stopping

    func start() async throws {
        if self.isWildcard {
            for (port, isTLS) in self.ports { try await self.listen(host: nil, port: port, isTLS: isTLS) }
        } else {
            for host in self.fleet.hosts {
                for (port, isTLS) in self.ports { try await self.listen(host: host, port: port, isTLS: isTLS) }
            }
        }
        let task = self.group.next().scheduleRepeatedTask(initialDelay: .zero, delay: Self.faultInterval) { _ in
            self.applyFaults()
        }
        self.task.withLock { $0 = task }
    }

    func stop() async {
        self.task.withLock { $0 }?.cancel()
        let channels = self.state.withLock { state in
            state.isStopped = true
            return state.channels.values.flatMap { $0 }
        }
        for channel in channels { try? await channel.close().get() }
        for host in self.fleet.hosts {
            for channel in host.openChannels { channel.close(promise: nil) }
        }
    }

    private func listen(host: SimulatedHost?, port: Int, isTLS: Bool) async throws {
        let address = host.map { "\($0.address)" } ?? "0.0.0.0"
        do {
            let channel = try await self.bootstrap(host: host, isTLS: isTLS).bind(host: address, port: port).get()
            self.keep(channel, for: host?.index)
        } catch let error as IOError {
            throw SimulatorError("cannot listen on \(address):\(port): \(Self.advice(error, port: port))")
        }
    }

    static func advice(_ error: IOError, port: Int) -> String {
        switch error.errnoCode {
        case EADDRINUSE: "the port is in use; stop the other program or choose another port"
        case EACCES: "permission denied; ports below 1024 need root"
        case EADDRNOTAVAIL: "this machine does not have the address; 127.0.0.0/8 always works on Linux"
        case EMFILE, ENFILE: "too many open files; raise the limit (ulimit -n)"
        default: "\(error)"
        }
    }

    private func keep(_ channel: any Channel, for host: Int?) {
        let isStopped = self.state.withLock { state in
            state.channels[host, default: []].append(channel)
            return state.isStopped
        }
        if isStopped { channel.close(promise: nil) }
    }

    private func bootstrap(host: SimulatedHost?, isTLS: Bool) -> ServerBootstrap {
        let fleet = self.fleet
        return ServerBootstrap(group: self.group)
            .serverChannelOption(.backlog, value: Self.backlog)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                guard let host = host ?? Self.host(of: channel, in: fleet) else {
                    channel.reset()
                    return channel.eventLoop.makeSucceededVoidFuture()
                }
                return channel.eventLoop.makeCompletedFuture {
                    try Self.accept(channel, host: host, isTLS: isTLS, fleet: fleet)
                }
            }
    }

    /// The host that a connection on the wildcard address means.
    private static func host(of channel: any Channel, in fleet: FleetContext) -> SimulatedHost? {
        guard let text = channel.localAddress?.ipAddress, let address = IPv4(text),
            let index = fleet.configuration.addresses.index(of: address)
        else { return nil }
        return fleet.hosts[index]
    }

    private static func accept(
        _ channel: any Channel,
        host: SimulatedHost,
        isTLS: Bool,
        fleet: FleetContext
    ) throws {
        let now = fleet.clock()
        if fleet.faultPlan.isDown(host.index, at: now) {
            // Only on the wildcard address, where the listener itself cannot go away.
            channel.reset()
            return
        }
        host.opened(channel)
        channel.closeFuture.whenComplete { _ in host.closed(channel) }
        let faults = fleet.faults(of: host, at: now)
        let pipeline = channel.pipeline.syncOperations
        if faults.contains(.stalledConnection(atQuery: false)) {
            try pipeline.addHandler(BlackHoleHandler())
            return
        }
        var certificate: HostCertificate?
        if isTLS, let store = fleet.certificates {
            let found = try store.certificate(for: host, variant: Self.variant(faults))
            certificate = found
            try pipeline.addHandler(NIOSSLServerHandler(context: found.context))
        }
        try pipeline.addHandler(ByteToMessageHandler(HTTPRequestDecoder(leftOverBytesStrategy: .dropBytes)))
        try pipeline.addHandler(WinRMConnection(fleet: fleet, host: host, certificate: certificate))
    }

    private static func variant(_ faults: ActiveFaults) -> CertificateStore.Variant {
        if faults.contains(.expiredCertificate) { return .expired }
        if faults.contains(.wrongNameCertificate) { return .wrongName }
        if faults.contains(.untrustedCertificate) { return .untrusted }
        return .regular
    }

    // MARK: Faults

    /// Closes and opens listeners, and cuts connections, as the fault plan says for this instant.
    private func applyFaults() {
        let plan = self.fleet.faultPlan
        let now = self.fleet.clock()
        let (candidates, lastCheck) = self.state.withLock { state in
            defer { state.lastCheck = now }
            return (state.down.union(plan.hostsWithListenerFaults), state.lastCheck)
        }
        for index in candidates {
            let host = self.fleet.hosts[index]
            let isDown = plan.isDown(index, at: now)
            let wasDown = self.state.withLock { state in
                isDown ? !state.down.insert(index).inserted : state.down.remove(index) != nil
            }
            let rebooted = plan.reboots(of: index, after: lastCheck, until: now)
            if isDown && !wasDown || rebooted { self.cut(host, closesListeners: isDown) }
            if wasDown && !isDown { self.reopen(host) }
        }
    }

    private func cut(_ host: SimulatedHost, closesListeners: Bool) {
        host.forgetEnumerations()
        for channel in host.openChannels { channel.reset() }
        guard closesListeners else { return }
        let listeners = self.state.withLock { $0.channels.removeValue(forKey: host.index) ?? [] }
        for listener in listeners { listener.close(promise: nil) }
    }

    private func reopen(_ host: SimulatedHost) {
        guard !self.isWildcard else { return }
        for (port, isTLS) in self.ports {
            self.bootstrap(host: host, isTLS: isTLS).bind(host: "\(host.address)", port: port).whenSuccess { channel in
                self.keep(channel, for: host.index)
            }
        }
    }
}
