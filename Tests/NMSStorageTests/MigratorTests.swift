import Foundation
import NMSStorage
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Testing

@testable import NMSStorage

@Suite struct MigratorTests {
    @Test func upAndDownLeaveNothingBehind() async throws {
        try await TestDatabase.with { database in
            let migrator = Migrator(database.configuration)
            #expect(try await migrator.status().allSatisfy { $0.appliedAt == nil })
            #expect(try await migrator.up().map(\.version) == Migration.all.map(\.version))
            #expect(try await migrator.up().isEmpty)
            #expect(try await migrator.status().allSatisfy { $0.appliedAt != nil })
            for migration in Migration.all.reversed() {
                #expect(try await migrator.down() == migration)
            }
            #expect(try await migrator.down() == nil)
            let left = try await database.pool.query(
                "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'S')"
            )
            #expect(try left.map { try $0.value("relname", as: String.self) } == ["schema_migrations"])
        }
    }

    @Test func embeddedFilesAreThoseOfTheRepository() throws {
        let root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        for migration in Migration.all {
            let digits = String(migration.version)
            let stem = String(repeating: "0", count: 6 - digits.count) + digits + "_" + migration.name
            for (direction, text) in [("up", migration.up), ("down", migration.down)] {
                let file = root.appendingPathComponent("migrations/\(stem).\(direction).sql")
                #expect(try String(contentsOf: file, encoding: .utf8) == text)
            }
        }
        let files = try FileManager.default.contentsOfDirectory(atPath: root.appendingPathComponent("migrations").path)
        #expect(files.filter { $0.hasSuffix(".sql") }.count == Migration.all.count * 2)
    }

    /// Tables, columns, defaults, constraints and indexes of the specification's section 5.2.
    @Test func theSpecificationsSchemaIsThere() async throws {
        try await TestDatabase.with(.migrated) { database in
            let columns = try await database.pool.query(
                """
                SELECT table_name || '.' || column_name || ' ' || data_type
                    || COALESCE('(' || COALESCE(character_maximum_length::text, numeric_precision || ',' || numeric_scale)
                        || ')', '') AS found
                FROM information_schema.columns WHERE table_schema = 'public'
                """
            )
            let found = Set(try columns.map { try $0.value("found", as: String.self) })
            for expected in [
                "users.username character varying(255)", "users.role character varying(50)",
                "refresh_tokens.token_hash character varying(255)", "credentials.encrypted_password text",
                "devices.ip character varying(45)", "devices.status character varying(50)",
                "devices.last_seen timestamp with time zone",
                "device_credentials.last_success timestamp with time zone",
                "metrics.cpu_usage_percent numeric(5,2)", "metrics.memory_used_bytes bigint(64,0)",
                "metrics.net_dropped bigint(64,0)", "metrics.process_count integer(32,0)",
                "metrics.collection_duration_ms integer(32,0)", "metrics.id bigint(64,0)",
            ] {
                #expect(found.contains(expected), "\(expected)")
            }
            let names = try await database.pool.query(
                "SELECT relname AS name FROM pg_class UNION SELECT conname FROM pg_constraint"
            )
            let existing = Set(try names.map { try $0.value("name", as: String.self) })
            for expected in [
                "idx_users_username", "idx_refresh_tokens_hash", "idx_devices_ip", "idx_devices_status",
                "idx_device_creds_device", "idx_metrics_device_time", "valid_cred_type", "valid_status",
                "device_credentials_device_id_credential_id_key", "metrics_device_id_fkey",
            ] {
                #expect(existing.contains(expected), "\(expected)")
            }
        }
    }

    @Test func pollingIntervalIsBounded() async throws {
        try await TestDatabase.with(.migrated) { database in
            for (interval, isValid) in [(4, false), (5, true), (86_400, true), (86_401, false)] {
                let insert = "INSERT INTO devices (ip, polling_interval) VALUES ($1, $2)"
                do {
                    try await database.pool.query(insert, ["10.0.0.\(interval % 251)", interval])
                    #expect(isValid)
                } catch let error as PostgresError {
                    #expect(!isValid && error.constraint == "valid_polling_interval")
                }
            }
        }
    }

    @Test func aChangedMigrationIsRefused() async throws {
        try await TestDatabase.with { database in
            let first = Migration(version: 1, name: "one", up: "CREATE TABLE a ()", down: "DROP TABLE a")
            let second = Migration(version: 2, name: "two", up: "CREATE TABLE b ()", down: "DROP TABLE b")
            try await Migrator(database.configuration, migrations: [first, second]).up()
            let changed = Migration(version: 1, name: "one", up: "CREATE TABLE a (id INT)", down: "DROP TABLE a")
            await #expect(throws: MigrationError.changed(version: 1, name: "one")) {
                try await Migrator(database.configuration, migrations: [changed, second]).up()
            }
            await #expect(throws: MigrationError.unknown(version: 1, name: "one")) {
                try await Migrator(database.configuration, migrations: [second]).up()
            }
            await #expect(throws: StorageError.schemaTooNew(found: 2, supported: 1)) {
                try await Migrator(database.configuration, migrations: [first]).up()
            }
        }
    }

    @Test func aFailedMigrationIsRolledBackWhole() async throws {
        try await TestDatabase.with { database in
            let bad = Migration(version: 1, name: "bad", up: "CREATE TABLE a (); SELECT 1 / 0", down: "")
            let error = await #expect(throws: MigrationError.self) {
                try await Migrator(database.configuration, migrations: [bad]).up()
            }
            #expect(error == .failed(version: 1, name: "bad", reason: "22012 division by zero"))
            let rows = try await database.pool.query(
                "SELECT to_regclass('a') IS NULL AS gone, (SELECT count(*) FROM schema_migrations) AS recorded"
            )
            #expect(try rows[0].value("gone"))
            #expect(try rows[0].value("recorded") == 0)
        }
    }

    @Test func instancesThatStartTogetherMigrateOnce() async throws {
        try await TestDatabase.with { database in
            let applied = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<6 {
                    group.addTask { try await Migrator(database.configuration).up().count }
                }
                return try await group.reduce(0, +)
            }
            #expect(applied == Migration.all.count)
        }
    }
}
