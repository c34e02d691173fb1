import Foundation

@testable import DCOM
@testable import SSP

/// What a Python client sent and received: a file of Fixtures/Recorded.
struct Recording: Decodable {
    struct Connection: Decodable {
        var port: Int
        var session_keys: [String]
        var pdus: [String]
    }

    var client: String
    var queries: [String: String]
    var connections: [Connection]
    var rows: [String: [[String: PrintedValue]]]

    init(_ name: String) throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Fixtures/Recorded/\(name).json")
        self = try JSONDecoder().decode(Self.self, from: Data(contentsOf: file))
    }
}

/// A request with its answer, put together from fragments that were verified and decrypted.
struct RecordedCall {
    var port: Int
    /// The interface that the presentation context was bound to.
    var bound: RPCInterface
    var level: RPCAuthLevel
    var object: GUID?
    var opnum: UInt16
    var request: [UInt8]
    var response: [UInt8]
    /// Fragments of the answer.
    var fragments: Int
}

/// Plays a connection's PDUs through the codecs of both sides.
struct RecordedConversation {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// One login: the acceptor's view opens what the client sent, the initiator's what the server sent.
    private struct Login {
        var level: RPCAuthLevel
        var acceptor: RPCSecurityContext
        var initiator: RPCSecurityContext
    }

    private(set) var calls: [RecordedCall] = []
    private(set) var binds: [RPCBind] = []
    private(set) var answers: [RPCBindAck] = []
    private(set) var tokens = 0
    private var logins: [UInt32: Login] = [:]
    private var keys: [[UInt8]]
    private var interfaces: [UInt16: RPCInterface] = [:]
    private var offered: [RPCPresentationContext] = []
    private var requests = RPCReassembler()
    private var responses = RPCReassembler()
    private var pending: RecordedCall?
    private let port: Int

    init(_ connection: Recording.Connection) throws {
        self.port = connection.port
        self.keys = try connection.session_keys.map { text in
            guard let key = Self.bytes(hex: text), key.count == 16 else { throw Failure(description: "key \(text)") }
            return key
        }
        for (number, line) in connection.pdus.enumerated() {
            guard let data = Data(base64Encoded: String(line.dropFirst(2))) else {
                throw Failure(description: "PDU \(number) is no base64")
            }
            do {
                let fragment = try RPCFragment(Array(data))
                if line.hasPrefix(">") { try self.sent(fragment) } else { try self.received(fragment) }
            } catch {
                throw Failure(description: "PDU \(number) of port \(self.port): \(error)")
            }
        }
    }

    private mutating func sent(_ fragment: RPCFragment) throws {
        var fragment = fragment
        if fragment.header.type == .request {
            guard let id = fragment.verifier?.contextID else { throw Failure(description: "unsigned request") }
            try self.logins[id]?.acceptor.open(&fragment)
            let pdu = try RPCPDU(fragment)
            guard let message = try self.requests.add(pdu) else { return }
            guard case .request(let opnum, let object) = message.kind, let bound = self.interfaces[message.contextID]
            else { throw Failure(description: "a request in context \(message.contextID)") }
            self.pending = RecordedCall(
                port: self.port,
                bound: bound,
                level: self.logins[id]?.level ?? .none,
                object: object,
                opnum: opnum,
                request: message.stub,
                response: [],
                fragments: 0
            )
            return
        }
        let pdu = try RPCPDU(fragment)
        switch pdu.body {
        case .bind(let bind), .alterContext(let bind):
            self.binds.append(bind)
            self.offered = bind.contexts
            if pdu.verifier != nil { self.tokens += 1 }
        case .auth3:
            guard let verifier = pdu.verifier, !self.keys.isEmpty else { throw Failure(description: "AUTH3") }
            let key = self.keys.removeFirst()
            func context(_ role: NTLMSession.Role) -> RPCSecurityContext {
                RPCSecurityContext(
                    session: NTLMSession(exportedSessionKey: key, role: role),
                    level: verifier.level,
                    contextID: verifier.contextID
                )
            }
            self.logins[verifier.contextID] = Login(
                level: verifier.level,
                acceptor: context(.server),
                initiator: context(.client)
            )
            self.tokens += 1
        default:
            throw Failure(description: "a client sent \(pdu.type)")
        }
    }

    private mutating func received(_ fragment: RPCFragment) throws {
        var fragment = fragment
        if fragment.header.type == .response {
            guard let id = fragment.verifier?.contextID else { throw Failure(description: "unsigned response") }
            try self.logins[id]?.initiator.open(&fragment)
            self.pending?.fragments += 1
            guard let message = try self.responses.add(try RPCPDU(fragment)) else { return }
            self.pending?.response = message.stub
            if let call = self.pending { self.calls.append(call) }
            self.pending = nil
            return
        }
        let pdu = try RPCPDU(fragment)
        switch pdu.body {
        case .bindAck(let ack), .alterContextResponse(let ack):
            self.answers.append(ack)
            if pdu.verifier != nil { self.tokens += 1 }
            for (context, result) in zip(self.offered, ack.results) where result.isAccepted {
                self.interfaces[context.id] = context.interface
            }
        default:
            throw Failure(description: "a server sent \(pdu.type)")
        }
    }

    private static func bytes(hex: String) -> [UInt8]? {
        let digits = Array(hex)
        guard digits.count.isMultiple(of: 2) else { return nil }
        return stride(from: 0, to: digits.count, by: 2).reduce(into: [UInt8]?([])) { bytes, index in
            guard let byte = UInt8(String(digits[index...index + 1]), radix: 16) else { return bytes = nil }
            bytes?.append(byte)
        }
    }
}
