import DCOM
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
    /// Object ports of hosts lie so far apart at the most, if all are free.
    private static let objectPortSpread = 64
    private static let lastPort = 65_535
    /// A queue of length 0 takes one connection; one more, in case it takes two.
    private static let fillers = 2
    private static let fillingTime = TimeAmount.milliseconds(200)

    /// What hosts listen for.
    enum Kind: Sendable, Hashable {
        case http
        case https
        /// The resolver of DCOM objects, at the same port everywhere.
        case resolver
        /// DCOM objects, at a port that each host finds for itself.
        case objects
        /// SMB, of which there is nothing but the port.
        case smb

        var port: HostPort {
            switch self {
            case .http: .winrm
            case .https: .winrms
            case .resolver, .objects: .dcom
            case .smb: .smb
            }
        }
    }

    /// A port that hosts listen at.
    private struct Service {
        /// The configured one; 0 until any port was chosen. Hosts' object ports are kept apart.
        var port: Int
        var kind: Kind
    }

    /// A port of a host.
    private struct Door: Hashable {
        var host: Int
        var port: HostPort

        var usual: PortMode { self.port == .smb ? .closed : .open }
    }

    private struct Listener {
        var kind: Kind
        var channel: any Channel
    }

    private struct State {
        /// Listening channels by host; those of the wildcard address under nil.
        var listeners: [Int?: [Listener]] = [:]
        /// Ports of hosts that are not open, or that only decoys open.
        var modes: [Door: PortMode] = [:]
        /// With the ports that were chosen.
        var services: [Service] = []
        /// By host, or under nil for all of them.
        var objectPorts: [Int?: Int] = [:]
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
        let configuration = self.fleet.configuration
        // Objects before the resolver, which tells their ports.
        let ports: [(Int?, Kind)] = [
            (configuration.httpPort, .http), (configuration.httpsPort, .https),
            (configuration.resolverPort.map { _ in configuration.firstDynamicPort }, .objects),
            (configuration.resolverPort, .resolver), (configuration.smbPort, .smb),
        ]
        return ports.compactMap { port, kind in port.map { Service(port: $0, kind: kind) } }
    }

    /// The port once it is chosen; of objects, the host's own.
    func port(_ kind: Kind, of host: Int? = nil) -> Int? {
        self.state.withLock { state in
            kind == .objects
                ? state.objectPorts[self.isWildcard ? nil : host]
                : state.services.first { $0.kind == kind }?.port
        }
    }

    // MARK: Starting and stopping

    func start() async throws {
        let (plan, now) = (self.fleet.faultPlan, self.fleet.clock())
        // Never opened, rather than opened and closed: a client in between would be reset, not refused.
        var modes: [Door: PortMode] = [:]
        for host in plan.hostsWithListenerFaults {
            for port in HostPort.allCases { modes[Door(host: host, port: port)] = plan.mode(of: port, at: host, now) }
        }
        self.state.withLock { state in
            state.modes = modes
            state.lastCheck = now
        }
        for service in self.configured {
            let port = service.kind.port
            let up: [SimulatedHost?] =
                self.isWildcard ? [nil] : self.fleet.hosts.filter { plan.mode(of: port, at: $0.index, now) == .open }
            let opened = service.kind == .objects ? service : try await self.open(service, at: up)
            if service.kind != .objects, !self.isWildcard { try await self.openSilent(opened, plan, now) }
            if service.kind == .objects { try await self.openObjects(service, at: up) }
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
            return state.listeners.values.flatMap { $0.map(\.channel) }
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
                for (channel, index) in opened { self.keep(channel, service.kind, for: index) }
                return service
            } catch let error as IOError {
                for (channel, _) in opened { try? await channel.close().get() }
                if isAny, error.errnoCode == EADDRINUSE, attempt < Self.portAttempts {
                    attempt += 1
                    continue
                }
                let place = "\(Self.address(of: host)):\(service.port)"
                let advice = Self.advice(error, port: service.port, kind: service.kind)
                throw SimulatorError("cannot listen on \(place): \(advice)")
            }
        }
    }

    private func bind(_ service: Service, at host: SimulatedHost?) async throws -> any Channel {
        try await self.bootstrap(host: host, kind: service.kind)
            .bind(host: Self.address(of: host), port: service.port).get()
    }

    /// Listens for calls of objects at each of `hosts`, where the port is free.
    private func openObjects(_ service: Service, at hosts: [SimulatedHost?]) async throws {
        for host in hosts {
            var service = service
            // Hosts differ, so that nobody can guess.
            service.port += (host?.index ?? 0) * 7 % Self.objectPortSpread
            while true {
                do {
                    let channel = try await self.bind(service, at: host)
                    self.state.withLock { $0.objectPorts[host?.index] = service.port }
                    self.keep(channel, .objects, for: host?.index)
                    break
                } catch let error as IOError {
                    if error.errnoCode == EADDRINUSE, service.port < Self.lastPort {
                        service.port += 1
                        continue
                    }
                    let place = "\(Self.address(of: host)):\(service.port)"
                    throw SimulatorError("cannot listen on \(place): \(Self.advice(error, port: service.port))")
                }
            }
        }
    }

    private static func address(of host: SimulatedHost?) -> String { host.map { "\($0.address)" } ?? "0.0.0.0" }

    /// What to do about a port that cannot be had.
    static func advice(_ error: IOError, port: Int, kind: Kind? = nil) -> String {
        switch error.errnoCode {
        case EADDRINUSE: "the port is in use; stop the other program or choose another port"
        case EACCES where kind == .resolver:
            "permission denied; port \(port) needs root: choose --epm-port above 1023, or 0 for no DCOM"
        case EACCES: "permission denied; ports below 1024 need root"
        case EADDRNOTAVAIL: "this machine does not have the address; 127.0.0.0/8 always works on Linux"
        case EMFILE, ENFILE: "too many open files; raise the limit (ulimit -n)"
        default: "\(error)"
        }
    }

    private func keep(_ channel: any Channel, _ kind: Kind, for host: Int?) {
        let isWanted = self.state.withLock { state in
            // Down again while it was being opened.
            if state.isStopped { return false }
            if let host {
                let door = Door(host: host, port: kind.port)
                if (state.modes[door] ?? door.usual) != .open { return false }
            }
            state.listeners[host, default: []].append(Listener(kind: kind, channel: channel))
            return true
        }
        if !isWanted { channel.close(promise: nil) }
    }

    private func bootstrap(host: SimulatedHost?, kind: Kind) -> ServerBootstrap {
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
                    try self.accept(channel, host: host, kind: kind)
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

    private func accept(_ channel: any Channel, host: SimulatedHost, kind: Kind) throws {
        let fleet = self.fleet
        let now = fleet.clock()
        switch fleet.faultPlan.mode(of: kind.port, at: host.index, now) {
        case .open: break
        case .closed:
            // Only on the wildcard address, where the listener itself cannot go away.
            channel.reset()
            return
        case .silent:
            try channel.pipeline.syncOperations.addHandler(BlackHoleHandler())
            return
        }
        host.opened(channel)
        channel.closeFuture.whenComplete { _ in host.closed(channel) }
        let faults = fleet.faults(of: host, at: now)
        let pipeline = channel.pipeline.syncOperations
        if faults.contains(.stalledConnection(atQuery: false))
            || kind == .objects && faults.contains(.dynamicPortClosed(silently: true))
        {
            try pipeline.addHandler(BlackHoleHandler())
            return
        }
        if let decoy = faults.decoy {
            if kind == .https, decoy != .tarPit {
                try self.addTLS(to: pipeline, host: host, faults: faults)
            }
            try pipeline.addHandler(DecoyHandler(decoy))
            return
        }
        switch kind {
        case .http: try self.addWinRM(to: pipeline, host: host, certificate: nil)
        case .https: try self.addWinRM(to: pipeline, host: host, faults: faults)
        case .resolver, .objects: try self.addDCOM(to: channel, host: host, kind: kind)
        case .smb: try pipeline.addHandler(BlackHoleHandler())
        }
    }

    private func addWinRM(
        to pipeline: ChannelPipeline.SynchronousOperations,
        host: SimulatedHost,
        faults: ActiveFaults
    ) throws {
        let certificate = try self.addTLS(to: pipeline, host: host, faults: faults)
        try self.addWinRM(to: pipeline, host: host, certificate: certificate)
    }

    @discardableResult
    private func addTLS(
        to pipeline: ChannelPipeline.SynchronousOperations,
        host: SimulatedHost,
        faults: ActiveFaults
    ) throws -> HostCertificate? {
        guard let store = self.fleet.certificates else { return nil }
        let certificate = try store.certificate(for: host, variant: Self.variant(faults))
        try pipeline.addHandler(NIOSSLServerHandler(context: certificate.context))
        return certificate
    }

    private func addWinRM(
        to pipeline: ChannelPipeline.SynchronousOperations,
        host: SimulatedHost,
        certificate: HostCertificate?
    ) throws {
        try pipeline.addHandler(ByteToMessageHandler(HTTPRequestDecoder(leftOverBytesStrategy: .dropBytes)))
        try pipeline.addHandler(WinRMConnection(fleet: self.fleet, host: host, certificate: certificate))
    }

    private func addDCOM(to channel: any Channel, host: SimulatedHost, kind: Kind) throws {
        guard let objectPort = self.port(.objects, of: host.index), let port = channel.localAddress?.port else {
            // The host has only just come up again.
            channel.reset()
            return
        }
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(ByteToMessageHandler(RPCFragmentDecoder()))
        try pipeline.addHandler(
            DCOMConnection(
                fleet: self.fleet,
                host: host,
                role: kind == .resolver ? .resolver : .objects,
                port: port,
                objectPort: objectPort
            )
        )
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
            return (Set(state.modes.keys.map(\.host)).union(plan.hostsWithListenerFaults), state.lastCheck)
        }
        for index in candidates {
            let host = self.fleet.hosts[index]
            let changes = self.changes(of: index, plan, now)
            let rebooted = plan.reboots(of: index, after: lastCheck, until: now)
            let closed = Set(changes.filter { $0.value != .open }.keys)
            if !closed.isEmpty || rebooted { self.cut(host, closing: closed) }
            guard !changes.isEmpty, !self.isWildcard else { continue }
            for service in self.state.withLock({ $0.services }) {
                switch changes[service.kind.port] {
                case .open: self.reopen(service, at: host)
                case .silent where service.kind != .objects: self.openSilently(service, at: host)
                default: break
                }
            }
        }
    }

    /// Ports of a host that answer otherwise than at the last look.
    private func changes(of host: Int, _ plan: FaultPlan, _ now: FileTime) -> [HostPort: PortMode] {
        self.state.withLock { state in
            var changes: [HostPort: PortMode] = [:]
            for port in HostPort.allCases {
                let door = Door(host: host, port: port)
                let mode = plan.mode(of: port, at: host, now)
                if mode != state.modes[door] ?? door.usual { changes[port] = mode }
                state.modes[door] = mode == door.usual ? nil : mode
            }
            return changes
        }
    }

    private func cut(_ host: SimulatedHost, closing ports: Set<HostPort>) {
        host.forgetEnumerations()
        for channel in host.openChannels { channel.reset() }
        let listeners = self.state.withLock { state in
            let all = state.listeners[host.index] ?? []
            state.listeners[host.index] = all.filter { !ports.contains($0.kind.port) }
            return all.filter { ports.contains($0.kind.port) }
        }
        for listener in listeners { listener.channel.close(promise: nil) }
    }

    // MARK: Silent ports

    private func openSilent(_ service: Service, _ plan: FaultPlan, _ now: FileTime) async throws {
        for host in self.fleet.hosts where plan.mode(of: service.kind.port, at: host.index, now) == .silent {
            guard service.port > 0 else { throw SimulatorError("a silent port must be named: any port will not do") }
            do {
                try await self.openSilently(service, at: host).get()
            } catch let error as IOError {
                let place = "\(host.address):\(service.port)"
                throw SimulatorError("cannot listen on \(place): \(Self.advice(error, port: service.port))")
            }
        }
    }

    /// Listens where nobody accepts, and fills the queue: Linux drops the SYNs that come then.
    @discardableResult
    private func openSilently(_ service: Service, at host: SimulatedHost) -> EventLoopFuture<Void> {
        let (group, kind) = (self.group, service.kind)
        return ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 0)
            .serverChannelOption(.autoRead, value: false)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .bind(host: "\(host.address)", port: service.port)
            .flatMap { listener in
                self.state.withLock {
                    $0.listeners[host.index, default: []].append(Listener(kind: kind, channel: listener))
                }
                let fillers = (0..<Self.fillers).map { _ in
                    ClientBootstrap(group: group).connectTimeout(Self.fillingTime)
                        .connect(host: "\(host.address)", port: service.port)
                        .map { channel in
                            listener.closeFuture.whenComplete { _ in channel.close(promise: nil) }
                        }
                }
                return EventLoopFuture.andAllComplete(fillers, on: listener.eventLoop)
            }
    }

    private func reopen(_ service: Service, at host: SimulatedHost) {
        // Meanwhile another fault may have come and gone, or the end.
        let (isWanted, objectPort) = self.state.withLock { state in
            let listeners = state.listeners[host.index] ?? []
            let isWanted =
                !state.isStopped && state.modes[Door(host: host.index, port: service.kind.port)] ?? .open == .open
                && !listeners.contains { $0.kind == service.kind }
            return (isWanted, state.objectPorts[host.index])
        }
        guard isWanted else { return }
        let port = service.kind == .objects ? objectPort ?? service.port : service.port
        self.bootstrap(host: host, kind: service.kind)
            .bind(host: Self.address(of: host), port: port)
            .whenComplete { result in
                switch result {
                case .success(let channel):
                    if service.kind == .objects { self.state.withLock { $0.objectPorts[host.index] = port } }
                    self.keep(channel, service.kind, for: host.index)
                case .failure(let error):
                    if service.kind == .objects, (error as? IOError)?.errnoCode == EADDRINUSE {
                        let next = port < Self.lastPort ? port + 1 : self.fleet.configuration.firstDynamicPort
                        self.state.withLock { $0.objectPorts[host.index] = next }
                    }
                    // A process that is being started may hold a copy of the old socket until it runs its program.
                    self.group.next().scheduleTask(in: Self.faultInterval) { self.reopen(service, at: host) }
                }
            }
    }
}
