package import NMSCore
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
    package func create(username: String, passwordHash: String, role: Role) async throws -> User { fatalError() }
    /// Creates the first user if there is none at all, under a lock; nil when there already was one.
    package func createFirst(username: String, passwordHash: String, role: Role) async throws -> User? { fatalError() }
    package func user(username: String) async throws -> User? { fatalError() }
    package func user(id: Int) async throws -> User? { fatalError() }
    package func list() async throws -> [User] { fatalError() }
    package func count() async throws -> Int { fatalError() }
    /// Sets the hash and ends every session of the user; false when there is no such user.
    package func setPassword(username: String, passwordHash: String) async throws -> Bool { fatalError() }
    /// Removes the user and every session; false when there is none.
    package func remove(username: String) async throws -> Bool { fatalError() }
}

/// What presenting a refresh token led to.
package enum RefreshOutcome: Sendable, Equatable {
    /// The token was good and is now spent; its successor is stored.
    case rotated(sessionID: String, user: User)
    /// Unknown or expired.
    case invalid
    /// It had been rotated before: its whole session is revoked now.
    case reused(sessionID: String)
}

/// Sessions: families of refresh tokens, of which only the last is good. Tokens are stored as hashes.
package struct SessionRepository: Sendable {
    let pool: PostgresPool

    package init(pool: PostgresPool) { self.pool = pool }

    /// Starts a session (a UUID) with its first refresh token.
    package func create(userID: Int, tokenHash: String, expiresAt: Date) async throws -> String { fatalError() }
    /// Exchanges a token for its successor in one transaction.
    package func rotate(
        tokenHash: String, successorHash: String, successorExpiresAt: Date, now: Date
    ) async throws -> RefreshOutcome { fatalError() }
    /// Ends one session. Idempotent.
    package func revoke(sessionID: String) async throws { fatalError() }
    /// The user of a session that is alive; nil once it was revoked, expired or its user removed.
    package func user(sessionID: String, now: Date) async throws -> User? { fatalError() }
    /// Deletes what expired before `now`; returns how many tokens.
    package func removeExpired(now: Date) async throws -> Int { fatalError() }
}
