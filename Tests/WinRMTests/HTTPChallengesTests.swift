import Testing

@testable import WinRM

@Suite struct HTTPChallengesTests {
    @Test func readsSchemesAndToken() {
        let challenges = HTTPChallenges(["negotiate TlRMTVNTUA==", "Basic realm=\"WSMAN\"", "Kerberos", "Basic x"])
        #expect(challenges.schemes == ["negotiate", "Basic", "Kerberos"])
        #expect(challenges.negotiateToken == "NTLMSSP".bytes)
        #expect(challenges.offers("NEGOTIATE"))
        #expect(!challenges.offers("NTLM"))
    }

    @Test(arguments: ["Negotiate", "Negotiate ", "Negotiate ****", "Negotiate QQ", "NegotiateX QQ==", "", " "])
    func takesNoOtherToken(value: String) {
        #expect(HTTPChallenges([value]).negotiateToken == nil)
    }

    @Test(arguments: [
        ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ])
    func encodesBase64(plain: String, encoded: String) {
        #expect(Base64.encode(plain.bytes) == encoded)
        #expect(Base64.decode(encoded) == plain.bytes)
    }

    @Test(arguments: ["Z", "Zg", "Zg=", "Zg===", "Z===", "====", "Zm9v=", "Zg==Zg==", "Zm 9", "Zm9ü"])
    func refusesOtherBase64(encoded: String) {
        #expect(Base64.decode(encoded) == nil)
    }
}
