import NIOCore
import NIOEmbedded
import NIOHTTP1
import Synchronization
import Testing

@testable import WinRM

/// The channel handler with a clock and a wire in the test's hands.
@Suite struct HTTPHandlerTests {
    private final class Results: Sendable {
        let list = Mutex<[Result<HTTPReply, WinRMError>]>([])

        var errors: [WinRMError] {
            self.list.withLock { $0.compactMap { if case .failure(let error) = $0 { error } else { nil } } }
        }

        var bodies: [String] {
            self.list.withLock {
                $0.compactMap { if case .success(let reply) = $0 { reply.bodyBytes.text } else { nil } }
            }
        }
    }

    private struct Setup {
        let channel = EmbeddedChannel()
        let status = ConnectionStatus()
        let handler: HTTPHandler
        let ready: EventLoopFuture<[UInt8]?>
        let results = Results()

        init() throws {
            let ready = self.channel.eventLoop.makePromise(of: [UInt8]?.self)
            self.ready = ready.futureResult
            self.handler = HTTPHandler(maximumBytes: 1000, tls: nil, status: self.status, ready: ready)
            try WinRMConnector.configure(
                self.channel,
                handler: self.handler,
                status: self.status,
                endpoint: WinRMEndpoint(address: "192.0.2.1", port: 5985),
                context: nil
            )
            try self.channel.connect(to: SocketAddress(ipAddress: "192.0.2.1", port: 5985)).wait()
        }

        func send(timeout: TimeAmount = .seconds(5)) {
            let headers: HTTPHeaders = ["Host": "h", "Content-Length": "4"]
            let head = HTTPRequestHead(version: .http1_1, method: .POST, uri: "/wsman", headers: headers)
            let call = HTTPCall(head: head, body: ByteBuffer(string: "body"), timeout: timeout, phase: .request)
            let results = self.results
            self.handler.send(call) { result in results.list.withLock { $0.append(result) } }
        }

        var bytesSent: Int { self.status.bytesSent.load(ordering: .relaxed) }
        var requests: Int { self.status.requests.load(ordering: .relaxed) }
        var isOpen: Bool { self.status.isOpen.load(ordering: .relaxed) }

        func written() throws -> String {
            var text = ""
            while let buffer = try self.channel.readOutbound(as: ByteBuffer.self) { text += String(buffer: buffer) }
            return text
        }
    }

    private static let response = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
    private static let chunked = "HTTP/1.1 500 \r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"

    @Test func writesOneRequest() throws {
        let setup = try Setup()
        #expect(try setup.ready.wait() == nil)
        setup.send()
        #expect(try setup.written() == "POST /wsman HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody")
        #expect(setup.bytesSent == 56)
        #expect(setup.requests == 1)
    }

    @Test(arguments: [Self.response, Self.chunked])
    func readsAnswersCutAnywhere(response: String) throws {
        let bytes = response.bytes
        for cut in 0...bytes.count {
            let setup = try Setup()
            setup.send()
            for piece in [bytes[..<cut], bytes[cut...]] {
                try setup.channel.writeInbound(ByteBuffer(bytes: piece))
            }
            #expect(setup.results.bodies == ["abc"])
        }
        let setup = try Setup()
        for _ in 0..<2 {
            setup.send()
            for byte in bytes { try setup.channel.writeInbound(ByteBuffer(bytes: [byte])) }
        }
        #expect(setup.results.bodies == ["abc", "abc"])
    }

    @Test func failsAtTheDeadlineAndNotBefore() throws {
        let setup = try Setup()
        setup.send(timeout: .seconds(5))
        try setup.channel.writeInbound(ByteBuffer(string: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na"))
        setup.channel.embeddedEventLoop.advanceTime(by: .milliseconds(4999))
        #expect(setup.results.errors.isEmpty)
        #expect(setup.channel.isActive)
        setup.channel.embeddedEventLoop.advanceTime(by: .milliseconds(1))
        #expect(setup.results.errors == [.timedOut(.request)])
        #expect(!setup.channel.isActive)
        #expect(!setup.isOpen)
    }

    @Test func aDeadlineEndsWithItsRequest() throws {
        let setup = try Setup()
        setup.send(timeout: .seconds(5))
        try setup.channel.writeInbound(ByteBuffer(string: Self.response))
        setup.channel.embeddedEventLoop.advanceTime(by: .seconds(100))
        #expect(setup.channel.isActive)
        #expect(setup.results.errors.isEmpty)
    }

    @Test func closesWhenAHostTalksOutOfTurn() throws {
        let setup = try Setup()
        _ = try? setup.channel.writeInbound(ByteBuffer(string: Self.response))
        #expect(!setup.channel.isActive)
        setup.send()
        guard case .protocolViolation? = setup.results.errors.first else {
            Issue.record("\(setup.results.errors)")
            return
        }
    }

    @Test func answersEveryRequestWhenTheChannelEnds() throws {
        let setup = try Setup()
        setup.send()
        try setup.channel.close().wait()
        #expect(setup.results.errors == [.connectionClosed])
        setup.send()
        #expect(setup.results.errors == [.connectionClosed, .connectionClosed])
    }
}
