import Foundation
import Testing

@testable import DCOM

/// Our decoders against bytes of impacket and aiowmi, and our encoders against what these two have read.
@Suite struct ORPCInteroperabilityTests {
    @Test(arguments: ["impacket.RemoteCreateInstance", "aiowmi.RemoteCreateInstance"])
    func readsAnActivation(of name: String) throws {
        let request = try RemoteCreateInstance.Request(stub: ORPCFixtures.stub(name))
        #expect(request.this.version == .current)
        #expect(request.this.flags == ORPCThis.localFlag)
        #expect(request.activation.classID == ClassID.wbemLevel1Login)
        #expect(request.activation.interfaces == [RPCInterface.wbemLevel1Login.uuid])
        #expect(request.activation.version == .current)
        #expect(request.activation.protocols == [StringBinding.tcp])
    }

    @Test func readsAnActivationsAnswer() throws {
        let answer = try RemoteCreateInstance.Response(stub: ORPCFixtures.stub("impacket.RemoteCreateInstance.answer"))
        #expect(answer.result == .ok)
        // impacket puts no array of words into the reference, and two words of counts.
        #expect(answer.reply == ORPCFixtures.activation)
    }

    @Test func readsPings() throws {
        let simple = try SimplePing.Request(stub: ORPCFixtures.stub("impacket.SimplePing"))
        #expect(simple.set == 0x0102_0304_0506_0708)
        let complex = try ComplexPing.Request(stub: ORPCFixtures.stub("impacket.ComplexPing"))
        #expect(complex.set == 0)
        #expect(complex.added == [ORPCFixtures.oid, ORPCFixtures.oid + 1])
        #expect(complex.removed.isEmpty)
        let answer = try ComplexPing.Response(stub: ORPCFixtures.stub("impacket.ComplexPing.answer"))
        #expect(answer == ComplexPing.Response(set: 0x0102_0304_0506_0708, backoff: 3))
    }

    @Test func readsServerAlive2() throws {
        let answer = try ServerAlive2.Response(stub: ORPCFixtures.stub("impacket.ServerAlive2.answer"))
        #expect(answer.version == .current)
        #expect(answer.status == .ok)
        #expect(answer.bindings.stringBindings.map(\.address) == ["HOST", "192.0.2.17"])
        #expect(answer.bindings.securityBindings.map(\.authenticationService) == [9, 10])
    }

    @Test func readsRequestsOfRemUnknown() throws {
        for client in ["impacket", "aiowmi"] {
            let query = try RemQueryInterface.Request(stub: ORPCFixtures.stub("\(client).RemQueryInterface"))
            #expect(query.ipid == ORPCFixtures.ipid)
            #expect(query.references == 1)
            #expect(query.interfaces == [RPCInterface.wbemFetchSmartEnum.uuid])
        }
        let added = try RemAddRef.Request(stub: ORPCFixtures.stub("impacket.RemAddRef"))
        #expect(added.references == ORPCFixtures.references)
        let released = try RemRelease.Request(stub: ORPCFixtures.stub("impacket.RemRelease"))
        #expect(released == RemRelease.Request(this: ORPCFixtures.this, references: ORPCFixtures.references))
        let one = try RemRelease.Request(stub: ORPCFixtures.stub("aiowmi.RemRelease"))
        #expect(one.references == [InterfaceReferenceCount(ipid: ORPCFixtures.ipid, publicReferences: 1)])
    }

    @Test func readsTheAnswerOfRemQueryInterface() throws {
        let answer = try RemQueryInterface.Response(stub: ORPCFixtures.stub("layout.RemQueryInterface.answer"))
        #expect(answer.result == .ok)
        var reference = ORPCFixtures.standard
        reference.publicReferences = 1
        #expect(answer.results == [.init(result: .ok, reference: reference)])
    }

    @Test(arguments: ["impacket", "aiowmi"])
    func readsRequestsOfWMI(of client: String) throws {
        let login = try NTLMLogin.Request(stub: ORPCFixtures.stub("\(client).NTLMLogin"))
        #expect(login.networkResource == "//./root/cimv2")
        #expect(login.preferredLocale == nil)
        #expect(login.flags == 0)
        let query = try ExecQuery.Request(stub: ORPCFixtures.stub("\(client).ExecQuery"))
        #expect(query.language == "WQL")
        #expect(query.query == ORPCFixtures.query)
        #expect(query.flags == ExecQuery.returnImmediately | ExecQuery.forwardOnly)
    }

    @Test func readsRequestsForRows() throws {
        let next = try EnumNext.Request(stub: ORPCFixtures.stub("impacket.Next"))
        #expect(next == EnumNext.Request(this: ORPCFixtures.this, timeout: EnumNext.infinite, count: 7))
        let smart = try SmartNext.Request(stub: ORPCFixtures.stub("aiowmi.SmartNext"))
        #expect(smart.proxy == ORPCFixtures.causality)
        #expect(smart.timeout == EnumNext.infinite)
        #expect(smart.count == 1)
        // It carries 16 bytes more than the method takes.
        _ = try GetSmartEnum.Request(stub: ORPCFixtures.stub("aiowmi.GetSmartEnum"))
    }

    @Test func readsAnswersWithReferencesAndRows() throws {
        let answer = try InterfaceResponse(stub: ORPCFixtures.stub("impacket.interface.answer"))
        #expect(answer == InterfaceResponse(reference: ORPCFixtures.enumerator))
        let rows = try EnumNext.Response(stub: ORPCFixtures.stub("impacket.Next.answer"))
        #expect(rows.objects == ORPCFixtures.rows.objects)
        #expect(rows.result == .wbemFalse)
    }

    /// `ours.txt` is what both clients have read (`generate.py --check ours.txt`); our encoders still make it.
    @Test func writesWhatTheClientsHaveRead() throws {
        let lines = ORPCFixtures.ours.map { entry in
            entry.name + " "
                + entry.stub.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
        }
        if ProcessInfo.processInfo.environment["WRITE_ORPC_FIXTURES"] != nil {
            try (lines.joined(separator: "\n") + "\n").write(
                to: ORPCFixtures.folder.appending(path: "ours.txt"),
                atomically: true,
                encoding: .utf8
            )
        }
        let checked = ORPCFixtures.read("ours.txt")
        #expect(checked.count == ORPCFixtures.ours.count)
        for (name, stub) in ORPCFixtures.ours { #expect(checked[name] == stub, "\(name)") }
    }
}
