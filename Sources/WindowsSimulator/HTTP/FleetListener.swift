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
    /// Ports that are tried when any will do: one that is free at the first address may be taken at another.
    private static let portAttempts = 20

    /// A port that hosts listen at.
    private struct Service {
        /// The configured one; 0 until any port was chosen.
        var port: Int
        var isTLS: Bool
    }

    private struct State {
        /// Listening channels by host; those of the wildcard address under nil.
        var channels: [Int?: [any Channel]] = [:]
        var down: Set<Int> = []
        /// With the ports that were chosen.
        var services: [Service] = []
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

    private var configured: [Service] {
        [(self.fleet.configuration.httpPort, false), (self.fleet.configuration.httpsPort, true)]
            .compactMap { port, isTLS in port.map { Service(port: $0, isTLS: isTLS) } }
    }

    /// The port once it is chosen.
    func port(isTLS: Bool) -> Int? {
        self.state.withLock { $0.services.first { $0.isTLS == isTLS }?.port }
    }

    // MARK: Starting and stopping

    func start() async throws {
        let (plan, now) = (self.fleet.faultPlan, self.fleet.clock())
        // Never opened, rather than opened and closed: a client in between would be reset, not refused.
        let down = Set(plan.hostsWithListenerFaults.filter { plan.isDown($0, at: now) })
        self.state.withLock { state in
            state.down = down
            state.lastCheck = now
        }
        let up: [SimulatedHost?] = self.isWildcard ? [nil] : self.fleet.hosts.filter { !down.contains($0.index) }
        for service in self.configured {
            let opened = try await self.open(service, at: up)
            self.state.withLock { $0.services.append(opened) }
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

    /// Listens at each of `hosts`, all on the same port.
    private func open(_ service: Service, at hosts: [SimulatedHost?]) async throws -> Service {
        if service.port == 0, hosts.isEmpty {
            throw SimulatorError("no port can be chosen while faults keep every host down; name the port")
        }
        var attempt = 1
        while true {
            var opened: [(any Channel, Int?)] = []
            var service = service
            let isAny = service.port == 0
            var host: SimulatedHost?
            do {
                for next in hosts {
                    host = next
                    let channel = try await self.bind(service, at: next)
                    opened.append((channel, next?.index))
                    if isAny, let port = channel.localAddress?.port { service.port = port }
                }
                for (channel, index) in opened { self.keep(channel, for: index) }
                return service
            } catch let error as IOError {
                for (channel, _) in opened { try? await channel.close().get() }
                if isAny, error.errnoCode == EADDRINUSE, attempt < Self.portAttempts {
                    attempt += 1
                    continue
                }
                let place = "\(Self.address(of: host)):\(service.port)"
                throw SimulatorError("cannot listen on \(place): \(Self.advice(error, port: service.port))")
            }
        }
    }

    private func bind(_ service: Service, at host: SimulatedHost?) async throws -> any Channel {
        try await self.bootstrap(host: host, isTLS: service.isTLS)
            .bind(host: Self.address(of: host), port: service.port).get()
    }

    private static func address(of host: SimulatedHost?) -> String { host.map { "\($0.address)" } ?? "0.0.0.0" }

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
        let isWanted = self.state.withLock { state in
            // Down again while it was being opened.
            if state.isStopped || host.map(state.down.contains) == true { return false }
            state.channels[host, default: []].append(channel)
            return true
        }
        if !isWanted { channel.close(promise: nil) }
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
        for service in self.state.withLock({ $0.services }) { self.reopen(service, at: host) }
    }

    private func reopen(_ service: Service, at host: SimulatedHost) {
        // Meanwhile another fault may have come and gone, or the end.
        let isWanted = self.state.withLock { state in
            let listeners = state.channels[host.index] ?? []
            return !state.isStopped && !state.down.contains(host.index)
                && !listeners.contains { $0.localAddress?.port == service.port }
        }
        guard isWanted else { return }
        self.bootstrap(host: host, isTLS: service.isTLS)
            .bind(host: Self.address(of: host), port: service.port)
            .whenComplete { result in
                switch result {
                case .success(let channel): self.keep(channel, for: host.index)
                case .failure:
                    // A process that is being started may hold a copy of the old socket until it runs its program.
                    self.group.next().scheduleTask(in: Self.faultInterval) { self.reopen(service, at: host) }
                }
            }
    }
}
