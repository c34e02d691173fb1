import NIOCore
import NIOHTTP1

/// A whole HTTP response.
struct HTTPReply: Sendable {
    var status: Int
    var headers: HTTPHeaders
    var body: ByteBuffer

    var contentType: String { self.headers.first(name: "Content-Type") ?? "" }

    var bodyBytes: [UInt8] { Array(self.body.readableBytesView) }
}

/// Decides what an HTTP/1.1 connection with one request in flight does (RFC 9112).
///
/// It never performs anything: every event gives an action back.
struct HTTPExchange: ~Copyable {
    enum Action {
        case none
        /// The request in flight is done, one way or the other; `close` says whether the connection is, too.
        case complete(Result<HTTPReply, WinRMError>, close: Bool)
        /// Nobody waits, but the connection is of no use any more.
        case close
    }

    private enum State: ~Copyable {
        case idle
        case awaitingHead
        case receiving(HTTPReply, keepAlive: Bool)
        case closed(WinRMError)
    }

    private var state = State.idle
    private let maximumBytes: Int

    init(maximumBytes: Int) {
        self.maximumBytes = maximumBytes
    }

    /// A request is to be sent.
    ///
    /// - Returns: nil if it may, or why not.
    mutating func begin() -> WinRMError? {
        switch self.takeState() {
        case .idle:
            self.state = .awaitingHead
            return nil
        case .awaitingHead:
            self.state = .awaitingHead
            return .misuse("a second request while one is in flight")
        case .receiving(let reply, let keepAlive):
            self.state = .receiving(reply, keepAlive: keepAlive)
            return .misuse("a second request while one is in flight")
        case .closed(let error):
            self.state = .closed(error)
            return error
        }
    }

    /// The head of a response arrived.
    mutating func received(_ head: HTTPResponseHead) -> Action {
        switch self.takeState() {
        case .awaitingHead:
            let announced = head.headers.first(name: "Content-Length").flatMap { Int($0) } ?? 0
            guard announced <= self.maximumBytes else {
                return self.finish(.responseTooLarge(limit: self.maximumBytes), isWaiting: true)
            }
            let reply = HTTPReply(status: Int(head.status.code), headers: head.headers, body: ByteBuffer())
            self.state = .receiving(reply, keepAlive: head.isKeepAlive)
            return .none
        case .idle:
            return self.finish(.protocolViolation("an answer that nobody asked for"), isWaiting: false)
        case .receiving:
            return self.finish(.protocolViolation("an answer inside another"), isWaiting: true)
        case .closed(let error):
            self.state = .closed(error)
            return .none
        }
    }

    /// A piece of a response's body arrived.
    mutating func received(_ body: inout ByteBuffer) -> Action {
        switch self.takeState() {
        case .receiving(var reply, let keepAlive):
            guard reply.body.readableBytes + body.readableBytes <= self.maximumBytes else {
                return self.finish(.responseTooLarge(limit: self.maximumBytes), isWaiting: true)
            }
            if reply.body.readableBytes == 0 {
                swap(&reply.body, &body)
            } else {
                reply.body.writeBuffer(&body)
            }
            self.state = .receiving(reply, keepAlive: keepAlive)
            return .none
        case .awaitingHead:
            return self.finish(.protocolViolation("a body without a head"), isWaiting: true)
        case .idle:
            return self.finish(.protocolViolation("an answer that nobody asked for"), isWaiting: false)
        case .closed(let error):
            self.state = .closed(error)
            return .none
        }
    }

    /// A response is complete.
    mutating func receivedEnd() -> Action {
        switch self.takeState() {
        case .receiving(let reply, let keepAlive):
            self.state = keepAlive ? .idle : .closed(.connectionClosed)
            return .complete(.success(reply), close: !keepAlive)
        case .awaitingHead:
            return self.finish(.protocolViolation("the end of an answer without a head"), isWaiting: true)
        case .idle:
            return self.finish(.protocolViolation("an answer that nobody asked for"), isWaiting: false)
        case .closed(let error):
            self.state = .closed(error)
            return .none
        }
    }

    /// The deadline passed, the channel failed, or the caller gave up: the connection cannot be used any more.
    mutating func fail(_ error: WinRMError) -> Action {
        switch self.takeState() {
        case .idle:
            return self.finish(error, isWaiting: false)
        case .awaitingHead:
            return self.finish(error, isWaiting: true)
        case .receiving:
            return self.finish(error, isWaiting: true)
        case .closed(let first):
            self.state = .closed(first)
            return .none
        }
    }

    /// The connection ended.
    mutating func closed() -> Action {
        switch self.takeState() {
        case .idle:
            self.state = .closed(.connectionClosed)
            return .none
        case .awaitingHead:
            return self.finish(.connectionClosed, isWaiting: true)
        case .receiving:
            return self.finish(.connectionReset("the host closed it in the middle of an answer"), isWaiting: true)
        case .closed(let error):
            self.state = .closed(error)
            return .none
        }
    }

    /// Whether an answer has begun to arrive.
    var isReceiving: Bool {
        switch self.state {
        case .receiving: true
        default: false
        }
    }

    /// Takes the state out, so that a body can grow in place. Every event puts one back.
    private mutating func takeState() -> State {
        var state = State.closed(.misuse("an event inside another"))
        swap(&state, &self.state)
        return state
    }

    private mutating func finish(_ error: WinRMError, isWaiting: Bool) -> Action {
        self.state = .closed(error)
        return isWaiting ? .complete(.failure(error), close: true) : .close
    }
}
