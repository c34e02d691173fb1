import NIOCore
import NIOPosix
import NMSCollectors
import NMSCore
import Testing

@Suite(.timeLimit(.minutes(1))) struct TCPReachProbeTests {
    private let probe = TCPReachProbe(eventLoopGroup: MultiThreadedEventLoopGroup.singleton)

    @Test func aListenerIsOpenAndItsPortRefusesAfterwards() async throws {
        let address = try #require(IPAddress("127.0.0.1"))
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(host: "127.0.0.1", port: 0)
            .get()
        let port = try #require(listener.localAddress?.port)
        let open = await self.probe.probe(address, port: port, limit: .seconds(10))
        try await listener.close()
        let refused = await self.probe.probe(address, port: port, limit: .seconds(10))
        #expect(open == .open && refused == .refused)
    }

    /// The backlog of this listener is full, so that Linux drops what else comes: silence.
    @Test func silenceEndsAtTheLimit() async throws {
        let address = try #require(IPAddress("127.0.0.1"))
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.backlog, value: 0)
            .serverChannelOption(.autoRead, value: false)
            .bind(host: "127.0.0.1", port: 0)
            .get()
        let target = try #require(listener.localAddress)
        let fillers = (0..<8).map { _ in
            ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connectTimeout(.seconds(30))
                .connect(to: target)
        }
        // One of them is in the queue, so it is full.
        _ = try await fillers[0].get()
        let answer = await self.probe.probe(address, port: try #require(target.port), limit: .milliseconds(300))
        try await listener.close()
        #expect(answer == .silent)
        for filler in fillers { filler.whenSuccess { $0.close(promise: nil) } }
    }
}
