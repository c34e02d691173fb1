import Foundation
import Testing

@testable import DCOM

/// Both directions of what other clients said, through our codecs: Fixtures/Recorded.
@Suite struct RecordedTrafficTests {
    private static let names = ["winsim-impacket", "winsim-aiowmi", "python-impacket", "python-aiowmi"]

    private static func read(_ name: String) throws -> (Recording, [RecordedConversation], RecordedPoll) {
        let recording = try Recording(name)
        let conversations = try recording.connections.map { try RecordedConversation($0) }
        return (recording, conversations, try RecordedPoll(conversations))
    }

    @Test(arguments: Self.names) func rowsAreWhatTheClientRead(name: String) throws {
        let (recording, _, poll) = try Self.read(name)
        #expect(poll.queries.map(\.request.query).sorted() == recording.queries.values.sorted())
        for (key, text) in recording.queries {
            let expected = try #require(recording.rows[key])
            let query = try #require(poll.queries.first { $0.request.query == text })
            #expect(!expected.isEmpty)
            #expect(query.rows.count == expected.count, "\(key)")
            for (row, printed) in zip(query.rows, expected) {
                #expect(Set(row.properties.map(\.name)) == Set(printed.keys))
                #expect(text.hasSuffix(row.className) || text.contains(row.className + " "))
                for (property, value) in printed {
                    #expect(
                        value.isSame(as: row[property], nullsAreZeros: recording.client == "aiowmi"),
                        "\(key).\(property): \(String(describing: row[property])), printed \(value)"
                    )
                }
            }
        }
    }

    @Test(arguments: Self.names) func activationAsksForWMI(name: String) throws {
        let (recording, conversations, poll) = try Self.read(name)
        let activation = try #require(poll.activations.first)
        #expect(poll.activations.count == 1)
        #expect(activation.request.this.flags == ORPCThis.localFlag)
        #expect(activation.request.this.version == COMVersion.current)
        #expect(activation.request.activation.classID == ClassID.wbemLevel1Login)
        #expect(activation.request.activation.interfaces == [RPCInterface.wbemLevel1Login.uuid])
        #expect(activation.request.activation.protocols == [StringBinding.tcp])
        #expect(activation.reply.interfaces.map(\.result) == [.ok])
        // The client connected where the answer told it to.
        let port = try #require(recording.connections.last?.port)
        #expect(recording.connections.count == 2)
        let bindings = activation.reply.bindings.stringBindings.filter { $0.tower == StringBinding.tcp }
        #expect(bindings.contains { $0.address.hasSuffix("[\(port)]") })
        #expect(activation.reply.bindings.securityBindings.map(\.authenticationService).contains(10))
        #expect(conversations[0].binds.map { $0.contexts.map(\.interface) } == [[.remoteSCMActivator]])
        #expect(conversations[1].binds.first?.contexts.map(\.interface) == [.wbemLevel1Login])
        for bind in conversations.flatMap(\.binds) {
            #expect(bind.maximumReceive == 4280)
            #expect(bind.contexts.map(\.transferSyntaxes) == [[.ndr]])
        }
    }

    @Test(arguments: Self.names) func namespaceIsOpened(name: String) throws {
        let (_, _, poll) = try Self.read(name)
        #expect(poll.logins.map(\.request.networkResource) == ["//./root/cimv2"])
        #expect(poll.logins.map(\.request.preferredLocale) == [nil])
        #expect(poll.logins.map(\.response.result) == [.ok])
    }

    @Test func impacketSignsInForEveryInterface() throws {
        let (recording, conversations, poll) = try Self.read("winsim-impacket")
        #expect(recording.connections.map(\.session_keys.count) == [1, 17])
        // A negotiate, a challenge and an authenticate token for each.
        #expect(conversations.map(\.tokens) == [3, 51])
        #expect(
            Set(conversations[1].binds.flatMap(\.contexts).map(\.interface)) == [
                .wbemLevel1Login, .remUnknown, .wbemServices, .enumWbemClassObject,
            ]
        )
        // Sealed activation, the rest signed, as the host's hint allows.
        #expect(poll.levels == [.packetPrivacy, .packetIntegrity])
        #expect(poll.queries.map(\.request.flags) == [0, 0, 0, 0, 0])
        #expect(poll.queries.map(\.request.language) == ["WQL", "WQL", "WQL", "WQL", "WQL"])
        #expect(poll.queries.allSatisfy { !$0.isSmart && Set($0.batches) == [10] && $0.lastResult == .wbemFalse })
        #expect(poll.releases.count == 7)
        #expect(poll.releases.allSatisfy { $0.publicReferences == 1 && $0.privateReferences == 0 })
        let login = try #require(poll.releases.first)
        #expect(poll.interfaces[login.ipid] == RPCInterface.wbemLevel1Login.uuid)
    }

    @Test func aiowmiUsesTheSmartEnumerator() throws {
        let (recording, conversations, poll) = try Self.read("winsim-aiowmi")
        #expect(recording.connections.map(\.session_keys.count) == [1, 1])
        #expect(conversations.map(\.tokens) == [3, 3])
        #expect(poll.queries.allSatisfy { $0.request.flags == 0x30 && $0.request.language == "WQL" })
        #expect(poll.queries.allSatisfy { $0.isSmart && Set($0.batches) == [1] && $0.lastResult == .wbemFalse })
        #expect(poll.interfaceQueries.count == 5)
        for (request, response) in poll.interfaceQueries {
            #expect(request.references == 1)
            #expect(request.interfaces == [RPCInterface.wbemFetchSmartEnum.uuid])
            #expect(poll.interfaces[request.ipid] == RPCInterface.enumWbemClassObject.uuid)
            #expect(response.results.map(\.reference.publicReferences) == [1])
        }
        let released = poll.releases.map { poll.interfaces[$0.ipid] }
        #expect(released.filter { $0 == RPCInterface.wbemFetchSmartEnum.uuid }.count == 5)
        #expect(released.filter { $0 == RPCInterface.wbemWCOSmartEnum.uuid }.count == 5)
        #expect(released.count == 10)
    }

    @Test func sealedAnswersInFragments() throws {
        let (_, conversations, poll) = try Self.read("python-impacket")
        #expect(poll.levels == [.packetPrivacy])
        #expect(poll.mostFragments == 3)
        #expect(conversations[1].answers.first?.maximumTransmit == 1432)
        let adapter = try #require(poll.queries.first { $0.request.query.contains("NetworkInterface") }?.rows.first)
        #expect(adapter["Name"] == .string("網卡 2"))
        let disks = try #require(poll.queries.first { $0.request.query.contains("LogicalDisk") }?.rows)
        #expect(disks.map { $0["Size"] } == [.uint64(107_267_223_552), nil, .uint64((1 << 63) + 12345)])
        #expect(disks.map { $0["FreeSpace"] } == [.uint64(0), nil, .uint64(1 << 32)])
    }

    @Test func aiowmiFetchesRowByRow() throws {
        let (_, _, poll) = try Self.read("python-aiowmi")
        #expect(poll.levels == [.packetPrivacy, .packetIntegrity])
        #expect(poll.queries.allSatisfy { !$0.isSmart && Set($0.batches) == [1] && $0.lastResult == .wbemFalse })
        #expect(poll.interfaceQueries.isEmpty)
        let system = try #require(poll.queries.first { $0.request.query.contains("OperatingSystem") }?.rows.first)
        #expect(system["Caption"] == .string("Microsoft Windows Server 2008 R2 für Größe"))
        #expect(system["LastBootUpTime"] == .datetime("20261101010203.456789+060"))
    }

    /// A key that is not the one of the login opens nothing.
    @Test(arguments: Self.names) func otherKeysOpenNothing(name: String) throws {
        var recording = try Recording(name)
        let key = recording.connections[1].session_keys[0]
        recording.connections[1].session_keys[0] = (key.hasPrefix("0") ? "1" : "0") + key.dropFirst()
        #expect(throws: RecordedConversation.Failure.self) { try RecordedConversation(recording.connections[1]) }
    }
}
