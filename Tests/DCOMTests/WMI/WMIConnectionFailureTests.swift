import SSP
import Synchronization
import Testing

@testable import DCOM

/// What goes wrong, what it is called, and that nothing is left behind.
@Suite(.timeLimit(.minutes(1))) struct WMIConnectionFailureTests {
    private func failure<Value>(_ body: () async throws -> Value) async -> WMIError? {
        do {
            _ = try await body()
            return nil
        } catch {
            return error as? WMIError
        }
    }

    // MARK: - Signing in

    @Test func aWrongPasswordIsOneFailedLogin() async throws {
        let host = ScriptedHost()
        let error = await self.failure { try await host.signedIn(password: "wrong") }
        #expect(error?.category == .authenticationFailed)
        #expect(error?.countsAsFailedLogin == true)
        #expect(error?.suggestsReconnect == false)
        #expect(host.failedLogins == 1)
        // The dynamic port was never tried.
        #expect(host.state.withLock { $0.dialled } == ["192.0.2.17:135"])
        #expect(host.openChannels == 0)
        #expect(error?.description.contains("wrong") == false)
    }

    @Test func theChallengeNeedsNoSecret() async throws {
        let host = ScriptedHost()
        let connection = try await host.connector().connect(to: WMIEndpoint(address: "192.0.2.17"), deadline: .later)
        try await connection.requestChallenge(for: WMICredential(username: "u", password: "wrong"), deadline: .later)
        #expect(host.log == ["challenge"])
        #expect(await connection.challengeInfo?.netbiosComputerName == "HOST")
        #expect(host.failedLogins == 0)
        await connection.close(deadline: .later)
        #expect(host.openChannels == 0)
    }

    @Test func missingLaunchRightsAreNoWrongPassword() async throws {
        let host = ScriptedHost()
        host.react("RemoteCreateInstance", .result(.accessDenied))
        let error = await self.failure { try await host.signedIn() }
        #expect(error?.category == .accessDenied)
        #expect(error?.countsAsFailedLogin == false)
        #expect(error?.status == .result(.accessDenied))
        #expect(error?.description.contains("0x80070005 E_ACCESSDENIED") == true)
        #expect(host.openChannels == 0)
    }

    @Test func anExporterThatRefusesIsNoWrongPassword() async throws {
        // The process behind the dynamic port denies with the same fault as for a wrong password.
        let host = ScriptedHost()
        let connection = try await host.signedIn()
        host.react("NTLMLogin", .fail(.authenticationFailed("")))
        let error = await self.failure { try await connection.query("Q", deadline: .later) }
        #expect(error?.category == .accessDenied)
        #expect(error?.countsAsFailedLogin == false)
        await connection.close(deadline: .later)
    }

    @Test(arguments: [
        (RPCError.timedOut(.call), WMIError.Category.timeout), (.connectionReset("x"), .connectionReset),
        (.protocolViolation("x"), .protocolError), (.integrityFailed("x"), .protocolError),
        (.fault(.serverTooBusy, didNotExecute: true), .quotaExceeded), (.accessDenied, .accessDenied),
        (.fault(.unknownInterface, didNotExecute: true), .protocolError),
        (.fault(RPCStatus(rawValue: 0x8007_000E), didNotExecute: false), .quotaExceeded),
    ])
    func failuresOfTheActivation(error: RPCError, category: WMIError.Category) async throws {
        let host = ScriptedHost()
        host.react("RemoteCreateInstance", .fail(error))
        let failure = await self.failure { try await host.signedIn() }
        #expect(failure?.category == category)
        #expect(failure?.step == .activating)
        #expect(failure?.countsAsFailedLogin == false)
        #expect(failure?.suggestsReconnect == false)
        #expect(host.openChannels == 0)
    }

    @Test func connectingFails() async throws {
        for (error, category) in [
            (RPCError.connectionRefused, WMIError.Category.connectionRefused), (.timedOut(.connecting), .timeout),
            (.hostUnreachable("x"), .hostUnreachable),
        ] {
            let host = ScriptedHost { $0.refusedDials["192.0.2.17:135"] = error }
            let failure = await self.failure { try await host.signedIn() }
            #expect(failure?.category == category)
            #expect(failure?.step == .connecting)
        }
    }

    @Test func aHostWithoutNTLM() async throws {
        let host = ScriptedHost()
        host.react("challenge", .fail(.authenticationUnavailable("x")))
        let failure = await self.failure { try await host.signedIn() }
        #expect(failure?.category == .authenticationUnavailable)
        #expect(failure?.countsAsFailedLogin == false)
    }

    @Test func aSignInThatFailsHalfWayGivesBack() async throws {
        let host = ScriptedHost()
        host.react("challenge", .work, .fail(.connectionReset("x")))
        let failure = await self.failure { try await host.signedIn() }
        #expect(failure?.category == .connectionReset)
        #expect(failure?.step == .signingInToExporter)
        #expect(host.openChannels == 0)
    }

    // MARK: - Queries

    static let results: [(HRESULT, WMIError.Category)] = [
        (.wbemAccessDenied, .accessDenied), (.accessDenied, .accessDenied), (.wbemInvalidClass, .missingClass),
        (.wbemNotFound, .missingClass), (.wbemInvalidNamespace, .queryFailed), (.wbemInvalidQuery, .queryFailed),
        (.wbemProviderFailure, .queryFailed), (.wbemFailed, .queryFailed), (.wbemQuotaViolation, .quotaExceeded),
        (.wbemOutOfMemory, .quotaExceeded), (.wbemServerTooBusy, .quotaExceeded), (.wbemProviderTimedOut, .timeout),
    ]

    @Test(arguments: ["NTLMLogin", "ExecQuery", "Next"], Self.results)
    func resultsFailTheQueryOnly(method: String, expected: (HRESULT, WMIError.Category)) async throws {
        let host = ScriptedHost()
        let connection = try await host.signedIn()
        host.react(method, .result(expected.0))
        let failure = await self.failure { try await connection.query("Q", deadline: .later) }
        #expect(failure?.category == expected.1)
        #expect(failure?.status == .result(expected.0))
        #expect(failure?.suggestsReconnect == false)
        #expect(connection.isOpen)
        #expect(try await connection.query("Q", deadline: .later).count == 1)
        await connection.close(deadline: .later)
        #expect(host.references == 0)
        #expect(host.openChannels == 0)
    }

    @Test func anErrorInTheMiddleOfAnEnumeration() async throws {
        let host = ScriptedHost()
        host.answer([[1], [2], [3]])
        host.react("Next", .work, .work, .result(.wbemProviderFailure))
        let connection = try await host.signedIn()
        let failure = await self.failure { try await connection.query("Q", deadline: .later) }
        #expect(failure?.category == .queryFailed)
        #expect(
            failure?.description == "fetching rows (Next): the host answered with 0x80041004 WBEM_E_PROVIDER_FAILURE"
        )
        await connection.releaseUnused(deadline: .later)
        // Level1Login and the namespace are still held, the enumerator is not.
        #expect(host.references == 10)
        #expect(try await connection.query("Q", deadline: .later).count == 1)
        await connection.close(deadline: .later)
        #expect(host.references == 0)
    }

    @Test(arguments: ["NTLMLogin", "ExecQuery", "Next", "RemRelease"])
    func faultsInEachStepLeaveNothingBehind(method: String) async throws {
        for error: RPCError in [
            .fault(RPCStatus(rawValue: 0x1C00_0012), didNotExecute: false), .accessDenied,
            .fault(.serverTooBusy, didNotExecute: true),
        ] {
            let host = ScriptedHost()
            let connection = try await host.signedIn { $0.upkeep.releaseBatch = 1 }
            host.react(method, .fail(error))
            let failure = await self.failure { try await connection.query("Q", deadline: .later) }
            #expect((failure == nil) == (method == "RemRelease"))
            #expect(connection.isOpen)
            #expect(try await connection.query("Q", deadline: .later).count == 1)
            await connection.close(deadline: .later)
            // A release that the host has refused is not tried again: it has said that it does not know them.
            #expect(host.references == (method == "RemRelease" ? 5 : 0))
            #expect(host.openChannels == 0)
        }
    }

    @Test(arguments: [HRESULT.disconnected, .objectNotConnected, .invalidObject, .wbemShuttingDown, .serverUnavailable])
    func goneObjectsSuggestToReconnect(result: HRESULT) async throws {
        for reaction in [
            ScriptedHost.Reaction.result(result),
            .fail(.fault(RPCStatus(rawValue: result.rawValue), didNotExecute: true)),
        ] {
            let host = ScriptedHost()
            let connection = try await host.signedIn()
            _ = try await connection.query("Q", deadline: .later)
            host.react("ExecQuery", reaction)
            let failure = await self.failure { try await connection.query("Q", deadline: .later) }
            #expect(failure?.category == .connectionReset)
            #expect(failure?.suggestsReconnect == true)
            #expect(!connection.isOpen)
            await connection.close(deadline: .later)
            #expect(host.references == 0)
            #expect(host.openChannels == 0)
        }
    }

    @Test func aHostThatClosesBetweenQueries() async throws {
        let host = ScriptedHost()
        let connection = try await host.signedIn()
        _ = try await connection.query("Q", deadline: .later)
        host.react("ExecQuery", .fail(.connectionClosed))
        let failure = await self.failure { try await connection.query("Q", deadline: .later) }
        #expect(failure?.suggestsReconnect == true)
        #expect(!connection.isOpen)
        await connection.close(deadline: .later)
        #expect(host.openChannels == 0)
    }

    @Test func answersThatCannotBeRead() async throws {
        for method in ["NTLMLogin", "ExecQuery", "Next"] {
            let host = ScriptedHost()
            let connection = try await host.signedIn()
            host.react(method, .stub([1, 2, 3]))
            let failure = await self.failure { try await connection.query("Q", deadline: .later) }
            #expect(failure?.category == .protocolError)
            await connection.close(deadline: .later)
            #expect(host.references == 0)
        }
    }

    @Test func rowsThatAreNoObjects() async throws {
        let host = ScriptedHost()
        let connection = try await host.signedIn()
        let reference = host.newReference()
        let row = ObjectReference(interface: .null, kind: .standard(reference, DualStringArray()))
        host.react("Next", .stub(EnumNext.Response(maximum: 9, objects: [row], result: .ok).stub))
        let failure = await self.failure { try await connection.query("Q", deadline: .later) }
        #expect(failure?.category == .protocolError)
        await connection.close(deadline: .later)
        #expect(host.references == 0)
    }

    // MARK: - Bounds

    @Test func rowsAndBytesAreLimited() async throws {
        let host = ScriptedHost()
        host.answer([[1, 2], [3, 4], [5]], [[1], [2], [3]])
        let connection = try await host.signedIn {
            $0.maximumRows = 3
            $0.maximumQueryBytes = 100_000
        }
        let rows = await self.failure { try await connection.query("Q", deadline: .later) }
        #expect(rows?.category == .responseTooLarge)
        #expect(connection.isOpen)
        #expect(try await connection.query("Q", deadline: .later).count == 3)
        await connection.close(deadline: .later)
        #expect(host.references == 0)

        host.answer([[1], [2], [3]])
        let narrow = try await host.signedIn { $0.maximumQueryBytes = 200 }
        let bytes = await self.failure { try await narrow.query("Q", deadline: .later) }
        #expect(bytes?.category == .responseTooLarge)
        await narrow.close(deadline: .later)
        #expect(host.references == 0)
    }

    @Test func enumerationsWithoutAnEnd() async throws {
        let host = ScriptedHost()
        let more = EnumNext.Response(maximum: 9, objects: [], result: .ok).stub
        host.react("Next", .stub(more))
        let connection = try await host.signedIn { $0.maximumRequests = 3 }
        let nothing = await self.failure { try await connection.query("Q", deadline: .later) }
        #expect(nothing?.category == .protocolError)
        host.answer([[1], [1], [1], [1], [1]])
        let endless = await self.failure { try await connection.query("Q", deadline: .later) }
        #expect(endless?.category == .protocolError)
        await connection.close(deadline: .later)
        #expect(host.references == 0)
    }

    @Test func aHostThatNeedsLongerIsAskedAgain() async throws {
        let host = ScriptedHost()
        let later = EnumNext.Response(maximum: 9, objects: [], result: .wbemTimedOut).stub
        host.react("Next", .stub(later), .stub(later))
        let connection = try await host.signedIn()
        host.clearLog()
        #expect(try await connection.query("Q", deadline: .later).count == 1)
        #expect(host.log == ["NTLMLogin", "ExecQuery", "Next", "Next", "Next"])
        await connection.close(deadline: .later)
    }
}
