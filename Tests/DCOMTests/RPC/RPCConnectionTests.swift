import Foundation
import NIOCore
import NIOEmbedded
import NIOPosix
import SSP
import Testing

@testable import DCOM

/// The thin shell, on a channel in memory whose other end the test plays.
@Suite("The client's connection") struct RPCConnectionTests {
    /// A connection with its other end.
    fileprivate struct Line {
        let channel: NIOAsyncTestingChannel
        let connection: RPCConnection

        init(limits: RPCLimits = RPCLimits()) async throws {
            let channel = NIOAsyncTestingChannel()
            self.channel = channel
            self.connection = try await channel.testingEventLoop.executeInContext {
                try RPCConnection.configured(channel, limits: limits, environment: RPCTestServer.environment)
            }
            try await channel.connect(to: SocketAddress(ipAddress: "192.0.2.1", port: 135)).get()
        }

        func sent() async throws -> [UInt8] {
            Array(try await self.channel.waitForOutboundWrite(as: ByteBuffer.self).readableBytesView)
        }

        func deliver(_ bytes: [UInt8]) async throws {
            try await self.channel.writeInbound(ByteBuffer(bytes: bytes))
        }

        /// The channel reports an error and closes itself, as a socket does.
        func fail(_ error: any Error) async throws {
            let channel = self.channel
            try await channel.testingEventLoop.executeInContext { channel.pipeline.fireErrorCaught(error) }
            try? await channel.close()
        }

        /// Everything that was submitted until now has arrived at the event loop.
        func settle() async {
            await self.channel.testingEventLoop.run()
        }

        func bind(_ server: inout RPCTestServer) async throws {
            async let bound: Void = self.connection.bind([RPCTestServer.activator], deadline: Self.later)
            try await self.deliver(server.associate(self.sent()))
            try await bound
        }

        func signIn(_ server: inout RPCTestServer) async throws {
            async let info = self.connection.requestChallenge([RPCTestServer.activator], deadline: Self.later)
            try await self.deliver(server.associate(self.sent()))
            #expect(try await info.dnsComputerName == "srv1.lab.example")
            #expect(self.connection.challengeInfo?.dnsDomainName == "lab.example")
            try await self.connection.authenticate(RPCTestServer.credential, deadline: Self.later)
            try await server.accept(self.sent())
        }

        func call(_ stub: [UInt8], deadline: ContinuousClock.Instant = Self.later) async throws(RPCError) -> [UInt8] {
            try await self.connection.call(RPCTestServer.activator, opnum: 4, stub: stub, deadline: deadline)
        }

        static var later: ContinuousClock.Instant { .now + .seconds(3600) }
    }

    @Test func `Signing in and calling, byte by byte`() async throws {
        let line = try await Line()
        var server = RPCTestServer()
        try await line.signIn(&server)
        for size in [0, 20, 9000] {
            async let answer = line.call(.pattern(size))
            let request = try await server.request(line.sent())
            #expect(request.stub == .pattern(size))
            for byte in try server.response(to: request, .pattern(size, seed: 5)) { try await line.deliver([byte]) }
            #expect(try await answer == .pattern(size, seed: 5))
        }
        let statistics = line.connection.statistics
        #expect(statistics.roundTrips == 4)
        #expect(statistics.bytesSent > 9000 && statistics.bytesReceived > 9000)
        #expect(line.connection.isOpen)
        await line.connection.close()
        #expect(!line.connection.isOpen)
        await line.connection.close()
        await #expect(throws: RPCError.cancelled) { try await line.call([]) }
    }

    @Test func `Calls of many tasks go one after the other`() async throws {
        let line = try await Line()
        var server = RPCTestServer()
        try await line.signIn(&server)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in UInt8(0)..<20 {
                group.addTask {
                    let answer = try await line.call([number])
                    #expect(answer == [number, number])
                }
            }
            for _ in 0..<20 {
                let bytes = try await line.sent()
                await line.settle()
                // Nothing else goes out before the answer.
                #expect(try await line.channel.readOutbound(as: ByteBuffer.self) == nil)
                let request = try server.request(bytes)
                try await line.deliver(server.response(to: request, request.stub + request.stub))
            }
            try await group.waitForAll()
        }
        #expect(line.connection.statistics.roundTrips == 21)
    }

    @Test func `A deadline in flight closes the connection, but is not the error of who waits`() async throws {
        let line = try await Line()
        var server = RPCTestServer()
        try await line.bind(&server)
        async let first = line.result([1], deadline: .now + .seconds(10))
        _ = try await line.sent()
        async let second = line.result([2], deadline: .now + .seconds(1000))
        await line.settle()
        await line.channel.testingEventLoop.advanceTime(by: .seconds(11))
        #expect(await first == .failure(.timedOut(.call)))
        #expect(await second == .failure(.connectionClosed))
        #expect(!line.connection.isOpen)
    }

    @Test func `A deadline while waiting in line harms nobody else`() async throws {
        let line = try await Line()
        var server = RPCTestServer()
        try await line.bind(&server)
        async let first = line.result([1], deadline: .now + .seconds(1000))
        let request = try await server.request(line.sent())
        let second = Task { await line.result([2], deadline: .now + .seconds(10)) }
        // The submission has to reach the event loop before its time passes.
        while await !line.hasWaiting() { await Task.yield() }
        await line.channel.testingEventLoop.advanceTime(by: .seconds(11))
        #expect(await second.value == .failure(.notStarted(.waiting)))
        #expect(RPCError.notStarted(.waiting).leavesConnectionOpen)
        try await line.deliver(server.response(to: request, [9]))
        #expect(await first == .success([9]))
        #expect(line.connection.isOpen)
    }

    @Test func `A deadline that has passed sends nothing`() async throws {
        let line = try await Line()
        var server = RPCTestServer()
        try await line.bind(&server)
        await #expect(throws: RPCError.notStarted(.call)) { try await line.call([1], deadline: .now - .seconds(1)) }
        #expect(line.connection.isOpen)
        #expect(line.connection.statistics.roundTrips == 1)
    }

    @Test func `Cancelling a call in flight closes the connection`() async throws {
        let line = try await Line()
        var server = RPCTestServer()
        try await line.bind(&server)
        let task = Task { await line.result([1]) }
        _ = try await line.sent()
        task.cancel()
        #expect(await task.value == .failure(.cancelled))
        await line.settle()
        #expect(!line.connection.isOpen)
    }

    @Test func `Cancelling a call that waits, or before it began, harms nobody else`() async throws {
        let line = try await Line()
        var server = RPCTestServer()
        try await line.bind(&server)
        async let first = line.result([1])
        let request = try await server.request(line.sent())
        let second = Task { await line.result([2]) }
        while await !line.hasWaiting() { await Task.yield() }
        second.cancel()
        #expect(await second.value == .failure(.cancelled))
        let third = Task {
            while !Task.isCancelled { await Task.yield() }
            return await line.result([3])
        }
        third.cancel()
        #expect(await third.value == .failure(.cancelled))
        try await line.deliver(server.response(to: request, [9]))
        #expect(await first == .success([9]))
        #expect(line.connection.isOpen)
    }

    @Test func `Bytes that are no PDU close the connection`() async throws {
        let line = try await Line()
        var server = RPCTestServer()
        try await line.bind(&server)
        async let answer = line.result([1])
        _ = try await line.sent()
        try? await line.deliver(Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8))
        guard case .failure(.protocolViolation) = await answer else {
            Issue.record("taken")
            return
        }
        #expect(!line.connection.isOpen)
    }

    @Test func `What nobody asked for closes the connection`() async throws {
        let line = try await Line()
        var server = RPCTestServer()
        try await line.bind(&server)
        try? await line.deliver(RPCPDU(.orphaned, callID: 9).encoded())
        #expect(!line.connection.isOpen)
        await #expect(throws: RPCError.self) { try await line.call([]) }
    }

    @Test func `An end in the middle of a fragment is told`() async throws {
        let line = try await Line()
        var server = RPCTestServer()
        try await line.signIn(&server)
        async let answer = line.result([1])
        let request = try await server.request(line.sent())
        try await line.deliver(Array(server.response(to: request, .pattern(100)).prefix(50)))
        try await line.channel.close()
        guard case .failure(.connectionReset) = await answer else {
            Issue.record("not told")
            return
        }
    }

    /// A host that restarted, or a firewall that forgot the connection, resets it.
    @Test(arguments: [ECONNRESET, EPIPE, ECONNABORTED])
    func `A reset between calls is as good as an end`(code: CInt) async throws {
        let line = try await Line()
        var server = RPCTestServer()
        try await line.signIn(&server)
        async let proof = line.result([1])
        try await line.deliver(server.response(to: server.request(line.sent()), [2]))
        #expect(await proof == .success([2]))
        async let answer = line.result([3])
        _ = try await line.sent()
        try await line.fail(IOError(errnoCode: code, reason: "read"))
        #expect(await answer == .failure(.connectionClosed))
        #expect(!line.connection.isOpen)
    }

    @Test func `A reset that could be a refusal, or cuts an answer, suggests nothing`() async throws {
        // On the first call after signing in; inside the first fragment of an answer; between two.
        for size in [nil, 50, 5840] as [Int?] {
            let line = try await Line()
            var server = RPCTestServer()
            try await line.signIn(&server)
            if let size {
                async let proof = line.result([1])
                try await line.deliver(server.response(to: server.request(line.sent()), []))
                #expect(await proof == .success([]))
                async let answer = line.result([2])
                let request = try await server.request(line.sent())
                try await line.deliver(Array(server.response(to: request, .pattern(9000)).prefix(size)))
                try await line.fail(IOError(errnoCode: ECONNRESET, reason: "read"))
                guard case .failure(.connectionReset) = await answer else {
                    Issue.record("suggests to try again after \(size) bytes")
                    return
                }
            } else {
                async let answer = line.result([1])
                _ = try await line.sent()
                try await line.fail(IOError(errnoCode: ECONNRESET, reason: "read"))
                guard case .failure(.connectionReset) = await answer else {
                    Issue.record("suggests to sign in again")
                    return
                }
            }
        }
    }

    @Test func `A way to the host that is gone is told as such`() async throws {
        for (code, expected) in [(ETIMEDOUT, RPCError.timedOut(.call)), (EHOSTUNREACH, .hostUnreachable(""))] {
            let line = try await Line()
            var server = RPCTestServer()
            try await line.bind(&server)
            async let answer = line.result([1])
            _ = try await line.sent()
            try await line.fail(IOError(errnoCode: code, reason: "read"))
            switch (await answer, expected) {
            case (.failure(.timedOut(.call)), .timedOut), (.failure(.hostUnreachable), .hostUnreachable): break
            case (let other, _): Issue.record("\(other)")
            }
        }
    }

    // MARK: - On the loopback

    /// What ``RPCTestServer`` says, until the first request, which it answers with a reset.
    private final class Resetting: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private var server = RPCTestServer()

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes = Array(self.unwrapInboundIn(data).readableBytesView)
            if (try? RPCPDU(bytes))?.type == .bind, let answer = try? self.server.associate(bytes) {
                context.writeAndFlush(self.wrapOutboundOut(ByteBuffer(bytes: answer)), promise: nil)
                return
            }
            // Without lingering, the system sends RST instead of FIN.
            let reset = linger(l_onoff: 1, l_linger: 0)
            _ = (context.channel as? any SocketOptionProvider)?.setSoLinger(reset)
            context.close(promise: nil)
        }
    }

    @Test func `A real reset in place of an answer suggests to reconnect`() async throws {
        let group = MultiThreadedEventLoopGroup.singleton
        let listener = try await ServerBootstrap(group: group)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Resetting()) }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let connection = try await RPCConnection.connect(
            address: "127.0.0.1",
            port: try #require(listener.localAddress?.port),
            group: group,
            deadline: .now + .seconds(10)
        )
        try await connection.bind([RPCTestServer.activator], deadline: .now + .seconds(10))
        let error = await #expect(throws: RPCError.self) {
            try await connection.call(RPCTestServer.activator, opnum: 4, stub: [1], deadline: .now + .seconds(10))
        }
        #expect(error?.suggestsReconnect == true)
        await connection.close()
        try await listener.close()
    }

    @Test func `Nobody listens, and no address`() async throws {
        let group = MultiThreadedEventLoopGroup.singleton
        // A port that was free a moment ago.
        let listener = try await ServerBootstrap(group: group).bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(listener.localAddress?.port)
        try await listener.close()
        await #expect(throws: RPCError.connectionRefused) {
            try await RPCConnection.connect(
                address: "127.0.0.1",
                port: port,
                group: group,
                deadline: .now + .seconds(10)
            )
        }
        for (address, port) in [("srv1", 135), ("", 135)] {
            guard
                case .misuse? = await #expect(
                    throws: RPCError.self,
                    performing: {
                        try await RPCConnection.connect(
                            address: address,
                            port: port,
                            group: group,
                            deadline: .now + .seconds(10)
                        )
                    }
                )
            else {
                Issue.record("\(address) taken")
                return
            }
        }
    }

    @Test func `A silent host costs no more than the deadline`() async throws {
        let group = MultiThreadedEventLoopGroup.singleton
        let listener = try await ServerBootstrap(group: group).bind(host: "127.0.0.1", port: 0).get()
        let connection = try await RPCConnection.connect(
            address: "127.0.0.1",
            port: try #require(listener.localAddress?.port),
            group: group,
            deadline: .now + .seconds(10)
        )
        await #expect(throws: RPCError.timedOut(.authenticating)) {
            try await connection.requestChallenge([RPCTestServer.activator], deadline: .now + .milliseconds(50))
        }
        #expect(!connection.isOpen)
        await connection.close()
        try await listener.close()
    }
}

extension RPCConnectionTests.Line {
    fileprivate func result(
        _ stub: [UInt8],
        deadline: ContinuousClock.Instant = .now + .seconds(3600)
    ) async -> Result<[UInt8], RPCError> {
        do throws(RPCError) { return .success(try await self.call(stub, deadline: deadline)) } catch {
            return .failure(error)
        }
    }

    /// Whether an operation stands in line.
    fileprivate func hasWaiting() async -> Bool {
        let channel = self.channel
        return
            (try? await channel.testingEventLoop.executeInContext {
                try channel.pipeline.syncOperations.handler(type: RPCHandler.self).waitingCount > 0
            }) ?? false
    }
}
