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
        name: String,
        type: CredentialType,
        username: String,
        password: Secret,
        domain: String? = nil,
        port: Int? = nil,
        useSSL: Bool = false,
        tlsVerify: TLSVerification = .full,
        allowUnencryptedBasic: Bool = false,
        allowedTargets: [CIDRBlock] = []
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

    /// Whether sign-ins name another account, or name it in another way; Windows compares names without case.
    fileprivate func changesAccount(of old: Credential) -> Bool {
        self.type.map { $0 != old.type } == true
            || self.username.map { $0.lowercased() != old.username.lowercased() } == true
            || self.domain.map { ($0 ?? "").lowercased() != (old.domain ?? "").lowercased() } == true
    }
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
    package func create(_ credential: NewCredential, audit: AuditContext) async throws -> Credential {
        try await Self.mappingDuplicates(of: credential.name) {
            try await self.pool.withTransaction { connection in
                // The ciphertext is tied to the row's id, so the id comes first.
                let reserved = try await connection.query(
                    "SELECT nextval(pg_get_serial_sequence('credentials', 'id')) AS id"
                )
                let id: Int = try reserved[0].value("id")
                let key = try await MasterKeyTable.current(self.cipher, connection)
                let rows = try await connection.query(
                    """
                    INSERT INTO credentials (id, name, credential_type, username, encrypted_password, domain, port,
                        use_ssl, tls_verify, allow_unencrypted_basic, allowed_targets)
                    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::text[]::cidr[])
                    RETURNING \(Self.columns)
                    """,
                    [
                        id, credential.name, credential.type.rawValue, credential.username,
                        try self.cipher.seal(credential.password, credentialID: id, with: key), credential.domain,
                        credential.port, credential.useSSL, credential.tlsVerify.rawValue,
                        credential.allowUnencryptedBasic, credential.allowedTargets.map(\.description),
                    ]
                )
                let created = try Self.credential(rows[0])
                let event = AuditEvent(.credentialCreated, .credential(created), AuditChanges(created: created))
                try await AuditRepository.record(event, audit, connection)
                return created
            }
        }
    }

    package func credential(id: Int) async throws -> Credential? {
        guard let id = Int32(exactly: id) else { return nil }
        let rows = try await self.pool.read("SELECT \(Self.columns) FROM credentials WHERE id = $1", [id])
        return try rows.first.map(Self.credential)
    }

    package func list(_ filter: CredentialFilter) async throws -> Page<Credential> {
        let total = try await self.pool.read(
            "SELECT count(*) AS total FROM credentials WHERE \(CredentialFilter.condition)",
            filter.values
        )
        let rows = try await self.pool.read(
            """
            SELECT \(Self.columns) FROM credentials WHERE \(CredentialFilter.condition)
            ORDER BY \(filter.order) LIMIT $4 OFFSET $5
            """,
            filter.values + [max(0, filter.limit), max(0, filter.offset)]
        )
        return Page(
            items: try rows.map(Self.credential),
            total: try total[0].value("total"),
            limit: filter.limit,
            offset: filter.offset
        )
    }

    /// nil when there is no such credential.
    ///
    /// A given password is stored with a fresh ciphertext. Another password, user name, domain or type ends the
    /// suspension of the credential and of all its pairs; the same ones, given again, do not.
    /// - Parameter check: judges the row that is about to change, which nobody else changes meanwhile; what it throws
    ///   leaves the row as it is.
    /// - Throws: ``StorageError/duplicate(field:value:)`` for `name`, and whatever `check` does.
    package func update(
        id: Int,
        _ changes: CredentialChanges,
        audit: AuditContext,
        check: (Credential) throws -> Void = { _ in }
    ) async throws -> Credential? {
        guard Int32(exactly: id) != nil else { return nil }
        return try await Self.mappingDuplicates(of: changes.name ?? "") {
            try await self.pool.withTransaction { connection in
                let found = try await connection.query(
                    "SELECT \(Self.columns), encrypted_password FROM credentials WHERE id = $1 FOR NO KEY UPDATE",
                    [id]
                )
                guard let row = found.first else { return nil }
                let old = try Self.credential(row)
                try check(old)
                let isAnotherPassword = try changes.password.map {
                    !self.cipher.opens(try row.value("encrypted_password"), to: $0, credentialID: id)
                }
                if isAnotherPassword == true || changes.changesAccount(of: old) {
                    try await Self.endSuspensions(of: id, connection)
                }
                let new = try await self.store(changes, id: id, connection)
                let differences = AuditChanges(from: old, to: new)
                try await AuditRepository.record(
                    AuditEvent(
                        .credentialUpdated,
                        .credential(new),
                        isAnotherPassword == true ? differences.withSecret("password") : differences
                    ),
                    audit,
                    connection
                )
                return new
            }
        }
    }

    /// false when there was none. - Throws: ``StorageError/inUse(deviceIDs:)``.
    package func delete(id: Int, audit: AuditContext) async throws -> Bool {
        guard Int32(exactly: id) != nil else { return false }
        return try await self.pool.withTransaction { connection in
            // The lock keeps devices from choosing the credential meanwhile.
            let found = try await connection.query(
                "SELECT \(Self.columns) FROM credentials WHERE id = $1 FOR UPDATE",
                [id]
            )
            guard let old = try found.first.map(Self.credential) else { return false }
            let users = try await connection.query(Self.usersQuery, [id])
            guard users.isEmpty else {
                throw StorageError.inUse(deviceIDs: try users.map { try $0.value("device_id") })
            }
            try await connection.query("DELETE FROM credentials WHERE id = $1", [id])
            let event = AuditEvent(.credentialDeleted, .credential(old), AuditChanges(deleted: old))
            try await AuditRepository.record(event, audit, connection)
            return true
        }
    }

    /// Ends the credential's suspension and that of every pair of it. nil when there is no such credential.
    package func resume(id: Int, audit: AuditContext) async throws -> Credential? {
        guard Int32(exactly: id) != nil else { return nil }
        return try await self.pool.withTransaction { connection in
            let found = try await connection.query(
                "SELECT \(Self.columns) FROM credentials WHERE id = $1 FOR NO KEY UPDATE",
                [id]
            )
            guard let old = try found.first.map(Self.credential) else { return nil }
            try await Self.endSuspensions(of: id, connection)
            let rows = try await connection.query("SELECT \(Self.columns) FROM credentials WHERE id = $1", [id])
            let new = try Self.credential(rows[0])
            let event = AuditEvent(.credentialResumed, .credential(new), AuditChanges(from: old, to: new))
            try await AuditRepository.record(event, audit, connection)
            return new
        }
    }

    /// Devices that use the credential, ascending.
    package func deviceIDs(using id: Int) async throws -> [Int] {
        guard let id = Int32(exactly: id) else { return [] }
        return try await self.pool.read(Self.usersQuery, [id]).map { try $0.value("device_id") }
    }

    // MARK: Passwords

    /// - Throws: ``StorageError/undecryptable(credentialID:)``.
    package func decrypted(id: Int) async throws -> DecryptedCredential? {
        guard let id = Int32(exactly: id) else { return nil }
        let rows = try await self.pool.read(
            "SELECT \(Self.columns), encrypted_password FROM credentials WHERE id = $1",
            [id]
        )
        return try rows.first.map(self.decrypt)
    }

    /// How the credentials of a device are tried; `used` is the alias of `device_credentials`.
    static let trialOrder = "(used.is_active AND used.last_success IS NOT NULL) DESC, used.priority, used.id"

    private static let usersQuery =
        "SELECT device_id FROM device_credentials WHERE credential_id = $1 ORDER BY device_id"

    // MARK: Rows

    static let columns = """
        id, name, credential_type, username, domain, port, use_ssl, tls_verify, allow_unencrypted_basic, \
        allowed_targets::text[] AS allowed_targets, status, created_at, updated_at
        """

    private func store(
        _ changes: CredentialChanges,
        id: Int,
        _ connection: PostgresConnection
    ) async throws -> Credential {
        let sealed = try await self.sealed(changes.password, id: id, connection)
        let rows = try await connection.query(
            """
            UPDATE credentials SET
                name = COALESCE($2, name),
                credential_type = COALESCE($3, credential_type),
                username = COALESCE($4, username),
                encrypted_password = COALESCE($5, encrypted_password),
                domain = CASE WHEN $6 THEN $7 ELSE domain END,
                port = CASE WHEN $8 THEN $9 ELSE port END,
                use_ssl = COALESCE($10, use_ssl),
                tls_verify = COALESCE($11, tls_verify),
                allow_unencrypted_basic = COALESCE($12, allow_unencrypted_basic),
                allowed_targets = COALESCE($13::text[]::cidr[], allowed_targets),
                updated_at = NOW()
            WHERE id = $1
            RETURNING \(Self.columns)
            """,
            [
                id, changes.name, changes.type?.rawValue, changes.username,
                sealed, changes.domain != nil, changes.domain ?? nil, changes.port != nil, changes.port ?? nil,
                changes.useSSL, changes.tlsVerify?.rawValue, changes.allowUnencryptedBasic,
                changes.allowedTargets?.map(\.description),
            ]
        )
        return try Self.credential(rows[0])
    }

    /// With the key that is current; nil stays nil.
    private func sealed(_ password: Secret?, id: Int, _ connection: PostgresConnection) async throws -> String? {
        guard let password else { return nil }
        let key = try await MasterKeyTable.current(self.cipher, connection)
        return try self.cipher.seal(password, credentialID: id, with: key)
    }

    private func decrypt(_ row: PostgresRow) throws -> DecryptedCredential {
        let credential = try Self.credential(row)
        let password = try self.cipher.open(try row.value("encrypted_password"), credentialID: credential.id)
        return DecryptedCredential(credential: credential, password: password)
    }

    static func credential(_ row: PostgresRow) throws -> Credential {
        Credential(
            id: try row.value("id"),
            name: try row.value("name"),
            type: try row.enumeration("credential_type"),
            username: try row.value("username"),
            domain: try row.optional("domain"),
            port: try row.optional("port"),
            useSSL: try row.value("use_ssl"),
            tlsVerify: try row.enumeration("tls_verify"),
            allowUnencryptedBasic: try row.value("allow_unencrypted_basic"),
            allowedTargets: try row.value("allowed_targets", as: [String].self).map { text in
                // Dropping one silently would allow more than was asked for.
                guard let block = CIDRBlock(text) else {
                    throw PostgresError.decoding(column: "allowed_targets", expected: "CIDR", found: text)
                }
                return block
            },
            status: try row.enumeration("status"),
            createdAt: try row.value("created_at"),
            updatedAt: try row.value("updated_at")
        )
    }

    private static func mappingDuplicates<Value: Sendable>(
        of name: String,
        _ body: () async throws -> Value
    ) async throws -> Value {
        do {
            return try await body()
        } catch let error as PostgresError where error.sqlState == .uniqueViolation {
            throw StorageError.duplicate(field: "name", value: name)
        }
    }
}
