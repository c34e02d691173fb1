import Crypto
import CryptoExtras
import Foundation
import NMSCore

@testable import NMSAPI

/// Makes access tokens by hand, good ones and bad ones.
struct TokenForge {
    /// Of a token that the server issued.
    private let claims: [String: JSONValue]
    private let signature: String

    init(_ token: String) throws {
        let parts = token.split(separator: ".").map(String.init)
        guard case .object(let claims) = try JSONParser.parse(Array(try required(Base64URL.decode(parts[1])))) else {
            throw HarnessError.missing
        }
        self.claims = claims
        self.signature = parts[2]
    }

    /// Signed with the server's own secret, unless told otherwise.
    func token(
        header: [String: String] = ["alg": "HS256", "typ": "JWT"],
        changing changes: [String: JSONValue] = [:],
        secret: String = Harness.jwtSecret.exposed
    ) -> String {
        let input = self.input(header: header, changes)
        let key = SymmetricKey(data: Array(secret.utf8))
        return input + "."
            + Base64URL.encode(Array(HMAC<SHA256>.authenticationCode(for: Array(input.utf8), using: key)))
    }

    /// `alg` none, without a signature (RFC 7519 §6).
    var unsecured: String { self.input(header: ["alg": "none"], [:]) + "." }

    /// Really signed with RSA.
    func signed(by key: _RSA.Signing.PrivateKey) throws -> String {
        let input = self.input(header: ["alg": "RS256", "typ": "JWT"], [:])
        let digest = SHA256.hash(data: Array(input.utf8))
        let signature = try key.signature(for: digest, padding: .insecurePKCS1v1_5)
        return input + "." + Base64URL.encode(Array(signature.rawRepresentation))
    }

    /// The server's own signature under other claims.
    func tampered(_ changes: [String: JSONValue]) -> String {
        self.input(header: ["alg": "HS256", "typ": "JWT"], changes) + "." + self.signature
    }

    private func input(header: [String: String], _ changes: [String: JSONValue]) -> String {
        let header = JSONValue.object(header.mapValues { .string($0) })
        let claims = JSONValue.object(self.claims.merging(changes) { $1 })
        return [header, claims].map { Base64URL.encode(Array((try? JSONEncoder().encode($0)) ?? Data())) }
            .joined(separator: ".")
    }
}
