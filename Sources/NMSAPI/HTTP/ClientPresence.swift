internal import NIOCore
internal import Synchronization

/// Ends work that takes long when the client that waits for it goes away.
struct ClientPresence: Sendable {
    /// The request's: a connection of HTTP/1, or a stream of HTTP/2.
    private let channel: any Channel

    init(channel: any Channel) { self.channel = channel }

    /// - Throws: what `body` throws; it is cancelled when the client closes its connection or resets its stream.
    func whilePresent<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) async throws -> Value {
        let task = Task { try await body() }
        let waiting = Waiting { task.cancel() }
        self.channel.closeFuture.whenComplete { _ in waiting.end() }
        let observer = self.observe(waiting)
        defer {
            // The connection may live on for long; it must not keep hold of what is over.
            waiting.forget()
            self.remove(observer)
        }
        return try await withTaskCancellationHandler {
            try await task.value
        } onCancel: {
            task.cancel()
        }
    }

    /// Whose end of input means that the client is gone: with half-closed connections permitted, that alone does not
    /// close the channel. A stream's input ends with every request, so there its connection is looked at.
    private var connection: any Channel {
        guard let parent = self.channel.parent, parent.parent != nil else { return self.channel }
        return parent
    }

    private func observe(_ waiting: Waiting) -> EventLoopFuture<NIOLoopBound<InputEndObserver>> {
        let connection = self.connection
        return connection.eventLoop.submit {
            let observer = InputEndObserver { waiting.end() }
            // First, where nobody keeps the event back.
            try connection.pipeline.syncOperations.addHandler(observer, position: .first)
            return NIOLoopBound(observer, eventLoop: connection.eventLoop)
        }
    }

    private func remove(_ observer: EventLoopFuture<NIOLoopBound<InputEndObserver>>) {
        let connection = self.connection
        observer.whenSuccess { connection.pipeline.syncOperations.removeHandler($0.value, promise: nil) }
    }

    private final class Waiting: Sendable {
        private let action: Mutex<(@Sendable () -> Void)?>

        init(_ action: @escaping @Sendable () -> Void) { self.action = Mutex(action) }

        func end() { self.action.withLock { $0.take() }?() }
        func forget() { self.action.withLock { $0 = nil } }
    }
}

/// Tells when the other side will send no more.
private final class InputEndObserver: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = NIOAny

    private let onEnd: () -> Void

    init(onEnd: @escaping () -> Void) { self.onEnd = onEnd }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent { self.onEnd() }
        context.fireUserInboundEventTriggered(event)
    }
}
