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
    /// another. The host's address keeps the count: it outlives the device and its choice of credentials.
    package func recordAuthenticationFailure(deviceID: Int, credentialID: Int) async throws -> SuspensionState {
        guard let device = Int32(exactly: deviceID), let credential = Int32(exactly: credentialID) else {
            return SuspensionState()
        }
        return try await self.pool.withTransaction { connection in
            let found = try await connection.query(
                "SELECT id FROM credentials WHERE id = $1 FOR NO KEY UPDATE",
                [credential]
            )
            guard !found.isEmpty else { return SuspensionState() }
            try await connection.query(
                """
                INSERT INTO sign_in_failures AS pair
                    (credential_id, ip, failures, failed_since_success, last_failure_at, suspended_at)
                VALUES ($2, \(Self.host), 1, TRUE, NOW(), CASE WHEN 1 >= $3 THEN NOW() END)
                ON CONFLICT (credential_id, ip) DO UPDATE SET
                    failures = pair.failures + 1,
                    failed_since_success = TRUE,
                    last_failure_at = NOW(),
                    suspended_at = CASE WHEN pair.failures + 1 >= $3 THEN COALESCE(pair.suspended_at, NOW())
                        ELSE pair.suspended_at END
                """,
                [device, credential, LockoutLimits.failuresPerPair]
            )
            try await connection.query(
                """
                UPDATE credentials SET status = 'suspended', suspended_at = NOW(), updated_at = NOW()
                WHERE id = $1 AND status = 'active' AND $2 <= (
                    SELECT count(*) FROM sign_in_failures WHERE credential_id = $1 AND failed_since_success
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
                SELECT 1 FROM sign_in_failures
                WHERE credential_id = $2 AND (failed_since_success OR ip = \(Self.host) AND suspended_at IS NULL)
            ) AS found
            """,
            [device, credential]
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
                DELETE FROM sign_in_failures
                WHERE credential_id = $2 AND ip = \(Self.host) AND suspended_at IS NULL
                """,
                [device, credential]
            )
            try await connection.query(
                """
                UPDATE sign_in_failures SET failed_since_success = FALSE
                WHERE credential_id = $1 AND failed_since_success
                """,
                [credential]
            )
        }
    }

    /// Ends the suspension of the credential, whose row the transaction holds, and of all its pairs.
    static func endSuspensions(of credentialID: Int, _ connection: PostgresConnection) async throws {
        try await connection.query(
            "UPDATE credentials SET status = 'active', suspended_at = NULL, updated_at = NOW() WHERE id = $1",
            [credentialID]
        )
        try await connection.query("DELETE FROM sign_in_failures WHERE credential_id = $1", [credentialID])
    }

    /// What the host of device $1 is remembered by: its address. A device that was deleted while its sign-in was under
    /// way counts as a host of its own, since its address is not known any more and its failure still counts.
    private static let host = "COALESCE((SELECT ip FROM devices WHERE id = $1::integer), 'device ' || $1::integer)"

    private static let stateQuery = """
        SELECT
            COALESCE(pair.failures, 0) AS pair_failures,
            pair.suspended_at IS NOT NULL AS pair_suspended,
            credentials.status = 'suspended' AS credential_suspended,
            (SELECT count(*) FROM sign_in_failures WHERE credential_id = $2 AND failed_since_success) AS failed_hosts
        FROM credentials
        LEFT JOIN sign_in_failures AS pair ON pair.credential_id = credentials.id AND pair.ip = \(Self.host)
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
