import SSP
import Testing

@testable import DCOM

@Suite("The client's machine") struct RPCClientMachineTests {
    // MARK: - Association

    @Test func `An unsigned association and a call`() throws {
        var pair = RPCTestPair()
        try pair.bind()
        let request = try pair.server.request(pair.call(.pattern(9)))
        #expect(request.kind == .request(opnum: 4, object: nil))
        #expect(request.stub == .pattern(9))
        #expect(try pair.deliver(pair.server.response(to: request, [5, 6])).stub == [5, 6])
        #expect(pair.client.associationGroup == 0xCAFE)
    }

    @Test func `The challenge tells who the host is, without any credential`() throws {
        var pair = RPCTestPair()
        let bind = try pair.begin(.requestChallenge([RPCTestServer.activator], level: .packetIntegrity))
        let action = try pair.deliver(pair.server.associate(bind))
        guard case .complete(.success(.challenge(let info)), close: false) = action else {
            Issue.record("\(action)")
            return
        }
        #expect(info.dnsComputerName == "srv1.lab.example")
        #expect(info.netbiosDomainName == "LAB")
        let pdu = try RPCPDU(bind)
        #expect(pdu.flags.contains(.supportsHeaderSigning))
        #expect(pdu.verifier?.level == .packetIntegrity)
        #expect(throws: RPCError.self) { try pair.call() }
    }

    @Test func `A refused interface is named, and the others are bound`() throws {
        var pair = RPCTestPair()
        let bind = try pair.begin(.bind([RPCTestServer.activator, RPCTestServer.login]))
        let answer = try pair.server.associate(bind, results: [.rejected(.abstractSyntaxNotSupported), .accepted()])
        guard case .interfaceRejected(RPCTestServer.activator, _)? = try pair.deliver(answer).harmless else {
            Issue.record("the interface is not named")
            return
        }
        #expect(throws: RPCError.self) { try pair.call() }
        _ = try pair.call(interface: RPCTestServer.login)
    }

    @Test func `Results must match the offer`() throws {
        for results: [RPCContextResult] in [[], [.accepted(), .accepted()], [.accepted(.ndr64)]] {
            var pair = RPCTestPair()
            let bind = try pair.begin(.bind([RPCTestServer.activator]))
            let action = try pair.deliver(pair.server.associate(bind, results: results))
            guard case .protocolViolation? = action.fatal else {
                Issue.record("\(action)")
                return
            }
        }
    }

    @Test(arguments: [0, 1431] as [UInt16])
    func `A host that takes less than everybody must is refused`(maximum: UInt16) throws {
        var pair = RPCTestPair()
        pair.server.maximumReceive = maximum
        let bind = try pair.begin(.bind([RPCTestServer.activator]))
        guard case .protocolViolation? = try pair.deliver(pair.server.associate(bind)).fatal else {
            Issue.record("taken")
            return
        }
    }

    @Test(arguments: [1432, 2000, 5840, 65_535] as [UInt16])
    func `Requests keep to what the host takes`(maximum: UInt16) throws {
        var pair = RPCTestPair()
        pair.server.maximumReceive = maximum
        try pair.signIn()
        let request = try pair.server.request(pair.call(.pattern(20_000)))
        #expect(request.stub == .pattern(20_000))
        // More than we offered is not used.
        #expect(
            pair.server.requestFragments == (20_000 + Int(min(maximum, 5840)) - 49)
                / ((Int(min(maximum, 5840)) - 48) & ~15)
        )
    }

    @Test func `A refusal names reason and versions`() throws {
        var pair = RPCTestPair()
        _ = try pair.begin(.bind([RPCTestServer.activator]))
        let nak = RPCPDU(.bindNak(RPCBindNak(reason: .protocolVersionNotSupported)), callID: 1).encoded()
        let error = try pair.deliver(nak).fatal
        #expect(error == .bindRejected(.protocolVersionNotSupported, versions: [.init(major: 5, minor: 0)]))
        #expect(
            error?.description
                == "the host refused the association: protocol version not supported; it speaks DCE/RPC 5.0"
        )
    }

    @Test func `A host without NTLM makes signing in unavailable, not failed`() throws {
        var pair = RPCTestPair()
        _ = try pair.begin(.requestChallenge([RPCTestServer.activator], level: .packetPrivacy))
        let nak = RPCPDU(.bindNak(RPCBindNak(reason: .authenticationTypeNotRecognized)), callID: 1).encoded()
        guard case .authenticationUnavailable? = try pair.deliver(nak).fatal else {
            Issue.record("wrong error")
            return
        }
        // Or it answers and leaves the challenge out.
        pair = RPCTestPair()
        _ = try pair.begin(.requestChallenge([RPCTestServer.activator], level: .packetPrivacy))
        let ack = RPCBindAck(associationGroup: 1, results: [.accepted()])
        guard case .authenticationUnavailable? = try pair.deliver(RPCPDU(.bindAck(ack), callID: 1).encoded()).fatal
        else {
            Issue.record("wrong error")
            return
        }
    }

    @Test func `A challenge of another context, level or type is refused`() throws {
        for (offset, value) in [(0, 9), (1, 5), (4, 7)] as [(Int, UInt8)] {
            var pair = RPCTestPair()
            let bind = try pair.begin(.requestChallenge([RPCTestServer.activator], level: .packetPrivacy))
            var answer = try pair.server.associate(bind)
            answer[answer.count - Int(try RPCFragment(answer).header.authLength) - 8 + offset] = value
            guard case .protocolViolation? = try pair.deliver(answer).fatal else {
                Issue.record("taken")
                return
            }
        }
    }

    @Test func `An interface is added without a trailer, once`() throws {
        var pair = RPCTestPair()
        try pair.signIn()
        let alter = try pair.begin(.bind([RPCTestServer.login]))
        let pdu = try RPCPDU(alter)
        #expect(pdu.type == .alterContext)
        #expect(pdu.verifier == nil)
        try pair.deliver(pair.server.associate(alter)).expectSuccess()
        guard case .done = pair.client.begin(.bind([RPCTestServer.login])) else {
            Issue.record("asked again")
            return
        }
        let request = try pair.server.request(pair.call(interface: RPCTestServer.login))
        #expect(request.contextID == 1)
        #expect(try pair.deliver(pair.server.response(to: request, [1])).stub == [1])
    }

    // MARK: - Answers that are not trusted

    private func expectFatal(
        _ name: String,
        level: RPCAuthLevel? = .packetPrivacy,
        _ answer: (inout RPCTestServer, RPCMessage) throws -> [UInt8]
    ) throws -> RPCError? {
        var pair = RPCTestPair()
        if let level { try pair.signIn(level: level) } else { try pair.bind() }
        let request = try pair.server.request(pair.call())
        let error = try pair.deliver(answer(&pair.server, request)).fatal
        #expect(error != nil, "\(name)")
        guard case .failed(let after, _) = pair.client.begin(.bind([RPCTestServer.login])) else {
            Issue.record("\(name): the connection is still used")
            return nil
        }
        #expect(after == error)
        return error
    }

    @Test(arguments: [RPCAuthLevel.packetIntegrity, .packetPrivacy])
    func `Wrong, missing and repeated signatures break the connection`(level: RPCAuthLevel) throws {
        func isIntegrity(_ error: RPCError?) -> Bool { if case .integrityFailed? = error { true } else { false } }
        let wrong = try self.expectFatal("a changed stub", level: level) { server, request in
            var bytes = try server.response(to: request, .pattern(32))
            bytes[30] ^= 1
            return bytes
        }
        #expect(isIntegrity(wrong))
        let missing = try self.expectFatal("no verifier", level: level) { server, request in
            server.security = [:]
            return try server.response(to: request, [1])
        }
        #expect(isIntegrity(missing))
        let late = try self.expectFatal("a later number", level: level) { server, request in
            _ = try server.response(to: request, [1])
            return try server.response(to: request, [1])
        }
        #expect(isIntegrity(late))
        let secondMissing = try self.expectFatal("a second fragment without", level: level) { server, request in
            var bytes = try server.response(to: request, .pattern(7000))
            let first = try RPCFragment.split(bytes)[0].bytes
            server.security = [:]
            bytes = try server.response(to: request, .pattern(7000))
            return first + (try RPCFragment.split(bytes)[1].bytes)
        }
        #expect(isIntegrity(secondMissing))
        let repeated = try self.expectFatal("a repeated fragment", level: level) { server, request in
            let fragments = try RPCFragment.split(try server.response(to: request, .pattern(20_000)))
            return fragments[0].bytes + fragments[1].bytes + fragments[1].bytes
        }
        #expect(isIntegrity(repeated))
    }

    @Test(arguments: [RPCAuthLevel.packetIntegrity, .packetPrivacy])
    func `A fault with a wrong signature still says why, and is believed no further`(level: RPCAuthLevel) throws {
        for (status, expected) in [
            (.disconnected, .fault(.disconnected, didNotExecute: true)), (.accessDenied, .accessDenied),
        ] as [(RPCStatus, RPCError)] {
            // On the first call after signing in, and later.
            for isProven in [false, true] {
                var pair = RPCTestPair()
                try pair.signIn(level: level)
                if isProven {
                    _ = try pair.deliver(pair.server.response(to: pair.server.request(pair.call()), []))
                }
                let request = try pair.server.request(pair.call())
                var bytes = try pair.server.fault(to: request, status, security: 1)
                bytes[bytes.count - 1] ^= 1
                let error = try pair.deliver(bytes).fatal
                #expect(error == expected)
                #expect(error?.countsAsFailedLogin == false)
                guard case .integrityFailed? = #expect(throws: RPCError.self, performing: { try pair.call() }) else {
                    Issue.record("the connection is still used")
                    return
                }
            }
        }
        // No status at all, but noise.
        var pair = RPCTestPair()
        try pair.signIn(level: level)
        let request = try pair.server.request(pair.call())
        var bytes = try pair.server.fault(to: request, RPCStatus(rawValue: 0x9E37_79B9), security: 1)
        bytes[bytes.count - 1] ^= 1
        guard case .integrityFailed? = try pair.deliver(bytes).fatal else {
            Issue.record("noise is taken for a status")
            return
        }
    }

    @Test func `A signed answer where nobody signed in is refused`() throws {
        let error = try self.expectFatal("a verifier", level: nil) { _, request in
            RPCPDU(
                .response(RPCResponse(contextID: 0, stub: [])),
                callID: request.callID,
                verifier: RPCPDUTests.verifier
            ).encoded()
        }
        guard case .protocolViolation? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test func `Answers out of step break the connection`() throws {
        for (name, change) in [
            ("call id", { $0.callID += 1 }), ("context", { $0.contextID += 1 }),
        ] as [(String, (inout RPCMessage) -> Void)] {
            let error = try self.expectFatal(name) { server, request in
                var other = request
                change(&other)
                return try server.response(to: other, [1])
            }
            guard case .protocolViolation? = error else {
                Issue.record("\(name): \(String(describing: error))")
                return
            }
        }
        let kinds: [RPCPDU.Body] = [
            .bind(RPCBind(contexts: [])), .bindAck(RPCBindAck(associationGroup: 0, results: [])), .auth3, .cancel,
            .request(RPCRequest(contextID: 0, opnum: 0, stub: [])), .bindNak(RPCBindNak(reason: .notSpecified)),
        ]
        for body in kinds {
            let error = try self.expectFatal("\(body)", level: nil) { _, request in
                RPCPDU(body, callID: request.callID).encoded()
            }
            guard case .protocolViolation? = error else {
                Issue.record("\(body): \(String(describing: error))")
                return
            }
        }
    }

    @Test func `What nobody asked for closes the connection`() throws {
        var pair = RPCTestPair()
        try pair.bind()
        let response = RPCPDU(.response(RPCResponse(contextID: 0, stub: [])), callID: 1).encoded()
        #expect(try pair.deliver(response).isClose)
        #expect(try pair.deliver(response).isNone)
    }

    @Test func `An answer over the limit is refused before its end`() throws {
        var pair = RPCTestPair(limits: RPCLimits(maximumStub: 10_000))
        try pair.signIn()
        var request = try pair.server.request(pair.call())
        #expect(try pair.deliver(pair.server.response(to: request, .pattern(10_000))).stub?.count == 10_000)
        request = try pair.server.request(pair.call())
        #expect(
            try pair.deliver(pair.server.response(to: request, .pattern(10_001))).fatal
                == .responseTooLarge(limit: 10_000)
        )
    }

    // MARK: - Ends

    @Test func `An end is told by when it comes`() throws {
        var pair = RPCTestPair()
        _ = try pair.begin(.bind([RPCTestServer.activator]))
        guard case .connectionReset? = pair.client.closed().fatal else {
            Issue.record("a host that never answered is not worth another try at once")
            return
        }

        pair = RPCTestPair()
        try pair.bind()
        _ = try pair.call()
        #expect(pair.client.closed().fatal == .connectionClosed)

        pair = RPCTestPair()
        try pair.bind()
        let request = try pair.server.request(pair.call())
        let fragments = try RPCFragment.split(pair.server.response(to: request, .pattern(7000)))
        #expect(try pair.deliver(fragments[0].bytes).isNone)
        guard case .connectionReset? = pair.client.closed().fatal else {
            Issue.record("an end in the middle of an answer")
            return
        }

        pair = RPCTestPair()
        try pair.bind()
        #expect(pair.client.closed().isClose)
        #expect(throws: RPCError.connectionClosed) { try pair.call() }

        pair = RPCTestPair()
        try pair.bind()
        _ = try pair.call()
        #expect(try pair.deliver(RPCPDU(.shutdown, callID: 0).encoded()).fatal == .connectionClosed)
    }

    @Test(arguments: [RPCError.timedOut(.call), .cancelled])
    func `Who comes after an operation that was given up hears of the connection only`(error: RPCError) throws {
        var pair = RPCTestPair()
        try pair.signIn()
        _ = try pair.deliver(pair.server.response(to: pair.server.request(pair.call()), []))
        _ = try pair.call()
        #expect(pair.client.giveUp(error).fatal == error)
        #expect(throws: RPCError.connectionClosed) { try pair.call() }

        // Before the login is proven, and before the host has said anything, to sign in at once is no good idea.
        pair = RPCTestPair()
        try pair.signIn()
        _ = try pair.call()
        _ = pair.client.giveUp(error)
        var later = #expect(throws: RPCError.self) { try pair.call() }
        #expect(later != error && later?.suggestsReconnect == false)
        pair = RPCTestPair()
        _ = try pair.begin(.bind([RPCTestServer.activator]))
        _ = pair.client.giveUp(error)
        later = #expect(throws: RPCError.self) { try pair.bind() }
        #expect(later != error && later?.suggestsReconnect == false)
    }

    @Test func `An answer that is too large or cut is the error of its call alone`() throws {
        var pair = RPCTestPair(limits: RPCLimits(maximumStub: 1000))
        try pair.signIn()
        var request = try pair.server.request(pair.call())
        #expect(try pair.deliver(pair.server.response(to: request, .pattern(1001))).fatal != nil)
        #expect(throws: RPCError.connectionClosed) { try pair.call() }
        pair = RPCTestPair()
        try pair.signIn()
        request = try pair.server.request(pair.call())
        let fragments = try RPCFragment.split(pair.server.response(to: request, .pattern(7000)))
        _ = try pair.deliver(fragments[0].bytes)
        _ = pair.client.closed()
        #expect(throws: RPCError.connectionClosed) { try pair.call() }
    }

    @Test func `After a fault the next call goes on, whatever had arrived of the answer`() throws {
        var pair = RPCTestPair()
        try pair.signIn()
        var request = try pair.server.request(pair.call())
        let fragments = try RPCFragment.split(pair.server.response(to: request, .pattern(5000)))
        #expect(fragments.count == 1)
        #expect(try pair.deliver(fragments[0].bytes).stub?.count == 5000)
        request = try pair.server.request(pair.call())
        #expect(
            try pair.deliver(pair.server.fault(to: request, .disconnected, security: 1)).harmless
                == .fault(.disconnected, didNotExecute: true)
        )
        request = try pair.server.request(pair.call())
        #expect(try pair.deliver(pair.server.response(to: request, [3])).stub == [3])
    }

    @Test func `Errors hold no secret`() throws {
        var pair = RPCTestPair()
        try pair.signIn(password: "other")
        let text = String(describing: pair.client.begin(.authenticate(RPCTestServer.credential, targetName: nil)))
        #expect(!text.contains("secret"))
        #expect(
            !String(describing: RPCOperation.authenticate(RPCTestServer.credential, targetName: nil)).contains("secret")
        )
    }
}
