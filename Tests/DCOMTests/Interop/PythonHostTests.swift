import SSP
import Testing

@testable import DCOM

/// Our client against a host made of third-party parts: `Tests/Interop/dcom_server.py`.
@Suite(.serialized, .timeLimit(.minutes(3))) struct PythonHostTests {
    struct Kind: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var options = PythonHost.Options()
        var enumeration = WMIEnumeration.objects

        init(
            _ description: String,
            enumeration: WMIEnumeration = .objects,
            _ change: (inout PythonHost.Options) -> Void = { _ in }
        ) {
            self.testDescription = description
            self.enumeration = enumeration
            change(&self.options)
        }
    }

    static let kinds = [
        Kind("a host as it comes"),
        Kind("fragments of 1,432") { $0.max_frag = 1432 },
        Kind("fragments of 4,280, padding to 4") {
            $0.max_frag = 4280; $0.padding = 4
        },
        Kind("answers split over very many fragments") { $0.fragment_body = 48 },
        Kind("no header signing") { $0.header_sign = false },
        Kind("a hint that wants privacy") { $0.authn_hint = 6 },
        Kind("a hint that would fail") { $0.authn_hint = 2 },
        Kind("bindings without addresses") { $0.names_only = true },
        Kind("one row an answer, whatever was asked") { $0.batch = 1 },
        Kind("the end with the last rows") {
            $0.early_end = true; $0.batch = 7
        },
        Kind("interfaces only by alter_context") { $0.late_interfaces = true },
        Kind("smart", enumeration: .smart) { $0.batch = 7 },
        Kind("smart, all at once, in small fragments", enumeration: .smart) { $0.max_frag = 1432 },
        Kind("no smart enumerator", enumeration: .smart) { $0.smart = false },
        Kind("no smart enumerator, said in the results", enumeration: .smart) {
            $0.smart = false
            $0.refuse_in_results = true
        },
    ]

    /// A cold poll and a warm one.
    @Test(arguments: Self.kinds) func polls(kind: Kind) async throws {
        var limits = WMILimits()
        limits.enumeration = kind.enumeration
        var polls: [[String: [WMIObject]]] = []
        let summary = try await PythonHost.run(kind.options) { host in
            polls = try await host.withConnection(limits: limits) { connection in
                [try await PythonHost.poll(connection), try await PythonHost.poll(connection)]
            }
        }
        summary.expectClean()
        #expect(polls.count == 2)
        for rows in polls {
            try summary.compare(rows)
            let everything = try #require(rows["SELECT * FROM NMS_Everything"])
            #expect(everything.first?["C_object"]?.object?["Text"] == .string("inside"))
            #expect(everything.dropFirst().allSatisfy { $0["C_object"] == nil })
        }
        #expect(summary.queries == PythonHost.queries + PythonHost.queries)
        #expect(Set(summary.query_flags) == [ExecQuery.returnImmediately | ExecQuery.forwardOnly])
        #expect(Set(summary.levels.filter { $0.key != "ServerAlive2" }.values) == [6])
        #expect(summary.counts["authentications"] == 2)
        #expect(summary.counts["connections"] == 2)
        #expect(summary.namespaces == ["//./root/cimv2"])
        #expect(summary.calls.filter { $0 == "RemoteCreateInstance" }.count == 1)
        let isSmart = kind.enumeration == .smart && kind.options.smart != false
        #expect(summary.calls.contains("SmartNext") == isSmart)
        #expect(summary.calls.contains("Next") == !isSmart)
        // Batches, never one row a round trip.
        #expect(summary.batches.allSatisfy { $0 >= 50 })
    }

    /// What impacket's structures make of our activation.
    @Test func activationAsOthersReadIt() async throws {
        let summary = try await PythonHost.run { host in
            try await host.withConnection { _ in }
        }
        summary.expectClean()
        let activation = try #require(summary.activations.first)
        #expect(summary.activations.count == 1)
        #expect(activation.class_id == ClassID.wbemLevel1Login.description)
        #expect(activation.interface_ids == [RPCInterface.wbemLevel1Login.uuid.description])
        #expect(activation.protocol_sequences == [7])
        // A server's full name there gives E_FAIL; none is sent.
        #expect(activation.machine_name == nil)
        #expect(
            Set(activation.properties).isSuperset(of: [
                "InstantiationInfoData", "ActivationContextInfoData", "LocationInfoData", "ScmRequestInfoData",
            ])
        )
    }

    @Test func wrongPasswordIsTriedOnce() async throws {
        let wrong = WMICredential(username: PythonHost.account.user, password: "wrong", domain: "FABRIKAM")
        let summary = try await PythonHost.run { host in
            let error = await Self.failure { try await host.withConnection(credential: wrong) { _ in } }
            #expect(error?.category == .authenticationFailed)
            #expect(error?.countsAsFailedLogin == true)
            #expect(error?.suggestsReconnect == false)
        }
        #expect(summary.counts["failed_logins"] == 1)
        #expect(summary.counts["authentications"] == nil)
        #expect(summary.calls == [])
        #expect(summary.oddities == [])
    }

    @Test func namespacesAreKeptApart() async throws {
        let summary = try await PythonHost.run { host in
            try await host.withConnection { connection in
                let error = await Self.failure {
                    try await connection.query("SELECT * FROM C", namespace: "root/none", deadline: PythonHost.soon())
                }
                #expect(error?.status == .result(.wbemInvalidNamespace))
                let rows = try await connection.query(
                    "SELECT Domain FROM Win32_ComputerSystem",
                    namespace: "//./ROOT/CIMV2",
                    deadline: PythonHost.soon()
                )
                #expect(rows.map { $0["domain"] } == [.string("fabrikam.test")])
            }
        }
        summary.expectClean()
    }

    /// One query at a time: a second is refused, and disturbs neither the first nor those that follow.
    @Test func queriesAtTheSameTime() async throws {
        var outcomes: [WMIError?] = []
        let summary = try await PythonHost.run { host in
            outcomes = try await host.withConnection { connection in
                let outcomes = await withTaskGroup(of: WMIError?.self) { group in
                    for query in PythonHost.queries.prefix(4) {
                        group.addTask {
                            await Self.failure {
                                try await connection.query(query, namespace: "root/cimv2", deadline: PythonHost.soon())
                            }
                        }
                    }
                    return await group.reduce(into: []) { $0.append($1) }
                }
                #expect(connection.isOpen)
                _ = try await PythonHost.poll(connection)
                return outcomes
            }
        }
        summary.expectClean()
        #expect(outcomes.count == 4)
        #expect(outcomes.contains(nil))
        #expect(outcomes.compactMap { $0 }.allSatisfy { $0.category == .protocolError && !$0.countsAsFailedLogin })
    }

    /// A connection that lives between polls is pinged, signed in or not, as the host wants it.
    @Test(arguments: [true, false]) func pings(areAnonymous: Bool) async throws {
        var options = PythonHost.Options()
        options.anonymous_pings = areAnonymous
        var limits = WMILimits()
        limits.upkeep.firstPing = .milliseconds(50)
        limits.upkeep.pingInterval = .milliseconds(100)
        let summary = try await PythonHost.run(options) { host in
            try await host.withConnection(limits: limits) { connection in
                _ = try await PythonHost.poll(connection)
                let before = connection.statistics.roundTrips
                // The clock is the connection's own here, as it is the host's.
                let end = PythonHost.soon(10)
                while connection.statistics.roundTrips < before + 4, .now < end {
                    try await Task.sleep(for: .milliseconds(20))
                }
                _ = try await PythonHost.poll(connection)
            }
        }
        summary.expectClean()
        #expect(summary.calls.contains("ComplexPing"))
        #expect(summary.calls.contains("SimplePing"))
        #expect(summary.counts["authentications"] == 2)
    }

    @Test func identifiesWithoutSigningIn() async throws {
        let summary = try await PythonHost.run { host in
            let identity = try await host.identify()
            #expect(identity.version?.major == 5)
            #expect(identity.stringBindings.contains { $0.address == "127.0.0.1" })
            #expect(identity.challenge?.dnsComputerName == "python-host.fabrikam.test")
        }
        #expect(summary.calls == ["ServerAlive2"])
        #expect(summary.counts["failed_logins"] == nil)
        #expect(summary.oddities == [])
    }

    static func failure(_ body: () async throws -> some Any) async -> WMIError? {
        do {
            _ = try await body()
            return nil
        } catch {
            return error as? WMIError
        }
    }
}
