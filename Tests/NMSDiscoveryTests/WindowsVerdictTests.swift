import NMSCore
import Testing

@testable import NMSDiscovery

@Suite struct WindowsVerdictTests {
    private typealias Evidence = DiscoveryEvidence

    private static func evidence(_ port: Int = 5985, _ change: (inout DiscoveryEvidence) -> Void) -> DiscoveryEvidence {
        var evidence = DiscoveryEvidence(ports: [.init(port: port, state: .open)])
        change(&evidence)
        return evidence
    }

    private static func ntlm(_ port: Int, _ version: String?) -> DiscoveryEvidence.NTLM {
        var ntlm = DiscoveryEvidence.NTLM(port: port)
        ntlm.version = version
        return ntlm
    }

    @Test func takesIdentifyOfWindows() {
        let verdict = WindowsVerdict(
            Self.evidence {
                $0.wsman = [
                    .init(
                        port: 5985,
                        status: 200,
                        server: "Microsoft-HTTPAPI/2.0",
                        vendor: "Microsoft Corporation",
                        version: "OS: 0.0.0 SP: 0.0 Stack: 3.0"
                    )
                ]
            }
        )
        #expect(verdict.outcome == .windows)
        #expect(verdict.reasons.first?.contains("5985") == true)
    }

    @Test(arguments: [
        ("Open Management Infrastructure", "1.9.1-0"), ("Microsoft Corporation", "SCX 1.0.4-277"),
        ("Microsoft Corporation", "OMI-1.6.8-0"), ("Openwsman Project", "2.6.5"), ("Dell", "OS: 1 SP: 0 Stack: 3.0"),
        ("", "OS: 0.0.0 SP: 0.0 Stack: 3.0"),
    ])
    func refusesOtherManagementServers(_ vendor: String, _ version: String) {
        let verdict = WindowsVerdict(
            Self.evidence { $0.wsman = [.init(port: 5985, status: 200, vendor: vendor, version: version)] }
        )
        #expect(verdict.outcome == .notWindows)
    }

    @Test func takesANTLMChallengeOfHTTPSys() {
        let evidence = Self.evidence {
            $0.wsman = [.init(port: 5985, status: 401, server: "Microsoft-HTTPAPI/2.0", schemes: ["Negotiate"])]
            $0.ntlm = Self.ntlm(5985, "10.0.20348")
        }
        #expect(WindowsVerdict(evidence).outcome == .windows)
    }

    @Test(arguments: [
        ("Apache/2.4", "10.0.20348", AddressOutcome.notWindows), ("Microsoft-HTTPAPI/2.0", "6.1.0", .notWindows),
        ("nginx", "6.1.0", .notWindows),
    ])
    func refusesNTLMOfOtherServers(_ server: String, _ version: String, _ outcome: AddressOutcome) {
        let evidence = Self.evidence {
            $0.wsman = [.init(port: 5985, status: 401, server: server)]
            $0.ntlm = Self.ntlm(5985, version)
        }
        #expect(WindowsVerdict(evidence).outcome == outcome)
    }

    @Test func doesNotBelieveAServersNameAlone() {
        let evidence = Self.evidence { $0.wsman = [.init(port: 5985, status: 404, server: "Microsoft-HTTPAPI/2.0")] }
        #expect(WindowsVerdict(evidence).outcome == .unidentified)
    }

    @Test func takesTheResolver() {
        let resolver = DiscoveryEvidence.ObjectResolver(port: 135, version: "5.7", bindings: ["HOST", "10.0.0.5"])
        let alone = Self.evidence(135) { $0.resolver = resolver }
        #expect(WindowsVerdict(alone).outcome == .windows)
        let both = Self.evidence(135) {
            $0.resolver = resolver
            $0.ntlm = Self.ntlm(135, "6.3.9600")
        }
        #expect(WindowsVerdict(both).reasons.count == 2)
        let challengeOnly = Self.evidence(135) { $0.ntlm = Self.ntlm(135, "10.0.17763") }
        #expect(WindowsVerdict(challengeOnly).outcome == .windows)
    }

    @Test func refusesSamba() {
        let controller = Self.evidence(135) { $0.ntlm = Self.ntlm(135, "6.1.0") }
        #expect(WindowsVerdict(controller).outcome == .notWindows)
        let withResolver = Self.evidence(135) {
            $0.ntlm = Self.ntlm(135, "6.1.0")
            $0.resolver = .init(port: 135, version: "5.7", bindings: ["x"])
        }
        #expect(WindowsVerdict(withResolver).outcome == .notWindows)
        #expect(WindowsVerdict(Self.evidence(135) { $0.ntlm = Self.ntlm(135, nil) }).outcome == .notWindows)
        #expect(WindowsVerdict(Self.evidence(445) { _ in }).outcome == .unidentified)
    }

    @Test func tellsOthersFromThoseThatSayNothing() {
        let ssh = Self.evidence { $0.banner = .init(port: 5985, text: "SSH-2.0-OpenSSH_9.6") }
        #expect(WindowsVerdict(ssh).outcome == .notWindows)
        #expect(WindowsVerdict(ssh).reasons == ["port 5985 speaks first: SSH-2.0-OpenSSH_9.6"])
        let web = Self.evidence { $0.wsman = [.init(port: 5985, status: 404, server: "nginx")] }
        #expect(WindowsVerdict(web).outcome == .notWindows)
        #expect(WindowsVerdict(Self.evidence { _ in }).outcome == .unidentified)
    }

    @Test func oneWindowsPortIsEnough() {
        let evidence = Self.evidence {
            $0.wsman = [.init(port: 5985, status: 404, server: "nginx")]
            $0.resolver = .init(port: 135, version: "5.7", bindings: ["HOST"])
        }
        #expect(WindowsVerdict(evidence).outcome == .windows)
    }

    @Test(arguments: [
        ([DiscoveryEvidence.PortState.silent, .closed], AddressOutcome.closed), ([.silent, .silent], .silent),
        ([.silent, .unreachable], .unreachable), ([.failed, .silent], .failed), ([.failed, .closed], .closed),
    ])
    func knowsWhatNoOpenPortMeans(_ states: [DiscoveryEvidence.PortState], _ outcome: AddressOutcome) {
        #expect(WindowsVerdict.outcome(withoutOpenPorts: states) == outcome)
    }
}

@Suite struct StrangersTextTests {
    @Test(arguments: [
        ("WIN-1", "WIN-1"), ("a\u{0}b", "a b"), ("\u{1B}[31mred\r\nnext", "[31mred next"),
        ("\u{202E}evil\u{2066}", "evil"),
        ("  x  ", "x"), ("Büro サーバー 🖥", "Büro サーバー 🖥"), ("a\u{2028}b\u{85}c", "a b c"), ("\u{E000}\u{FFFF}", ""),
    ])
    func cleans(_ text: String, _ expected: String) {
        #expect(StrangersText.clean(text) == (expected.isEmpty ? nil : expected))
    }

    @Test func cutsByBytesBetweenCharacters() {
        #expect(StrangersText.clean(String(repeating: "ü", count: 400))?.utf8.count == 254)
        #expect(StrangersText.clean(String(repeating: "\u{1}", count: 1_000_000)) == nil)
    }

    @Test func boundsLists() {
        let texts = (0..<100).map { "n\($0 % 50)" }
        #expect(StrangersText.clean(texts, count: 16).count == 16)
        #expect(StrangersText.clean(["a", "a", "\u{0}"], count: 16) == ["a"])
    }
}
