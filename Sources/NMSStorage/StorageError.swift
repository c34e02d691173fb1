/// Why storage refused; anything else that goes wrong is a `PostgresError`.
package enum StorageError: Error, Sendable, Equatable {
    /// A unique value is taken; `field` is the API's name of it, `value` what was given.
    case duplicate(field: String, value: String)
    /// A credential that is still used by devices can't be deleted.
    case inUse(deviceIDs: [Int])
    /// A referred row does not exist.
    case missing(field: String, id: Int)
    /// A discovery that is queued or running has addresses in common with a new one.
    case discoveryActive(id: Int)
    /// The ciphertext does not open with any known master key.
    case undecryptable(credentialID: Int)
    /// The database was made with another master key.
    case wrongMasterKey
    /// A rotation of the master key has not ended, and this instance knows only one of both keys.
    case masterKeyMissing(id: String)
    /// A rotation of the master key is under way.
    case masterKeyRotationRuns
    /// The database's schema is newer than this binary.
    case schemaTooNew(found: Int, supported: Int)
}

extension StorageError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .duplicate(let field, let value): "\(field) \(value) is taken"
        case .inUse(let deviceIDs):
            "the credential is used by devices \(deviceIDs.map(String.init).joined(separator: ", "))"
        case .missing(let field, let id): "\(field) \(id) does not exist"
        case .discoveryActive(let id): "discovery \(id) of the same addresses is not over"
        case .undecryptable(let credentialID):
            "the password of credential \(credentialID) does not open with the master key: set it again"
        case .wrongMasterKey:
            "the database was made with another master key: start with the key that it was made with"
        case .masterKeyMissing(let id):
            "a rotation of the master key is not finished, and its key \(id) is missing: give both keys"
        case .masterKeyRotationRuns: "another rotation of the master key is under way"
        case .schemaTooNew(let found, let supported):
            "the database has schema version \(found), this binary knows \(supported): start a newer one"
        }
    }
}
