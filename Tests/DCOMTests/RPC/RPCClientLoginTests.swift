import SSP
import Testing

@testable import DCOM

@Suite("Signing in, as the client's machine decides") struct RPCClientLoginTests {
    @Test(arguments: [RPCAuthLevel.packetIntegrity, .packetPrivacy])
    func `Signed calls go there and back`(level: RPCAuthLevel) throws {
        var pair = RPCTestPair()
        try pair.signIn(level: level)
        let object: GUID = "00112233-4455-6677-8899-aabbccddeeff"
        for size in [0, 1, 16, 100, 6000, 30_000] {
            let bytes = try pair.call(.pattern(size), object: object)
            let request = try pair.server.request(bytes)
            #expect(request.stub == .pattern(size))
            #expect(request.kind == .request(opnum: 4, object: object))
            let answer = try pair.server.response(to: request, .pattern(2 * size, seed: 9))
            #expect(try pair.deliver(answer).stub == .pattern(2 * size, seed: 9))
        }
    }

    @Test func `Levels without signatures are not offered`() {
        var client = RPCTestPair().client
        guard
            case .failed(.misuse, close: false) = client.begin(
                .requestChallenge([RPCTestServer.activator], level: .connect)
            )
        else {
            Issue.record("offered")
            return
        }
    }

    @Test func `A wrong password shows at the first call`() throws {
        var pair = RPCTestPair()
        try pair.signIn(password: "other")
        let bytes = try pair.call()
        let header = try RPCFragment(bytes).header
        let request = RPCMessage(kind: .response, callID: header.callID, contextID: 0, stub: [])
        let error = try pair.deliver(pair.server.fault(to: request, .accessDenied)).fatal
        #expect(error == .authenticationFailed(""))
        #expect(error?.countsAsFailedLogin == true)
        #expect(error?.suggestsReconnect == false)
    }

    @Test func `The refusal may carry the number of the login`() throws {
        var pair = RPCTestPair()
        try pair.signIn(password: "other")
        _ = try pair.call()
        let request = RPCMessage(kind: .response, callID: 1, contextID: 0, stub: [])
        #expect(try pair.deliver(pair.server.fault(to: request, .accessDenied)).fatal == .authenticationFailed(""))
    }

    @Test func `A refusal may be a bind_nak, or an end`() throws {
        var pair = RPCTestPair()
        try pair.signIn(password: "other")
        _ = try pair.call()
        let nak = RPCPDU(.bindNak(RPCBindNak(reason: .invalidChecksum)), callID: 1).encoded()
        #expect(try pair.deliver(nak).fatal?.countsAsFailedLogin == true)

        pair = RPCTestPair()
        try pair.signIn(password: "other")
        _ = try pair.call()
        guard case .connectionReset? = pair.client.closed().fatal else {
            Issue.record("an end on the first call must not suggest to reconnect")
            return
        }
    }

    @Test func `A refusal may come before the first call`() throws {
        let fault = RPCPDU(.fault(RPCFault(contextID: 0, status: .accessDenied)), callID: 1).encoded()
        let nak = RPCPDU(.bindNak(RPCBindNak(reason: .invalidChecksum)), callID: 1).encoded()
        for refusal in [fault, nak] {
            var pair = RPCTestPair()
            try pair.signIn(password: "other")
            #expect(try pair.deliver(refusal).isClose)
            let error = #expect(throws: RPCError.self) { try pair.call() }
            #expect(error?.countsAsFailedLogin == true)
        }
        // Also while an interface is being added.
        var pair = RPCTestPair()
        try pair.signIn(password: "other")
        _ = try pair.begin(.bind([RPCTestServer.login]))
        #expect(try pair.deliver(fault).fatal?.countsAsFailedLogin == true)

        // Another fault is no verdict about the password, and no reason to sign in again at once.
        pair = RPCTestPair()
        try pair.signIn()
        let busy = RPCPDU(.fault(RPCFault(contextID: 0, status: .serverTooBusy)), callID: 1).encoded()
        #expect(try pair.deliver(busy).isClose)
        let error = #expect(throws: RPCError.self) { try pair.call() }
        #expect(error?.countsAsFailedLogin == false)
        #expect(error?.suggestsReconnect == false)
    }

    @Test func `An end before the first call may be a refusal too`() throws {
        for addsInterface in [false, true] {
            var pair = RPCTestPair()
            try pair.signIn(password: "other")
            if addsInterface { _ = try pair.begin(.bind([RPCTestServer.login])) }
            _ = pair.client.closed()
            guard case .connectionReset? = #expect(throws: RPCError.self, performing: { try pair.call() }) else {
                Issue.record("an end right after signing in must not suggest to reconnect")
                return
            }
        }
    }

    @Test func `Once the login is proven, what bears its number is out of step`() throws {
        var pair = RPCTestPair()
        try pair.signIn()
        let request = try pair.server.request(pair.call())
        _ = try pair.deliver(pair.server.response(to: request, []))
        let fault = RPCPDU(.fault(RPCFault(contextID: 0, status: .accessDenied)), callID: 1).encoded()
        #expect(try pair.deliver(fault).isClose)
        guard case .protocolViolation? = #expect(throws: RPCError.self, performing: { try pair.call() }) else {
            Issue.record("taken for a refused login")
            return
        }
        pair = RPCTestPair()
        try pair.signIn()
        _ = try pair.deliver(pair.server.response(to: pair.server.request(pair.call()), []))
        _ = pair.client.closed()
        #expect(throws: RPCError.connectionClosed) { try pair.call() }
    }

    @Test func `Access denied is no failed login once the host has proved that it knows the key`() throws {
        // By an answer.
        var pair = RPCTestPair()
        try pair.signIn()
        var request = try pair.server.request(pair.call())
        _ = try pair.deliver(pair.server.response(to: request, []))
        request = try pair.server.request(pair.call())
        #expect(try pair.deliver(pair.server.fault(to: request, .accessDenied)).harmless == .accessDenied)

        // By the signature of the very fault.
        pair = RPCTestPair()
        try pair.signIn()
        request = try pair.server.request(pair.call())
        #expect(try pair.deliver(pair.server.fault(to: request, .accessDenied, security: 1)).harmless == .accessDenied)

        // Where nobody signed in.
        pair = RPCTestPair()
        try pair.bind()
        request = try pair.server.request(pair.call())
        #expect(try pair.deliver(pair.server.fault(to: request, .accessDenied)).harmless == .accessDenied)
    }

    @Test func `Another fault on the first call proves nothing`() throws {
        var pair = RPCTestPair()
        try pair.signIn()
        var request = try pair.server.request(pair.call())
        #expect(
            try pair.deliver(pair.server.fault(to: request, .serverTooBusy)).harmless
                == .fault(.serverTooBusy, didNotExecute: true)
        )
        request = try pair.server.request(pair.call())
        #expect(try pair.deliver(pair.server.fault(to: request, .accessDenied)).fatal == .authenticationFailed(""))
        pair = RPCTestPair()
        try pair.signIn()
        request = try pair.server.request(pair.call())
        guard
            case .authenticationUnavailable? =
                try pair.deliver(pair.server.fault(to: request, .unsupportedAuthenticationLevel)).fatal
        else {
            Issue.record("wrong error")
            return
        }
    }

    @Test func `A user whom the host does not know is a failed login`() throws {
        var pair = RPCTestPair()
        try pair.signIn()
        var request = try pair.server.request(pair.call())
        var error = try pair.deliver(pair.server.fault(to: request, .securityPackageError)).fatal
        #expect(error?.countsAsFailedLogin == true)
        #expect(error?.description.contains("RPC_S_SEC_PKG_ERROR") == true)

        // The host knows us: it is no verdict about the login any more.
        pair = RPCTestPair()
        try pair.signIn()
        _ = try pair.deliver(pair.server.response(to: pair.server.request(pair.call()), []))
        request = try pair.server.request(pair.call())
        error = try pair.deliver(pair.server.fault(to: request, .securityPackageError)).harmless
        #expect(error == .fault(.securityPackageError, didNotExecute: true))

        for status: RPCStatus in [
            .unknownAuthenticationService, .unknownAuthenticationLevel, .unsupportedAuthenticationLevel,
        ] {
            pair = RPCTestPair()
            try pair.signIn()
            request = try pair.server.request(pair.call())
            guard case .authenticationUnavailable? = try pair.deliver(pair.server.fault(to: request, status)).fatal
            else {
                Issue.record("\(status)")
                return
            }
        }
    }

    @Test func `Two security contexts count on their own`() throws {
        var pair = RPCTestPair()
        try pair.signIn()
        var request = try pair.server.request(pair.call())
        #expect(try pair.deliver(pair.server.response(to: request, [1])).stub == [1])
        try pair.signIn(level: .packetIntegrity, interface: RPCTestServer.login)
        #expect(Set(pair.client.security.keys) == [1, 2])
        for id: UInt32 in [2, 1, 1, 2] {
            let bytes = try pair.call(security: id)
            #expect(try RPCFragment(bytes).verifier?.contextID == id)
            request = try pair.server.request(bytes)
            #expect(try pair.deliver(pair.server.response(to: request, [UInt8(id)], security: id)).stub == [UInt8(id)])
        }
        // The last is what calls use by themselves.
        #expect(try RPCFragment(pair.call()).verifier?.contextID == 2)
    }

    @Test func `An answer in the other security context is refused`() throws {
        var pair = RPCTestPair()
        try pair.signIn()
        try pair.signIn(interface: RPCTestServer.login)
        let request = try pair.server.request(pair.call(security: 1))
        guard case .integrityFailed? = try pair.deliver(pair.server.response(to: request, [1], security: 2)).fatal
        else {
            Issue.record("taken")
            return
        }
    }

    @Test func `Signing in goes on where one interface of several is refused`() throws {
        var pair = RPCTestPair()
        let operation = RPCOperation.requestChallenge(
            [RPCTestServer.activator, RPCTestServer.login],
            level: .packetPrivacy
        )
        let answer = try pair.server.associate(
            pair.begin(operation),
            results: [.accepted(), .rejected(.abstractSyntaxNotSupported)]
        )
        guard case .interfaceRejected(RPCTestServer.login, _)? = try pair.deliver(answer).harmless else {
            Issue.record("the refusal is not told")
            return
        }
        #expect(pair.client.challengeInfo?.netbiosDomainName == "LAB")
        try pair.server.accept(pair.begin(.authenticate(RPCTestServer.credential, targetName: nil)))
        let request = try pair.server.request(pair.call())
        #expect(try pair.deliver(pair.server.response(to: request, [1])).stub == [1])
    }

    @Test func `The name of the service is inside what the client signs`() throws {
        var pair = RPCTestPair()
        let bind = try pair.begin(.requestChallenge([RPCTestServer.activator], level: .packetPrivacy))
        try pair.deliver(pair.server.associate(bind)).expectSuccess()
        let third = try pair.begin(.authenticate(RPCTestServer.credential, targetName: "RPCSS/srv1"))
        let name = Array("RPCSS/srv1".utf16).flatMap { [UInt8(truncatingIfNeeded: $0), UInt8($0 >> 8)] }
        #expect(third.indices.contains { third[$0...].starts(with: name) })
        try pair.server.accept(third)
    }

    @Test func `A challenge that is weaker than NTLMv2 with 128 bits is not answered`() throws {
        var pair = RPCTestPair()
        let bind = try pair.begin(.requestChallenge([RPCTestServer.activator], level: .packetPrivacy))
        var answer = try pair.server.associate(bind)
        // NTLMSSP_NEGOTIATE_128 in the flags, 20 bytes into the token.
        let token = answer.count - Int(try RPCFragment(answer).header.authLength)
        answer[token + 23] &= ~0x20
        try pair.deliver(answer).expectSuccess()
        guard
            case .failed(.authenticationUnavailable, close: true) = pair.client.begin(
                .authenticate(RPCTestServer.credential, targetName: nil)
            )
        else {
            Issue.record("answered")
            return
        }
    }
}
