import SSP
import Synchronization
import Testing

@testable import DCOM

/// The two parts of signing in: the password's proof on port 135, and the way to WMI's own port.
@Suite(.timeLimit(.minutes(1))) struct WMISignInTests {
    private static let credential = WMICredential(username: "user", password: ScriptedHost.password)

    private func failure<Value>(_ body: () async throws -> Value) async -> WMIError? {
        do {
            _ = try await body()
            return nil
        } catch {
            return error as? WMIError
        }
    }

    private func activated(
        _ host: ScriptedHost,
        _ change: (inout WMILimits) -> Void = { _ in }
    ) async throws -> WMIConnection {
        let connection = try await host.connector(change).connect(
            to: WMIEndpoint(address: ScriptedHost.address),
            deadline: .later
        )
        try await connection.authenticate(Self.credential, deadline: .later)
        return connection
    }

    @Test func theProofDoesNotDialTheOtherPort() async throws {
        let host = ScriptedHost()
        let connection = try await self.activated(host)
        #expect(host.log == ["challenge", "auth3", "RemoteCreateInstance"])
        #expect(host.state.withLock { $0.dialled } == ["192.0.2.17:135"])
        try await connection.openExporter(for: Self.credential, deadline: .later)
        #expect(host.state.withLock { $0.dialled } == ["192.0.2.17:135", "192.0.2.17:49154"])
        #expect(try await connection.query("Q", deadline: .later).count == 1)
        await connection.close(deadline: .later)
        #expect(host.references == 0)
        #expect(host.openChannels == 0)
    }

    @Test func outOfOrderIsMisuseAndHarmless() async throws {
        let host = ScriptedHost()
        let connection = try await host.connector().connect(to: WMIEndpoint(address: "192.0.2.17"), deadline: .later)
        let early = await self.failure { try await connection.openExporter(for: Self.credential, deadline: .later) }
        #expect(early?.step == nil)
        #expect(early?.isWayClosed == false)
        try await connection.authenticate(Self.credential, deadline: .later)
        let query = await self.failure { try await connection.query("Q", deadline: .later) }
        #expect(query?.category == .protocolError)
        #expect(query?.description.contains("used wrongly") == true)
        host.react("challenge", .hang)
        async let opening: Void = connection.openExporter(for: Self.credential, deadline: .later)
        await host.waitUntilHung()
        let twice = await self.failure { try await connection.openExporter(for: Self.credential, deadline: .later) }
        #expect(twice?.description.contains("two things at once") == true)
        host.resume()
        try await opening
        #expect(await self.failure { try await connection.openExporter(for: Self.credential, deadline: .later) } != nil)
        #expect(try await connection.query("Q", deadline: .later).count == 1)
        await connection.close(deadline: .later)
        #expect(host.references == 0)
    }

    // MARK: - Whether there is a way

    @Test(arguments: [RPCError.timedOut(.connecting), .connectionRefused, .hostUnreachable("x")])
    func aPortThatCannotBeReachedIsAClosedWay(error: RPCError) async throws {
        let host = ScriptedHost { $0.refusedDials["192.0.2.17:49154"] = error }
        let connection = try await self.activated(host)
        let failure = await self.failure { try await connection.openExporter(for: Self.credential, deadline: .later) }
        #expect(failure?.step == .connectingToExporter)
        #expect(failure?.isWayClosed == true)
        #expect(!connection.isOpen)
        #expect(host.openChannels == 0)
    }

    @Test func ahostWithoutActivationIsAClosedWay() async throws {
        let host = ScriptedHost { $0.refusals = [.remoteSCMActivator: 1] }
        let failure = await self.failure { try await self.activated(host) }
        #expect(failure?.step == .challenging)
        #expect(failure?.isWayClosed == true)
    }

    @Test func otherFailuresSayNothingAboutTheWay() async throws {
        let refused = ScriptedHost { $0.refusedDials["192.0.2.17:135"] = .connectionRefused }
        #expect(await self.failure { try await self.activated(refused) }?.isWayClosed == false)
        for method in ["challenge", "RemoteCreateInstance"] {
            let host = ScriptedHost()
            host.react(method, .fail(.timedOut(.call)))
            #expect(await self.failure { try await self.activated(host) }?.isWayClosed == false)
        }
        let host = ScriptedHost()
        host.react("challenge", .work, .fail(.connectionReset("x")))
        let later = await self.failure { try await host.signedIn() }
        #expect(later?.step == .signingInToExporter)
        #expect(later?.isWayClosed == false)
        #expect(!WMIError.cancelled(.connectingToExporter).isWayClosed)
    }

    @Test func connectingHasATimeOfItsOwn() async throws {
        let host = ScriptedHost()
        let connection = try await self.activated(host) { $0.connectTimeout = .seconds(2) }
        try await connection.openExporter(for: Self.credential, deadline: .later)
        let deadline = try #require(host.state.withLock { $0.dialDeadlines.last })
        #expect(ContinuousClock.now.duration(to: deadline) <= .seconds(2))
        await connection.close(deadline: .later)

        let hurried = try await self.activated(host)
        try await hurried.openExporter(for: Self.credential, deadline: .now + .seconds(1))
        let sooner = try #require(host.state.withLock { $0.dialDeadlines.last })
        #expect(ContinuousClock.now.duration(to: sooner) <= .seconds(1))
        await hurried.close(deadline: .later)
    }
}
