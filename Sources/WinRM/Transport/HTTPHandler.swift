import NIOCore
import NIOHTTP1
import NIOSSL
import NIOTLS
import Synchronization

/// A request with a whole body.
struct HTTPCall: Sendable {
    var head: HTTPRequestHead
    var body: ByteBuffer
    /// How long the answer may take, and what to say if it does not come.
    var timeout: TimeAmount
    var phase: WinRMError.Phase
}

/// What of a connection other threads may ask.
final class ConnectionStatus: Sendable {
    let isOpen = Atomic(true)
    let requests = Atomic(0)
    let bytesSent = Atomic(0)
    let bytesReceived = Atomic(0)
}

/// Performs what ``HTTPExchange`` decides: the last handler of the pipeline.
final class HTTPHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart
    typealias Completion = @Sendable (Result<HTTPReply, WinRMError>) -> Void

    private let status: ConnectionStatus
    private let tls: TLSSettings?
    private var exchange: HTTPExchange
    private var completion: Completion?
    private var deadline: Scheduled<Void>?
    private var context: ChannelHandlerContext?
    /// Completes when requests may be sent; over TLS with the hash of the host's certificate.
    private var ready: EventLoopPromise<[UInt8]?>?

    init(maximumBytes: Int, tls: TLSSettings?, status: ConnectionStatus, ready: EventLoopPromise<[UInt8]?>) {
        self.exchange = HTTPExchange(maximumBytes: maximumBytes)
        self.tls = tls
        self.status = status
        self.ready = ready
    }

    // MARK: - Calls from the connection, on the event loop

    /// Sends a request. `completion` is called exactly once, here or later.
    func send(_ call: HTTPCall, completion: @escaping Completion) {
        if let error = self.exchange.begin() {
            completion(.failure(error))
            return
        }
        guard let context else {
            self.completion = completion
            self.perform(self.exchange.fail(.connectionClosed))
            return
        }
        self.completion = completion
        self.status.requests.add(1, ordering: .relaxed)
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        self.deadline = context.eventLoop.scheduleTask(in: call.timeout) { bound.value.fail(.timedOut(call.phase)) }
        context.write(self.wrapOutboundOut(.head(call.head)), promise: nil)
        if call.body.readableBytes > 0 {
            context.write(self.wrapOutboundOut(.body(.byteBuffer(call.body))), promise: nil)
        }
        context.writeAndFlush(self.wrapOutboundOut(.end(nil)), promise: nil)
    }

    /// Gives the connection up with this error for whoever waits.
    func fail(_ error: WinRMError) {
        self.ready?.fail(error)
        self.ready = nil
        self.perform(self.exchange.fail(error))
    }

    // MARK: - Events of the channel

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.fail(.connectionClosed)
        self.context = nil
    }

    func channelActive(context: ChannelHandlerContext) {
        if self.tls == nil {
            self.ready?.succeed(nil)
            self.ready = nil
        }
        context.fireChannelActive()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted? = event as? TLSUserEvent, let tls {
            do {
                let hash = try PeerCertificate.check(context.pipeline.syncOperations.nioSSL_peerCertificate(), tls)
                self.ready?.succeed(hash)
                self.ready = nil
            } catch {
                self.fail(.tlsFailed(error as? TLSFailure ?? .unreadableCertificate))
            }
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.unwrapInboundIn(data) {
        case .head(let head): self.perform(self.exchange.received(head))
        case .body(var body): self.perform(self.exchange.received(&body))
        case .end: self.perform(self.exchange.receivedEnd())
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let failure = self.tls.flatMap({ TLSFailure(error, certificate: self.peerCertificate(), settings: $0) }) {
            self.fail(.tlsFailed(failure))
        } else {
            self.fail(WinRMError(channelError: error, isReceiving: self.exchange.isReceiving))
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.ready?.fail(WinRMError.connectionReset("the host closed it at once"))
        self.ready = nil
        self.perform(self.exchange.closed())
        self.status.isOpen.store(false, ordering: .releasing)
        context.fireChannelInactive()
    }

    func peerCertificate() -> NIOSSLCertificate? {
        try? self.context?.pipeline.syncOperations.nioSSL_peerCertificate()
    }

    private func perform(_ action: HTTPExchange.Action) {
        switch action {
        case .none:
            break
        case .close:
            self.close()
        case .complete(let result, let close):
            self.deadline?.cancel()
            self.deadline = nil
            if close { self.close() }
            let completion = self.completion
            self.completion = nil
            completion?(result)
        }
    }

    private func close() {
        self.status.isOpen.store(false, ordering: .releasing)
        self.context?.close(promise: nil)
    }
}

/// Counts the bytes on the socket: the first handler of the pipeline.
final class ByteCounter: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer

    private let status: ConnectionStatus

    init(status: ConnectionStatus) {
        self.status = status
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.status.bytesReceived.add(self.unwrapInboundIn(data).readableBytes, ordering: .relaxed)
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        self.status.bytesSent.add(self.unwrapOutboundIn(data).readableBytes, ordering: .relaxed)
        context.write(data, promise: promise)
    }
}
