package import Postgres
package import struct Foundation.Date

/// What a user may do.
package enum Role: String, Codable, Sendable, CaseIterable {
    case admin, `operator`, viewer
}

package struct User: Sendable, Equatable {
    package var id: Int
    package var username: String
    package var passwordHash: String
    package var role: Role
    package var createdAt: Date
    package var updatedAt: Date

    package init(id: Int, username: String, passwordHash: String, role: Role, createdAt: Date, updatedAt: Date) {
        self.id = id
        self.username = username
        self.passwordHash = passwordHash
        self.role = role
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }
}

/// People who may call the API. User names compare without case.
package struct UserRepository: Sendable {
    let pool: PostgresPool

    package init(pool: PostgresPool) { self.pool = pool }

    /// - Throws: ``StorageError/duplicate(field:value:)`` for `username`.
    package func create(
        username: String,
        passwordHash: String,
        role: Role,
        audit: AuditContext
    ) async throws -> User {
        do {
            return try await self.pool.withTransaction { connection in
                try await Self.insert([username, passwordHash, role.rawValue], audit, connection)
            }
        } catch let error as PostgresError where error.sqlState == .uniqueViolation {
            throw StorageError.duplicate(field: "username", value: username)
        }
    }

    /// Creates the first user if there is none at all, under a lock; nil when there already was one.
    package func createFirst(
        username: String,
        passwordHash: String,
        role: Role,
        audit: AuditContext
    ) async throws -> User? {
        try await self.pool.withTransaction { connection in
            try await connection.query(
                "SELECT pg_advisory_xact_lock($1)",
                [AdvisoryLockKey.firstUser.rawValue]
            )
            let existing = try await connection.query("SELECT EXISTS (SELECT 1 FROM users) AS found")
            if try existing[0].value("found") { return nil }
            return try await Self.insert([username, passwordHash, role.rawValue], audit, connection)
        }
    }

    package func user(username: String) async throws -> User? {
        try await self.pool.read(
            "SELECT \(Self.columns) FROM users WHERE lower(username) = lower($1)",
            [username]
        ).first.map(Self.user)
    }

    package func user(id: Int) async throws -> User? {
        guard let id = Int32(exactly: id) else { return nil }
        return try await self.pool.read("SELECT \(Self.columns) FROM users WHERE id = $1", [id]).first.map(Self.user)
    }

    /// By name.
    package func list() async throws -> [User] {
        try await self.pool.read("SELECT \(Self.columns) FROM users ORDER BY lower(username)").map(Self.user)
    }

    package func count() async throws -> Int {
        try await self.pool.read("SELECT count(*) AS total FROM users")[0].value("total")
    }

    /// Sets the hash and ends every session of the user; false when there is no such user.
    package func setPassword(username: String, passwordHash: String, audit: AuditContext) async throws -> Bool {
        try await self.pool.withTransaction { connection in
            let rows = try await connection.query(
                """
                UPDATE users SET password_hash = $2, updated_at = NOW() WHERE lower(username) = lower($1)
                RETURNING \(Self.columns)
                """,
                [username, passwordHash]
            )
            guard let user = try rows.first.map(Self.user) else { return false }
            try await connection.query(
                "UPDATE sessions SET revoked_at = NOW() WHERE user_id = $1 AND revoked_at IS NULL",
                [user.id]
            )
            let target = AuditTarget.user(id: user.id, username: user.username)
            let event = AuditEvent(.userPasswordChanged, target, AuditChanges().withSecret("password"))
            try await AuditRepository.record(event, audit, connection)
            return true
        }
    }

    /// Removes the user and every session; false when there is none.
    package func remove(username: String, audit: AuditContext) async throws -> Bool {
        try await self.pool.withTransaction { connection in
            let rows = try await connection.query(
                "DELETE FROM users WHERE lower(username) = lower($1) RETURNING \(Self.columns)",
                [username]
            )
            guard let user = try rows.first.map(Self.user) else { return false }
            let target = AuditTarget.user(id: user.id, username: user.username)
            let event = AuditEvent(.userRemoved, target, AuditChanges(deleted: user))
            try await AuditRepository.record(event, audit, connection)
            return true
        }
    }

    static let columns = "id, username, password_hash, role, created_at, updated_at"

    /// - Parameter values: name, password's hash and role.
    private static func insert(
        _ values: [String],
        _ audit: AuditContext,
        _ connection: PostgresConnection
    ) async throws -> User {
        let rows = try await connection.query(
            "INSERT INTO users (username, password_hash, role) VALUES ($1, $2, $3) RETURNING \(Self.columns)",
            values
        )
        let user = try Self.user(rows[0])
        let target = AuditTarget.user(id: user.id, username: user.username)
        let event = AuditEvent(.userCreated, target, AuditChanges(created: user))
        try await AuditRepository.record(event, audit, connection)
        return user
    }

    static func user(_ row: PostgresRow) throws -> User {
        User(
            id: try row.value("id"),
            username: try row.value("username"),
            passwordHash: try row.value("password_hash"),
            role: try row.enumeration("role"),
            createdAt: try row.value("created_at"),
            updatedAt: try row.value("updated_at")
        )
    }
}
