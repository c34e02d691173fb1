internal import HTTPTypes
internal import NIOCore
internal import NIOHTTP1

/// Why a request is no HTTP that can be answered; the message goes to the client.
struct MalformedRequestError: Error, Equatable {
    let message: String
}

/// What RFC 9112 asks of a server of HTTP/1.1 and the framework leaves out: versions, `Host`, the two ways of framing,
/// `Expect: 100-continue`, and closing when the client wants it.
struct HTTP1Rules: Sendable {
    /// What a request's head means for its connection.
    struct Verdict: Equatable, Sendable {
        /// Whether the client waits for leave to send the body.
        var expectsContinue = false
        /// Whether the connection stays open after the answer.
        var isKeptAlive = true
    }

    let maximumBodyBytes: Int

    func judge(_ head: HTTPRequestHead) throws(MalformedRequestError) -> Verdict {
        guard head.version == .http1_1 || head.version == .http1_0 else {
            throw MalformedRequestError(message: "Only HTTP/1.1 and HTTP/1.0 are spoken here (and HTTP/2 over TLS)")
        }
        try self.judgeFraming(head)
        let hosts = head.headers["host"]
        // RFC 9112 §3.2.
        guard hosts.count == 1 || hosts.isEmpty && head.version == .http1_0 else {
            throw MalformedRequestError(message: "The request must have one Host header")
        }
        // The parser takes what follows these two for another protocol, which nobody here speaks.
        let changesProtocol = head.method == .CONNECT || head.headers.contains(name: "upgrade")
        var verdict = Verdict(isKeptAlive: head.isKeepAlive && !changesProtocol)
        let expectations = head.headers[canonicalForm: "expect"].map { $0.lowercased() }
        // RFC 9110 §10.1.1: not from a client of HTTP/1.0, and not when the body is refused anyway.
        verdict.expectsContinue =
            expectations.contains("100-continue") && head.version == .http1_1
            && head.headers.first(name: "content-length").flatMap { Int($0) } ?? 0 <= self.maximumBodyBytes
        return verdict
    }

    /// RFC 9112 §6: a body whose length can be read in two ways is how requests are smuggled past proxies.
    private func judgeFraming(_ head: HTTPRequestHead) throws(MalformedRequestError) {
        let codings = head.headers[canonicalForm: "transfer-encoding"].map { $0.lowercased() }
        let lengths = head.headers["content-length"]
        if !codings.isEmpty {
            guard lengths.isEmpty else {
                throw MalformedRequestError(message: "Content-Length and Transfer-Encoding exclude each other")
            }
            guard head.version == .http1_1, codings == ["chunked"] else {
                throw MalformedRequestError(message: "The only Transfer-Encoding is chunked, in HTTP/1.1")
            }
        }
        guard lengths.count <= 1 else {
            throw MalformedRequestError(message: "The request must not have more than one Content-Length")
        }
    }
}

/// Applies ``HTTP1Rules`` between the parser of HTTP/1 and what makes common HTTP of it.
final class HTTP1RulesHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    private let rules: HTTP1Rules
    /// Of requests that are not answered yet, in order: whether the connection stays open after them.
    private var keptAlive = CircularBuffer<Bool>()
    /// After a request that was refused, or one that is the last, the rest of the bytes means nothing.
    private var isDeaf = false
    private var isRefused = false

    init(rules: HTTP1Rules) { self.rules = rules }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !self.isRefused else { return }
        switch self.unwrapInboundIn(data) {
        case .head(let head):
            guard !self.isDeaf else {
                self.isRefused = true
                return
            }
            do throws(MalformedRequestError) {
                let verdict = try self.rules.judge(head)
                self.keptAlive.append(verdict.isKeptAlive)
                self.isDeaf = !verdict.isKeptAlive
                if verdict.expectsContinue, self.keptAlive.count == 1 { self.allowBody(context) }
                context.fireChannelRead(data)
            } catch {
                self.isRefused = true
                context.fireErrorCaught(error)
            }
        case .body, .end: context.fireChannelRead(data)
        }
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch self.unwrapOutboundIn(data) {
        case .head(var head):
            if self.keptAlive.first == false { head.headers.replaceOrAdd(name: "connection", value: "close") }
            context.write(self.wrapOutboundOut(.head(head)), promise: promise)
        case .body: context.write(data, promise: promise)
        case .end:
            guard self.keptAlive.popFirst() == false else { return context.write(data, promise: promise) }
            let written = promise ?? context.eventLoop.makePromise(of: Void.self)
            let channel = context.channel
            written.futureResult.whenComplete { _ in channel.close(promise: nil) }
            context.writeAndFlush(data, promise: written)
        }
    }

    private func allowBody(_ context: ChannelHandlerContext) {
        let head = HTTPResponseHead(version: .http1_1, status: .continue)
        context.writeAndFlush(self.wrapOutboundOut(.head(head)), promise: nil)
    }
}
