import DCOM
import SSP
import Testing

@testable import WindowsSimulator

/// What a host agrees to over one RPC connection.
struct DCOMAssociationTests {
    private var association = DCOMAssociation(group: 77)

    private static func policy(fragment: Int = 5_840, takesOneInterface: Bool = false) -> DCOMAssociation.Policy {
        DCOMAssociation.Policy(
            interfaces: [.objectExporter, .remoteSCMActivator],
            port: 135,
            maximumFragment: fragment,
            takesOneInterface: takesOneInterface,
            ntlm: NTLMAcceptor.Configuration(
                netbiosComputerName: "HOST",
                netbiosDomainName: "HOST",
                dnsComputerName: "host",
                dnsDomainName: "host"
            ),
            lookup: { _, _ in "Secret-1" }
        )
    }

    private mutating func send(_ pdu: RPCPDU, _ policy: DCOMAssociation.Policy = Self.policy()) throws -> RPCPDU? {
        guard case .send(let bytes) = self.association.receive(try RPCFragment(pdu.encoded()), policy: policy).action
        else { return nil }
        return try RPCPDU(bytes)
    }

    private static func bind(_ contexts: [RPCPresentationContext], receive: UInt16 = 5_840) -> RPCPDU {
        RPCPDU(
            .bind(RPCBind(maximumTransmit: 5_840, maximumReceive: receive, contexts: contexts)),
            callID: 1,
            flags: [.firstFragment, .lastFragment, .supportsHeaderSigning]
        )
    }

    private static let exporter = RPCPresentationContext(id: 0, interface: .objectExporter)

    @Test mutating func oneAnswerAcceptsAndRefuses() throws {
        let features = RPCInterface("6cb71c2c-9812-4540-0300-000000000000", major: 1)
        let ack = try #require(
            try self.send(
                Self.bind([
                    Self.exporter,
                    RPCPresentationContext(id: 1, interface: .objectExporter, transferSyntaxes: [.ndr64]),
                    RPCPresentationContext(id: 2, interface: .objectExporter, transferSyntaxes: [features]),
                    RPCPresentationContext(id: 3, interface: .wbemServices),
                ])
            )
        )
        guard case .bindAck(let body) = ack.body else {
            Issue.record("\(ack)")
            return
        }
        #expect(
            body.results == [
                .accepted(), .rejected(.transferSyntaxesNotSupported), .negotiateAck(features: 3),
                .rejected(.abstractSyntaxNotSupported),
            ]
        )
        #expect(body.secondaryAddress == "135")
        #expect(body.associationGroup == 77)
        #expect(ack.flags.contains(.supportsHeaderSigning))
    }

    @Test(arguments: [(5_840, 5_840, 5_840), (4_280, 5_840, 4_280), (5_840, 1_432, 1_432), (10, 5_840, 1_432)])
    mutating func fragmentsAreAgreedOn(client: Int, host: Int, agreed: Int) throws {
        let pdu = try self.send(
            Self.bind([Self.exporter], receive: UInt16(client)),
            Self.policy(fragment: host)
        )
        guard case .bindAck(let body)? = pdu?.body else {
            Issue.record("no bind_ack")
            return
        }
        #expect(Int(body.maximumTransmit) == agreed)
        #expect(Int(body.maximumReceive) == host)
    }

    @Test mutating func otherInterfacesCanWait() throws {
        let contexts = [Self.exporter, RPCPresentationContext(id: 1, interface: .remoteSCMActivator)]
        let policy = Self.policy(takesOneInterface: true)
        guard case .bindAck(let ack)? = try self.send(Self.bind(contexts), policy)?.body else {
            Issue.record("no bind_ack")
            return
        }
        #expect(ack.results.map(\.isAccepted) == [true, false])
        let alter = RPCPDU(.alterContext(RPCBind(contexts: [contexts[1]])), callID: 2)
        guard case .alterContextResponse(let answer)? = try self.send(alter, policy)?.body else {
            Issue.record("no alter_context_resp")
            return
        }
        #expect(answer.results.map(\.isAccepted) == [true])
        #expect(answer.secondaryAddress == "")
    }

    @Test mutating func plainCallsCarryNoUser() throws {
        _ = try self.send(Self.bind([Self.exporter]))
        let request = RPCPDU(.request(RPCRequest(contextID: 0, opnum: 5, stub: [])), callID: 2)
        guard
            case .call(let call) = self.association.receive(
                try RPCFragment(request.encoded()),
                policy: Self.policy()
            ).action
        else {
            Issue.record("no call")
            return
        }
        #expect(call.user == nil && call.level == .none && call.opnum == 5 && call.interface == .objectExporter)
    }

    @Test mutating func fragmentsBeyondTheAgreementEndTheConnection() throws {
        _ = try self.send(Self.bind([Self.exporter]), Self.policy(fragment: 1_432))
        let stub = [UInt8](repeating: 0, count: 1_432)[...]
        let request = RPCPDU(.request(RPCRequest(contextID: 0, opnum: 5, stub: stub)), callID: 2)
        guard
            case .close = self.association.receive(
                try RPCFragment(request.encoded()),
                policy: Self.policy()
            ).action
        else {
            Issue.record("taken")
            return
        }
    }

    @Test mutating func unknownAuthenticationIsRefusedInTheBind() throws {
        var pdu = Self.bind([Self.exporter])
        pdu.verifier = RPCVerifier(type: .kerberos, level: .packetPrivacy, contextID: 1, value: [1, 2, 3, 4])
        let (action, login) = self.association.receive(try RPCFragment(pdu.encoded()), policy: Self.policy())
        guard case .close(let bytes) = action, case .bindNak(let nak) = try RPCPDU(bytes).body else {
            Issue.record("\(action)")
            return
        }
        #expect(nak.reason == .authenticationTypeNotRecognized)
        #expect(login == .none)
    }

    /// The first request tells of a login that failed, because AUTH3 has no answer.
    @Test(arguments: [("Secret-1", DCOMAssociation.Login.succeeded), ("Secret-2", .failed)])
    mutating func loginsShowAtTheFirstRequest(password: String, outcome: DCOMAssociation.Login) throws {
        var initiator = NTLMInitiator(credential: NTLMCredential(username: "u", password: password, domain: ""))
        var pdu = Self.bind([Self.exporter])
        pdu.verifier = RPCVerifier(
            type: .ntlm,
            level: .packetIntegrity,
            contextID: 9,
            value: initiator.negotiate()
        )
        let ack = try #require(try self.send(pdu))
        let challenge = try #require(ack.verifier)
        #expect(challenge.contextID == 9 && challenge.level == .packetIntegrity)
        let (token, session) = try initiator.authenticate(challenge: challenge.value)
        let third = RPCPDU(
            .auth3,
            callID: 1,
            verifier: RPCVerifier(type: .ntlm, level: .packetIntegrity, contextID: 9, value: token)
        )
        let (action, login) = self.association.receive(try RPCFragment(third.encoded()), policy: Self.policy())
        guard case .nothing = action else {
            Issue.record("AUTH3 was answered")
            return
        }
        #expect(login == outcome)

        var security: RPCSecurityContext? = RPCSecurityContext(session: session, level: .packetIntegrity, contextID: 9)
        let bytes = try RPCFragmenter().request(
            callID: 2,
            contextID: 0,
            opnum: 5,
            stub: [],
            security: &security
        )
        switch self.association.receive(try RPCFragment(bytes), policy: Self.policy()).action {
        case .call(let call):
            #expect(outcome == .succeeded && call.user == "u" && call.level == .packetIntegrity)
        case .send(let bytes):
            guard case .fault(let fault) = try RPCPDU(bytes).body else {
                Issue.record("no fault")
                return
            }
            #expect(outcome == .failed && fault.status == .accessDenied)
        default:
            Issue.record("neither call nor fault")
        }
    }

    /// Within SPNEGO the third leg is an alter_context, and has an answer.
    @Test func spnegoTakesAnAlterContext() throws {
        var association = self
        let credential = NTLMCredential(username: "u", password: "Secret-1", domain: "")
        var initiator = SPNEGOInitiator(ntlm: NTLMInitiator(credential: credential))
        func verifier(_ token: [UInt8]) -> RPCVerifier {
            RPCVerifier(type: .negotiate, level: .packetPrivacy, contextID: 3, value: token)
        }
        var pdu = Self.bind([Self.exporter])
        pdu.verifier = verifier(try initiator.start())
        let sent = try association.send(pdu)
        let challenge = try #require(sent?.verifier)
        guard case .continue(let token) = try initiator.step(challenge.value) else {
            Issue.record("no third leg")
            return
        }
        let alter = RPCPDU(
            .alterContext(RPCBind(contexts: [Self.exporter])),
            callID: 2,
            verifier: verifier(token)
        )
        let answered = try association.send(alter)
        let last = try #require(answered?.verifier)
        guard case .complete(_, let session) = try initiator.step(last.value) else {
            Issue.record("not complete")
            return
        }
        var security: RPCSecurityContext? = RPCSecurityContext(session: session, type: .negotiate, contextID: 3)
        let bytes = try RPCFragmenter().request(
            callID: 3,
            contextID: 0,
            opnum: 5,
            stub: [1, 2, 3, 4],
            security: &security
        )
        let (action, _) = association.association.receive(try RPCFragment(bytes), policy: Self.policy())
        guard case .call(let call) = action else {
            Issue.record("\(action)")
            return
        }
        #expect(call.level == .packetPrivacy && call.user == "u" && Array(call.stub) == [1, 2, 3, 4])
    }
}
