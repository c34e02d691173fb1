package import NMSCore
internal import Postgres

extension CredentialRepository: SuspensionStore {
    package func suspension(deviceID: Int, credentialID: Int) async throws -> SuspensionState {
        guard let device = Int32(exactly: deviceID), let credential = Int32(exactly: credentialID) else {
            return SuspensionState()
        }
        let rows = try await self.pool.read(Self.stateQuery, [device, credential])
        return try rows.first.map(Self.state) ?? SuspensionState()
    }

    /// Counts a failed sign-in and suspends what has reached its limit, in one transaction.
    ///
    /// The credential's row is locked first, so that failures of several devices and instances are counted one after
    /// another. A pair that is gone meanwhile counts nothing.
    package func recordAuthenticationFailure(deviceID: Int, credentialID: Int) async throws -> SuspensionState {
        guard let device = Int32(exactly: deviceID), let credential = Int32(exactly: credentialID) else {
            return SuspensionState()
        }
        return try await self.pool.withTransaction { connection in
            try await connection.query("SELECT id FROM credentials WHERE id = $1 FOR NO KEY UPDATE", [credential])
            try await connection.query(
                """
                UPDATE device_credentials SET
                    auth_failures = auth_failures + 1,
                    failed_since_success = TRUE,
                    last_failure_at = NOW(),
                    suspended_at = CASE WHEN auth_failures + 1 >= $3 THEN COALESCE(suspended_at, NOW())
                        ELSE suspended_at END
                WHERE device_id = $1 AND credential_id = $2
                """,
                [device, credential, LockoutLimits.failuresPerPair]
            )
            try await connection.query(
                """
                UPDATE credentials SET status = 'suspended', suspended_at = NOW(), updated_at = NOW()
                WHERE id = $1 AND status = 'active' AND $2 <= (
                    SELECT count(*) FROM device_credentials WHERE credential_id = $1 AND failed_since_success
                )
                """,
                [credential, LockoutLimits.failedHosts]
            )
            let rows = try await connection.query(Self.stateQuery, [device, credential])
            return try rows.first.map(Self.state) ?? SuspensionState()
        }
    }

    /// Forgets the pair's failures and the credential's failed hosts.
    ///
    /// What is suspended stays so: a sign-in that was under way when the limit was reached ends no suspension.
    package func recordAuthenticationSuccess(deviceID: Int, credentialID: Int) async throws {
        guard let device = Int32(exactly: deviceID), let credential = Int32(exactly: credentialID) else { return }
        // Nearly always there is nothing to forget: one read, no lock.
        let marked = try await self.pool.read(
            """
            SELECT EXISTS (
                SELECT 1 FROM device_credentials
                WHERE credential_id = $1 AND (failed_since_success OR device_id = $2 AND auth_failures > 0)
            ) AS found
            """,
            [credential, device]
        )
        guard try marked[0].value("found") else { return }
        try await self.pool.withTransaction { connection in
            let rows = try await connection.query(
                "SELECT status FROM credentials WHERE id = $1 FOR NO KEY UPDATE",
                [credential]
            )
            guard let status: CredentialStatus = try rows.first?.enumeration("status"), status == .active else {
                return
            }
            try await connection.query(
                """
                UPDATE device_credentials SET
                    failed_since_success = FALSE,
                    auth_failures = CASE WHEN device_id = $2 AND suspended_at IS NULL THEN 0 ELSE auth_failures END
                WHERE credential_id = $1 AND (failed_since_success OR device_id = $2)
                """,
                [credential, device]
            )
        }
    }

    /// Ends the suspension of the credential, whose row the transaction holds, and of all its pairs.
    static func endSuspensions(of credentialID: Int, _ connection: PostgresConnection) async throws {
        try await connection.query(
            "UPDATE credentials SET status = 'active', suspended_at = NULL, updated_at = NOW() WHERE id = $1",
            [credentialID]
        )
        try await connection.query(
            """
            UPDATE device_credentials SET auth_failures = 0, failed_since_success = FALSE, suspended_at = NULL
            WHERE credential_id = $1 AND (auth_failures > 0 OR failed_since_success OR suspended_at IS NOT NULL)
            """,
            [credentialID]
        )
    }

    private static let stateQuery = """
        SELECT
            COALESCE(pair.auth_failures, 0) AS pair_failures,
            pair.suspended_at IS NOT NULL AS pair_suspended,
            credentials.status = 'suspended' AS credential_suspended,
            (SELECT count(*) FROM device_credentials WHERE credential_id = $2 AND failed_since_success) AS failed_hosts
        FROM credentials
        LEFT JOIN device_credentials AS pair ON pair.credential_id = credentials.id AND pair.device_id = $1
        WHERE credentials.id = $2
        """

    private static func state(_ row: PostgresRow) throws -> SuspensionState {
        SuspensionState(
            pairFailures: try row.value("pair_failures"),
            pairSuspended: try row.value("pair_suspended"),
            credentialSuspended: try row.value("credential_suspended"),
            failedHosts: try row.value("failed_hosts")
        )
    }
}
