package import NMSCore
internal import Postgres

extension CredentialRepository: SuspensionStore {
    package func suspension(of host: SignInHost, credentialID: Int) async throws -> SuspensionState {
        guard let host = Host(host), let credential = Int32(exactly: credentialID) else { return SuspensionState() }
        let rows = try await self.pool.read(Self.stateQuery(host), [host.value, credential])
        return try rows.first.map(Self.state) ?? SuspensionState()
    }

    /// Counts a failed sign-in and suspends what has reached its limit, in one transaction.
    ///
    /// The credential's row is locked first, so that failures of several devices and instances are counted one after
    /// another. The host's address keeps the count: it outlives the device and its choice of credentials.
    package func recordAuthenticationFailure(of host: SignInHost, credentialID: Int) async throws -> SuspensionState {
        guard let host = Host(host), let credential = Int32(exactly: credentialID) else { return SuspensionState() }
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
                VALUES ($2, \(host.ip), 1, TRUE, NOW(), CASE WHEN 1 >= $3 THEN NOW() END)
                ON CONFLICT (credential_id, ip) DO UPDATE SET
                    failures = pair.failures + 1,
                    failed_since_success = TRUE,
                    last_failure_at = NOW(),
                    suspended_at = CASE WHEN pair.failures + 1 >= $3 THEN COALESCE(pair.suspended_at, NOW())
                        ELSE pair.suspended_at END
                """,
                [host.value, credential, LockoutLimits.failuresPerPair]
            )
            try await Self.suspendAtLimit(credential, connection)
            let rows = try await connection.query(Self.stateQuery(host), [host.value, credential])
            return try rows.first.map(Self.state) ?? SuspensionState()
        }
    }

    /// Suspends the credential, whose row the transaction holds, once it has failed on enough hosts.
    static func suspendAtLimit(_ id: Int32, _ connection: PostgresConnection) async throws {
        let suspended = try await connection.query(
            """
            UPDATE credentials SET status = 'suspended', suspended_at = NOW(), updated_at = NOW()
            WHERE id = $1 AND status = 'active' AND $2 <= (
                SELECT count(*) FROM sign_in_failures WHERE credential_id = $1 AND failed_since_success
            )
            RETURNING \(Self.columns)
            """,
            [id, LockoutLimits.failedHosts]
        )
        guard let new = try suspended.first.map(Self.credential) else { return }
        var old = new
        old.status = .active
        let event = AuditEvent(.credentialSuspended, .credential(new), AuditChanges(from: old, to: new))
        try await AuditRepository.record(event, .system, connection)
    }

    /// Forgets the pair's failures and the credential's failed hosts.
    ///
    /// What is suspended stays so: a sign-in that was under way when the limit was reached ends no suspension.
    package func recordAuthenticationSuccess(of host: SignInHost, credentialID: Int) async throws {
        guard let host = Host(host), let credential = Int32(exactly: credentialID) else { return }
        // Nearly always there is nothing to forget: one read, no lock.
        let marked = try await self.pool.read(
            """
            SELECT EXISTS (
                SELECT 1 FROM sign_in_failures
                WHERE credential_id = $2 AND (failed_since_success OR ip = \(host.ip) AND suspended_at IS NULL)
            ) AS found
            """,
            [host.value, credential]
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
                WHERE credential_id = $2 AND ip = \(host.ip) AND suspended_at IS NULL
                """,
                [host.value, credential]
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

    package func isSuspended(credentialID: Int) async throws -> Bool {
        guard let credential = Int32(exactly: credentialID) else { return false }
        let rows = try await self.pool.read(
            "SELECT status = 'suspended' AS suspended FROM credentials WHERE id = $1",
            [credential]
        )
        return try rows.first?.value("suspended") ?? false
    }

    /// What a host is remembered by: its address, as an expression of parameter $1.
    private struct Host {
        let ip: String
        let value: any PostgresEncodable

        /// nil for a number that no device has.
        init?(_ host: SignInHost) {
            switch host {
            case .address(let address):
                self.ip = "$1::text"
                self.value = address.description
            case .device(let id):
                guard let id = Int32(exactly: id) else { return nil }
                // A device that was deleted while its sign-in was under way counts as a host of its own, since its
                // address is not known any more and its failure still counts.
                self.ip = "COALESCE((SELECT ip FROM devices WHERE id = $1::integer), 'device ' || $1::integer)"
                self.value = id
            }
        }
    }

    private static func stateQuery(_ host: Host) -> String {
        """
        SELECT
            COALESCE(pair.failures, 0) AS pair_failures,
            pair.suspended_at IS NOT NULL AS pair_suspended,
            credentials.status = 'suspended' AS credential_suspended,
            (SELECT count(*) FROM sign_in_failures WHERE credential_id = $2 AND failed_since_success) AS failed_hosts
        FROM credentials
        LEFT JOIN sign_in_failures AS pair ON pair.credential_id = credentials.id AND pair.ip = \(host.ip)
        WHERE credentials.id = $2
        """
    }

    private static func state(_ row: PostgresRow) throws -> SuspensionState {
        SuspensionState(
            pairFailures: try row.value("pair_failures"),
            pairSuspended: try row.value("pair_suspended"),
            credentialSuspended: try row.value("credential_suspended"),
            failedHosts: try row.value("failed_hosts")
        )
    }
}
