import SSP
import Synchronization
import Testing

@testable import DCOM

/// Cancellation, closing, pings, and the end of a connection that nobody uses.
@Suite(.timeLimit(.minutes(1))) struct WMIConnectionLifeTests {
    // MARK: - Cancellation

    /// A cancelled query ends once its call is answered, and what the answer brought is given back.
    @Test(arguments: ["NTLMLogin", "ExecQuery", "Next"])
    func aCancelledQueryLeaksNothing(method: String) async throws {
        let host = ScriptedHost()
        let connection = try await host.signedIn { $0.upkeep.cancellationGrace = .seconds(60) }
        host.react(method, .hang)
        if method != "NTLMLogin" { host.answer([[1], [2]]) }
        let query = Task { try await connection.query("Q", deadline: .later) }
        await host.waitUntilHung()
        query.cancel()
        host.resume()
        await #expect { try await query.value } throws: { ($0 as? WMIError)?.category == .cancelled }
        #expect(connection.isOpen)
        #expect(try await connection.query("Q", deadline: .later).count == 1)
        await connection.close(deadline: .later)
        #expect(host.references == 0)
        #expect(host.openChannels == 0)
    }

    @Test func aCancelledQueryWaitsNoLongerThanTheGrace() async throws {
        let host = ScriptedHost()
        let connection = try await host.signedIn { $0.upkeep.cancellationGrace = .milliseconds(1) }
        host.react("Next", .hang)
        let query = Task { try await connection.query("Q", deadline: .later) }
        await host.waitUntilHung()
        query.cancel()
        await #expect { try await query.value } throws: { ($0 as? WMIError)?.category == .cancelled }
        #expect(!connection.isOpen)
        await connection.close(deadline: .later)
        #expect(host.openChannels == 0)
    }

    @Test func aCancelledTaskStartsNothing() async throws {
        let host = ScriptedHost()
        let connection = try await host.signedIn()
        host.clearLog()
        let query = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return try await connection.query("Q", deadline: .later)
        }
        await #expect { try await query.value } throws: { ($0 as? WMIError)?.category == .cancelled }
        #expect(host.log.isEmpty)
        #expect(connection.isOpen)
        await connection.close(deadline: .later)
    }

    /// What an activation has brought can only be given back on the port that was not opened: the host reclaims it.
    @Test func aCancelledActivationCloses() async throws {
        let host = ScriptedHost()
        host.react("RemoteCreateInstance", .hang)
        let connection = try await host.connector { $0.upkeep.cancellationGrace = .seconds(60) }
            .connect(to: WMIEndpoint(address: ScriptedHost.address), deadline: .later)
        let credential = WMICredential(username: "u", password: ScriptedHost.password)
        let signIn = Task { try await connection.authenticate(credential, deadline: .later) }
        await host.waitUntilHung()
        signIn.cancel()
        host.resume()
        await #expect { try await signIn.value } throws: { ($0 as? WMIError)?.category == .cancelled }
        #expect(host.state.withLock { $0.dialled.count } == 1)
        #expect(host.openChannels == 0)
        #expect(!connection.isOpen)
    }

    @Test func aCancelledSignInAtTheExporterLeaksNothing() async throws {
        let host = ScriptedHost()
        host.react("challenge", .work, .hang)
        let connection = try await host.connector { $0.upkeep.cancellationGrace = .seconds(60) }
            .connect(to: WMIEndpoint(address: ScriptedHost.address), deadline: .later)
        let credential = WMICredential(username: "u", password: ScriptedHost.password)
        try await connection.authenticate(credential, deadline: .later)
        let opening = Task { try await connection.openExporter(for: credential, deadline: .later) }
        await host.waitUntilHung()
        opening.cancel()
        host.resume()
        await #expect { try await opening.value } throws: { ($0 as? WMIError)?.category == .cancelled }
        #expect(host.references == 0)
        #expect(host.openChannels == 0)
        #expect(!connection.isOpen)
    }

    @Test func whenTheGraceIsOverADialIsNotFollowedByASignIn() async throws {
        let host = ScriptedHost { $0.hangingDials = ["192.0.2.17:49154"] }
        let connection = try await host.connector { $0.upkeep.cancellationGrace = .milliseconds(1) }
            .connect(to: WMIEndpoint(address: ScriptedHost.address), deadline: .later)
        let credential = WMICredential(username: "u", password: ScriptedHost.password)
        try await connection.authenticate(credential, deadline: .later)
        host.clearLog()
        let opening = Task { try await connection.openExporter(for: credential, deadline: .later) }
        await host.waitUntilHung()
        opening.cancel()
        // The grace closes the channel to the resolver, and with that lets the dial succeed.
        await #expect { try await opening.value } throws: { ($0 as? WMIError)?.category == .cancelled }
        #expect(host.log.isEmpty)
        #expect(host.openChannels == 0)
    }

    // MARK: - Closing

    @Test func closingEndsAQueryAndGivesBack() async throws {
        let host = ScriptedHost()
        let connection = try await host.signedIn { $0.upkeep.cancellationGrace = .seconds(60) }
        host.react("Next", .hang)
        host.answer([[1], [2]])
        let query = Task { try await connection.query("Q", deadline: .later) }
        await host.waitUntilHung()
        let closing = Task { await connection.close(deadline: .later) }
        while connection.isOpen { await Task.yield() }
        host.resume()
        await closing.value
        await #expect { try await query.value } throws: { ($0 as? WMIError)?.category == .cancelled }
        #expect(host.references == 0)
        #expect(host.openChannels == 0)
    }

    @Test func closingIsBoundedInTime() async throws {
        let host = ScriptedHost()
        let connection = try await host.signedIn()
        host.react("Next", .hang)
        let query = Task { try await connection.query("Q", deadline: .later) }
        await host.waitUntilHung()
        await connection.close(deadline: .now + .milliseconds(1))
        #expect(host.openChannels == 0)
        _ = await query.result
    }

    @Test func whoClosesAsWellWaitsForTheRelease() async throws {
        let host = ScriptedHost()
        let connection = try await host.signedIn()
        _ = try await connection.query("Q", deadline: .later)
        host.react("RemRelease", .hang)
        let first = Task { await connection.close(deadline: .later) }
        await host.waitUntilHung()
        let second = Task { await connection.close(deadline: .later) }
        let idle = Task { await connection.lookAfter(at: .now) }
        for _ in 0..<200 { await Task.yield() }
        #expect(host.openChannels > 0)
        host.resume()
        await first.value
        await second.value
        _ = await idle.value
        #expect(host.log.filter { $0 == "RemRelease" }.count == 1)
        #expect(host.references == 0)
        #expect(host.openChannels == 0)
    }

    @Test func whoClosesAsWellWaitsNoLongerThanItsDeadline() async throws {
        let host = ScriptedHost()
        let connection = try await host.signedIn()
        host.react("RemRelease", .hang)
        let first = Task { await connection.close(deadline: .later) }
        await host.waitUntilHung()
        await connection.close(deadline: .now + .milliseconds(1))
        #expect(host.openChannels == 0)
        await first.value
    }

    /// The task that looks after the connection is cancelled by closing, but not what it is giving back.
    @Test func closingDoesNotCutOffARelease() async throws {
        let host = ScriptedHost()
        let connection = try await host.signedIn()
        _ = try await connection.query("Q", deadline: .later)
        host.react("RemRelease", .hang)
        let upkeep = Task { await connection.lookAfter(at: .now) }
        await host.waitUntilHung()
        upkeep.cancel()
        #expect(host.openChannels == 2)
        host.resume()
        _ = await upkeep.value
        #expect(host.references == 10)
        await connection.close(deadline: .later)
        #expect(host.references == 0)
        #expect(host.state.withLock { $0.excessReleases } == 0)
        #expect(host.openChannels == 0)
    }

    @Test func aCancelledCallerDoesNotCutOffARelease() async throws {
        let host = ScriptedHost()
        let connection = try await host.signedIn()
        _ = try await connection.query("Q", deadline: .later)
        host.react("RemRelease", .hang)
        let poll = Task { await connection.releaseUnused(deadline: .later) }
        await host.waitUntilHung()
        poll.cancel()
        #expect(connection.isOpen)
        host.resume()
        await poll.value
        #expect(connection.isOpen)
        #expect(host.references == 10)
        _ = try await connection.query("Q", deadline: .later)
        await connection.close(deadline: .later)
        #expect(host.references == 0)
    }

    @Test func aReleaseDoesNotKeepRowsBackForLong() async throws {
        let host = ScriptedHost()
        let connection = try await host.signedIn { $0.upkeep.releaseBatch = 1 }
        _ = try await connection.query("Q", deadline: .later)
        let deadline = try #require(host.state.withLock { $0.callDeadlines["RemRelease"] })
        #expect(ContinuousClock.now.duration(to: deadline) <= connection.limits.upkeep.releaseTimeout)
        _ = try await connection.query("Q", deadline: .now + .seconds(1))
        let sooner = try #require(host.state.withLock { $0.callDeadlines["RemRelease"] })
        #expect(ContinuousClock.now.duration(to: sooner) <= .seconds(1))
        await connection.close(deadline: .later)
    }

    @Test func closingTwiceAndWithoutSigningIn() async throws {
        let host = ScriptedHost()
        let connection = try await host.connector().connect(to: WMIEndpoint(address: "192.0.2.17"), deadline: .later)
        #expect(connection.isOpen)
        await connection.close(deadline: .later)
        await connection.close(deadline: .later)
        #expect(!connection.isOpen)
        #expect(host.openChannels == 0)
    }

    @Test func aForgottenConnectionClosesItsChannels() async throws {
        let host = ScriptedHost()
        var connection: WMIConnection? = try await host.signedIn()
        #expect(host.openChannels == 2)
        _ = consume connection
        connection = nil
        while host.openChannels > 0 { await Task.yield() }
    }

    // MARK: - Pings

    @Test func pingsKeepTheObjectsOfTheConnection() async throws {
        let host = ScriptedHost()
        let connection = try await host.signedIn()
        _ = try await connection.query("Q", deadline: .later)
        await connection.releaseUnused(deadline: .later)
        let now = ContinuousClock.now
        #expect(try #require(await connection.lookAfter(at: now)) <= now + .seconds(30))
        #expect(host.openChannels == 2)
        _ = await connection.lookAfter(at: now + .seconds(30))
        // Without a sign-in, on a connection of its own; the resolver's is not needed any more.
        #expect(host.openChannels == 1)
        #expect(host.state.withLock { $0.dialled } == ["192.0.2.17:135", "192.0.2.17:49154", "192.0.2.17:135"])
        // IWbemLevel1Login and IWbemServices are objects 1001 and 1002.
        #expect(host.state.withLock { $0.pingSets } == [1: [1001, 1002]])
        _ = await connection.lookAfter(at: now + .seconds(160))
        #expect(
            host.state.withLock { $0.pings } == [
                .complex(ComplexPing.Request(set: 0, sequence: 1, added: [1001, 1002], removed: [])),
                .simple(SimplePing.Request(set: 1)),
            ]
        )
        // A further namespace joins the set.
        _ = try await connection.query("Q", namespace: "root/other", deadline: .later)
        _ = await connection.lookAfter(at: now + .seconds(290))
        _ = await connection.lookAfter(at: now + .seconds(420))
        #expect(host.state.withLock { $0.pingSets[1]?.count } == 3)
        #expect(host.state.withLock { $0.pings.count } >= 3)
        #expect(host.openChannels == 1)
        await connection.close(deadline: .later)
        #expect(host.references == 0)
        #expect(host.openChannels == 0)
    }

    @Test func aHostThatWantsASignInGetsIt() async throws {
        let host = ScriptedHost {
            $0.takesAnonymousPings = false
            // Refused in the bind of the signed-in connection, taken later.
            $0.refusals = [.objectExporter: 1]
        }
        let connection = try await host.signedIn()
        let now = ContinuousClock.now
        _ = await connection.lookAfter(at: now + .seconds(30))
        #expect(host.state.withLock { $0.pingSets } == [1: [1001]])
        #expect(host.openChannels == 2)
        host.clearLog()
        _ = await connection.lookAfter(at: now + .seconds(160))
        // Not tried without a sign-in again.
        #expect(host.log == ["SimplePing"])
        await connection.close(deadline: .later)
        #expect(host.openChannels == 0)
    }

    /// A set belongs to whom it was made for.
    @Test func aSetIsNotSharedBetweenTheTwo() async throws {
        let host = ScriptedHost { $0.takesAnonymousPings = false }
        let connection = try await host.signedIn()
        let now = ContinuousClock.now
        _ = await connection.lookAfter(at: now + .seconds(30))
        host.react("SimplePing", .fail(.connectionClosed))
        _ = await connection.lookAfter(at: now + .seconds(160))
        #expect(connection.isOpen)
        #expect(host.openChannels == 1)
        host.state.withLock {
            $0.takesAnonymousPings = true
            $0.pings = []
        }
        _ = await connection.lookAfter(at: now + .seconds(290))
        let first = ComplexPing.Request(set: 0, sequence: 1, added: [1001], removed: [])
        #expect(host.state.withLock { $0.pings } == [.complex(first)])
        await connection.close(deadline: .later)
        #expect(host.openChannels == 0)
    }

    @Test func aForgottenSetIsMadeAnew() async throws {
        let host = ScriptedHost()
        let connection = try await host.signedIn()
        let now = ContinuousClock.now
        _ = await connection.lookAfter(at: now + .seconds(30))
        host.state.withLock { $0.pingSets = [:] }
        _ = await connection.lookAfter(at: now + .seconds(160))
        #expect(host.state.withLock { $0.pingSets } == [1: [1001]])
        await connection.close(deadline: .later)
    }

    @Test func afailedPingIsTriedAgainLater() async throws {
        let host = ScriptedHost()
        let connection = try await host.signedIn()
        let now = ContinuousClock.now
        _ = await connection.lookAfter(at: now + .seconds(30))
        host.state.withLock { $0.refusedDials["192.0.2.17:135"] = .connectionRefused }
        _ = await connection.lookAfter(at: now + .seconds(160))
        #expect(connection.isOpen)
        host.state.withLock { $0.refusedDials = [:] }
        host.clearLog()
        _ = await connection.lookAfter(at: now + .seconds(290))
        #expect(host.log == ["bind", "SimplePing"])
        await connection.close(deadline: .later)
        #expect(host.openChannels == 0)
    }

    // MARK: - The end of an idle connection

    @Test func anIdleConnectionGivesBackAndCloses() async throws {
        let host = ScriptedHost()
        let connection = try await host.signedIn()
        _ = try await connection.query("Q", deadline: .later)
        #expect(await connection.lookAfter(at: .now + .seconds(601)) == nil)
        #expect(!connection.isOpen)
        #expect(host.references == 0)
        #expect(host.openChannels == 0)
    }

    @Test func whatQueriesLeaveIsGivenBack() async throws {
        let host = ScriptedHost()
        let connection = try await host.signedIn()
        _ = try await connection.query("Q", deadline: .later)
        #expect(host.references == 15)
        _ = await connection.lookAfter(at: .now)
        #expect(host.references == 10)
        await connection.close(deadline: .later)
    }

    @Test func aConnectionThatTheHostClosedIsNoticed() async throws {
        let host = ScriptedHost()
        let connection = try await host.signedIn()
        host.react("NTLMLogin", .fail(.connectionReset("x")))
        _ = try? await connection.query("Q", deadline: .later)
        #expect(!connection.isOpen)
        #expect(await connection.lookAfter(at: .now) == nil)
        #expect(host.openChannels == 0)
    }
}
