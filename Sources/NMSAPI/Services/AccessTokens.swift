internal import JWTKit
package import NMSCore
internal import NMSStorage
package import Foundation

/// Issues and checks access tokens: JWTs signed with HS256 and nothing else (specification §8.2).
package struct AccessTokens: Sendable {
    /// RFC 7518 §3.2: a key of the same size as the hash output or larger, in bytes.
    package static let minimumSecretBytes = 32
    /// How far ahead of ours the clock of the instance that issued a token may be, in seconds: `iat` and `nbf` may lie
    /// that much in the future. Expiry has no tolerance: `exp` is the first moment at which a token is refused.
    static let clockSkew = 5
    static let issuer = "nmslite"
    static let audience = "nmslite-api"
    /// Ours have some 400 characters.
    static let maximumLength = 4096

    private let keys: JWTKeyCollection
    private let lifetime: Duration
    private let now: @Sendable () -> Date
    private let verified = VerifiedTokens()

    /// - Throws: ``APIConfigurationError`` when the secret has fewer than 32 bytes.
    package init(secret: Secret, lifetime: Duration, now: @escaping @Sendable () -> Date) async throws {
        let bytes = Array(secret.exposed.utf8)
        guard bytes.count >= Self.minimumSecretBytes else {
            throw APIConfigurationError(
                "auth.jwt_secret has \(bytes.count) bytes; at least \(Self.minimumSecretBytes) are needed"
            )
        }
        self.keys = JWTKeyCollection()
        self.lifetime = lifetime
        self.now = now
        await self.keys.add(hmac: HMACKey(from: bytes), digestAlgorithm: .sha256)
    }

    /// A token for a session, and when it ends.
    func issue(for user: User, sessionID: String) async throws -> (token: String, expiresAt: Date) {
        let issuedAt = Int(self.now().timeIntervalSince1970.rounded(.down))
        let expiresAt = issuedAt + Int(self.lifetime.components.seconds)
        let claims = AccessClaims(
            sub: String(user.id),
            username: user.username,
            role: user.role,
            iat: issuedAt,
            exp: expiresAt,
            sid: sessionID,
            iss: Self.issuer,
            aud: Self.audience
        )
        return (try await self.keys.sign(claims), Date(timeIntervalSince1970: Double(expiresAt)))
    }

    /// The claims of a token that we signed and that is valid now; nil for every other one.
    func verify(_ token: String) async -> AccessClaims? {
        let now = self.now().timeIntervalSince1970
        guard let claims = await self.signedClaims(token, now: now), now < Double(claims.exp),
            Double(max(claims.iat, claims.nbf ?? claims.iat)) <= now + Double(Self.clockSkew)
        else { return nil }
        return claims
    }

    /// The claims of a token that we signed, whenever that was: what does not change with time.
    private func signedClaims(_ token: String, now: Double) async -> AccessClaims? {
        if let known = self.verified[token] { return known }
        guard token.utf8.count <= Self.maximumLength, Self.hasPinnedHeader(token),
            let claims = try? await self.keys.verify(token, as: AccessClaims.self),
            claims.iss == Self.issuer, claims.aud == Self.audience
        else { return nil }
        if now < Double(claims.exp) { self.verified.insert(token, claims, now: now) }
        return claims
    }

    /// Whether the header says HS256: the key set would check any token with its only key, but a token that claims
    /// another algorithm is an attack (RFC 8725 §3.1), and extensions that it calls critical are not understood here.
    private static func hasPinnedHeader(_ token: String) -> Bool {
        let parts = token.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, parts.allSatisfy({ !$0.isEmpty && $0.utf8.allSatisfy(Self.isBase64URL) }),
            let header = Base64URL.decode(parts[0]), case .object(let fields)? = try? JSONParser.parse(Array(header))
        else { return false }
        return fields["alg"] == .string("HS256") && (fields["typ"] ?? .string("JWT")) == .string("JWT")
            && fields["crit"] == nil
    }

    private static func isBase64URL(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
            true
        default: false
        }
    }
}

/// What an access token says.
struct AccessClaims: JWTPayload, Equatable {
    var sub: String
    var username: String
    var role: Role
    var iat: Int
    var exp: Int
    /// We issue none, but RFC 7519 §4.1.5 wants it heeded.
    var nbf: Int?
    /// The session: ending it ends the token.
    var sid: String
    var iss: String
    var aud: String

    /// Nothing: ``AccessTokens`` checks the claims with its injected clock.
    func verify(using _: some JWTAlgorithm) {}
}

/// RFC 4648 §5, without padding.
enum Base64URL {
    static func encode(_ bytes: [UInt8]) -> String {
        let text = Data(bytes).base64EncodedString().utf8.filter { $0 != UInt8(ascii: "=") }.map { byte in
            switch byte {
            case UInt8(ascii: "+"): UInt8(ascii: "-")
            case UInt8(ascii: "/"): UInt8(ascii: "_")
            default: byte
            }
        }
        return String(decoding: text, as: UTF8.self)
    }

    static func decode(_ text: some StringProtocol) -> Data? {
        var base64 = text.utf8.map { byte in
            switch byte {
            case UInt8(ascii: "-"): UInt8(ascii: "+")
            case UInt8(ascii: "_"): UInt8(ascii: "/")
            default: byte
            }
        }
        base64 += Array(repeating: UInt8(ascii: "="), count: (4 - base64.count % 4) % 4)
        return Data(base64Encoded: Data(base64))
    }
}
