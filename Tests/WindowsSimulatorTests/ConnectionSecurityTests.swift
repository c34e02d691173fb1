import Foundation
import NIOHTTP1
import SSP
import Testing
import WinRM

@testable import WindowsSimulator

/// What a host answers to logins, byte for byte, with SSP's initiator as the client.
struct ConnectionSecurityTests {
    private static let password = "correct horse"
    private var service = SimulatorConfiguration.Service()

    private func policy(isTLS: Bool = false, bindings: ChannelBindings? = nil) -> ConnectionSecurity.Policy {
        let account = Account(user: "Administrator", password: Self.password, domains: ["HOST", "DOM", "dom.test"])
        return ConnectionSecurity.Policy(
            isTLS: isTLS,
            service: self.service,
            lookup: { account.password(user: $0, domain: $1) },
            ntlm: NTLMAcceptor.Configuration(
                netbiosComputerName: "HOST",
                netbiosDomainName: "DOM",
                dnsComputerName: "host.dom.test",
                dnsDomainName: "dom.test",
                requiredChannelBindings: bindings
            )
        )
    }

    private static func request(_ authorization: String?, body: [UInt8] = []) -> HTTPRequest {
        var head = HTTPRequestHead(version: .http1_1, method: .POST, uri: "/wsman")
        if let authorization { head.headers.add(name: "Authorization", value: authorization) }
        return HTTPRequest(head: head, body: body)
    }

    private static func negotiate(_ token: [UInt8]) -> String { "Negotiate " + Data(token).base64EncodedString() }

    private static func token(_ answer: HTTPAnswer) -> [UInt8]? {
        answer.headers.first { $0.0 == "WWW-Authenticate" }.flatMap { header in
            Data(base64Encoded: String(header.1.dropFirst("Negotiate ".count))).map { [UInt8]($0) }
        }
    }

    /// Three legs with raw NTLM; gives the last decision and the client's session.
    private func login(
        _ security: inout ConnectionSecurity,
        user: String = "administrator",
        domain: String = "",
        password: String = Self.password,
        policy: ConnectionSecurity.Policy,
        bindings: ChannelBindings? = nil
    ) throws -> (ConnectionSecurity.Decision, NTLMSession?) {
        var client = NTLMInitiator(
            credential: NTLMCredential(username: user, password: password, domain: domain),
            channelBindings: bindings
        )
        guard
            case .reply(let challenge, .none) = security.decide(
                Self.request(Self.negotiate(client.negotiate())),
                policy: policy
            )
        else { throw Unexpected() }
        #expect(challenge.status == 401)
        // The challenge's 401 keeps the connection.
        #expect(!challenge.closes)
        let (token, session) = try client.authenticate(challenge: try #require(Self.token(challenge)))
        return (security.decide(Self.request(Self.negotiate(token)), policy: policy), session)
    }

    private struct Unexpected: Error {}

    @Test func anonymousRequestsAreToldWhatIsOffered() {
        var security = ConnectionSecurity()
        guard case .reply(let answer, .none) = security.decide(Self.request(nil), policy: self.policy()) else {
            Issue.record("let in")
            return
        }
        #expect(answer.status == 401)
        #expect(answer.closes)
        #expect(answer.headers.map(\.1) == ["Negotiate"])
    }

    @Test(arguments: [
        ("administrator", ""), ("Administrator", "host"), ("ADMINISTRATOR", "DOM"), ("administrator@dom.test", ""),
        ("administrator", "dom.test"),
    ])
    func loginsOfTheHostAndTheDomain(user: String, domain: String) throws {
        var security = ConnectionSecurity()
        let (decision, _) = try self.login(&security, user: user, domain: domain, policy: self.policy())
        guard case .authorized(_, nil, .succeeded) = decision else {
            Issue.record("refused")
            return
        }
        #expect(security.isEstablished)
        guard case .authorized(_, nil, .none) = security.decide(Self.request(nil), policy: self.policy()) else {
            Issue.record("the connection is not authenticated")
            return
        }
    }

    @Test(arguments: [
        ("administrator", "", "wrong"), ("guest", "", Self.password), ("administrator", "ELSEWHERE", Self.password),
    ])
    func wrongLoginsAreCounted(user: String, domain: String, password: String) throws {
        var security = ConnectionSecurity()
        let (decision, _) = try self.login(
            &security,
            user: user,
            domain: domain,
            password: password,
            policy: self.policy()
        )
        guard case .reply(let answer, .failed) = decision else {
            Issue.record("let in")
            return
        }
        #expect(answer.status == 401)
        #expect(!security.isEstablished)
    }

    @Test func sealedBodiesGoBothWays() throws {
        var security = ConnectionSecurity()
        var (_, session) = try self.login(&security, policy: self.policy())
        for number in 0..<3 {
            let (signature, ciphertext) = try #require(try session?.seal(Array("question \(number)".utf8)))
            let body = SealedMultipart(signature: signature, ciphertext: ciphertext).encoded()
            #expect(try security.open(body) == Array("question \(number)".utf8))
            let sealed = try security.seal(Array("answer \(number)".utf8), indentsHeaders: number == 1)
            let parsed = try SealedMultipart.decode(sealed)
            #expect(
                try session?.unseal(parsed.ciphertext, signature: parsed.signature) == Array("answer \(number)".utf8)
            )
            #expect(String(decoding: sealed, as: UTF8.self).contains("\tContent-Type") == (number == 1))
        }
        #expect(throws: (any Error).self) { try security.open(Array("nonsense".utf8)) }
    }

    @Test func strictHostsWantTheBinding() throws {
        let bindings = ChannelBindings.tlsServerEndPoint(certificateHash: [1, 2, 3])
        let policy = self.policy(isTLS: true, bindings: bindings)
        for (offered, isGood) in [(bindings, true), (nil, false), (.tlsServerEndPoint(certificateHash: [4]), false)]
            as [(ChannelBindings?, Bool)]
        {
            var security = ConnectionSecurity()
            let (decision, _) = try self.login(&security, policy: policy, bindings: offered)
            if case .authorized = decision { #expect(isGood) } else { #expect(!isGood) }
        }
    }

    @Test func basicIsOffByDefaultAndNeverOverPlainHTTP() {
        var security = ConnectionSecurity()
        let good = Self.request("Basic " + Data("DOM\\Administrator:\(Self.password)".utf8).base64EncodedString())
        guard case .reply(let refused, _) = security.decide(good, policy: self.policy(isTLS: true)) else {
            Issue.record("let in")
            return
        }
        #expect(refused.headers.map(\.1) == ["Negotiate"])
        var test = self
        test.service.offersBasic = true
        guard case .reply(let plain, _) = security.decide(good, policy: test.policy(isTLS: false)) else {
            Issue.record("let in over HTTP")
            return
        }
        #expect(plain.headers.map(\.1) == ["Negotiate"])
        guard case .authorized(_, nil, .succeeded) = security.decide(good, policy: test.policy(isTLS: true)) else {
            Issue.record("refused over HTTPS")
            return
        }
        // The same credential again is no new login.
        guard case .authorized(_, nil, .none) = security.decide(good, policy: test.policy(isTLS: true)) else {
            Issue.record("refused the second time")
            return
        }
        let bad = Self.request("Basic " + Data("Administrator:wrong".utf8).base64EncodedString())
        guard case .reply(let answer, .failed) = security.decide(bad, policy: test.policy(isTLS: true)) else {
            Issue.record("let in with a wrong password")
            return
        }
        #expect(answer.headers.map(\.1) == ["Negotiate", #"Basic realm="WSMAN""#])
        #expect(!security.isEstablished)
    }

    @Test(arguments: ["Negotiate", "Negotiate !!!", "Negotiate AAAA", "Digest x", "", "Negotiate TlRMTVNTUAADAAAA"])
    func nonsenseIsRefused(authorization: String) {
        var security = ConnectionSecurity()
        guard case .reply(let answer, _) = security.decide(Self.request(authorization), policy: self.policy()) else {
            Issue.record("let in")
            return
        }
        #expect([400, 401].contains(answer.status))
    }
}
