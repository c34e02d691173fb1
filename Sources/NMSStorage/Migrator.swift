package import Postgres
package import struct Foundation.Date

/// Why migrating stopped.
package enum MigrationError: Error, Sendable, Equatable, CustomStringConvertible {
    /// A migration that was applied differs from this binary's: its file was changed after its release.
    case changed(version: Int, name: String)
    /// An applied migration is not among this binary's, although later ones are.
    case unknown(version: Int, name: String)
    /// A migration failed and was rolled back.
    case failed(version: Int, name: String, reason: String)

    package var description: String {
        switch self {
        case .changed(let version, let name):
            "migration \(version) (\(name)) differs from the one that made this database; restore its file"
        case .unknown(let version, let name):
            "the database has migration \(version) (\(name)), which this binary does not know"
        case .failed(let version, let name, let reason):
            "migration \(version) (\(name)) failed and was rolled back: \(reason)"
        }
    }
}

/// What became of one migration.
package struct MigrationStatus: Sendable, Equatable {
    package var version: Int
    package var name: String
    /// nil while it is pending.
    package var appliedAt: Date?
}

/// Brings the schema up and down, one instance at a time (session advisory lock), each step in a transaction.
package struct Migrator: Sendable {
    private let configuration: PostgresConfiguration
    private let migrations: [Migration]

    /// - Parameter migrations: ascending by version.
    package init(_ configuration: PostgresConfiguration, migrations: [Migration] = Migration.all) {
        var configuration = configuration
        // Waiting for another instance, or rewriting a large table, may take its time.
        configuration.statementTimeout = nil
        self.configuration = configuration
        self.migrations = migrations
    }

    /// Applies everything pending; returns what was applied.
    ///
    /// - Throws: ``MigrationError``, ``StorageError/schemaTooNew(found:supported:)``, `PostgresError`.
    @discardableResult
    package func up() async throws -> [Migration] {
        try await self.locked { connection in
            let applied = try await self.verifiedVersions(connection)
            let pending = self.migrations.filter { !applied.contains($0.version) }
            for migration in pending {
                try await Self.step(migration, connection, script: migration.up) {
                    try await connection.query(
                        "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
                        [migration.version, migration.name, migration.checksum]
                    )
                }
            }
            return pending
        }
    }

    /// Takes back the latest migration, with its data; nil when none is applied.
    package func down() async throws -> Migration? {
        try await self.locked { connection in
            let applied = try await self.verifiedVersions(connection)
            guard let migration = self.migrations.last(where: { applied.contains($0.version) }) else { return nil }
            try await Self.step(migration, connection, script: migration.down) {
                try await connection.query("DELETE FROM schema_migrations WHERE version = $1", [migration.version])
            }
            return migration
        }
    }

    /// Every known or applied migration, ascending. Changes nothing.
    package func status() async throws -> [MigrationStatus] {
        // The connection closes when its last reference goes.
        let connection = try await PostgresConnection.connect(self.configuration)
        let exists = try await connection.query("SELECT to_regclass('schema_migrations') IS NOT NULL AS found")
        var statuses = Dictionary(
            uniqueKeysWithValues: self.migrations.map {
                ($0.version, MigrationStatus(version: $0.version, name: $0.name))
            }
        )
        if try exists[0].value("found") {
            for row in try await connection.query("SELECT version, name, applied_at FROM schema_migrations") {
                let status = MigrationStatus(
                    version: try row.value("version"),
                    name: try row.value("name"),
                    appliedAt: try row.value("applied_at")
                )
                statuses[status.version] = status
            }
        }
        return statuses.values.sorted { $0.version < $1.version }
    }

    // MARK: Machinery

    /// Runs `body` on a connection that holds the lock; closing the connection gives it back.
    private func locked<Value: Sendable>(
        _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        let connection = try await PostgresConnection.connect(self.configuration)
        do {
            try await connection.query("SELECT pg_advisory_lock($1)", [AdvisoryLockKey.migrations.rawValue])
            try await connection.execute(
                script: """
                    SET client_min_messages = warning;
                    CREATE TABLE IF NOT EXISTS schema_migrations (
                        version BIGINT PRIMARY KEY,
                        name TEXT NOT NULL,
                        checksum TEXT NOT NULL,
                        applied_at TIMESTAMPTZ NOT NULL DEFAULT NOW()
                    )
                    """
            )
            let value = try await body(connection)
            await connection.close()
            return value
        } catch {
            await connection.close()
            throw error
        }
    }

    /// The applied versions, once each is known to be this binary's.
    private func verifiedVersions(_ connection: PostgresConnection) async throws -> Set<Int> {
        let rows = try await connection.query("SELECT version, name, checksum FROM schema_migrations ORDER BY version")
        let supported = self.migrations.last?.version ?? 0
        if let newest = try rows.last?.value("version", as: Int.self), newest > supported {
            throw StorageError.schemaTooNew(found: newest, supported: supported)
        }
        var versions: Set<Int> = []
        for row in rows {
            let version: Int = try row.value("version")
            let name: String = try row.value("name")
            guard let migration = self.migrations.first(where: { $0.version == version }) else {
                throw MigrationError.unknown(version: version, name: name)
            }
            guard try row.value("checksum") == migration.checksum else {
                throw MigrationError.changed(version: version, name: name)
            }
            versions.insert(version)
        }
        return versions
    }

    private static func step(
        _ migration: Migration,
        _ connection: PostgresConnection,
        script: String,
        record: () async throws -> Void
    ) async throws {
        do {
            try await PostgresConnection.transaction(on: connection) { connection in
                try await connection.execute(script: script)
                try await record()
            }
        } catch let error as PostgresError {
            guard let reason = error.serverError else { throw error }
            // Without the SQL: a whole file of it would bury the reason.
            throw MigrationError.failed(
                version: migration.version,
                name: migration.name,
                reason: "\(reason.sqlState) \(reason.message)"
            )
        }
    }
}
