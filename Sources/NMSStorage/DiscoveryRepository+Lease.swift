package import NMSCore
internal import Postgres

/// How long a discovery stays with an instance that says nothing, and when its message is published anew.
package enum DiscoveryLeases {
    /// An instance that has not renewed its lease for this long is taken for dead.
    package static let duration: Duration = .seconds(10)
    /// A queued discovery that nobody took up for this long is published again, then after twice as long, and so on.
    static let queuedOverdue: Duration = .seconds(60)
    /// How often waiting times double.
    static let doublings = 6
    /// Times in a row that a discovery is taken up without getting on, before it is given up.
    static let attempts = 5
    /// Finished discoveries that are kept: the latest so many, and none that is older.
    static let keptDiscoveries = 1000
    static let keptDays = 365
}

extension DiscoveryRepository: DiscoveryStore {
    package func claim(id: Int, worker: String) async throws -> ClaimedDiscovery? {
        guard let id = Int32(exactly: id) else { return nil }
        let rows = try await self.pool.query(
            """
            UPDATE discoveries SET
                status = CASE WHEN attempts < $4 THEN 'running' ELSE 'failed' END,
                error = CASE WHEN attempts < $4 THEN NULL ELSE 'given up after ' || attempts
                    || ' attempts that came to nothing; the log of the instances that tried has the reasons' END,
                finished_at = CASE WHEN attempts < $4 THEN NULL ELSE NOW() END,
                worker = $2, heartbeat_at = NOW(), attempts = attempts + 1,
                started_at = COALESCE(started_at, NOW()), updated_at = NOW()
            WHERE id = $1 AND (status = 'queued' OR status = 'running' AND
                (heartbeat_at IS NULL OR heartbeat_at < NOW() - make_interval(secs => $3)))
            RETURNING id, targets, options::text AS options, total, scanned, checkpoint::text AS checkpoint, status
            """,
            [id, worker, Self.seconds(DiscoveryLeases.duration), DiscoveryLeases.attempts]
        )
        guard let row = rows.first, try row.enumeration("status", as: DiscoveryStatus.self) == .running else {
            return nil
        }
        return ClaimedDiscovery(
            id: try row.value("id"),
            targets: try row.value("targets"),
            options: try Self.decoded(row, "options"),
            total: try row.value("total"),
            scanned: try row.value("scanned"),
            checkpoint: try Self.decoded(row, "checkpoint")
        )
    }

    package func heartbeat(id: Int, worker: String) async throws -> DiscoveryStatus? {
        let rows = try await self.pool.query(
            "UPDATE discoveries SET heartbeat_at = NOW() WHERE id = $1 AND worker = $2 RETURNING status",
            [id, worker]
        )
        return try rows.first?.enumeration("status")
    }

    package func status(id: Int, worker: String) async throws -> DiscoveryStatus? {
        let rows = try await self.pool.read(
            "SELECT status FROM discoveries WHERE id = $1 AND worker = $2",
            [id, worker]
        )
        return try rows.first?.enumeration("status")
    }

    package func finish(id: Int, worker: String, error: String?) async throws {
        try await self.pool.query(
            """
            UPDATE discoveries SET status = CASE WHEN $3::text IS NULL THEN 'completed' ELSE 'failed' END, error = $3,
                finished_at = NOW(), updated_at = NOW(), rate = NULL, eta_seconds = NULL
            WHERE id = $1 AND worker = $2 AND status = 'running'
            """,
            [id, worker, error]
        )
    }

    /// It stays `running`: for users nothing has changed.
    package func release(id: Int, worker: String) async throws {
        try await self.pool.query(
            "UPDATE discoveries SET worker = NULL, heartbeat_at = NULL WHERE id = $1 AND worker = $2",
            [id, worker]
        )
    }

    package func overdue() async throws -> [QueuedDiscovery] {
        try await self.pool.query(
            """
            UPDATE discoveries SET published_at = NOW(), publications = publications + 1
            WHERE id IN (
                SELECT id FROM discoveries
                WHERE status = 'queued' AND published_at < NOW()
                        - make_interval(secs => $1 * power(2, LEAST(publications - 1, $3)))
                    OR status = 'running' AND COALESCE(heartbeat_at, '-infinity') < NOW() - make_interval(secs => $2)
                        AND published_at < NOW() - make_interval(secs => $2 * power(2, LEAST(publications - 1, $3)))
                FOR UPDATE SKIP LOCKED
            )
            RETURNING id, subnet, publications
            """,
            [
                Self.seconds(DiscoveryLeases.queuedOverdue), Self.seconds(DiscoveryLeases.duration),
                DiscoveryLeases.doublings,
            ]
        ).map { row in
            QueuedDiscovery(
                subnet: try row.value("subnet"),
                discoveryID: try row.value("id"),
                publication: try row.value("publications")
            )
        }
    }

    package func removeOld() async throws {
        try await self.pool.query(
            """
            DELETE FROM discoveries WHERE finished_at IS NOT NULL AND (
                finished_at < NOW() - make_interval(days => $2)
                OR id IN (SELECT id FROM discoveries WHERE finished_at IS NOT NULL ORDER BY id DESC OFFSET $1)
            )
            """,
            [DiscoveryLeases.keptDiscoveries, DiscoveryLeases.keptDays]
        )
    }

    private static func seconds(_ duration: Duration) -> Double {
        duration / .seconds(1)
    }
}
