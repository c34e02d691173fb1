internal import NIOCore
internal import NIOPosix
internal import NMSCore

/// Reads what a server says unasked.
enum BannerReader {
    /// RFC 4253, section 4.2: SSH's line has 255 bytes at most.
    static let maximumBytes = 256

    /// - Returns: the first bytes, none if there was no connection or nothing came in time.
    static func read(
        _ address: IPAddress,
        port: Int,
        group: any EventLoopGroup,
        timeout: Duration
    ) async -> [UInt8] {
        guard let socket = try? SocketAddress(packedIPAddress: ByteBuffer(bytes: address.bytes), port: port) else {
            return []
        }
        let eventLoop = group.next()
        let promise = eventLoop.makePromise(of: [UInt8].self)
        let connected = ClientBootstrap(group: eventLoop)
            .connectTimeout(TimeAmount(timeout))
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: Self.maximumBytes))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Handler(promise, timeout: TimeAmount(timeout)))
                }
            }
            .connect(to: socket)
        // If the initializer never ran, nobody else completes the promise.
        connected.whenFailure { _ in promise.succeed([]) }
        return await withTaskCancellationHandler {
            (try? await promise.futureResult.get()) ?? []
        } onCancel: {
            connected.whenSuccess { $0.close(promise: nil) }
        }
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        private let promise: EventLoopPromise<[UInt8]>
        private let timeout: TimeAmount
        private var bytes: [UInt8] = []

        init(_ promise: EventLoopPromise<[UInt8]>, timeout: TimeAmount) {
            self.promise = promise
            self.timeout = timeout
        }

        func channelActive(context: ChannelHandlerContext) {
            context.eventLoop.assumeIsolated().scheduleTask(in: self.timeout) { context.close(promise: nil) }
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let room = BannerReader.maximumBytes - self.bytes.count
            self.bytes += self.unwrapInboundIn(data).readableBytesView.prefix(room)
            if self.bytes.count >= BannerReader.maximumBytes || self.bytes.contains(0x0A) {
                context.close(promise: nil)
            }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

        func handlerRemoved(context: ChannelHandlerContext) { self.promise.succeed(self.bytes) }
    }
}
