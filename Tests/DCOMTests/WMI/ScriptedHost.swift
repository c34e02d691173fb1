import Synchronization

@testable import DCOM
@testable import SSP

/// A Windows host at the level of calls: activation, WMI and pings, with every reference counted, and misbehaviour as
/// scripted. Its channels stand where RPC's connections stand; nothing touches a network.
final class ScriptedHost: Sendable {
    /// What a method does instead of its work, once.
    enum Reaction: Sendable {
        /// Its work.
        case work
        /// The transport fails; if the error says so, the channel closes.
        case fail(RPCError)
        /// The method fails.
        case result(HRESULT)
        case stub([UInt8])
        /// Nothing until ``ScriptedHost/resume()``, or until the channel closes; then its work.
        case hang
    }

    static let address = "192.0.2.17"
    static let exporterPort = 49154
    static let password = "right"

    struct State {
        var reactions: [String: [Reaction]] = [:]
        /// Methods and associations in order; `bind`, `challenge`, `auth3` and names of methods.
        var log: [String] = []
        var dialled: [String] = []
        var dialDeadlines: [ContinuousClock.Instant] = []
        var refusedDials: [String: RPCError] = [:]
        var hangingDials: Set<String> = []
        /// Of the last call of each method.
        var callDeadlines: [String: ContinuousClock.Instant] = [:]
        /// How often an interface is refused before it is taken.
        var refusals: [RPCInterface: Int] = [:]
        /// Public references that are out, by interface.
        var references: [GUID: Int] = [:]
        var excessReleases = 0
        var failedLogins = 0
        /// Addresses in the exporter's bindings; `PORT` stands for its port.
        var bindings = ["HOST[PORT]", "10.9.9.9[PORT]"]
        var version = COMVersion.current
        var publicReferences: UInt32 = 5
        /// Values of the rows of the next queries, in pages.
        var queries: [[[UInt32]]] = []
        var enumerators: [GUID: [[UInt32]]] = [:]
        var lastPageEnds = true
        var nextIPID: UInt32 = 1
        var takesAnonymousPings = true
        /// Objects by ping set.
        var pingSets: [UInt64: Set<UInt64>] = [:]
        var pings: [PingSet.Ping] = []
        var hanging: [CheckedContinuation<Void, Never>] = []
        var isHung = false
        var openChannels = 0
    }

    let state = Mutex(State())

    init(_ script: (inout State) -> Void = { _ in }) {
        self.state.withLock { script(&$0) }
    }

    static let remUnknown: GUID = "00000000-0000-0000-0000-0000000000ff"

    var log: [String] { self.state.withLock { $0.log } }
    var references: Int { self.state.withLock { $0.references.values.reduce(0, +) } }
    var openChannels: Int { self.state.withLock { $0.openChannels } }
    var failedLogins: Int { self.state.withLock { $0.failedLogins } }

    func react(_ method: String, _ reactions: Reaction...) {
        self.state.withLock { $0.reactions[method, default: []] += reactions }
    }

    /// The queries to come bring these rows, one page of each.
    func answer(_ pages: [[UInt32]]...) {
        self.state.withLock { $0.queries += pages }
    }

    func clearLog() {
        self.state.withLock { $0.log = [] }
    }

    /// Lets what hangs go on.
    func resume() {
        for continuation in self.takeHanging() { continuation.resume() }
    }

    func takeHanging() -> [CheckedContinuation<Void, Never>] {
        self.state.withLock { state in
            state.isHung = false
            defer { state.hanging = [] }
            return state.hanging
        }
    }

    func hang() async {
        await withCheckedContinuation { continuation in
            self.state.withLock { state in
                state.hanging.append(continuation)
                state.isHung = true
            }
        }
    }

    /// Waits until a call hangs.
    func waitUntilHung() async {
        while !self.state.withLock({ $0.isHung }) { await Task.yield() }
    }

    var dial: RPCDial {
        { [self] address, port, deadline throws(RPCError) in
            let place = "\(address):\(port)"
            let (refusal, hangs) = self.state.withLock { state in
                state.dialled.append(place)
                state.dialDeadlines.append(deadline)
                return (state.refusedDials[place], state.hangingDials.contains(place))
            }
            if let refusal { throw refusal }
            if hangs { await self.hang() }
            self.state.withLock { $0.openChannels += 1 }
            return ScriptedChannel(host: self)
        }
    }

    func connector(_ change: (inout WMILimits) -> Void = { _ in }) -> WMIConnector {
        var limits = WMILimits()
        change(&limits)
        return WMIConnector(limits: limits, environment: .system, dial: self.dial)
    }

    /// A connection that is signed in.
    func signedIn(
        password: String = ScriptedHost.password,
        _ change: (inout WMILimits) -> Void = { _ in }
    ) async throws -> WMIConnection {
        let connection = try await self.connector(change).connect(
            to: WMIEndpoint(address: Self.address),
            deadline: .later
        )
        let credential = WMICredential(username: "user", password: password)
        try await connection.authenticate(credential, deadline: .later)
        try await connection.openExporter(for: credential, deadline: .later)
        return connection
    }
}

extension ContinuousClock.Instant {
    static var later: Self { .now + .seconds(30) }
}

final class ScriptedChannel: RPCChannel {
    private struct State {
        var isOpen = true
        var bound: Set<RPCInterface> = []
        var hasChallenge = false
        var isSignedIn = false
        var isWrongPassword = false
        var failure: RPCError?
        var roundTrips = 0
    }

    let host: ScriptedHost
    private let state = Mutex(State())

    init(host: ScriptedHost) {
        self.host = host
    }

    var isOpen: Bool { self.state.withLock { $0.isOpen } }
    var statistics: RPCStatistics {
        RPCStatistics(roundTrips: self.state.withLock { $0.roundTrips }, bytesSent: 0, bytesReceived: 0)
    }

    var challengeInfo: NTLMChallengeInfo? { self.state.withLock { $0.hasChallenge } ? Self.challenge : nil }

    // MARK: - Association

    func bind(_ interfaces: [RPCInterface], deadline: ContinuousClock.Instant) async throws(RPCError) {
        let new = self.state.withLock { state in interfaces.filter { !state.bound.contains($0) } }
        guard !new.isEmpty else { return }
        try await self.react("bind", deadline)
        try self.associate(new)
    }

    func requestChallenge(
        _ interfaces: [RPCInterface],
        level: RPCAuthLevel,
        deadline: ContinuousClock.Instant
    ) async throws(RPCError) -> NTLMChallengeInfo {
        try await self.react("challenge", deadline)
        self.state.withLock { $0.hasChallenge = true }
        guard level == .packetPrivacy else { throw .protocolViolation("level \(level)") }
        try self.associate(interfaces)
        return Self.challenge
    }

    static let challenge: NTLMChallengeInfo = {
        var acceptor = NTLMAcceptor(
            configuration: .init(
                netbiosComputerName: "HOST",
                netbiosDomainName: "LAB",
                dnsComputerName: "host.lab.example",
                dnsDomainName: "lab.example",
                environment: .system
            )
        )
        var initiator = NTLMInitiator(credential: NTLMCredential(username: "", password: ""))
        // swift-format-ignore: NeverUseForceTry
        return try! NTLMChallengeInfo.parse(acceptor.challenge(negotiate: initiator.negotiate()))  // Our own bytes.
    }()

    func authenticate(
        _ credential: NTLMCredential,
        targetName: String?,
        deadline: ContinuousClock.Instant
    ) async throws(RPCError) -> UInt32 {
        guard self.state.withLock({ $0.hasChallenge }) else { throw .misuse("no challenge") }
        self.host.state.withLock { $0.log.append("auth3") }
        self.state.withLock { state in
            state.isSignedIn = true
            state.isWrongPassword = credential.password != ScriptedHost.password
        }
        return 1
    }

    private func associate(_ interfaces: [RPCInterface]) throws(RPCError) {
        var refused: RPCInterface?
        for interface in interfaces {
            let isRefused = self.host.state.withLock { state in
                guard let count = state.refusals[interface], count > 0 else { return false }
                state.refusals[interface] = count - 1
                return true
            }
            if isRefused {
                refused = refused ?? interface
            } else {
                self.state.withLock { _ = $0.bound.insert(interface) }
            }
        }
        if let refused { throw .interfaceRejected(refused, "abstract syntax not supported") }
    }

    // MARK: - Calls

    func call(
        _ interface: RPCInterface,
        object: GUID?,
        opnum: UInt16,
        stub: [UInt8],
        security: UInt32?,
        deadline: ContinuousClock.Instant
    ) async throws(RPCError) -> [UInt8] {
        let (isBound, isSignedIn, isWrong) = self.state.withLock {
            ($0.bound.contains(interface), $0.isSignedIn, $0.isWrongPassword)
        }
        guard isBound else { throw .misuse("\(interface) is not bound") }
        if isWrong {
            self.host.state.withLock { $0.failedLogins += 1 }
            self.abandon(.cancelled)
            throw .authenticationFailed("")
        }
        let method = ScriptedHost.name(interface, opnum)
        if let stub = try await self.react(method, deadline) { return stub }
        do {
            return try self.host.perform(method, object: object, stub: stub, isSignedIn: isSignedIn)
        } catch let error as RPCError {
            throw error
        } catch {
            throw .protocolViolation("the test's own host: \(error)")
        }
    }

    @discardableResult
    private func react(_ method: String, _ deadline: ContinuousClock.Instant) async throws(RPCError) -> [UInt8]? {
        try self.check()
        guard !Task.isCancelled else { throw .cancelled }
        guard deadline > .now else {
            self.abandon(.timedOut(.call))
            throw .timedOut(.call)
        }
        self.state.withLock { $0.roundTrips += 1 }
        let reaction = self.host.state.withLock { state in
            state.log.append(method)
            state.callDeadlines[method] = deadline
            guard var queue = state.reactions[method], !queue.isEmpty else { return ScriptedHost.Reaction.work }
            defer { state.reactions[method] = queue }
            return queue.removeFirst()
        }
        switch reaction {
        case .work: return nil
        case .stub(let stub): return stub
        case .result(let result): return ScriptedHost.failure(method, result)
        case .fail(let error):
            if !error.leavesConnectionOpen { self.abandon(error) }
            throw error
        case .hang:
            // As RPC's connections do: an answer that nobody waits for would come out of step.
            await withTaskCancellationHandler {
                await self.host.hang()
            } onCancel: {
                self.abandon(.cancelled)
            }
            try self.check()
            return nil
        }
    }

    private func check() throws(RPCError) {
        if let failure = self.state.withLock({ $0.failure }) { throw failure }
    }

    func close() async {
        self.abandon(.cancelled)
    }

    func abandon(_ error: RPCError) {
        let wasOpen = self.state.withLock { state in
            defer { state.isOpen = false }
            if state.isOpen { state.failure = error }
            return state.isOpen
        }
        guard wasOpen else { return }
        self.host.state.withLock { $0.openChannels -= 1 }
        self.host.resume()
    }
}
