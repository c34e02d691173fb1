import SSP
import Synchronization
import Testing

@testable import DCOM

/// The client against a scripted host: what it calls, what it makes of answers, and that it gives everything back.
@Suite(.timeLimit(.minutes(1))) struct WMIConnectionTests {
    private func values(_ rows: [WMIObject]) -> [UInt64?] {
        rows.map { $0["Value"]?.uint64 }
    }

    @Test func aColdAndAWarmPoll() async throws {
        let host = ScriptedHost()
        let connection = try await host.signedIn()
        #expect(host.log == ["challenge", "auth3", "RemoteCreateInstance", "challenge", "auth3"])
        for _ in 0..<4 { _ = try await connection.query("SELECT Value FROM Test", deadline: .later) }
        host.clearLog()
        for _ in 0..<4 { _ = try await connection.query("SELECT Value FROM Test", deadline: .later) }
        #expect(
            host.log == [
                "ExecQuery", "Next", "ExecQuery", "Next", "ExecQuery", "Next", "ExecQuery", "Next", "RemRelease",
            ]
        )
        // IWbemLevel1Login and IWbemServices.
        #expect(host.references == 10)
        #expect(connection.isOpen)
        host.clearLog()
        await connection.close(deadline: .later)
        #expect(host.log == ["RemRelease"])
        #expect(host.references == 0)
        #expect(host.state.withLock { $0.excessReleases } == 0)
        #expect(host.openChannels == 0)
        #expect(!connection.isOpen)
        await #expect { try await connection.query("SELECT Value FROM Test", deadline: .later) } throws: { error in
            (error as? WMIError)?.suggestsReconnect == true
        }
    }

    @Test func rowsComeInPages() async throws {
        let host = ScriptedHost()
        host.answer([[1, 2], [3], [4, 5]])
        let connection = try await host.signedIn()
        #expect(self.values(try await connection.query("Q", deadline: .later)) == [1, 2, 3, 4, 5])
        host.state.withLock { $0.lastPageEnds = false }
        host.answer([[1, 2]], [])
        #expect(self.values(try await connection.query("Q", deadline: .later)) == [1, 2])
        #expect(try await connection.query("Q", deadline: .later).isEmpty)
        await connection.close(deadline: .later)
        #expect(host.references == 0)
    }

    @Test func namespacesAreOpenedOnce() async throws {
        let host = ScriptedHost()
        let connection = try await host.signedIn()
        for namespace in ["root/cimv2", "ROOT\\CIMV2", "//./root/cimv2", "root/standardcimv2"] {
            _ = try await connection.query("Q", namespace: namespace, deadline: .later)
        }
        #expect(host.log.filter { $0 == "NTLMLogin" }.count == 2)
        await connection.close(deadline: .later)
        #expect(host.references == 0)
    }

    @Test func theServersVersionIsUsed() async throws {
        let host = ScriptedHost { $0.version = COMVersion(major: 5, minor: 6) }
        let connection = try await host.signedIn()
        #expect(try await connection.this(.null).version == COMVersion(major: 5, minor: 6))
        await connection.close(deadline: .later)
    }

    @Test func interfacesWithoutReferencesGetSome() async throws {
        let host = ScriptedHost { $0.publicReferences = 0 }
        let connection = try await host.signedIn()
        _ = try await connection.query("Q", deadline: .later)
        #expect(host.log.filter { $0 == "RemAddRef" }.count == 2)
        await connection.close(deadline: .later)
        #expect(host.references == 0)
        #expect(host.state.withLock { $0.excessReleases } == 0)
    }

    @Test func refusedInterfacesAreAskedForAgain() async throws {
        let host = ScriptedHost {
            $0.refusals = [.wbemServices: 1, .enumWbemClassObject: 1, .objectExporter: 1]
        }
        let connection = try await host.signedIn()
        #expect(await connection.challengeInfo?.netbiosComputerName == "HOST")
        host.clearLog()
        _ = try await connection.query("Q", deadline: .later)
        #expect(host.log == ["NTLMLogin", "bind", "ExecQuery", "bind", "Next"])
        host.clearLog()
        _ = try await connection.query("Q", deadline: .later)
        #expect(host.log == ["ExecQuery", "Next"])
        await connection.close(deadline: .later)
        #expect(host.references == 0)
    }

    @Test func oneThingAtATime() async throws {
        let host = ScriptedHost()
        let connection = try await host.signedIn()
        host.react("Next", .hang)
        async let first = connection.query("Q", deadline: .later)
        await host.waitUntilHung()
        await #expect { try await connection.query("Q", deadline: .later) } throws: { error in
            (error as? WMIError)?.category == .protocolError
        }
        host.resume()
        #expect(try await first.count == 1)
        #expect(connection.isOpen)
        await connection.close(deadline: .later)
        #expect(host.references == 0)
    }

    // MARK: - The smart enumerator

    @Test func theSmartEnumeratorIsAWayToo() async throws {
        let host = ScriptedHost()
        host.answer([[1, 2], [3]])
        let connection = try await host.signedIn { $0.enumeration = .smart }
        host.clearLog()
        #expect(self.values(try await connection.query("Q", deadline: .later)) == [1, 2, 3])
        #expect(
            host.log == [
                "NTLMLogin", "ExecQuery", "RemQueryInterface", "bind", "GetSmartEnum", "bind", "SmartNext", "SmartNext",
            ]
        )
        await connection.close(deadline: .later)
        #expect(host.references == 0)
    }

    @Test(arguments: ["RemQueryInterface", "GetSmartEnum"])
    func withoutASmartEnumeratorThePlainOneIsUsed(refused: String) async throws {
        let host = ScriptedHost()
        host.react(refused, .result(.noInterface))
        let connection = try await host.signedIn { $0.enumeration = .smart }
        #expect(try await connection.query("Q", deadline: .later).count == 1)
        host.clearLog()
        #expect(try await connection.query("Q", deadline: .later).count == 1)
        #expect(host.log == ["ExecQuery", "Next"])
        await connection.close(deadline: .later)
        #expect(host.references == 0)
    }

    @Test(arguments: [
        ScriptedHost.Reaction.result(.notImplemented), .fail(.fault(.operationRangeError, didNotExecute: true)),
    ])
    func withoutThePlainEnumeratorTheSmartOneIsUsed(refusal: ScriptedHost.Reaction) async throws {
        let host = ScriptedHost()
        host.react("Next", refusal)
        let connection = try await host.signedIn()
        #expect(try await connection.query("Q", deadline: .later).count == 1)
        host.clearLog()
        #expect(try await connection.query("Q", deadline: .later).count == 1)
        #expect(host.log.prefix(3) == ["ExecQuery", "RemQueryInterface", "GetSmartEnum"])
        await connection.close(deadline: .later)
        #expect(host.references == 0)
    }

    // MARK: - Where the exporter is

    @Test func thePortIsTheBindingsTheAddressTheUsers() async throws {
        let host = ScriptedHost { $0.bindings = ["ONLY-A-NAME[PORT]"] }
        let connection = try await host.signedIn()
        #expect(host.state.withLock { $0.dialled } == ["192.0.2.17:135", "192.0.2.17:49154"])
        await connection.close(deadline: .later)
    }

    @Test func otherAddressesOnlyIfAllowed() async throws {
        let host = ScriptedHost {
            $0.bindings = ["HOST[PORT]", "10.9.9.9[PORT]", "10.8.8.8[PORT]"]
            $0.refusedDials["192.0.2.17:49154"] = .connectionRefused
        }
        await #expect { try await host.signedIn() } throws: { error in
            guard let error = error as? WMIError else { return false }
            return error.category == .connectionRefused && error.step == .connectingToExporter
                && !error.countsAsFailedLogin
        }
        #expect(host.state.withLock { $0.dialled } == ["192.0.2.17:135", "192.0.2.17:49154"])
        #expect(host.openChannels == 0)

        let connection = try await host.signedIn { $0.allowsAlternativeAddress = { $0 == "10.8.8.8" } }
        #expect(host.state.withLock { $0.dialled }.last == "10.8.8.8:49154")
        await connection.close(deadline: .later)
    }

    @Test func withoutATCPBindingThereIsNoWay() async throws {
        let host = ScriptedHost { $0.bindings = ["HOST", "10.9.9.9"] }
        await #expect { try await host.signedIn() } throws: { error in
            (error as? WMIError)?.category == .protocolError
        }
    }

    // MARK: - Without a login

    @Test func saysWhoItIs() async throws {
        let host = ScriptedHost()
        let identity = try await host.connector().identify(
            WMIEndpoint(address: ScriptedHost.address),
            deadline: .later
        )
        #expect(identity.version == .current)
        #expect(identity.stringBindings == ORPCFixtures.bindings.stringBindings)
        #expect(identity.challenge?.dnsComputerName == "host.lab.example")
        #expect(host.log == ["bind", "ServerAlive2", "challenge"])
        #expect(host.openChannels == 0)

        host.react("ServerAlive2", .fail(.accessDenied))
        let second = try await host.connector().identify(WMIEndpoint(address: ScriptedHost.address), deadline: .later)
        #expect(second.version == nil)
        #expect(second.challenge != nil)

        host.react("ServerAlive2", .fail(.accessDenied))
        host.react("challenge", .fail(.authenticationUnavailable("")))
        await #expect {
            try await host.connector().identify(WMIEndpoint(address: "192.0.2.17"), deadline: .later)
        } throws: {
            ($0 as? WMIError)?.category == .accessDenied
        }
        #expect(host.openChannels == 0)
    }
}
