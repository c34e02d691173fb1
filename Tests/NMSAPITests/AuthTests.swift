import Bcrypt
import Crypto
import Foundation
import HTTPTypes
import NMSCore
import NMSStorage
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Testing

@testable import NMSAPI

@Suite struct AuthTests {
    @Test func loginAnswersInTheSpecificationsShape() async throws {
        try await Harness.with { harness, api in
            let reply = try await api.post("/auth/login", #"{"username":"Admin","password":"correct horse battery"}"#)
            #expect(reply.status == 200)
            #expect(reply.json.names == ["success", "data"])
            #expect(reply.json["success"] == .bool(true))
            #expect(reply.data.names == ["access_token", "refresh_token", "expires_at"])
            let expiry = try #require(RFC3339.date(from: reply.data["expires_at"].text))
            #expect(abs(expiry.timeIntervalSince(harness.clock.wall) - 900) < 1)
            let parts = try reply.data["access_token"].text.split(separator: ".")
            let header = try JSONParser.parse(Array(try #require(Base64URL.decode(parts[0]))))
            #expect(header == .object(["alg": .string("HS256"), "typ": .string("JWT")]))
            let claims = try JSONParser.parse(Array(try #require(Base64URL.decode(parts[1]))))
            #expect(claims.names == ["sub", "username", "role", "iat", "exp", "sid", "iss", "aud"])
            #expect(claims["username"] == .string("admin"))
            #expect(claims["role"] == .string("admin"))
            let user = try await harness.dependencies.users.user(username: "admin")
            #expect(try claims["sub"] == .string(String(#require(user).id)))
            #expect(try claims["exp"].number - claims["iat"].number == 900)
            let stored = try await harness.database.pool.query("SELECT token_hash FROM refresh_tokens")
            let digest = SHA256.hash(data: Array(try reply.data["refresh_token"].text.utf8))
                .map { String(format: "%02x", $0) }.joined()
            #expect(try stored[0].value("token_hash", as: String.self) == digest)
        }
    }

    @Test func wrongLoginsAreAllTheSame() async throws {
        try await Harness.with { _, api in
            for body in [
                #"{"username":"admin","password":"wrong"}"#,
                #"{"username":"nobody","password":"correct horse battery"}"#,
                #"{"username":"admin' OR '1'='1","password":"x"}"#,
            ] {
                let reply = try await api.post("/auth/login", body)
                #expect(reply.status == 401)
                #expect(reply.code == "UNAUTHORIZED")
                #expect(reply.message == "Wrong username or password")
                #expect(reply.header("www-authenticate")?.hasPrefix("Bearer") == true)
            }
        }
    }

    @Test func passwordsThatBcryptWouldCutAreRefusedWithoutEcho() async throws {
        try await Harness.with { _, api in
            let long = String(repeating: "s3cret", count: 13)
            let reply = try await api.post("/auth/login", #"{"username":"admin","password":"\#(long)"}"#)
            #expect(reply.status == 400)
            #expect(reply.details["field"] == .string("password"))
            #expect(!reply.text.contains("s3cret"))
            let wrongType = try await api.post("/auth/login", #"{"username":"admin","password":["s3cret"]}"#)
            #expect(wrongType.status == 400)
            #expect(!wrongType.text.contains("s3cret"))
            let typo = try await api.post("/auth/login", #"{"username":"admin","password":"x","pasword":"s3cret"}"#)
            #expect(typo.details["field"] == .string("pasword"))
            #expect(!typo.text.contains("s3cret"))
        }
    }

    @Test func tokensThatAreNotOursAreRefused() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            let good = try #require(api.token)
            let parts = good.split(separator: ".").map(String.init)
            let claims = String(decoding: try #require(Base64URL.decode(parts[1])), as: UTF8.self)
            #expect(try await api.get("/devices").status == 200)

            let now = Int(harness.clock.wall.timeIntervalSince1970)
            let iat = try JSONValue.parse(claims)["iat"].number
            let exp = try JSONValue.parse(claims)["exp"].number
            let forged: [(String, String)] = [
                ("none, no signature", forge(["alg": "none"], claims, key: nil)),
                ("none, our signature", forge(["alg": "none"], claims)),
                ("RS256 header", forge(["alg": "RS256", "typ": "JWT"], claims)),
                ("HS384 header", forge(["alg": "HS384", "typ": "JWT"], claims)),
                ("lower case", forge(["alg": "hs256", "typ": "JWT"], claims)),
                ("critical extension", forge(["alg": "HS256", "typ": "JWT", "crit": "x"], claims)),
                ("wrong key", forge(["alg": "HS256", "typ": "JWT"], claims, key: "another key of thirty-two bytes!")),
                ("empty key", forge(["alg": "HS256", "typ": "JWT"], claims, key: "")),
                (
                    "tampered role",
                    "\(parts[0]).\(encode(claims.replacing("\"admin\"", with: "\"owner\""))).\(parts[2])"
                ),
                ("cut signature", "\(parts[0]).\(parts[1]).\(parts[2].dropLast(2))"),
                ("no signature", "\(parts[0]).\(parts[1])."),
                ("two parts", "\(parts[0]).\(parts[1])"),
                ("other issuer", forge(["alg": "HS256"], claims.replacing("\"nmslite\"", with: "\"other\""))),
                ("other audience", forge(["alg": "HS256"], claims.replacing("nmslite-api", with: "other"))),
                ("not yet valid", forge(["alg": "HS256"], claims.replacing("\(iat)", with: "\(now + 60)"))),
                ("expired", forge(["alg": "HS256"], claims.replacing("\(exp)", with: "\(now)"))),
                (
                    "unknown session",
                    forge(["alg": "HS256"], String(claims.replacing(/"sid":"[^"]*"/, with: "\"sid\":\"\(UUID())\"")))
                ),
                ("no session", forge(["alg": "HS256"], String(claims.replacing(/,?"sid":"[^"]*"/, with: "")))),
                (
                    "another user",
                    forge(["alg": "HS256"], String(claims.replacing(/"sub":"\d+"/, with: "\"sub\":\"999\"")))
                ),
                ("garbage", "x"), ("dots", ".."), ("long", String(repeating: "a", count: 5000)),
            ]
            var other = api
            for (name, token) in forged {
                other.token = token
                let reply = try await other.get("/devices")
                #expect(reply.status == 401, "\(name)")
                #expect(reply.code == "UNAUTHORIZED", "\(name)")
            }
            // The forger's tools are good: with the right key and claims he gets in.
            other.token = forge(["alg": "HS256", "typ": "JWT"], claims)
            #expect(try await other.get("/devices").status == 200)
        }
    }

    @Test func theHeaderMustBeABearerToken() async throws {
        try await Harness.with { _, api in
            let token = try #require(try await api.signedIn().token)
            for header in ["", "Bearer", "Bearer ", token, "Basic \(token)", "Bearer \(token) x"] {
                let reply = try await api.call(.get, "/devices", headers: ["authorization": header])
                #expect(reply.status == 401, "\(header)")
            }
            #expect(try await api.call(.get, "/devices", headers: ["authorization": "bearer \(token)"]).status == 200)
        }
    }

    @Test func accessTokensExpire() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            harness.clock.advance(by: 898)
            #expect(try await api.get("/devices").status == 200)
            harness.clock.advance(by: 2)
            #expect(try await api.get("/devices").status == 401)
        }
    }

    @Test func refreshTokensRotateAndReuseEndsTheSession() async throws {
        try await Harness.with { harness, api in
            let login = try await api.post("/auth/login", #"{"username":"viewer","password":"correct horse battery"}"#)
            let first = try login.data["refresh_token"].text
            let reply = try await api.post("/auth/refresh", #"{"refresh_token":"\#(first)"}"#)
            #expect(reply.status == 200)
            #expect(reply.data.names == ["access_token", "refresh_token", "expires_at"])
            let second = try reply.data["refresh_token"].text
            #expect(second != first)
            var session = api
            session.token = try reply.data["access_token"].text
            #expect(try await session.get("/devices").status == 200)
            // Someone stole the first one.
            let stolen = try await api.post("/auth/refresh", #"{"refresh_token":"\#(first)"}"#)
            #expect(stolen.status == 401)
            #expect(!stolen.text.contains(first))
            #expect(try await api.post("/auth/refresh", #"{"refresh_token":"\#(second)"}"#).status == 401)
            #expect(try await session.get("/devices").status == 401)
            #expect(harness.log.all.contains { $0.hasPrefix("warning") && $0.contains("used twice") })
        }
    }

    @Test func refreshTokensExpireAndStrangersAreRefused() async throws {
        try await Harness.with { harness, api in
            let login = try await api.post("/auth/login", #"{"username":"viewer","password":"correct horse battery"}"#)
            let token = try login.data["refresh_token"].text
            harness.clock.advance(by: 7 * 24 * 3600 + 1)
            #expect(try await api.post("/auth/refresh", #"{"refresh_token":"\#(token)"}"#).status == 401)
            for stranger in [RefreshToken.random().text, "x", token + "A", String(token.dropLast()) + "*"] {
                let reply = try await api.post("/auth/refresh", #"{"refresh_token":"\#(stranger)"}"#)
                #expect(reply.status == 401)
                #expect(reply.code == "UNAUTHORIZED")
            }
            #expect(try await api.post("/auth/refresh", #"{}"#).details["field"] == .string("refresh_token"))
        }
    }

    @Test func logoutEndsTheSession() async throws {
        try await Harness.with { _, api in
            let login = try await api.post("/auth/login", #"{"username":"viewer","password":"correct horse battery"}"#)
            var session = api
            session.token = try login.data["access_token"].text
            let other = try await api.signedIn(as: "viewer")
            #expect(try await session.get("/devices").status == 200)
            #expect(try await session.post("/auth/logout").status == 200)
            #expect(try await session.get("/devices").status == 401)
            #expect(try await session.post("/auth/logout").status == 401)
            let refresh = #"{"refresh_token":"\#(try login.data["refresh_token"].text)"}"#
            #expect(try await api.post("/auth/refresh", refresh).status == 401)
            #expect(try await other.get("/devices").status == 200)
        }
    }

    // What other instances do counts within the cache's two seconds.
    @Test func removalPasswordAndRoleChangesCountWithinTwoSeconds() async throws {
        try await Harness.with { harness, api in
            let viewer = try await api.signedIn(as: "viewer")
            let operatorAPI = try await api.signedIn(as: "operator")
            #expect(try await viewer.get("/devices").status == 200)
            #expect(try await operatorAPI.get("/devices").status == 200)
            #expect(try await harness.dependencies.users.remove(username: "viewer"))
            let hash = try await harness.dependencies.hasher.hash("new password")
            #expect(try await harness.dependencies.users.setPassword(username: "operator", passwordHash: hash))
            #expect(AuthService.sessionCacheTTL <= .seconds(3))
            harness.clock.advance(by: 2)
            #expect(try await viewer.get("/devices").status == 401)
            #expect(try await operatorAPI.get("/devices").status == 401)
            let admin = try await api.signedIn()
            #expect(try await admin.post("/devices", #"{"ip":"192.0.2.9"}"#).status == 201)
            try await harness.database.pool.query("UPDATE users SET role = 'viewer' WHERE username = 'admin'")
            harness.clock.advance(by: 2)
            #expect(try await admin.post("/devices", #"{"ip":"192.0.2.8"}"#).status == 403)
        }
    }

    @Test func failedLoginsAreThrottledAndGoodOnesAreNot() async throws {
        try await Harness.with(configure: { $0.loginThrottle.perUser = 3 }) { harness, api in
            for _ in 0..<10 { _ = try await api.signedIn() }
            for _ in 0..<3 {
                #expect(try await api.post("/auth/login", #"{"username":"admin","password":"no"}"#).status == 401)
            }
            let blocked = try await api.post("/auth/login", #"{"username":"ADMIN","password":"correct horse battery"}"#)
            #expect(blocked.status == 429)
            #expect(blocked.code == "RATE_LIMITED")
            #expect(try Int(#require(blocked.header("retry-after"))).map { (1...301).contains($0) } == true)
            _ = try await api.signedIn(as: "viewer")
            harness.clock.advance(by: 301)
            _ = try await api.signedIn()
        }
    }

    @Test func aShortSecretIsRefused() async throws {
        let error = await #expect(throws: APIConfigurationError.self) {
            try await AccessTokens(secret: Secret("too short"), lifetime: .seconds(60), now: { Date() })
        }
        #expect(error?.description.contains("auth.jwt_secret") == true)
        #expect(error?.description.contains("too short") == false)
    }
}

private func encode(_ text: String) -> String { Base64URL.encode(Array(text.utf8)) }

/// A token made by hand; without a key it has no signature.
private func forge(_ header: [String: String], _ claims: String, key: String? = Harness.jwtSecret.exposed) -> String {
    let fields = header.map { "\"\($0)\":\($0 == "crit" ? "[\"\($1)\"]" : "\"\($1)\"")" }.joined(separator: ",")
    let input = encode("{\(fields)}") + "." + encode(claims)
    guard let key else { return input + "." }
    let code = HMAC<SHA256>.authenticationCode(
        for: Array(input.utf8),
        using: SymmetricKey(data: Array(key.utf8))
    )
    return input + "." + Base64URL.encode(Array(code))
}
