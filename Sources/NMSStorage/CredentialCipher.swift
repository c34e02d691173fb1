package import NMSCore

/// A master key: 32 bytes and the id that is stored beside what it encrypted.
package struct MasterKey: Sendable {
    /// The first 8 bytes of SHA-256 of the key, in hexadecimal.
    package let id: String
    let bytes: [UInt8]

    /// - Parameter bytes: exactly 32 bytes; nil otherwise.
    package init?(bytes: [UInt8]) { fatalError() }
}

/// AES-256-GCM over passwords: the row's id as additional data, the key's id beside the ciphertext.
package struct CredentialCipher: Sendable {
    /// - Parameter retired: keys that still open old rows, for rotation.
    package init(key: MasterKey, retired: [MasterKey] = []) { fatalError() }
    package func seal(_ secret: Secret, credentialID: Int) throws -> String { fatalError() }
    package func open(_ ciphertext: String, credentialID: Int) throws -> Secret { fatalError() }
}
