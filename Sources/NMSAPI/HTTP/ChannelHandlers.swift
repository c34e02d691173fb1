internal import HTTPTypes
internal import Hummingbird
internal import HummingbirdCore
internal import Logging
internal import NIOCore
internal import NIOHTTP1
internal import NIOHTTPTypes
internal import NIOSSL
internal import NIOTLS

/// Closes a connection (or an HTTP/2 stream) whose client sends or reads too slowly.
///
/// The framework's idle time-out restarts with every byte of a body; these two don't.
final class RequestDeadlineHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private let readTimeout: TimeAmount
    private let writeTimeout: TimeAmount
    private var reading: Scheduled<Void>?
    private var writing: Scheduled<Void>?

    init(readTimeout: TimeAmount, writeTimeout: TimeAmount) {
        self.readTimeout = readTimeout
        self.writeTimeout = writeTimeout
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.unwrapInboundIn(data) {
        case .head:
            self.reading?.cancel()
            self.reading = self.deadline(self.readTimeout, context)
        case .body: break
        case .end:
            self.reading?.cancel()
            self.reading = nil
        }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch self.unwrapOutboundIn(data) {
        case .head:
            self.writing?.cancel()
            self.writing = self.deadline(self.writeTimeout, context)
            context.write(data, promise: promise)
        case .body: context.write(data, promise: promise)
        case .end:
            let written = promise ?? context.eventLoop.makePromise(of: Void.self)
            let deadline = self.writing
            written.futureResult.whenComplete { _ in deadline?.cancel() }
            context.write(data, promise: written)
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.reading?.cancel()
        self.writing?.cancel()
    }

    private func deadline(_ timeout: TimeAmount, _ context: ChannelHandlerContext) -> Scheduled<Void> {
        let channel = context.channel
        return context.eventLoop.scheduleTask(in: timeout) { channel.close(promise: nil) }
    }
}

/// Answers what is no HTTP with the envelope; the framework would answer an empty 400.
final class MalformedRequestHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    /// Requests that were passed on and not answered yet.
    private var unanswered = 0

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .head = self.unwrapInboundIn(data) { self.unanswered += 1 }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        if case .end = self.unwrapOutboundIn(data) { self.unanswered -= 1 }
        context.write(data, promise: promise)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // Under way means that the router answers: it meets the same error when it reads the body.
        guard error is HTTPParserError, self.unanswered == 0 else {
            context.fireErrorCaught(error)
            return
        }
        let body = Envelope.body(ServiceError(.validationError, "The request is not well-formed HTTP"))
        let fields: HTTPFields = [
            .contentType: Envelope.contentType,
            .contentLength: String(body.readableBytes),
            .connection: "close",
            .requestID: RequestID.generate(),
        ]
        context.write(
            self.wrapOutboundOut(.head(HTTPResponse(status: .badRequest, headerFields: fields))),
            promise: nil
        )
        context.write(self.wrapOutboundOut(.body(body)), promise: nil)
        let channel = context.channel
        context.writeAndFlush(self.wrapOutboundOut(.end(nil))).whenComplete { _ in channel.close(promise: nil) }
    }
}

/// Closes a connection whose client does not finish the TLS handshake in time.
struct HandshakeDeadlineChannel<Base: ServerChildChannel>: ServerChildChannel {
    let base: Base
    let timeout: TimeAmount

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Base.Value> {
        let timeout = self.timeout
        return self.base.setup(channel: channel, logger: logger).flatMapThrowing { value in
            // Behind TLS, which tells of the handshake, and before the choice of protocol, which keeps that to itself.
            let pipeline = channel.pipeline.syncOperations
            let tls = try pipeline.handler(type: NIOSSLServerHandler.self)
            try pipeline.addHandler(HandshakeDeadlineHandler(timeout: timeout), position: .after(tls))
            return value
        }
    }

    func handle(value: Base.Value, logger: Logger) async { await self.base.handle(value: value, logger: logger) }
}

/// Waits for the end of the TLS handshake, then leaves the pipeline.
final class HandshakeDeadlineHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = NIOAny

    private let timeout: TimeAmount
    private var deadline: Scheduled<Void>?

    init(timeout: TimeAmount) { self.timeout = timeout }

    func handlerAdded(context: ChannelHandlerContext) {
        let channel = context.channel
        self.deadline = context.eventLoop.scheduleTask(in: self.timeout) { channel.close(promise: nil) }
    }

    func handlerRemoved(context: ChannelHandlerContext) { self.deadline?.cancel() }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        context.fireUserInboundEventTriggered(event)
        if case .handshakeCompleted? = event as? TLSUserEvent {
            self.deadline?.cancel()
            context.pipeline.syncOperations.removeHandler(self, promise: nil)
        }
    }
}
