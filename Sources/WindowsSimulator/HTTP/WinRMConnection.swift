import NIOCore
import NIOHTTP1
import WinRM

/// One connection to a host's WinRM service: reads requests, answers them one after another.
///
/// What to answer is decided by ``ConnectionSecurity`` and ``WSManService``; this performs it, with the host's faults.
final class WinRMConnection: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = ByteBuffer

    /// Requests that a client may send ahead.
    private static let maximumPipelined = 16
    private static let wsmanPath = "/wsman"

    private let fleet: FleetContext
    private let host: SimulatedHost
    private let isTLS: Bool
    private let certificate: HostCertificate?

    private var security = ConnectionSecurity()
    private var head: HTTPRequestHead?
    private var body: [UInt8] = []
    private var isTooLarge = false
    private var waiting: [HTTPRequest] = []
    private var isBusy = false
    private var isClosing = false
    /// Good answers since the last login.
    private var answers = 0
    private var lastActivity = NIODeadline.now()

    init(fleet: FleetContext, host: SimulatedHost, certificate: HostCertificate?) {
        self.fleet = fleet
        self.host = host
        self.isTLS = certificate != nil
        self.certificate = certificate
    }

    // MARK: Channel events

    func handlerAdded(context: ChannelHandlerContext) {
        self.scheduleKeepAlive(context, in: self.keepAlive)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !self.isClosing else { return }
        switch self.unwrapInboundIn(data) {
        case .head(let head):
            self.head = head
            self.body = []
            self.isTooLarge = false
            if head.headers.first(name: "Expect")?.lowercased() == "100-continue" {
                context.writeAndFlush(
                    self.wrapOutboundOut(ByteBuffer(string: "HTTP/1.1 100 Continue\r\n\r\n")),
                    promise: nil
                )
            }
        case .body(let part):
            guard self.body.count + part.readableBytes <= self.fleet.configuration.service.maximumRequestBytes else {
                self.isTooLarge = true
                self.body = []
                return
            }
            self.body.append(contentsOf: part.readableBytesView)
        case .end:
            guard let head = self.head else { return }
            self.head = nil
            self.lastActivity = .now()
            if self.isTooLarge {
                self.send(HTTPAnswer(status: 413, closes: true), context)
                return
            }
            self.waiting.append(HTTPRequest(head: head, body: self.body))
            self.body = []
            if self.waiting.count > Self.maximumPipelined {
                context.close(promise: nil)
            } else {
                self.handleNext(context)
            }
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if error is HTTPParserError, !self.isClosing, context.channel.isActive {
            self.send(HTTPAnswer(status: 400, closes: true), context)
        } else {
            context.close(promise: nil)
        }
    }

    private var keepAlive: TimeAmount {
        .nanoseconds(Int64(self.fleet.configuration.service.keepAliveTimeout * 1e9))
    }

    private func scheduleKeepAlive(_ context: ChannelHandlerContext, in delay: TimeAmount) {
        let loop = context.eventLoop.assumeIsolated()
        loop.scheduleTask(in: delay) {
            guard context.channel.isActive, !self.isClosing else { return }
            let due = self.lastActivity + self.keepAlive
            if self.isBusy {
                self.scheduleKeepAlive(context, in: self.keepAlive)
            } else if due <= .now() {
                self.isClosing = true
                context.close(promise: nil)
            } else {
                self.scheduleKeepAlive(context, in: due - .now())
            }
        }
    }

    // MARK: Requests

    private func handleNext(_ context: ChannelHandlerContext) {
        while !self.isBusy, !self.isClosing, !self.waiting.isEmpty {
            self.handle(self.waiting.removeFirst(), context)
        }
    }

    private func handle(_ request: HTTPRequest, _ context: ChannelHandlerContext) {
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
        guard request.path == Self.wsmanPath else {
            self.send(HTTPAnswer(status: 404, headers: [("Content-Type", "text/html; charset=us-ascii")]), context)
            return
        }
        guard request.head.method == .POST else {
            self.send(HTTPAnswer(status: 405, headers: [("Allow", "POST")]), context)
            return
        }
        if request.header("WSMANIDENTIFY")?.lowercased() == "unauthenticated" {
            self.identify(request, context)
            return
        }
        if let limit = faults.first({ kind -> (Int, Bool)? in
            if case .unauthorizedAfter(let requests, let refuse) = kind { (requests, refuse) } else { nil }
        }), self.security.isEstablished, self.answers >= limit.0 {
            self.security.reset()
            self.answers = 0
            if limit.1 { self.fleet.lock(self.host) }
        }
        let isSealed = request.header("Content-Type").map { SealedMultipart.isSealed(contentType: $0) } ?? false
        if !isSealed, !self.isTLS, !request.body.isEmpty,
            let status = faults.first({ if case .plainRefused(let status) = $0 { status } else { nil } })
        {
            self.send(HTTPAnswer(status: status, closes: true), context)
            return
        }
        switch self.security.decide(request, policy: self.policy(faults, at: now)) {
        case .reply(let answer, let login):
            self.count(login)
            self.send(answer, context)
        case .authorized(let user, let token, let login):
            self.count(login)
            self.authorized(request, isSealed: isSealed, user: user, token: token, context)
        }
    }

    private func policy(_ faults: ActiveFaults, at time: FileTime) -> ConnectionSecurity.Policy {
        self.fleet.policy(for: self.host, isTLS: self.isTLS, certificate: self.certificate, faults: faults, at: time)
    }

    private func count(_ login: ConnectionSecurity.Login) {
        switch login {
        case .none: break
        case .succeeded: self.host.count { $0.authentications += 1 }
        case .failed: self.host.count { $0.failedLogins += 1 }
        }
    }

    private func identify(_ request: HTTPRequest, _ context: ChannelHandlerContext) {
        let parsed = try? WSManIncoming(request.body)
        guard case .identify? = parsed?.operation else {
            self.send(HTTPAnswer(status: 400, closes: true), context)
            return
        }
        var answer = HTTPAnswer(status: 200, headers: [("Content-Type", SealedMultipart.soapContentType)])
        // Nobody who has not logged in is told the version.
        answer.body = WSManService.identify(product: "OS: 0.0.0 SP: 0.0 Stack: 3.0")
        self.send(answer, context)
    }

    private func authorized(
        _ request: HTTPRequest,
        isSealed: Bool,
        user: String,
        token: String?,
        _ context: ChannelHandlerContext
    ) {
        let headers = token.map { [("WWW-Authenticate", "Negotiate \($0)")] } ?? []
        if request.body.isEmpty {
            self.send(HTTPAnswer(status: 200, headers: headers), context)
            return
        }
        var body = request.body
        if isSealed {
            do {
                body = try self.security.open(body)
            } catch {
                self.send(HTTPAnswer(status: 400, closes: true), context)
                return
            }
        } else if !self.isTLS, !self.fleet.configuration.service.allowsUnencrypted {
            // What Windows does: it looks like a bad password and is none.
            self.security.reset()
            let now = self.fleet.clock()
            let policy = self.policy(self.fleet.faults(of: self.host, at: now), at: now)
            self.send(ConnectionSecurity.unauthorized(policy, closes: true), context)
            return
        }
        self.host.count { $0.requests += 1 }
        self.query(body, isSealed: isSealed, user: user, headers: headers, context)
    }

    // MARK: Queries

    private func query(
        _ body: [UInt8],
        isSealed: Bool,
        user: String,
        headers: [(String, String)],
        _ context: ChannelHandlerContext
    ) {
        let request: WSManIncoming
        do {
            request = try WSManIncoming(body)
        } catch {
            self.finish(WSManService.fault(.invalidXML, to: nil, host: self.host), isSealed, headers, context)
            return
        }
        let faults = self.fleet.faults(of: self.host, at: self.fleet.clock())
        if faults.contains(.stalledConnection(atQuery: true)) {
            self.isBusy = true
            return
        }
        let delay = faults.delay(for: self.fleet.service.className(of: request))
        guard delay > 0 else {
            self.answer(request, isSealed: isSealed, user: user, headers: headers, context)
            return
        }
        self.isBusy = true
        // A host gives up when the client's OperationTimeout has passed.
        let isTimedOut = request.operationTimeout.map { $0 < delay } ?? false
        let wait = min(delay, request.operationTimeout ?? delay)
        context.eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(Int64(wait * 1e9))) {
            guard context.channel.isActive, !self.isClosing else { return }
            self.isBusy = false
            if isTimedOut {
                self.finish(WSManService.fault(.timedOut, to: request, host: self.host), isSealed, headers, context)
            } else {
                self.answer(request, isSealed: isSealed, user: user, headers: headers, context)
            }
            self.handleNext(context)
        }
    }

    private func answer(
        _ request: WSManIncoming,
        isSealed: Bool,
        user: String,
        headers: [(String, String)],
        _ context: ChannelHandlerContext
    ) {
        let now = self.fleet.clock()
        let reply = self.fleet.service.answer(
            request,
            host: self.host,
            user: user,
            snapshot: self.fleet.snapshot(of: self.host, at: now),
            faults: self.fleet.faults(of: self.host, at: now)
        )
        self.finish(reply, isSealed, headers, context)
    }

    private func finish(
        _ reply: WSManService.Reply,
        _ isSealed: Bool,
        _ headers: [(String, String)],
        _ context: ChannelHandlerContext
    ) {
        var answer = HTTPAnswer(status: reply.status, headers: headers, body: reply.body)
        answer.isChunked = self.host.quirks.chunksAnswers
        answer.headers.append(
            ("Content-Type", isSealed ? SealedMultipart.contentType : SealedMultipart.soapContentType)
        )
        if isSealed {
            do {
                answer.body = try self.security.seal(reply.body, indentsHeaders: self.host.quirks.indentsPartHeaders)
            } catch {
                context.close(promise: nil)
                return
            }
        }
        self.answers += 1
        let faults = self.fleet.faults(of: self.host, at: self.fleet.clock())
        if faults.contains(.dropMidAnswer) {
            self.sendHalf(answer, context)
        } else if let size = faults.first({ if case .oversizedAnswer(let bytes) = $0 { bytes } else { nil } }) {
            self.sendOversized(answer, bytes: size, context)
        } else {
            self.send(answer, context)
        }
    }

    // MARK: Writing

    private func send(_ answer: HTTPAnswer, _ context: ChannelHandlerContext) {
        let date = self.fleet.httpDate(self.fleet.clock())
        let buffer = answer.encoded(date: date, allocator: context.channel.allocator)
        self.lastActivity = .now()
        guard answer.closes else {
            context.writeAndFlush(self.wrapOutboundOut(buffer), promise: nil)
            return
        }
        self.isClosing = true
        let loopBound = NIOLoopBound(context, eventLoop: context.eventLoop)
        context.writeAndFlush(self.wrapOutboundOut(buffer)).whenComplete { _ in
            loopBound.value.close(promise: nil)
        }
    }

    private func sendGarbage(_ context: ChannelHandlerContext) {
        var random = SplitMix64(seed: UInt64(self.host.index))
        var buffer = context.channel.allocator.buffer(capacity: 512)
        for _ in 0..<64 { buffer.writeInteger(random.next() | 0x8080_8080_8080_8080) }
        context.writeAndFlush(self.wrapOutboundOut(buffer), promise: nil)
    }

    private func sendHalf(_ answer: HTTPAnswer, _ context: ChannelHandlerContext) {
        let date = self.fleet.httpDate(self.fleet.clock())
        var buffer = answer.encoded(date: date, allocator: context.channel.allocator)
        buffer.moveWriterIndex(to: buffer.readerIndex + buffer.readableBytes - max(1, answer.body.count / 2))
        self.isClosing = true
        let loopBound = NIOLoopBound(context, eventLoop: context.eventLoop)
        context.writeAndFlush(self.wrapOutboundOut(buffer)).whenComplete { _ in
            loopBound.value.channel.reset()
        }
    }

    /// Promises and sends many bytes, as fast as the client reads.
    private func sendOversized(_ answer: HTTPAnswer, bytes: Int, _ context: ChannelHandlerContext) {
        var head = HTTPAnswer(status: answer.status, headers: answer.headers)
            .encoded(date: self.fleet.httpDate(self.fleet.clock()), allocator: context.channel.allocator)
        let text = head.readString(length: head.readableBytes) ?? ""
        let promised = text.replacing("Content-Length: 0", with: "Content-Length: \(bytes)")
        self.isBusy = true
        context.write(self.wrapOutboundOut(ByteBuffer(string: promised)), promise: nil)
        self.sendSpaces(bytes, context)
    }

    private func sendSpaces(_ remaining: Int, _ context: ChannelHandlerContext) {
        guard remaining > 0, context.channel.isActive else {
            self.isBusy = false
            self.handleNext(context)
            return
        }
        let size = min(remaining, 262_144)
        let piece = ByteBuffer(repeating: 0x20, count: size)
        let loopBound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        context.writeAndFlush(self.wrapOutboundOut(piece)).whenSuccess {
            let (connection, context) = loopBound.value
            connection.lastActivity = .now()
            connection.sendSpaces(remaining - size, context)
        }
    }
}
