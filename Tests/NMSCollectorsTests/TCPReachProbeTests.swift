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
        // Until the queue is full.
        let bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connectTimeout(.milliseconds(300))
        var fillers: [any Channel] = []
        while fillers.count < 16, let filler = try? await bootstrap.connect(to: target).get() { fillers.append(filler) }
        try #require(fillers.count < 16)
        let answer = await self.probe.probe(address, port: try #require(target.port), limit: .milliseconds(300))
        try await listener.close()
        #expect(answer == .silent)
        for filler in fillers { filler.close(promise: nil) }
    }
}
