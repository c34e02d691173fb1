/// Why storage refused; anything else that goes wrong is a `PostgresError`.
package enum StorageError: Error, Sendable, Equatable {
    /// A unique value is taken; `field` is the API's name of it, `value` what was given.
    case duplicate(field: String, value: String)
    /// A credential that is still used by devices can't be deleted.
    case inUse(deviceIDs: [Int])
    /// A referred row does not exist.
    case missing(field: String, id: Int)
    /// The ciphertext does not open with any known master key.
    case undecryptable(credentialID: Int)
    /// The database was made with another master key.
    case wrongMasterKey
    /// The database's schema is newer than this binary.
    case schemaTooNew(found: Int, supported: Int)
}
