internal import Crypto
internal import Foundation
package import NMSCore

/// AES-256-GCM over passwords: the row's id as additional data, the key's id beside the ciphertext.
///
/// The text is `v1:<key id>:<base64 of nonce, ciphertext and tag>`. Additional data ties a ciphertext to its row: one
/// that was copied to another row does not open.
package struct CredentialCipher: Sendable {
    static let version = "v1"

    /// What this instance was started with: the key of a database that has none yet.
    package let key: MasterKey
    let ring: MasterKeyRing

    /// - Parameter ring: knows `key`, too.
    package init(key: MasterKey, ring: MasterKeyRing) {
        self.key = key
        self.ring = ring
    }

    /// - Parameter retired: keys that still open old rows.
    package init(key: MasterKey, retired: [MasterKey] = []) {
        self.init(key: key, ring: MasterKeyRing([key] + retired))
    }

    /// The key of this id, unless this instance was not given it.
    func knownKey(_ id: String) -> MasterKey? { self.ring.key(id) }

    /// The text to store; another one each time.
    func seal(_ secret: Secret, credentialID: Int, with key: MasterKey) throws -> String {
        try self.seal(secret, context: Self.context(credentialID), with: key)
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

    func seal(_ secret: Secret, context: String, with key: MasterKey) throws -> String {
        let box = try AES.GCM.seal(
            Array(secret.exposed.utf8),
            using: key.symmetricKey,
            authenticating: Array(context.utf8)
        )
        let sealed = Data(box.nonce) + box.ciphertext + box.tag
        return "\(Self.version):\(key.id):\(sealed.base64EncodedString())"
    }

    /// nil when no known key opens it, or it was made for another context or changed.
    func open(_ ciphertext: String, context: String) -> Secret? {
        let parts = ciphertext.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0] == Self.version, let key = self.ring.key(String(parts[1])),
            let sealed = Data(base64Encoded: String(parts[2])), let box = try? AES.GCM.SealedBox(combined: sealed),
            let plain = try? AES.GCM.open(box, using: key.symmetricKey, authenticating: Array(context.utf8))
        else { return nil }
        return String(validating: plain, as: UTF8.self).map { Secret($0) }
    }

    private static func context(_ credentialID: Int) -> String { "nmslite credential \(credentialID)" }
}
