package import Foundation
internal import NIOCore
package import NIOHTTP1
internal import NIOPosix
internal import NIOSSL

package struct HTTPAnswer: Sendable {
    package var status: Int
    package var body: [UInt8]
}

/// Sends requests to one server, each on a connection of its own.
package final class HTTPRequester: Sendable {
    static let connectTimeout = TimeAmount.seconds(10)
    /// From the request to the last byte of its answer.
    static let answerTimeout = TimeAmount.seconds(60)
    static let maximumBodyBytes = 64 << 20

    private let address: ServerAddress
    private let trust: ServerTrust
    private let context: NIOSSLContext?

    /// - Throws: ``CommandError`` for a file of authorities that can't be read.
    package init(_ address: ServerAddress, trust: ServerTrust) throws {
        self.address = address
        self.trust = trust
        self.context = address.isTLS ? try trust.context() : nil
    }

    /// Speaks with the server without telling it anything.
    /// - Throws: ``CommandError``.
    package func greet() async throws { _ = try await self.send(.GET, "/health") }

    /// - Throws: ``CommandError`` that says what to do.
    package func send(
        _ method: HTTPMethod,
        _ path: String,
        headers: [(String, String)] = [],
        body: Data? = nil
    ) async throws -> HTTPAnswer {
        var head = HTTPRequestHead(version: .http1_1, method: method, uri: path)
        head.headers.add(name: "Host", value: self.address.authority)
        head.headers.add(name: "Connection", value: "close")
        head.headers.add(name: "Accept", value: "application/json")
        for (name, value) in headers { head.headers.add(name: name, value: value) }
        if let body {
            head.headers.add(name: "Content-Type", value: "application/json")
            head.headers.add(name: "Content-Length", value: String(body.count))
        }
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let promise = loop.makePromise(of: HTTPAnswer.self)
        let (request, address, trust, context) = (head, self.address, self.trust, self.context)
        ClientBootstrap(group: loop)
            .connectTimeout(Self.connectTimeout)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if let context { try pipeline.addHandler(trust.handler(context, host: address.host)) }
                    try pipeline.addHTTPClientHandlers()
                    try pipeline.addHandler(
                        NIOHTTPClientResponseAggregator(maxContentLength: Self.maximumBodyBytes)
                    )
                    try pipeline.addHandler(AnswerHandler(request, body: body, promise: promise))
                }
            }
            .connect(host: address.host, port: address.port)
            .cascadeFailure(to: promise)
        do { return try await promise.futureResult.get() } catch { throw self.explained(error) }
    }

    private func explained(_ error: any Error) -> CommandError {
        let place = self.address.url
        switch error {
        case is NIOSSLError, is BoringSSLError, is NIOSSLExtraError:
            return CommandError(
                "the certificate of \(place) is not trusted, or nothing there speaks TLS; give --fingerprint sha256:… as "
                    + "the server logs it at its start, or --ca-file with its authority",
                status: ExitStatus.untrusted
            )
        case ChannelError.connectTimeout, HTTPTimeout.elapsed:
            return CommandError("\(place) does not answer in time", status: ExitStatus.unavailable)
        default:
            return CommandError(
                "\(place) can't be reached: \(Self.reason(error)); is it running, and is --server right?",
                status: ExitStatus.unavailable
            )
        }
    }

    /// In the words of the operating system where it is its refusal.
    private static func reason(_ error: any Error) -> String {
        switch error {
        case let error as NIOConnectionError:
            if let last = error.connectionErrors.last { return self.reason(last.error) }
            return "\(error.host) is not a name that can be resolved"
        case let error as IOError: return String(cString: strerror(error.errnoCode))
        case HTTPTimeout.closed: return "the connection was closed"
        default: return "\(error)"
        }
    }
}

private enum HTTPTimeout: Error { case elapsed, closed }

/// Sends one request and completes with its answer.
private final class AnswerHandler: ChannelInboundHandler {
    typealias InboundIn = NIOHTTPClientResponseFull
    typealias OutboundOut = HTTPClientRequestPart

    private let head: HTTPRequestHead
    private let body: Data?
    private let promise: EventLoopPromise<HTTPAnswer>
    private var deadline: Scheduled<Void>?

    init(_ head: HTTPRequestHead, body: Data?, promise: EventLoopPromise<HTTPAnswer>) {
        self.head = head
        self.body = body
        self.promise = promise
    }

    func channelActive(context: ChannelHandlerContext) {
        self.deadline = context.eventLoop.assumeIsolated().scheduleTask(in: HTTPRequester.answerTimeout) {
            self.promise.fail(HTTPTimeout.elapsed)
            context.close(promise: nil)
        }
        context.write(self.wrapOutboundOut(.head(self.head)), promise: nil)
        if let body = self.body {
            context.write(self.wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: body)))), promise: nil)
        }
        context.writeAndFlush(self.wrapOutboundOut(.end(nil)), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let answer = self.unwrapInboundIn(data)
        let body = answer.body.map { Array($0.readableBytesView) } ?? []
        self.promise.succeed(HTTPAnswer(status: Int(answer.head.status.code), body: body))
        context.close(promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.promise.fail(error)
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) { self.promise.fail(HTTPTimeout.closed) }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.deadline?.cancel()
        self.promise.fail(HTTPTimeout.closed)
    }
}
