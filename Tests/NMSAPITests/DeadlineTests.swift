import HTTPTypes
import NIOCore
import NIOEmbedded
import NIOHTTPTypes
import Testing

@testable import NMSAPI

/// Deadlines on a channel whose time is moved by hand.
@Suite struct DeadlineTests {
    private static let limits = ConnectionLimits(
        handshake: .seconds(10),
        read: .seconds(30),
        write: .seconds(20),
        idle: .seconds(120)
    )

    /// A connection that keeps what is written, as to a client that does not read.
    private final class Clogged: ChannelOutboundHandler {
        typealias OutboundIn = Any
        func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
            self.kept.append(promise)
        }
        var kept: [EventLoopPromise<Void>?] = []
    }

    private static func makeChannel(isClogged: Bool = false) throws -> (EmbeddedChannel, Clogged) {
        let channel = EmbeddedChannel()
        try channel.connect(to: SocketAddress(ipAddress: "192.0.2.1", port: 1)).wait()
        let pipeline = channel.pipeline.syncOperations
        let clogged = Clogged()
        try pipeline.addHandler(CutOffHandler())
        if isClogged { try pipeline.addHandler(clogged) }
        let registry = ConnectionRegistry(limit: 10)
        try pipeline.addHandler(ConnectionGuardHandler(limits: self.limits, registry: registry))
        try pipeline.addHandler(RequestDeadlineHandler(limits: self.limits))
        return (channel, clogged)
    }

    private static func advance(_ channel: EmbeddedChannel, _ seconds: Int64) -> Bool {
        channel.embeddedEventLoop.advanceTime(by: .seconds(seconds))
        channel.embeddedEventLoop.run()
        return channel.isActive
    }

    private let request = HTTPRequestPart.head(HTTPRequest(method: .get, scheme: nil, authority: "x", path: "/"))
    private let answer = HTTPResponsePart.head(HTTPResponse(status: .ok))

    @Test func aBodyThatDoesNotEndClosesTheConnection() throws {
        let (channel, _) = try Self.makeChannel()
        channel.pipeline.fireChannelRead(self.request)
        #expect(Self.advance(channel, 29))
        channel.pipeline.fireChannelRead(HTTPRequestPart.body(ByteBuffer(string: "x")))
        #expect(!Self.advance(channel, 1))
    }

    @Test func anAnswerThatIsNotReadClosesTheConnection() throws {
        let (channel, clogged) = try Self.makeChannel(isClogged: true)
        channel.pipeline.fireChannelRead(self.request)
        channel.pipeline.fireChannelRead(HTTPRequestPart.end(nil))
        // However long the server thinks about it.
        #expect(Self.advance(channel, 500))
        channel.write(self.answer, promise: nil)
        channel.write(HTTPResponsePart.end(nil), promise: nil)
        #expect(clogged.kept.count == 2)
        #expect(Self.advance(channel, 19))
        #expect(!Self.advance(channel, 1))
    }

    @Test func anAnswerThatIsReadDoesNot() throws {
        let (channel, _) = try Self.makeChannel()
        channel.pipeline.fireChannelRead(self.request)
        channel.pipeline.fireChannelRead(HTTPRequestPart.end(nil))
        channel.write(self.answer, promise: nil)
        channel.write(HTTPResponsePart.end(nil), promise: nil)
        channel.flush()
        #expect(Self.advance(channel, 100))
        // Until it has been without a request for long enough.
        #expect(Self.advance(channel, 29))
        #expect(!Self.advance(channel, 1))
    }

    // Byte by byte: no byte starts the time anew.
    @Test func aHeadThatDoesNotEndClosesTheConnection() throws {
        let channel = EmbeddedChannel()
        try channel.connect(to: SocketAddress(ipAddress: "192.0.2.1", port: 1)).wait()
        try channel.pipeline.syncOperations.addHandler(CutOffHandler())
        let registry = ConnectionRegistry(limit: 10)
        let handler = ConnectionGuardHandler(limits: Self.limits, registry: registry)
        try channel.pipeline.syncOperations.addHandler(handler)
        #expect(Self.advance(channel, 60))
        for _ in 0..<29 {
            channel.pipeline.fireChannelRead(ByteBuffer(string: "x"))
            #expect(Self.advance(channel, 1))
        }
        channel.pipeline.fireChannelRead(ByteBuffer(string: "x"))
        #expect(!Self.advance(channel, 1))
    }

    @Test func aHandshakeThatDoesNotEndClosesTheConnection() throws {
        let channel = EmbeddedChannel()
        try channel.connect(to: SocketAddress(ipAddress: "192.0.2.1", port: 1)).wait()
        try channel.pipeline.syncOperations.addHandler(CutOffHandler())
        let registry = ConnectionRegistry(limit: 10)
        let handler = ConnectionGuardHandler(limits: Self.limits, registry: registry, isShakingHands: true)
        try channel.pipeline.syncOperations.addHandler(handler)
        #expect(Self.advance(channel, 9))
        #expect(!Self.advance(channel, 1))
    }

    @Test func connectionsBeyondTheLimitAreClosedAtOnce() throws {
        let registry = ConnectionRegistry(limit: 2)
        let channels = try (0..<3).map { _ in
            let channel = EmbeddedChannel()
            try channel.connect(to: SocketAddress(ipAddress: "192.0.2.1", port: 1)).wait()
            try channel.pipeline.syncOperations.addHandler(CutOffHandler())
            return channel
        }
        for channel in channels { #expect(registry.open(channel)) }
        for channel in channels { channel.embeddedEventLoop.run() }
        #expect(channels.map(\.isActive) == [false, true, true])
        #expect(registry.count == 2)
        for channel in channels.dropFirst() { registry.requestBegan(channel) }
        #expect(!registry.open(channels[0]))
    }
}
