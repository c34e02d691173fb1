// Any bytes as an object reference, as bindings, and as requests and answers of objects. What can be read can be
// written, and reads the same again; what it takes in memory is bounded by what was there.

import DCOM
import Driver
import Foundation

func check<Value: NDRCodable>(_: Value.Type, _ bytes: ArraySlice<UInt8>) {
    guard let value = try? Value(stub: bytes) else { return }
    let again = try? Value(stub: value.stub)
    precondition(again == value)
}

exit(
    fuzz { data, size in
        let bytes = array(data, size)
        guard let selector = bytes.first else { return 0 }
        let rest = bytes.dropFirst()
        switch selector % 20 {
        case 0:
            guard let reference = try? ObjectReference(rest) else { return 0 }
            precondition((try? ObjectReference(reference.bytes[...])) == reference)
        case 1:
            guard let array = try? DualStringArray(stub: rest) else { return 0 }
            precondition(array.stringBindings.count + array.securityBindings.count <= rest.count / 2)
            precondition((try? DualStringArray(stub: array.stub)) == array)
            for binding in array.stringBindings {
                guard let endpoint = binding.tcpEndpoint else { continue }
                precondition(!endpoint.host.isEmpty && (1...65_535).contains(endpoint.port ?? 1))
            }
        case 2: check(ORPCThis.self, rest)
        case 3: check(ORPCThat.self, rest)
        case 4: check(InterfaceResponse.self, rest)
        case 5: check(EnumNext.Request.self, rest)
        case 6: check(EnumNext.Response.self, rest)
        case 7: check(SmartNext.Request.self, rest)
        case 8: check(SmartNext.Response.self, rest)
        case 9: check(NTLMLogin.Request.self, rest)
        case 10: check(ExecQuery.Request.self, rest)
        case 11: check(RemQueryInterface.Request.self, rest)
        case 12: check(RemQueryInterface.Response.self, rest)
        case 13: check(RemAddRef.Response.self, rest)
        case 14: check(RemRelease.Request.self, rest)
        case 15: check(ComplexPing.Request.self, rest)
        case 16: check(ComplexPing.Response.self, rest)
        case 17: check(SimplePing.Request.self, rest)
        case 18: check(ServerAlive2.Response.self, rest)
        default: check(GetSmartEnum.Request.self, rest)
        }
        return 0
    }
)
