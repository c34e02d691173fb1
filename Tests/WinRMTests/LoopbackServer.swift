import Foundation
import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

/// A request as it came over the wire.
struct RecordedRequest: Sendable {
    /// Request line and header lines.
    var head: String
    var body: [UInt8]

    func header(_ name: String) -> String? {
        for line in self.head.split(separator: "\r\n").dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1)
            if parts[0].lowercased() == name.lowercased() { return parts[1].drop { $0 == " " }.description }
        }
        return nil
    }
}

/// What the test's server does after a request.
enum ServerAction: Sendable {
    case send([UInt8])
    /// Each byte by itself.
    case sendSplit([UInt8])
    case sendAndClose([UInt8])
    case close
    case reset
    case nothing

    /// A response with a length.
    static func response(
        _ status: String,
        _ headers: [String] = [],
        type: String = "application/soap+xml;charset=UTF-8",
        _ body: [UInt8] = []
    ) -> ServerAction {
        .send(Self.bytes(status, headers, type: type, body))
    }

    static func response(_ status: String, _ body: [UInt8]) -> ServerAction {
        .response(status, [], body)
    }

    static func bytes(_ status: String, _ body: [UInt8]) -> [UInt8] {
        Self.bytes(status, [], body)
    }

    static func bytes(
        _ status: String,
        _ headers: [String],
        type: String = "application/soap+xml;charset=UTF-8",
        _ body: [UInt8]
    ) -> [UInt8] {
        let lines =
            ["HTTP/1.1 \(status)", "Content-Type: \(type)", "Server: Microsoft-HTTPAPI/2.0"] + headers
            + ["Content-Length: \(body.count)", "", ""]
        return lines.joined(separator: "\r\n").bytes + body
    }
}

/// Plays a host byte for byte: each request is handed to a script that says what to send.
final class LoopbackServer: Sendable {
    /// The number of the connection and that of the request on it, both from 0.
    typealias Script = @Sendable (_ connection: Int, _ request: Int, RecordedRequest) -> ServerAction

    private let script: Script
    private let recorded = Mutex<[RecordedRequest]>([])
    private let accepted = Atomic(0)

    private init(_ script: @escaping Script) {
        self.script = script
    }

    var requests: [RecordedRequest] { self.recorded.withLock { $0 } }
    var connections: Int { self.accepted.load(ordering: .relaxed) }

    /// Listens while `body` runs, which gets the port.
    static func run<Value>(
        tls: NIOSSLContext? = nil,
        _ script: @escaping Script,
        body: (LoopbackServer, Int) async throws -> Value
    ) async throws -> Value {
        let server = LoopbackServer(script)
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try server.configure(channel, tls) }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        do {
            let value = try await body(server, channel.localAddress?.port ?? 0)
            try await channel.close()
            return value
        } catch {
            try? await channel.close()
            throw error
        }
    }

    private func configure(_ channel: any Channel, _ tls: NIOSSLContext?) throws {
        let pipeline = channel.pipeline.syncOperations
        if let tls { try pipeline.addHandler(NIOSSLServerHandler(context: tls)) }
        let number = self.accepted.wrappingAdd(1, ordering: .relaxed).oldValue
        try pipeline.addHandler(
            ScriptHandler { index, request in
                self.recorded.withLock { $0.append(request) }
                return self.script(number, index, request)
            }
        )
    }
}

/// Cuts requests out of the stream and does what the script says.
private final class ScriptHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let script: (Int, RecordedRequest) -> ServerAction
    private var buffer: [UInt8] = []
    private var count = 0

    init(_ script: @escaping (Int, RecordedRequest) -> ServerAction) {
        self.script = script
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.buffer += Array(self.unwrapInboundIn(data).readableBytesView)
        while let request = self.nextRequest() {
            self.count += 1
            self.perform(self.script(self.count - 1, request), context)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    private func nextRequest() -> RecordedRequest? {
        guard let end = self.buffer.firstRange(of: "\r\n\r\n".bytes) else { return nil }
        var request = RecordedRequest(head: Array(self.buffer[..<end.lowerBound]).text, body: [])
        let length = request.header("Content-Length").flatMap { Int($0) } ?? 0
        guard self.buffer.count >= end.upperBound + length else { return nil }
        request.body = Array(self.buffer[end.upperBound..<end.upperBound + length])
        self.buffer.removeFirst(end.upperBound + length)
        return request
    }

    private func perform(_ action: ServerAction, _ context: ChannelHandlerContext) {
        switch action {
        case .send(let bytes):
            context.writeAndFlush(self.wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
        case .sendSplit(let bytes):
            for byte in bytes {
                context.writeAndFlush(self.wrapOutboundOut(ByteBuffer(bytes: [byte])), promise: nil)
            }
        case .sendAndClose(let bytes):
            context.writeAndFlush(self.wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
            context.close(promise: nil)
        case .close:
            context.close(promise: nil)
        case .reset:
            // Lingering for no time makes the system send RST.
            guard let provider = context.channel as? any SocketOptionProvider else { return }
            let channel = context.channel
            provider.setSoLinger(linger(l_onoff: 1, l_linger: 0)).whenComplete { _ in channel.close(promise: nil) }
        case .nothing:
            break
        }
    }
}
