internal import HTTPTypes
internal import Hummingbird
internal import HummingbirdCore
internal import Logging
internal import NIOCore
internal import NIOHTTP1
internal import NIOHTTPTypes
internal import NIOHTTPTypesHTTP1

/// Closes a connection (or an HTTP/2 stream) whose client sends or reads too slowly, and tells the connection's guard
/// of each request.
///
/// The framework's idle time-out restarts with every byte of a body; these two don't.
final class RequestDeadlineHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private let limits: ConnectionLimits
    private var reading: Scheduled<Void>?
    private var writing: Scheduled<Void>?
    private var connection: ConnectionGuardHandler?
    // Requests, counted as far as each has come.
    private var begun = 0
    private var read = 0
    private var answered = 0
    private var ended = 0

    init(limits: ConnectionLimits) { self.limits = limits }

    func handlerAdded(context: ChannelHandlerContext) {
        self.connection = ConnectionGuardHandler.guarding(context)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.reading?.cancel()
        self.writing?.cancel()
        self.read = self.begun
        self.answered = self.begun
        self.end()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.unwrapInboundIn(data) {
        case .head:
            self.begun += 1
            self.connection?.requestBegan()
            self.reading?.cancel()
            let channel = context.channel
            // Of many streams, only this one is slow.
            self.reading = context.eventLoop.scheduleTask(in: self.limits.read) { channel.close(promise: nil) }
        case .body: break
        case .end:
            self.reading?.cancel()
            self.reading = nil
            self.read += 1
            self.end()
        }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch self.unwrapOutboundIn(data) {
        case .head:
            self.writing?.cancel()
            // A client that does not read stops all of its streams: what is buffered for it goes with the connection.
            let connection = self.connection?.channel ?? context.channel
            self.writing = context.eventLoop.scheduleTask(in: self.limits.write) {
                ConnectionGuardHandler.cutOff(connection)
            }
            context.write(data, promise: promise)
        case .body: context.write(data, promise: promise)
        case .end:
            let written = promise ?? context.eventLoop.makePromise(of: Void.self)
            let deadline = self.writing
            written.futureResult.assumeIsolated().whenComplete { _ in
                deadline?.cancel()
                self.answered += 1
                self.end()
            }
            context.write(data, promise: written)
        }
    }

    /// Tells of every request that is both read and answered.
    private func end() {
        while self.ended < min(self.read, self.answered) {
            self.ended += 1
            self.connection?.requestEnded()
        }
    }
}

/// Answers what is no HTTP with the envelope; the framework would answer an empty 400, or nothing.
final class MalformedRequestHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private let rules: HTTP1Rules
    private let headers: SecurityHeaders
    private let logger: Logger
    /// Requests that were passed on and not answered yet.
    private var unanswered = 0
    private var isReadingBody = false
    private var isStream = false
    /// To be answered after the requests before it.
    private var refusal: (any Error)?
    private var isClosing = false

    init(rules: HTTP1Rules, headers: SecurityHeaders, logger: Logger) {
        self.rules = rules
        self.headers = headers
        self.logger = logger
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let pipeline = context.pipeline.syncOperations
        guard let codec = try? pipeline.handler(type: HTTP1ToHTTPServerCodec.self) else {
            self.isStream = true
            return
        }
        // Where versions and framing can still be seen. A pipeline that is being made takes every handler.
        try? pipeline.addHandler(HTTP1RulesHandler(rules: self.rules), position: .before(codec))
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.unwrapInboundIn(data) {
        case .head:
            self.unanswered += 1
            self.isReadingBody = true
        case .body: break
        case .end: self.isReadingBody = false
        }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        // The framework's own bare answer to what has been answered here already.
        guard !self.isClosing, self.unanswered > 0 else {
            promise?.succeed()
            return
        }
        guard case .end = self.unwrapOutboundIn(data) else { return context.write(data, promise: promise) }
        self.unanswered -= 1
        context.write(data, promise: promise)
        if self.unanswered == 0, let refusal = self.refusal { self.refuse(refusal, context) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard self.isMalformed(error) else { return context.fireErrorCaught(error) }
        if self.unanswered == 0 {
            self.refuse(error, context)
        } else if self.isReadingBody {
            // The router answers: it meets the same error when it reads the body.
            context.fireErrorCaught(error)
        } else {
            self.refusal = error
        }
    }

    private func isMalformed(_ error: any Error) -> Bool {
        // A stream whose head can't be a request has an error of a type that is not public.
        error is HTTPParserError || error is MalformedRequestError || error is HTTP1TypeConversionError
            || self.isStream && self.unanswered == 0 && !(error is ChannelError || error is IOError)
    }

    private func refuse(_ error: any Error, _ context: ChannelHandlerContext) {
        guard !self.isClosing else { return }
        self.isClosing = true
        let id = RequestID.generate()
        self.logger.info(
            "malformed request",
            metadata: [
                "request_id": "\(id)",
                "remote": "\(context.channel.remoteAddress?.ipAddress ?? "unknown")",
                "error": "\(EchoedValue.shortened("\(error)"))",
            ]
        )
        let body = Envelope.body(ServiceError(.validationError, Self.message(error)))
        var fields: HTTPFields = [
            .contentType: Envelope.contentType,
            .contentLength: String(body.readableBytes),
            .requestID: id,
        ]
        if !self.isStream { fields[.connection] = "close" }
        self.headers.set(in: &fields)
        context.write(
            self.wrapOutboundOut(.head(HTTPResponse(status: .badRequest, headerFields: fields))),
            promise: nil
        )
        context.write(self.wrapOutboundOut(.body(body)), promise: nil)
        let channel = context.channel
        context.writeAndFlush(self.wrapOutboundOut(.end(nil))).whenComplete { _ in channel.close(promise: nil) }
    }

    private static func message(_ error: any Error) -> String {
        switch error {
        case let error as MalformedRequestError: error.message
        case HTTPParserError.headerOverflow:
            "The request's headers are too large: at most \(HTTPLimits.headerFieldBytes) bytes for one and "
                + "\(HTTPLimits.headerListBytes) for all, in \(HTTPLimits.headerFields) fields"
        default: "The request is not well-formed HTTP"
        }
    }
}

/// Bounds of a request's head: tokens have some 500 bytes, and no client of ours sends more than a dozen fields.
enum HTTPLimits {
    static let headerFieldBytes = 16 * 1024
    static let headerListBytes = 32 * 1024
    static let headerFields = 100
}
