// Any bytes as a stream of PDUs, at the codec, at reassembly and at a client with a call in flight. What was read is
// written and read again; nothing that comes out is larger than what went in allows.

import DCOM
import Driver
import Foundation
import SSP

private let interface = RPCInterface("000001a0-0000-0000-c000-000000000046")
private let environment = NTLMEnvironment(now: { 0 }, randomBytes: { [UInt8](repeating: 0x55, count: $0) })
private let maximumStub = 1 << 16

/// A client that is bound and has call 2 in flight.
private let calling: RPCClientMachine = {
    var client = RPCClientMachine(limits: RPCLimits(maximumStub: maximumStub), environment: environment)
    _ = client.begin(.bind([interface]))
    let ack = RPCPDU(.bindAck(RPCBindAck(associationGroup: 1, results: [.accepted()])), callID: 1)
    _ = client.received(try! RPCFragment(ack.encoded()))  // our own PDU
    _ = client.begin(.call(RPCClientCall(interface: interface, opnum: 1, stub: [])))
    return client
}()

/// A client that has sent its bind, with NTLM's first message.
private let binding: RPCClientMachine = {
    var client = RPCClientMachine(limits: RPCLimits(maximumStub: maximumStub), environment: environment)
    _ = client.begin(.requestChallenge([interface], level: .packetPrivacy))
    return client
}()

exit(
    fuzz { data, size in
        let bytes = array(data, size)
        var rest = bytes[...]
        var reassembler = RPCReassembler(maximumStub: maximumStub)
        var clients = [calling, binding]
        while let header = try? RPCHeader(rest, maximumFragment: Int(UInt16.max)),
            Int(header.fragmentLength) <= rest.count
        {
            let part = Array(rest.prefix(Int(header.fragmentLength)))
            rest = rest.dropFirst(part.count)
            guard let fragment = try? RPCFragment(part) else { continue }
            feed(fragment, &clients, size)
            guard let pdu = try? RPCPDU(fragment) else { continue }
            precondition(weight(pdu) <= 16 * part.count)
            let again = try? RPCPDU(pdu.encoded())
            precondition(again.map { unpadded($0) } == unpadded(pdu))
            if let message = try? reassembler.add(pdu) { precondition(message.stub.count <= size) }
        }
        return 0
    }
)

func feed(_ fragment: RPCFragment, _ clients: inout [RPCClientMachine], _ size: Int) {
    for index in clients.indices {
        switch clients[index].received(fragment) {
        case .complete(.success(.stub(let stub)), let close):
            precondition(stub.count <= size && !close)
            _ = clients[index].begin(.call(RPCClientCall(interface: interface, opnum: 1, stub: [])))
        case .complete(.success(.challenge), _):
            let credential = NTLMCredential(username: "User", password: "Password")
            _ = clients[index].begin(.authenticate(credential, targetName: nil))
            _ = clients[index].begin(.call(RPCClientCall(interface: interface, opnum: 1, stub: [])))
        case .complete(.failure(let error), let close):
            precondition(close || error.leavesConnectionOpen)
        default:
            break
        }
    }
}

func unpadded(_ pdu: RPCPDU) -> RPCPDU {
    var copy = pdu
    copy.verifier?.paddingLength = 0
    return copy
}

/// The memory of a PDU, about.
func weight(_ pdu: RPCPDU) -> Int {
    let token = pdu.verifier?.value.count ?? 0
    switch pdu.body {
    case .bind(let bind), .alterContext(let bind):
        return token
            + bind.contexts.reduce(0) { sum, context in
                sum + MemoryLayout<RPCPresentationContext>.stride
                    + context.transferSyntaxes.capacity * MemoryLayout<RPCInterface>.stride
            }
    case .bindAck(let ack), .alterContextResponse(let ack):
        return token + ack.secondaryAddress.utf8.count
            + ack.results.capacity * MemoryLayout<RPCContextResult>.stride
    case .bindNak(let nak): return token + 2 * nak.versions.capacity
    default: return token
    }
}
