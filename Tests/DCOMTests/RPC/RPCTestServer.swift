import SSP
import Testing

@testable import DCOM

/// The other end, played by the test: pure, one client.
struct RPCTestServer {
    static let environment = NTLMEnvironment(now: { 133_000_000_000_000_000 }, randomBytes: { .pattern($0, seed: 3) })
    static let credential = NTLMCredential(username: "alice", password: "secret", domain: "LAB")
    static let activator = RPCPDUTests.activator
    static let login = RPCInterface("f309ad18-d86a-11d0-a075-00c04fb68820")

    var maximumReceive: UInt16 = 5840
    var fragmenter = RPCFragmenter()
    var security: [UInt32: RPCSecurityContext] = [:]
    /// How many fragments the last request had.
    var requestFragments = 0
    private var acceptors: [UInt32: NTLMAcceptor] = [:]

    /// Reads the client's one message that is not a request.
    func read(_ bytes: [UInt8]) throws -> RPCPDU {
        try RPCPDU(bytes)
    }

    /// Answers bind or alter_context; a token gets a challenge.
    mutating func associate(_ bytes: [UInt8], results: [RPCContextResult]? = nil) throws -> [UInt8] {
        let pdu = try RPCPDU(bytes)
        let isAlteration: Bool
        let offer: RPCBind
        switch pdu.body {
        case .bind(let bind): (offer, isAlteration) = (bind, false)
        case .alterContext(let bind): (offer, isAlteration) = (bind, true)
        default:
            Issue.record("\(pdu.type) is no association")
            return []
        }
        var verifier: RPCVerifier?
        if let token = pdu.verifier {
            var acceptor = NTLMAcceptor(
                configuration: .init(
                    netbiosComputerName: "SRV1",
                    netbiosDomainName: "LAB",
                    dnsComputerName: "srv1.lab.example",
                    dnsDomainName: "lab.example",
                    environment: Self.environment
                )
            )
            let challenge = try acceptor.challenge(negotiate: token.value)
            self.acceptors[token.contextID] = acceptor
            verifier = RPCVerifier(
                type: token.type,
                level: token.level,
                contextID: token.contextID,
                value: challenge
            )
        }
        let ack = RPCBindAck(
            maximumReceive: self.maximumReceive,
            associationGroup: 0xCAFE,
            secondaryAddress: isAlteration ? "" : "135",
            results: results ?? offer.contexts.map { _ in .accepted() }
        )
        self.fragmenter = RPCFragmenter(maximumFragment: Int(offer.maximumReceive))
        return RPCPDU(
            isAlteration ? .alterContextResponse(ack) : .bindAck(ack),
            callID: pdu.callID,
            flags: pdu.flags,
            verifier: verifier
        ).encoded()
    }

    /// Takes AUTH3.
    mutating func accept(_ bytes: [UInt8], password: String = "secret") throws {
        let pdu = try RPCPDU(bytes)
        let token = try #require(pdu.verifier)
        #expect(pdu.body == .auth3)
        var acceptor = try #require(self.acceptors[token.contextID])
        self.acceptors[token.contextID] = nil
        let (_, _, session) = try acceptor.accept(authenticate: token.value) { _, _ in password }
        self.security[token.contextID] = RPCSecurityContext(
            session: session,
            type: token.type,
            level: token.level,
            contextID: token.contextID
        )
    }

    /// Takes a request in whatever fragments it came.
    mutating func request(_ bytes: [UInt8]) throws -> RPCMessage {
        var reassembler = RPCReassembler()
        let fragments = try RPCFragment.split(bytes)
        self.requestFragments = fragments.count
        for var fragment in fragments {
            #expect(fragment.bytes.count <= Int(self.maximumReceive))
            if let id = fragment.verifier?.contextID {
                try #require(self.security[id] != nil)
                try self.security[id]?.open(&fragment)
            }
            if let message = try reassembler.add(RPCPDU(fragment)) { return message }
        }
        Issue.record("the request has no last fragment")
        return RPCMessage(kind: .response, callID: 0, contextID: 0, stub: [])
    }

    /// The context to answer with: the only one, or the one that is named.
    mutating func response(to request: RPCMessage, _ stub: [UInt8], security id: UInt32? = nil) throws -> [UInt8] {
        let id = id ?? (self.security.count == 1 ? self.security.keys.first : nil)
        var context = id.flatMap { self.security[$0] }
        defer { if let id { self.security[id] = context } }
        return try self.fragmenter.response(
            callID: request.callID,
            contextID: request.contextID,
            stub: stub,
            security: &context
        )
    }

    mutating func fault(to request: RPCMessage, _ status: RPCStatus, security id: UInt32? = nil) throws -> [UInt8] {
        var context = id.flatMap { self.security[$0] }
        defer { if let id { self.security[id] = context } }
        return try self.fragmenter.fault(
            callID: request.callID,
            contextID: request.contextID,
            status: status,
            didNotExecute: true,
            security: &context
        )
    }
}

/// A client's machine with the server's pure half beside it: no channel, no event loop.
struct RPCTestPair {
    var client: RPCClientMachine
    var server = RPCTestServer()

    init(limits: RPCLimits = RPCLimits()) {
        self.client = RPCClientMachine(limits: limits, environment: RPCTestServer.environment)
    }

    /// What the client sends for an operation; fails the test when it sends nothing.
    mutating func begin(_ operation: RPCOperation) throws -> [UInt8] {
        switch self.client.begin(operation) {
        case .send(let bytes), .sendOnly(let bytes, _): return bytes
        case .done: throw Unexpected(what: "nothing to send")
        case .failed(let error, _): throw error
        }
    }

    /// Feeds the client; gives what came of it at the last fragment.
    mutating func deliver(_ bytes: [UInt8]) throws -> RPCClientMachine.Action {
        var action = RPCClientMachine.Action.none
        for fragment in try RPCFragment.split(bytes) { action = self.client.received(fragment) }
        return action
    }

    mutating func bind(_ interfaces: [RPCInterface] = [RPCTestServer.activator]) throws {
        let answer = try self.server.associate(self.begin(.bind(interfaces)))
        try self.deliver(answer).expectSuccess()
    }

    mutating func signIn(
        level: RPCAuthLevel = .packetPrivacy,
        interface: RPCInterface = RPCTestServer.activator,
        password: String = "secret"
    ) throws {
        let answer = try self.server.associate(self.begin(.requestChallenge([interface], level: level)))
        try self.deliver(answer).expectSuccess()
        let third = try self.begin(.authenticate(RPCTestServer.credential, targetName: nil))
        try? self.server.accept(third, password: password)
    }

    mutating func call(
        _ stub: [UInt8] = .pattern(20),
        interface: RPCInterface = RPCTestServer.activator,
        object: GUID? = nil,
        security: UInt32? = nil
    ) throws -> [UInt8] {
        try self.begin(
            .call(RPCClientCall(interface: interface, object: object, opnum: 4, stub: stub, security: security))
        )
    }

    struct Unexpected: Error { var what: String }
}

extension RPCClientMachine.Action {
    func expectSuccess(_ location: SourceLocation = #_sourceLocation) {
        if case .complete(.success, close: false) = self { return }
        Issue.record("not a success: \(self)", sourceLocation: location)
    }

    /// The stub of a completed call.
    var stub: [UInt8]? {
        if case .complete(.success(.stub(let stub)), close: false) = self { stub } else { nil }
    }

    /// The error, if the connection goes with it.
    var fatal: RPCError? {
        if case .complete(.failure(let error), close: true) = self { error } else { nil }
    }

    /// The error, if the connection stays.
    var harmless: RPCError? {
        if case .complete(.failure(let error), close: false) = self { error } else { nil }
    }

    var isNone: Bool { if case .none = self { true } else { false } }
    var isClose: Bool { if case .close = self { true } else { false } }
}
