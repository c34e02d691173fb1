import DCOM
import NIOCore

/// One RPC connection to a host: takes fragments, answers calls one after another.
///
/// What to answer is decided by ``DCOMAssociation``, ``ResolverService`` and ``ObjectService``; this performs it, with
/// the host's faults.
final class DCOMConnection: ChannelInboundHandler {
    typealias InboundIn = RPCFragment
    typealias OutboundOut = ByteBuffer

    /// Which of a host's two services a connection is to.
    enum Role: Sendable, Hashable {
        case resolver
        case objects
    }

    /// Fragments that a client may send ahead.
    private static let maximumWaiting = 256
    /// Content of each fragment of an answer that is far too large.
    private static let oversizedPart = 4_096

    private let fleet: FleetContext
    private let host: SimulatedHost
    private let role: Role
    private let port: Int
    private let objectPort: Int
    private let client: DCOMExporter.ClientID

    private var association: DCOMAssociation
    private var waiting: [RPCFragment] = []
    private var isBusy = false
    private var isClosing = false
    /// A fault has cut this connection, so its client cannot release what it holds.
    private var isCutByHost = false
    /// Good answers since the last login.
    private var answers = 0

    init(fleet: FleetContext, host: SimulatedHost, role: Role, port: Int, objectPort: Int) {
        self.fleet = fleet
        self.host = host
        self.role = role
        self.port = port
        self.objectPort = objectPort
        self.client = fleet.nextClient()
        self.association = DCOMAssociation(group: UInt32(truncatingIfNeeded: self.client) | 0x1_0000)
    }

    // MARK: Channel events

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !self.isClosing else { return }
        self.waiting.append(self.unwrapInboundIn(data))
        if self.waiting.count > Self.maximumWaiting {
            self.close(context)
        } else {
            self.handleNext(context)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        let now = self.fleet.clock()
        self.isClosing = true
        self.host.withExporter { exporter in
            // A client that resets its connection or breaks the protocol has left behind what it held.
            if self.isCutByHost {
                exporter.forget(self.client)
            } else {
                exporter.clientEnded(self.client, isActivator: self.role == .resolver, now: now)
            }
        }
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // What is no RPC ends the connection without a word, as Windows does.
        self.close(context)
    }

    private func close(_ context: ChannelHandlerContext) {
        self.isClosing = true
        self.waiting = []
        context.close(promise: nil)
    }

    // MARK: Fragments

    private func handleNext(_ context: ChannelHandlerContext) {
        while !self.isBusy, !self.isClosing, !self.waiting.isEmpty {
            self.handle(self.waiting.removeFirst(), context)
        }
    }

    private func handle(_ fragment: RPCFragment, _ context: ChannelHandlerContext) {
        let now = self.fleet.clock()
        let faults = self.fleet.faults(of: self.host, at: now)
        if faults.contains(.stalledConnection(atQuery: false)) {
            self.isBusy = true
            return
        }
        if faults.contains(.garbage) {
            self.sendGarbage(context)
            return
        }
        let (action, login) = self.association.receive(fragment, policy: self.policy(faults, at: now))
        switch login {
        case .none: break
        case .succeeded: self.host.count { $0.authentications += 1 }
        case .failed: self.host.count { $0.failedLogins += 1 }
        }
        switch action {
        case .nothing: break
        case .send(let bytes): self.send(bytes, context)
        case .close(let bytes):
            if !bytes.isEmpty { self.send(bytes, context) }
            self.close(context)
        case .call(let request):
            self.host.count { $0.requests += 1 }
            self.call(request, arrival: now, context)
        }
    }

    private func policy(_ faults: ActiveFaults, at time: FileTime) -> DCOMAssociation.Policy {
        let policy = self.fleet.policy(for: self.host, isTLS: false, certificate: nil, faults: faults, at: time)
        let fragment = faults.first { if case .smallFragments(let bytes) = $0 { bytes } else { nil } }
        let refusesLogins = policy.refusesLogins
        return DCOMAssociation.Policy(
            interfaces: self.role == .resolver ? ResolverService.interfaces : ObjectService.interfaces,
            port: self.port,
            maximumFragment: fragment ?? RPCFragment.defaultMaximum,
            takesOneInterface: faults.contains(.singleInterface),
            ntlm: policy.ntlm,
            lookup: { user, domain in refusesLogins ? nil : policy.lookup(user, domain) }
        )
    }

    // MARK: Calls

    private func call(
        _ request: DCOMAssociation.Request,
        arrival: FileTime,
        _ context: ChannelHandlerContext
    ) {
        let now = self.fleet.clock()
        let faults = self.fleet.faults(of: self.host, at: now)
        if self.isRevoked(faults) {
            // RPC has no word for a login that is over; hosts hang up. What the resolver activated can still be used
            // over another connection.
            self.isCutByHost = self.role == .objects
            self.close(context)
            return
        }
        guard let interface = request.interface else {
            self.fault(.unknownInterface, to: request, context)
            return
        }
        let call = DCOMCall(
            interface: interface,
            object: request.object,
            opnum: request.opnum,
            stub: request.stub,
            level: request.level,
            user: request.user,
            client: self.client,
            arrival: arrival,
            now: now
        )
        let view = DCOMHostView(fleet: self.fleet, host: self.host, faults: faults, objectPort: self.objectPort)
        let reply =
            self.role == .resolver
            ? ResolverService(view: view).answer(call)
            : ObjectService(view: view).answer(call)
        switch reply {
        case .stub(let stub, let isQueryResult):
            self.answers += 1
            self.respond(stub, to: request, isQueryResult: isQueryResult, faults, context)
        case .fault(let status):
            self.fault(status, to: request, context)
        case .never:
            self.isBusy = true
        case .wait(let time):
            self.wait(until: time, request, arrival: arrival, context)
        }
    }

    /// Whether the login of this connection is over, as a fault has it.
    private func isRevoked(_ faults: ActiveFaults) -> Bool {
        guard self.association.isEstablished,
            let (limit, refusesLogins) = faults.first({ kind -> (Int, Bool)? in
                if case .unauthorizedAfter(let requests, let refuse) = kind { (requests, refuse) } else { nil }
            }), self.answers >= limit
        else { return false }
        self.answers = 0
        if refusesLogins { self.fleet.lock(self.host) }
        return true
    }

    private func wait(
        until time: FileTime,
        _ request: DCOMAssociation.Request,
        arrival: FileTime,
        _ context: ChannelHandlerContext
    ) {
        self.isBusy = true
        let seconds = max(0, time.seconds(since: self.fleet.clock()))
        context.eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(Int64(seconds * 1e9) + 1_000_000)) {
            guard context.channel.isActive, !self.isClosing else { return }
            self.isBusy = false
            self.call(request, arrival: arrival, context)
            self.handleNext(context)
        }
    }

    // MARK: Answers

    private func respond(
        _ stub: [UInt8],
        to request: DCOMAssociation.Request,
        isQueryResult: Bool,
        _ faults: ActiveFaults,
        _ context: ChannelHandlerContext
    ) {
        if isQueryResult, let size = faults.first({ if case .oversizedAnswer(let bytes) = $0 { bytes } else { nil } }) {
            self.isBusy = true
            self.sendOversized(stub[...], remaining: size, isFirst: true, to: request, context)
            return
        }
        do {
            var bytes: [UInt8]
            if let part = faults.first({ if case .splitAnswers(let bytes) = $0 { bytes } else { nil } }) {
                bytes = try self.split(stub, every: part, to: request)
            } else {
                bytes = try self.association.response(stub, to: request)
            }
            if isQueryResult, faults.contains(.badSignature), request.level >= .packetIntegrity {
                // The signature ends the last fragment.
                bytes[bytes.count - 1] ^= 0xFF
            }
            if faults.contains(.dropMidAnswer) {
                self.sendHalf(bytes, context)
            } else {
                self.send(bytes, context)
            }
        } catch {
            self.close(context)
        }
    }

    private func split(
        _ stub: [UInt8],
        every size: Int,
        to request: DCOMAssociation.Request
    ) throws -> [UInt8] {
        var bytes: [UInt8] = []
        var start = 0
        repeat {
            let end = min(start + size, stub.count)
            var flags: RPCFlags = []
            if start == 0 { flags.insert(.firstFragment) }
            if end == stub.count { flags.insert(.lastFragment) }
            bytes += try self.association.responseFragment(stub[start..<end], to: request, flags: flags)
            start = end
        } while start < stub.count
        return bytes
    }

    private func fault(
        _ status: RPCStatus,
        to request: DCOMAssociation.Request,
        _ context: ChannelHandlerContext
    ) {
        do {
            self.send(try self.association.fault(status, to: request), context)
        } catch {
            self.close(context)
        }
    }

    private func send(_ bytes: [UInt8], _ context: ChannelHandlerContext) {
        context.writeAndFlush(self.wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
    }

    private func sendGarbage(_ context: ChannelHandlerContext) {
        var random = SplitMix64(seed: UInt64(self.host.index))
        var buffer = context.channel.allocator.buffer(capacity: 512)
        for _ in 0..<64 { buffer.writeInteger(random.next() | 0x8080_8080_8080_8080) }
        context.writeAndFlush(self.wrapOutboundOut(buffer), promise: nil)
    }

    private func sendHalf(_ bytes: [UInt8], _ context: ChannelHandlerContext) {
        self.isClosing = true
        self.isCutByHost = true
        let loopBound = NIOLoopBound(context, eventLoop: context.eventLoop)
        let half = ByteBuffer(bytes: bytes[..<(bytes.count / 2)])
        context.writeAndFlush(self.wrapOutboundOut(half)).whenComplete { _ in loopBound.value.channel.reset() }
    }

    /// Sends fragment after fragment, as fast as the client reads.
    private func sendOversized(
        _ rest: ArraySlice<UInt8>,
        remaining: Int,
        isFirst: Bool,
        to request: DCOMAssociation.Request,
        _ context: ChannelHandlerContext
    ) {
        guard context.channel.isActive, !self.isClosing else { return }
        var part = Array(rest.prefix(Self.oversizedPart))
        part += [UInt8](repeating: 0, count: Self.oversizedPart - part.count)
        let isLast = remaining <= Self.oversizedPart
        var flags: RPCFlags = []
        if isFirst { flags.insert(.firstFragment) }
        if isLast { flags.insert(.lastFragment) }
        guard let bytes = try? self.association.responseFragment(part[...], to: request, flags: flags) else {
            self.close(context)
            return
        }
        let loopBound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        context.writeAndFlush(self.wrapOutboundOut(ByteBuffer(bytes: bytes))).whenSuccess {
            let (connection, context) = loopBound.value
            // Not from here: a write that is done at once would call itself thousands of times.
            context.eventLoop.assumeIsolated().execute {
                if isLast {
                    connection.isBusy = false
                    connection.handleNext(context)
                } else {
                    connection.sendOversized(
                        rest.dropFirst(Self.oversizedPart),
                        remaining: remaining - Self.oversizedPart,
                        isFirst: false,
                        to: request,
                        context
                    )
                }
            }
        }
    }
}
