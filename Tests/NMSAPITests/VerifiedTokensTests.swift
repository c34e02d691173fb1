import NMSStorage
import Testing

@testable import NMSAPI

struct VerifiedTokensTests {
    @Test func remembersNoMoreThanItsCapacity() {
        let tokens = VerifiedTokens()
        for number in 0..<(3 * VerifiedTokens.capacity) {
            tokens.insert("token \(number)", Self.claims(sid: "\(number)", exp: 1000), now: 0)
            #expect(tokens["token \(number)"]?.sid == "\(number)")
            #expect(tokens.count <= VerifiedTokens.capacity)
        }
    }

    @Test func forgetsWhatExpiredFirst() {
        let tokens = VerifiedTokens()
        tokens.insert("long", Self.claims(sid: "long", exp: 1000), now: 0)
        for number in 1..<VerifiedTokens.capacity {
            tokens.insert("\(number)", Self.claims(sid: "short", exp: 10), now: 0)
        }
        tokens.insert("new", Self.claims(sid: "new", exp: 1000), now: 10)
        #expect(tokens.count == 2)
        #expect(tokens["long"] != nil && tokens["new"] != nil)
    }

    private static func claims(sid: String, exp: Int) -> AccessClaims {
        AccessClaims(sub: "1", username: "u", role: .viewer, iat: 0, exp: exp, sid: sid, iss: "", aud: "")
    }
}
