import NIOPosix
import SSP
import Testing

@testable import WinRM

@Suite struct WinRMConnectionTests {
    // MARK: - Basic

    @Test func signsInWithBasicAndFollowsAnEnumeration() async throws {
        let files = ["identify.xml", "enumerate-one-item.xml", "pull-middle.xml", "pull-last.xml"]
        let bodies = try files.map { try fixture($0) }
        try await LoopbackServer.run { _, index, _ in
            .response("200 ", bodies[index])
        } body: { server, port in
            let instances = try await withConnection(port: port) { connection in
                let instances = try await connection.enumerate(wql: "SELECT Name FROM C", deadline: .soon)
                #expect(connection.statistics.requests == 4)
                #expect(connection.statistics.bytesReceived > bodies.map(\.count).reduce(0, +))
                #expect(connection.isOpen)
                return instances
            }
            #expect(instances.count == 4)
            #expect(instances.map { $0["BytesReceivedPersec"]?.uint64 } == [1_184_739_201, 0, nil, 77])
            #expect(server.connections == 1)
            let requests = server.requests
            #expect(requests.map { $0.header("Authorization") } == Array(repeating: "Basic dTpw", count: 4))
            #expect(requests.allSatisfy { $0.head.hasPrefix("POST /wsman HTTP/1.1\r\n") })
            #expect(requests[0].header("Host") == "127.0.0.1:\(port)")
            #expect(requests[0].header("Content-Type") == "application/soap+xml;charset=UTF-8")
            #expect(requests[1].body.text.contains("<w:MaxElements>32000</w:MaxElements>"))
            for pull in requests[2...] {
                #expect(pull.body.text.contains("uuid:91C2B7D4-3E5F-4A60-8B19-5D2C7E8F0A13</n:EnumerationContext>"))
                #expect(pull.body.text.contains("<n:MaxElements>32000</n:MaxElements>"))
            }
        }
    }

    @Test func readsRepliesSplitAtEveryByteAndChunked() async throws {
        let identify = ServerAction.bytes("200 OK", try fixture("identify.xml"))
        let page = try fixture("enumerate-all-at-once.xml")
        var chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".bytes
        for piece in stride(from: 0, to: page.count, by: 100).map({ page[$0..<min($0 + 100, page.count)] }) {
            chunked += "\(String(piece.count, radix: 16))\r\n".bytes + piece + "\r\n".bytes
        }
        chunked += "0\r\n\r\n".bytes
        let reply = chunked
        try await LoopbackServer.run { _, index, _ in
            .sendSplit(index == 0 ? identify : reply)
        } body: { _, port in
            try await withConnection(port: port) { connection in
                for _ in 0..<3 {
                    let rows = try await connection.enumerate(wql: "q", deadline: .soon)
                    #expect(rows.count == 2)
                }
            }
        }
    }

    @Test func doesNotSendAPasswordOverPlainHTTP() async throws {
        try await LoopbackServer.run { _, _, _ in
            .nothing
        } body: { server, port in
            let error = await failure {
                try await withConnection(
                    port: port,
                    signIn: .basic(username: "u", password: "p", allowUnencrypted: false)
                ) { _ in }
            }
            #expect(error == .unencryptedBasicRefused)
            #expect(error?.category == .encryptionRequired)
            #expect(server.requests.isEmpty)
        }
    }

    @Test(arguments: [
        ("401 ", ["WWW-Authenticate: Basic realm=\"WSMAN\""], WinRMError.authenticationFailed("")),
        ("401 ", ["WWW-Authenticate: Negotiate", "WWW-Authenticate: Kerberos"], nil),
        ("401 ", [], nil), ("500 ", [], nil), ("404 ", [], .httpStatus(404)), ("503 ", [], .httpStatus(503)),
    ])
    func tellsRefusalsOfBasicApart(status: String, headers: [String], expected: WinRMError?) async throws {
        try await LoopbackServer.run { _, _, _ in
            .response(status, headers)
        } body: { server, port in
            let error = try #require(await failure { try await withConnection(port: port) { _ in } })
            if let expected {
                #expect(error == expected)
            } else {
                #expect(error.category == .encryptionRequired)
            }
            #expect(error.countsAsFailedLogin == (error.category == .authenticationFailed))
            #expect(server.requests.count == 1)
        }
    }

    @Test func reportsFaultsWhateverTheStatusAndStaysOpen() async throws {
        let identify = try fixture("identify.xml")
        let fault = try fixture("fault-access-denied.xml")
        try await LoopbackServer.run { _, index, _ in
            index == 0 ? .response("200 ", identify) : .response(index == 1 ? "500 " : "200 ", fault)
        } body: { _, port in
            try await withConnection(port: port) { connection in
                for _ in 0..<2 {
                    let error = await failure { try await connection.enumerate(wql: "q", deadline: .soon) }
                    #expect(error?.category == .accessDenied)
                    #expect(connection.isOpen)
                }
            }
        }
    }

    // MARK: - What goes wrong on the way

    private func firstEnumeration(
        limits: WinRMLimits = WinRMLimits(),
        deadline: Duration = .seconds(20),
        _ action: ServerAction
    ) async throws -> WinRMError? {
        let identify = try fixture("identify.xml")
        return try await LoopbackServer.run { _, index, _ in
            index == 0 ? .response("200 ", identify) : action
        } body: { _, port in
            try await withConnection(port: port, limits: limits) { connection in
                let error = await failure { try await connection.enumerate(wql: "q", deadline: .now + deadline) }
                #expect(!connection.isOpen)
                return error
            }
        }
    }

    @Test func reportsAClosedConnection() async throws {
        let error = try await self.firstEnumeration(.close)
        #expect(error == .connectionClosed)
        #expect(error?.suggestsReconnect == true)
    }

    @Test func reportsABrokenAnswer() async throws {
        for bytes in [
            ServerAction.bytes("200 OK", "<a/>".bytes).dropLast(2), "HTTP/1.1 200 OK\r\nContent-Le".bytes[...],
        ] {
            let error = try await self.firstEnumeration(.sendAndClose(Array(bytes)))
            #expect(error?.category == .connectionReset)
        }
        #expect(try await self.firstEnumeration(.reset)?.category == .connectionReset)
    }

    @Test func reportsGarbage() async throws {
        for garbage in ["\0\u{1}\u{2}garbage\r\n\r\n", "SSH-2.0-OpenSSH_9.6\r\n", "HTTP/1.1 abc\r\n\r\n"] {
            let error = try await self.firstEnumeration(.sendAndClose(garbage.bytes))
            #expect(error?.category == .protocolError, "\(garbage.debugDescription): \(String(describing: error))")
        }
        for body in ["", "not XML", "<a/>", "<!DOCTYPE a><a/>"] {
            let error = try await self.firstEnumeration(.response("200 ", body.bytes))
            #expect(error?.category == .protocolError)
        }
    }

    @Test func boundsAnswers() async throws {
        var limits = WinRMLimits()
        limits.maximumResponseBytes = 2000
        let long = ServerAction.response("200 ", Array(repeating: 0x20, count: 2001))
        #expect(try await self.firstEnumeration(limits: limits, long) == .responseTooLarge(limit: 2000))
        let endless =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            + String(repeating: "64\r\n" + String(repeating: "x", count: 100) + "\r\n", count: 21)
        #expect(try await self.firstEnumeration(limits: limits, .send(endless.bytes)) == .responseTooLarge(limit: 2000))
    }

    @Test func boundsEnumerations() async throws {
        let page = ServerAction.response("200 ", try fixture("enumerate-one-item.xml"))
        var pulls = WinRMLimits()
        pulls.maximumPulls = 5
        #expect(try await self.firstEnumeration(limits: pulls, page)?.category == .protocolError)
        var instances = WinRMLimits()
        instances.maximumInstances = 3
        #expect(try await self.firstEnumeration(limits: instances, page)?.category == .protocolError)
        var bytes = WinRMLimits()
        bytes.maximumEnumerationBytes = 3000
        #expect(try await self.firstEnumeration(limits: bytes, page) == .responseTooLarge(limit: 3000))
    }

    @Test func aDeadlineThatPassesClosesTheConnection() async throws {
        let error = try await self.firstEnumeration(deadline: .milliseconds(100), .nothing)
        #expect(error == .timedOut(.request))
    }

    @Test func aCancelledTaskClosesTheConnection() async throws {
        let identify = try fixture("identify.xml")
        try await LoopbackServer.run { _, index, _ in
            index == 0 ? .response("200 ", identify) : .nothing
        } body: { server, port in
            try await withConnection(port: port) { connection in
                let result = await withTaskGroup(of: WinRMError?.self) { group in
                    group.addTask { await failure { try await connection.enumerate(wql: "q", deadline: .soon) } }
                    while server.requests.count < 2 { await Task.yield() }
                    group.cancelAll()
                    return await group.next() ?? nil
                }
                #expect(result == .cancelled)
                #expect(!connection.isOpen)
            }
        }
    }

    @Test func connectionCloseEndsTheConnectionAfterTheAnswer() async throws {
        let identify = try fixture("identify.xml")
        let page = try fixture("enumerate-all-at-once.xml")
        try await LoopbackServer.run { _, index, _ in
            index == 0 ? .response("200 ", identify) : .response("200 ", ["Connection: close"], page)
        } body: { _, port in
            try await withConnection(port: port) { connection in
                let rows = try await connection.enumerate(wql: "q", deadline: .soon)
                #expect(rows.count == 2)
                #expect(!connection.isOpen)
                let error = await failure { try await connection.enumerate(wql: "q", deadline: .soon) }
                #expect(error == .connectionClosed)
            }
        }
    }

    /// Basic carries the password in every request, so that a 401 at any time is a failed login.
    @Test func a401AfterwardsIsAFailedLoginWithBasic() async throws {
        let error = try await self.firstEnumeration(.response("401 ", ["WWW-Authenticate: Basic"]))
        #expect(error?.category == .authenticationFailed)
        #expect(error?.suggestsReconnect == false)
        #expect(error?.countsAsFailedLogin == true)
    }

    @Test func reportsARefusedConnection() async throws {
        let port = try await LoopbackServer.run { _, _, _ in
            .nothing
        } body: { _, port in
            port
        }
        let error = await failure { try await withConnection(port: port) { _ in } }
        #expect(error == .connectionRefused)
    }

    @Test func refusesWhatIsNotAnAddress() async throws {
        let connector = WinRMConnector(group: .singletonMultiThreadedEventLoopGroup)
        let endpoint = WinRMEndpoint(address: "localhost", port: 1)
        guard case .misuse? = await failure({ try await connector.connect(to: endpoint, deadline: .soon) }) else {
            Issue.record("resolved a name")
            return
        }
    }

    @Test func asksAnonymously() async throws {
        let identify = try fixture("identify.xml")
        try await LoopbackServer.run { connection, _, _ in
            connection == 0
                ? .response("200 ", identify)
                : .response("401 ", ["WWW-Authenticate: Negotiate", "WWW-Authenticate: Basic realm=\"WSMAN\""])
        } body: { server, port in
            let probe = try await withConnection(port: port, signIn: nil) {
                try await $0.identifyUnauthenticated(deadline: .soon)
            }
            #expect(probe.identity?.productVendor == "Microsoft Corporation")
            #expect(probe.server == "Microsoft-HTTPAPI/2.0")
            #expect(server.requests[0].header("WSMANIDENTIFY") == "unauthenticated")
            let closed = try await withConnection(port: port, signIn: nil) {
                try await $0.identifyUnauthenticated(deadline: .soon)
            }
            #expect(closed.status == 401)
            #expect(closed.schemes == ["Negotiate", "Basic"])
            #expect(closed.identity == nil)
        }
    }

    @Test func nothingShowsThePassword() {
        let basic = WinRMAuthentication.basic(username: "user", password: "geheim", allowUnencrypted: true)
        let ntlm = WinRMAuthentication.ntlm(username: "user", password: "geheim", domain: "D")
        for authentication in [basic, ntlm] {
            var dumped = ""
            dump(authentication, to: &dumped)
            for text in ["\(authentication)", String(reflecting: authentication), dumped] {
                #expect(!text.contains("geheim"))
                #expect(text.contains("user"))
            }
        }
    }

    // MARK: - NTLM over plain HTTP

    @Test func sealsEverythingOverPlainHTTP() async throws {
        let pages = try ["enumerate-one-item.xml", "pull-last.xml"].map { try fixture($0) }
        let host = NTLMHost { index, envelope in
            #expect(envelope.contains(index % 2 == 0 ? "<n:Enumerate>" : "<n:Pull>"))
            return ("200 ", pages[index % 2])
        }
        try await LoopbackServer.run(host.respond) { server, port in
            try await withConnection(port: port, signIn: ntlm) { connection in
                for _ in 0..<3 {
                    let rows = try await connection.enumerate(wql: "SELECT Name FROM C", deadline: .soon)
                    #expect(rows.count == 2)
                }
                #expect(await connection.challengeInfo?.dnsComputerName == "srv01.fabrikam.example")
            }
            let requests = server.requests
            #expect(requests.count == 8)
            #expect(requests[0].body.isEmpty && requests[1].body.isEmpty)
            #expect(requests[2...].allSatisfy { $0.header("Authorization") == nil })
            #expect(requests[2...].allSatisfy { $0.header("Content-Type") == SealedMultipart.contentType })
            #expect(requests.allSatisfy { !$0.body.text.contains("SELECT") })
        }
    }

    @Test func theChallengeCanBeFetchedBeforehand() async throws {
        let page = try fixture("enumerate-all-at-once.xml")
        let host = NTLMHost { _, _ in ("200 ", page) }
        try await LoopbackServer.run(host.respond) { server, port in
            try await withConnection(port: port, signIn: nil) { connection in
                try await connection.requestChallenge(for: ntlm, deadline: .soon)
                #expect(server.requests.count == 1)
                guard case .misuse? = await failure({ try await connection.identify(deadline: .soon) }) else {
                    Issue.record("served before signing in")
                    return
                }
                try await connection.authenticate(ntlm, deadline: .soon)
                #expect(server.requests.count == 2)
                let rows = try await connection.enumerate(wql: "q", deadline: .soon)
                #expect(rows.count == 2)
                guard case .misuse? = await failure({ try await connection.authenticate(ntlm, deadline: .soon) }) else {
                    Issue.record("signed in twice")
                    return
                }
                #expect(connection.isOpen)
            }
        }
    }

    @Test func acceptsChallengesInsideSPNEGO() async throws {
        let page = try fixture("enumerate-all-at-once.xml")
        let host = NTLMHost(wraps: true) { _, _ in ("200 ", page) }
        try await LoopbackServer.run(host.respond) { _, port in
            try await withConnection(port: port, signIn: ntlm) { connection in
                let rows = try await connection.enumerate(wql: "q", deadline: .soon)
                #expect(rows.count == 2)
            }
        }
    }

    @Test func takesTheDomainFromTheUserName() async throws {
        let host = NTLMHost { _, _ in ("200 ", []) }
        try await LoopbackServer.run(host.respond) { _, port in
            let user = "FABRIKAM\\\(NTLMHost.username)"
            let login = WinRMAuthentication.ntlm(username: user, password: NTLMHost.password, domain: "")
            try await withConnection(port: port, signIn: login) { #expect($0.isOpen) }
        }
    }

    @Test func reportsSealedFaults() async throws {
        let fault = try fixture("fault-quota.xml")
        let host = NTLMHost { _, _ in ("500 ", fault) }
        try await LoopbackServer.run(host.respond) { _, port in
            try await withConnection(port: port, signIn: ntlm) { connection in
                for _ in 0..<2 {
                    let error = await failure { try await connection.enumerate(wql: "q", deadline: .soon) }
                    #expect(error?.category == .quotaExceeded)
                    #expect(connection.isOpen)
                }
            }
        }
    }

    @Test func reportsAWrongPassword() async throws {
        let host = NTLMHost { _, _ in ("200 ", []) }
        try await LoopbackServer.run(host.respond) { server, port in
            let wrong = WinRMAuthentication.ntlm(username: NTLMHost.username, password: "wrong", domain: "")
            let error = await failure { try await withConnection(port: port, signIn: wrong) { _ in } }
            #expect(error == .authenticationFailed(""))
            #expect(error?.countsAsFailedLogin == true)
            #expect(server.requests.count == 2)
        }
    }

    @Test func reportsHostsWithoutNegotiate() async throws {
        try await LoopbackServer.run { _, _, _ in
            .response("401 ", ["WWW-Authenticate: Kerberos", "WWW-Authenticate: Basic realm=\"x\""])
        } body: { server, port in
            let error = await failure { try await withConnection(port: port, signIn: ntlm) { _ in } }
            #expect(error == .noCommonScheme(offered: ["Kerberos", "Basic"]))
            #expect(error?.countsAsFailedLogin == false)
            #expect(server.requests.count == 1)
        }
    }

    @Test func refusesAnUnsealedAnswerOnASealedConnection() async throws {
        let page = try fixture("enumerate-all-at-once.xml")
        let plain: [ServerAction] = [
            .response("200 ", page), .response("500 ", try fixture("fault-access-denied.xml")), .response("200 "),
        ]
        for action in plain {
            let host = NTLMHost { _, _ in ("200 ", page) }
            try await LoopbackServer.run { connection, index, request in
                index < 2 ? host.respond(connection, index, request) : action
            } body: { _, port in
                try await withConnection(port: port, signIn: ntlm) { connection in
                    let error = await failure { try await connection.enumerate(wql: "q", deadline: .soon) }
                    #expect(error?.category == .protocolError)
                    #expect(!connection.isOpen)
                }
            }
        }
    }

    @Test func refusesAnAnswerThatWasAltered() async throws {
        let page = try fixture("enumerate-all-at-once.xml")
        let host = NTLMHost { _, _ in ("200 ", page) }
        try await LoopbackServer.run { connection, index, request in
            guard index == 2, case .send(var bytes) = host.respond(connection, index, request) else {
                return host.respond(connection, index, request)
            }
            bytes[bytes.count - 40] ^= 1
            return .send(bytes)
        } body: { _, port in
            try await withConnection(port: port, signIn: ntlm) { connection in
                let error = await failure { try await connection.enumerate(wql: "q", deadline: .soon) }
                #expect(error?.category == .protocolError)
                #expect(!connection.isOpen)
            }
        }
    }

    @Test func aSealedSessionCanExpire() async throws {
        let page = try fixture("enumerate-all-at-once.xml")
        let host = NTLMHost { _, _ in ("200 ", page) }
        try await LoopbackServer.run { connection, index, request in
            connection == 0 && index == 3 ? NTLMHost.unauthorized : host.respond(connection, index, request)
        } body: { _, port in
            try await withConnection(port: port, signIn: ntlm) { connection in
                let rows = try await connection.enumerate(wql: "q", deadline: .soon)
                #expect(rows.count == 2)
                let error = await failure { try await connection.enumerate(wql: "q", deadline: .soon) }
                #expect(error == .authenticationExpired)
            }
            try await withConnection(port: port, signIn: ntlm) { connection in
                let rows = try await connection.enumerate(wql: "q", deadline: .soon)
                #expect(rows.count == 2)
            }
        }
    }

    @Test func nobodyIsServedBeforeSigningIn() async throws {
        try await LoopbackServer.run { _, _, _ in
            .nothing
        } body: { server, port in
            try await withConnection(port: port, signIn: nil) { connection in
                guard case .misuse? = await failure({ try await connection.identify(deadline: .soon) }) else {
                    Issue.record("sent")
                    return
                }
            }
            #expect(server.requests.isEmpty)
        }
    }
}
