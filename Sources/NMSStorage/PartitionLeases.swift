internal import Foundation
package import Logging
package import NMSCore
package import Postgres

/// The partitions that one run of an instance polls, in PostgreSQL.
///
/// On a connection of its own: a pool whose connections are all taken must not cost leases.
package actor PartitionLeases: PartitionLeaseStore {
    /// For one statement, and for connecting.
    static let timeout: Duration = .seconds(2)

    private let configuration: PostgresConfiguration
    /// Names this run among the members of a roster.
    package nonisolated let run: String
    private let name: String
    private let duration: Duration
    private let logger: Logger
    private var connection: PostgresConnection?
    private var hasJoined = false

    /// - Parameters:
    ///   - name: tells this instance from others, and is the same after a restart: what its last run held is taken over
    ///     at once.
    ///   - run: tells this run from all others.
    ///   - duration: how long the leases of a run last that is not heard of; the same on all instances.
    package init(
        _ configuration: PostgresConfiguration,
        name: String,
        run: String = UUID().uuidString.lowercased(),
        duration: Duration = LeaseTiming.duration,
        logger: Logger
    ) {
        var configuration = configuration
        configuration.statementTimeout = Self.timeout
        configuration.connectTimeout = Self.timeout
        self.configuration = configuration
        self.name = name
        self.run = run
        self.duration = duration
        self.logger = logger
    }

    package func renew(leaving: Bool) async throws -> PartitionRoster {
        try await self.perform { connection in
            let gone = try await self.beat(leaving: leaving, connection)
            if gone > 0 { self.logger.warning("pollers were not heard of any more", metadata: ["pollers": "\(gone)"]) }
            if !self.hasJoined {
                try await self.succeed(connection)
                self.hasJoined = true
            }
            // A statement of its own, after the heartbeat is committed: from then on nobody takes what it finds.
            return try await self.roster(connection)
        }
    }

    package func claim(_ count: Int) async throws -> Set<Int> {
        try await self.perform { connection in
            let rows = try await connection.query(
                """
                UPDATE poll_partitions SET holder = $1, held_since = NOW()
                WHERE partition IN (
                    SELECT partition FROM poll_partitions WHERE holder IS NULL ORDER BY partition LIMIT $2
                    FOR UPDATE SKIP LOCKED
                )
                RETURNING partition
                """,
                [self.run, count]
            )
            return try Set(rows.map { try $0.value("partition") })
        }
    }

    package func release(_ partitions: Set<Int>) async throws {
        try await self.perform { connection in
            try await connection.query(
                """
                UPDATE poll_partitions SET holder = NULL, held_since = NULL
                WHERE holder = $1 AND partition IN (SELECT value::int FROM jsonb_array_elements_text($2::jsonb))
                """,
                [self.run, "\(partitions.sorted())"]
            )
        }
    }

    package func leave() async throws {
        guard self.hasJoined else { return }
        try await self.perform { connection in
            // The reference frees what it holds.
            try await connection.query("DELETE FROM pollers WHERE run = $1", [self.run])
        }
        self.hasJoined = false
        await self.connection?.close()
        self.connection = nil
    }

    // MARK: - Statements

    /// A heartbeat in the future is as good as none: the server's clock was set back.
    /// - Returns: how many others lost their leases.
    private func beat(leaving: Bool, _ connection: PostgresConnection) async throws -> Int {
        let rows = try await connection.query(
            """
            WITH gone AS (
                DELETE FROM pollers
                WHERE run <> $1
                    AND heartbeat_at NOT BETWEEN NOW() - make_interval(secs => $3) AND NOW() + make_interval(secs => $3)
                    AND EXISTS (
                        SELECT FROM pollers AS me
                        WHERE me.run = $1 AND me.heard_since < NOW() - make_interval(secs => $3) AND me.heartbeat_at
                            BETWEEN NOW() - make_interval(secs => $3) AND NOW() + make_interval(secs => $3)
                    )
                RETURNING run
            ), beat AS (
                INSERT INTO pollers AS me (run, name, leaving) VALUES ($1, $2, $4)
                ON CONFLICT (run) DO UPDATE SET heartbeat_at = NOW(), leaving = $4,
                    heard_since = CASE WHEN me.heartbeat_at
                        BETWEEN NOW() - make_interval(secs => $3) AND NOW() + make_interval(secs => $3)
                        THEN me.heard_since ELSE NOW() END
            )
            SELECT count(*) AS gone FROM gone
            """,
            [self.run, self.name, self.duration / .seconds(1), leaving]
        )
        return try rows[0].value("gone")
    }

    /// Takes over what an earlier run of this instance held: it has ended, for there is one of a name.
    private func succeed(_ connection: PostgresConnection) async throws {
        try await connection.query(
            """
            UPDATE poll_partitions SET holder = $1, held_since = NOW()
            WHERE holder IN (SELECT run FROM pollers WHERE name = $2 AND run <> $1)
            """,
            [self.run, self.name]
        )
        try await connection.query("DELETE FROM pollers WHERE name = $1 AND run <> $2", [self.name, self.run])
    }

    private func roster(_ connection: PostgresConnection) async throws -> PartitionRoster {
        let rows = try await connection.query(
            """
            SELECT pollers.run, pollers.leaving, poll_partitions.partition
            FROM pollers FULL JOIN poll_partitions ON poll_partitions.holder = pollers.run
            """
        )
        var roster = PartitionRoster(members: [], mine: [], free: 0)
        var members: [String: PartitionRoster.Member] = [:]
        for row in rows {
            let partition: Int? = try row.optional("partition")
            guard let run: String = try row.optional("run") else {
                roster.free += 1
                continue
            }
            let leaving: Bool = try row.value("leaving")
            var member = members[run] ?? PartitionRoster.Member(run: run, held: 0, isLeaving: leaving)
            if let partition {
                member.held += 1
                if run == self.run { roster.mine.insert(partition) }
            }
            members[run] = member
        }
        roster.members = members.values.sorted { $0.run < $1.run }
        return roster
    }

    // MARK: - Connection

    private func perform<Value: Sendable>(
        _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        do {
            return try await body(try await self.connected())
        } catch is CancellationError {
            throw CancellationError()
        } catch let error as PostgresError {
            let lost = self.connection
            self.connection = nil
            await lost?.close()
            throw Self.meaning(of: error)
        }
    }

    private func connected() async throws -> PostgresConnection {
        if let connection = self.connection, connection.isUsable { return connection }
        let connection = try await PostgresConnection.connect(self.configuration)
        self.connection = connection
        return connection
    }

    /// What libpq says when nobody listens, and what the server says while it starts, stops or recovers. Whoever is not
    /// understood is taken for away from here only, which costs polls and is safe.
    private static let downTexts = ["Connection refused", "No such file or directory", "the database system is"]

    private static func meaning(of error: PostgresError) -> PartitionLeaseError {
        let text = "\(error)"
        switch error {
        case .connectionFailed(let reason) where self.downTexts.contains(where: { reason.contains($0) }):
            return .storeIsDown(text)
        default: return .noAnswer(text)
        }
    }
}
