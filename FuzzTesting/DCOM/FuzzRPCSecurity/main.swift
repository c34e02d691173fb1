// A client that is signed in, with a call in flight. The first byte says what comes:
//   even  the rest is the host's answer, as it is: nobody without the key can make one that is taken;
//   odd   the rest tells how to spoil a genuine answer: it is taken if and only if nothing was changed.

import DCOM
import Driver
import Foundation
import SSP

private let interface = RPCInterface("000001a0-0000-0000-c000-000000000046")
private let environment = NTLMEnvironment(now: { 0 }, randomBytes: { [UInt8](repeating: 0x55, count: $0) })

/// Both sides at one level, with the client's first call in flight.
struct Pair {
    var client: RPCClientMachine
    var server: RPCSecurityContext?
    let callID: UInt32

    init(level: RPCAuthLevel) throws {
        self.client = RPCClientMachine(limits: RPCLimits(maximumStub: 1 << 20), environment: environment)
        var acceptor = NTLMAcceptor(
            configuration: .init(
                netbiosComputerName: "Server",
                netbiosDomainName: "Domain",
                dnsComputerName: "server",
                dnsDomainName: "domain",
                environment: environment
            )
        )
        let bind = try Self.sent(self.client.begin(.requestChallenge([interface], level: level)))
        let offer = try Self.token(bind)
        let ack = RPCPDU(
            .bindAck(RPCBindAck(associationGroup: 1, results: [.accepted()])),
            callID: bind.callID,
            verifier: RPCVerifier(
                type: offer.type,
                level: offer.level,
                contextID: offer.contextID,
                value: try acceptor.challenge(negotiate: offer.value)
            )
        )
        _ = self.client.received(try RPCFragment(ack.encoded()))
        let credential = NTLMCredential(username: "User", password: "Password", domain: "Domain")
        let third = try Self.sent(self.client.begin(.authenticate(credential, targetName: nil)))
        let (_, _, session) = try acceptor.accept(authenticate: Self.token(third).value) { _, _ in "Password" }
        self.server = RPCSecurityContext(session: session, level: level, contextID: offer.contextID)
        let call = RPCClientCall(interface: interface, opnum: 1, stub: [1, 2, 3])
        self.callID = try Self.sent(self.client.begin(.call(call))).callID
    }

    struct Unexpected: Error {}

    static func sent(_ start: RPCClientMachine.Start) throws -> RPCPDU {
        switch start {
        case .send(let bytes), .sendOnly(let bytes, _): try RPCPDU(bytes)
        case .done, .failed: throw Unexpected()
        }
    }

    static func token(_ pdu: RPCPDU) throws -> RPCVerifier {
        guard let verifier = pdu.verifier else { throw Unexpected() }
        return verifier
    }
}

// Both sides are ours.
private let pairs = [try! Pair(level: .packetIntegrity), try! Pair(level: .packetPrivacy)]

exit(
    fuzz { data, size in
        let bytes = array(data, size)
        guard let mode = bytes.first else { return 0 }
        let pair = pairs[Int(mode >> 1) & 1]
        if mode & 1 == 0 {
            precondition(outcome(pair, Array(bytes.dropFirst())) == nil)
        } else {
            spoil(pair, Array(bytes.dropFirst()))
        }
        return 0
    }
)

/// Feeds a stream of PDUs; gives the stub of a completed call.
func outcome(_ pair: Pair, _ bytes: [UInt8]) -> [UInt8]? {
    var client = pair.client
    var rest = bytes[...]
    while let header = try? RPCHeader(rest, maximumFragment: RPCFragment.defaultMaximum),
        Int(header.fragmentLength) <= rest.count
    {
        let part = Array(rest.prefix(Int(header.fragmentLength)))
        rest = rest.dropFirst(part.count)
        guard let fragment = try? RPCFragment(part) else { return nil }
        switch client.received(fragment) {
        case .none: break
        case .close: return nil
        case .complete(.success(.stub(let stub)), _): return stub
        case .complete: return nil
        }
    }
    return nil
}

/// Two bytes for the stub's length, two for the fragments', then places (two bytes) and what to change there (one).
func spoil(_ pair: Pair, _ recipe: [UInt8]) {
    guard recipe.count >= 4 else { return }
    func word(_ index: Int) -> Int { Int(recipe[index]) | Int(recipe[index + 1]) << 8 }
    let stub = (0..<word(0) % 20_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    let maximum =
        RPCFragment.requiredMaximum
        + word(2) % (RPCFragment.defaultMaximum - RPCFragment.requiredMaximum + 1)
    var security = pair.server
    let answer = try? RPCFragmenter(maximumFragment: maximum).response(
        callID: pair.callID,
        contextID: 0,
        stub: stub,
        security: &security
    )
    guard let genuine = answer else { preconditionFailure("a fresh session seals") }
    var changed = genuine
    for index in stride(from: 4, to: recipe.count - 2, by: 3) {
        changed[word(index) % changed.count] ^= recipe[index + 2]
    }
    let result = outcome(pair, changed)
    precondition((result == stub) == (changed == genuine), "taken although changed, or refused although not")
    precondition(result == nil || result == stub)
}
