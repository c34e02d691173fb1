internal import Crypto
internal import Foundation
package import NMSCore

/// A master key: 32 bytes and the id that is stored beside what it encrypted. Descriptions never show the bytes.
package struct MasterKey: Sendable, CustomStringConvertible, CustomReflectable {
    /// How many bytes AES-256 takes.
    package static let length = 32

    /// The first 8 bytes of SHA-256 of the key, in hexadecimal.
    package let id: String
    let bytes: [UInt8]

    /// - Parameter bytes: exactly 32 bytes; nil otherwise.
    package init?(bytes: [UInt8]) {
        guard bytes.count == Self.length else { return nil }
        self.bytes = bytes
        self.id = SHA256.hash(data: bytes).prefix(8).map { byte in
            let digits = String(byte, radix: 16)
            return byte < 16 ? "0" + digits : digits
        }.joined()
    }

    var symmetricKey: SymmetricKey { SymmetricKey(data: self.bytes) }

    package var description: String { "master key \(self.id)" }
    package var customMirror: Mirror { Mirror(self, children: ["id": self.id]) }
}

/// AES-256-GCM over passwords: the row's id as additional data, the key's id beside the ciphertext.
///
/// The text is `v1:<key id>:<base64 of nonce, ciphertext and tag>`. Additional data ties a ciphertext to its row: one
/// that was copied to another row does not open.
package struct CredentialCipher: Sendable {
    static let version = "v1"

    private let key: MasterKey
    private let keys: [String: MasterKey]

    /// - Parameter retired: keys that still open old rows, for rotation.
    package init(key: MasterKey, retired: [MasterKey] = []) {
        self.key = key
        self.keys = Dictionary((retired + [key]).map { ($0.id, $0) }) { $1 }
    }

    /// The ids of the keys that open rows.
    var keyIDs: Set<String> { Set(self.keys.keys) }

    /// The text to store; another one each time.
    package func seal(_ secret: Secret, credentialID: Int) throws -> String {
        try self.seal(secret, context: Self.context(credentialID))
    }

    /// - Throws: ``StorageError/undecryptable(credentialID:)``.
    package func open(_ ciphertext: String, credentialID: Int) throws -> Secret {
        guard let secret = self.open(ciphertext, context: Self.context(credentialID)) else {
            throw StorageError.undecryptable(credentialID: credentialID)
        }
        return secret
    }

    /// Whether the ciphertext is that of `secret`; false also for one that does not open. Takes the same time for any
    /// secrets of the same lengths.
    func opens(_ ciphertext: String, to secret: Secret, credentialID: Int) -> Bool {
        guard let old = self.open(ciphertext, context: Self.context(credentialID)) else { return false }
        // Codes are compared in constant time; a key for this one comparison, so that they tell nothing.
        let key = SymmetricKey(size: .bits256)
        let code = HMAC<SHA256>.authenticationCode(for: Array(old.exposed.utf8), using: key)
        return HMAC<SHA256>.isValidAuthenticationCode(code, authenticating: Array(secret.exposed.utf8), using: key)
    }

    func seal(_ secret: Secret, context: String) throws -> String {
        let box = try AES.GCM.seal(
            Array(secret.exposed.utf8),
            using: self.key.symmetricKey,
            authenticating: Array(context.utf8)
        )
        let sealed = Data(box.nonce) + box.ciphertext + box.tag
        return "\(Self.version):\(self.key.id):\(sealed.base64EncodedString())"
    }

    /// nil when no known key opens it, or it was made for another context or changed.
    func open(_ ciphertext: String, context: String) -> Secret? {
        let parts = ciphertext.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0] == Self.version, let key = self.keys[String(parts[1])],
            let sealed = Data(base64Encoded: String(parts[2])), let box = try? AES.GCM.SealedBox(combined: sealed),
            let plain = try? AES.GCM.open(box, using: key.symmetricKey, authenticating: Array(context.utf8))
        else { return nil }
        return String(validating: plain, as: UTF8.self).map { Secret($0) }
    }

    private static func context(_ credentialID: Int) -> String { "nmslite credential \(credentialID)" }
}
