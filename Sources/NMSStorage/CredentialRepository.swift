package import NMSCore
package import Postgres

package struct NewCredential: Sendable {
    package var name: String
    package var type: CredentialType
    package var username: String
    package var password: Secret
    package var domain: String?
    package var port: Int?
    package var useSSL: Bool
    package var tlsVerify: TLSVerification
    package var allowUnencryptedBasic: Bool
    package var allowedTargets: [CIDRBlock]

    package init(
        name: String, type: CredentialType, username: String, password: Secret, domain: String? = nil,
        port: Int? = nil, useSSL: Bool = false, tlsVerify: TLSVerification = .full,
        allowUnencryptedBasic: Bool = false, allowedTargets: [CIDRBlock] = []
    ) {
        self.name = name
        self.type = type
        self.username = username
        self.password = password
        self.domain = domain
        self.port = port
        self.useSSL = useSSL
        self.tlsVerify = tlsVerify
        self.allowUnencryptedBasic = allowUnencryptedBasic
        self.allowedTargets = allowedTargets
    }
}

/// What an update sets; nil leaves a column alone, `.some(nil)` clears it.
package struct CredentialChanges: Sendable {
    package var name: String?
    package var type: CredentialType?
    package var username: String?
    /// A changed password also ends every suspension of the credential.
    package var password: Secret?
    package var domain: String??
    package var port: Int??
    package var useSSL: Bool?
    package var tlsVerify: TLSVerification?
    package var allowUnencryptedBasic: Bool?
    package var allowedTargets: [CIDRBlock]?

    package init() {}
}

/// Credentials, their encrypted passwords and the lockout guard's memory.
package struct CredentialRepository: Sendable {
    let pool: PostgresPool
    let cipher: CredentialCipher

    package init(pool: PostgresPool, cipher: CredentialCipher) {
        self.pool = pool
        self.cipher = cipher
    }

    /// Names are unique, compared without case. - Throws: ``StorageError/duplicate(field:value:)`` for `name`.
    package func create(_ credential: NewCredential) async throws -> Credential { fatalError() }
    package func credential(id: Int) async throws -> Credential? { fatalError() }
    package func list(limit: Int, offset: Int) async throws -> Page<Credential> { fatalError() }
    package func update(id: Int, _ changes: CredentialChanges) async throws -> Credential? { fatalError() }
    /// false when there was none. - Throws: ``StorageError/inUse(deviceIDs:)``.
    package func delete(id: Int) async throws -> Bool { fatalError() }
    /// Ends the credential's suspension and that of every pair of it. nil when there is no such credential.
    package func resume(id: Int) async throws -> Credential? { fatalError() }
    package func decrypted(id: Int) async throws -> DecryptedCredential? { fatalError() }
    /// The device's usable credentials: the one that worked last first, then by priority.
    package func decrypted(forDevice deviceID: Int) async throws -> [DecryptedCredential] { fatalError() }
    /// Devices that use the credential.
    package func deviceIDs(using id: Int) async throws -> [Int] { fatalError() }
}

extension CredentialRepository: SuspensionStore {
    package func suspension(deviceID: Int, credentialID: Int) async throws -> SuspensionState { fatalError() }
    package func recordAuthenticationFailure(deviceID: Int, credentialID: Int) async throws -> SuspensionState {
        fatalError()
    }
    package func recordAuthenticationSuccess(deviceID: Int, credentialID: Int) async throws { fatalError() }
}
