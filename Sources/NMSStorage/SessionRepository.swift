package import Postgres
package import struct Foundation.Date
package import struct Foundation.UUID

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
    ///
    /// - Parameter audit: of the user who signs in.
    package func create(
        userID: Int,
        tokenHash: String,
        expiresAt: Date,
        audit: AuditContext
    ) async throws -> String {
        try await self.pool.withTransaction { connection in
            let rows = try await connection.query(
                "INSERT INTO sessions (user_id, expires_at) VALUES ($1, $2) RETURNING id",
                [userID, expiresAt]
            )
            let session: String = try rows[0].value("id")
            try await Self.insertToken(tokenHash, session: session, userID: userID, expiresAt: expiresAt, connection)
            let event = AuditEvent(.sessionLogin, .session(id: session, username: audit.actor.name))
            try await AuditRepository.record(event, audit, connection)
            return session
        }
    }

    /// Exchanges a token for its successor in one transaction.
    ///
    /// Of several that present the same token at once, one gets the successor; the others are reuse.
    /// - Parameter audit: where the token came from; who presents a spent one has proven nothing.
    package func rotate(
        tokenHash: String,
        successorHash: String,
        successorExpiresAt: Date,
        now: Date,
        audit: AuditContext
    ) async throws -> RefreshOutcome {
        try await self.pool.withTransaction { connection in
            let rows = try await connection.query(
                """
                SELECT refresh_tokens.session_id, refresh_tokens.rotated_at IS NOT NULL AS was_rotated,
                    refresh_tokens.expires_at > $2 AND sessions.revoked_at IS NULL AS is_alive, \
                refresh_tokens.user_id, users.username
                FROM refresh_tokens JOIN sessions ON sessions.id = refresh_tokens.session_id
                JOIN users ON users.id = refresh_tokens.user_id
                WHERE refresh_tokens.token_hash = $1
                FOR UPDATE OF refresh_tokens
                """,
                [tokenHash, now]
            )
            guard let row = rows.first, try row.value("is_alive") else { return .invalid }
            let session: String = try row.value("session_id")
            if try row.value("was_rotated") {
                try await connection.query("UPDATE sessions SET revoked_at = $2 WHERE id = $1", [session, now])
                let target = AuditTarget.session(id: session, username: try row.value("username"))
                let event = AuditEvent(.sessionReuseDetected, target)
                try await AuditRepository.record(event, audit.acting(as: .system), connection)
                return .reused(sessionID: session)
            }
            let userID: Int = try row.value("user_id")
            try await connection.query(
                "UPDATE refresh_tokens SET rotated_at = $2 WHERE token_hash = $1",
                [tokenHash, now]
            )
            try await Self.insertToken(
                successorHash,
                session: session,
                userID: userID,
                expiresAt: successorExpiresAt,
                connection
            )
            try await connection.query(
                "UPDATE sessions SET expires_at = GREATEST(expires_at, $2) WHERE id = $1",
                [session, successorExpiresAt]
            )
            let users = try await connection.query(
                "SELECT \(UserRepository.columns) FROM users WHERE id = $1",
                [userID]
            )
            return .rotated(sessionID: session, user: try UserRepository.user(users[0]))
        }
    }

    /// Ends one session. Idempotent.
    ///
    /// - Parameter audit: of the session's user.
    package func revoke(sessionID: String, audit: AuditContext) async throws {
        guard UUID(uuidString: sessionID) != nil else { return }
        try await self.pool.withTransaction { connection in
            let revoked = try await connection.query(
                "UPDATE sessions SET revoked_at = NOW() WHERE id = $1 AND revoked_at IS NULL",
                [sessionID]
            )
            guard revoked.affectedRows > 0 else { return }
            let event = AuditEvent(.sessionLogout, .session(id: sessionID, username: audit.actor.name))
            try await AuditRepository.record(event, audit, connection)
        }
    }

    /// The user of a session that is alive; nil once it was revoked, expired or its user removed.
    package func user(sessionID: String, now: Date) async throws -> User? {
        // Anything else would be an error of the server's.
        guard UUID(uuidString: sessionID) != nil else { return nil }
        return try await self.pool.read(
            """
            SELECT \(UserRepository.columns) FROM users WHERE id = (
                SELECT user_id FROM sessions WHERE id = $1 AND revoked_at IS NULL AND expires_at > $2
            )
            """,
            [sessionID, now]
        ).first.map(UserRepository.user)
    }

    /// Deletes what expired before `now`; returns how many tokens.
    package func removeExpired(now: Date) async throws -> Int {
        try await self.pool.withTransaction { connection in
            let tokens = try await connection.query("DELETE FROM refresh_tokens WHERE expires_at <= $1", [now])
            try await connection.query("DELETE FROM sessions WHERE expires_at <= $1", [now])
            return tokens.affectedRows
        }
    }

    private static func insertToken(
        _ hash: String,
        session: String,
        userID: Int,
        expiresAt: Date,
        _ connection: PostgresConnection
    ) async throws {
        try await connection.query(
            "INSERT INTO refresh_tokens (user_id, token_hash, expires_at, session_id) VALUES ($1, $2, $3, $4)",
            [userID, hash, expiresAt, session]
        )
    }
}
