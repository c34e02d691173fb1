import NMSCore
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Synchronization
import Testing

@testable import NMSStorage

@Suite struct MasterKeyRotationTests {
    /// Has both keys.
    private static let both = CredentialCipher(key: .testing, retired: [.other])

    private static func rotate(
        _ database: TestDatabase,
        to key: MasterKey = .other,
        _ cipher: CredentialCipher = .testing,
        progress: (MasterKeyRotation.Progress) -> Void = { _ in }
    ) async throws -> MasterKeyRotation.Outcome {
        try await MasterKeyRotation.exclusively(database.configuration) { rotation in
            _ = try await rotation.keys(cipher)
            return try await rotation.run(to: key, cipher, audit: .system, progress: progress)
        }
    }

    private static func create(_ count: Int, _ database: TestDatabase) async throws -> [Int] {
        let credentials = CredentialRepository(pool: database.pool, cipher: .testing)
        var ids: [Int] = []
        for number in 1...count {
            ids.append(try await credentials.create(.testing("c\(number)", password: "p\(number)")).id)
        }
        return ids
    }

    private static func passwords(
        of ids: [Int],
        _ database: TestDatabase,
        _ cipher: CredentialCipher
    ) async throws -> [String?] {
        let credentials = CredentialRepository(pool: database.pool, cipher: cipher)
        var found: [String?] = []
        for id in ids { found.append(try await credentials.decrypted(id: id)?.password.exposed) }
        return found
    }

    private static func keyIDs(_ database: TestDatabase) async throws -> Set<String> {
        Set(try await database.pool.query("SELECT DISTINCT key_id FROM credentials").map { try $0.value("key_id") })
    }

    @Test func everyPasswordIsSealedWithTheNextKeyAndTheOtherEnds() async throws {
        try await TestDatabase.with(.migrated) { database in
            let ids = try await Self.create(25, database)
            let before = try await database.pool.query("SELECT max(updated_at)::text AS at FROM credentials")
            let shown = Mutex<[MasterKeyRotation.Progress]>([])
            let outcome = try await Self.rotate(database) { progress in shown.withLock { $0.append(progress) } }
            #expect(outcome == .init(ended: [MasterKey.testing.id], key: MasterKey.other.id, sealed: 25, unopened: []))
            #expect(shown.withLock { $0 } == [10, 20, 25].map { .init(sealed: $0, total: 25) })
            #expect(try await Self.keyIDs(database) == [MasterKey.other.id])
            let other = CredentialCipher(key: .other)
            #expect(try await Self.passwords(of: ids, database, other) == (1...25).map { "p\($0)" })
            // The old key opens nothing any more, and its instance does not start.
            await #expect(throws: StorageError.wrongMasterKey) {
                try await MasterKeyCheck.verifyOrStore(database.pool, cipher: .testing)
            }
            try await MasterKeyCheck.verifyOrStore(database.pool, cipher: other)
            try await MasterKeyCheck.verifyOrStore(database.pool, cipher: Self.both)
            let after = try await database.pool.query("SELECT max(updated_at)::text AS at FROM credentials")
            #expect(try after[0].value("at", as: String.self) == before[0].value("at", as: String.self))
            let audit = try await database.pool.query(
                "SELECT action || ' ' || target_id AS entry, changes::text FROM audit_log WHERE target_type = 'master_key' ORDER BY id"
            )
            #expect(
                try audit.map { try $0.value("entry", as: String.self) }
                    == ["rotation_started", "rotated"].map { "master_key.\($0) \(MasterKey.other.id)" }
            )
            // Again, there is nothing to do.
            let again = try await Self.rotate(database, CredentialCipher(key: .other))
            #expect(again == .init(ended: [], key: MasterKey.other.id, sealed: 0, unopened: []))
        }
    }

    /// What a rotation that is cut off leaves behind, at each of its steps.
    @Test(arguments: [0, 10, 20, 25])
    func whoeverHasBothKeysReadsAndWritesAfterACut(_ sealed: Int) async throws {
        struct Cut: Error {}
        try await TestDatabase.with(.migrated) { database in
            let ids = try await Self.create(25, database)
            let trigger = """
                CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'cut' USING ERRCODE = 'XX001'; END $$;
                """
            let moment =
                sealed == 25
                ? "BEFORE DELETE ON master_keys FOR EACH ROW"
                : "BEFORE UPDATE ON credentials FOR EACH ROW WHEN (OLD.id >= \(ids[sealed]))"
            try await database.pool.withConnection { connection in
                try await connection.execute(script: trigger + "CREATE TRIGGER cut \(moment) EXECUTE FUNCTION cut()")
            }
            await #expect(throws: PostgresError.self) { _ = try await Self.rotate(database) }
            let counts = try await MasterKeyStatus.read(database.pool, Self.both)
            #expect(counts.keys.map(\.credentials) == [sealed, 25 - sealed])
            #expect(counts.keys.map(\.isKnown) == [true, true] && counts.unopened.isEmpty)
            #expect(try await Self.passwords(of: ids, database, Self.both) == (1...25).map { "p\($0)" })
            try await MasterKeyCheck.verifyOrStore(database.pool, cipher: Self.both)
            await #expect(throws: StorageError.masterKeyMissing(id: MasterKey.other.id)) {
                try await MasterKeyCheck.verifyOrStore(database.pool, cipher: .testing)
            }
            await #expect(throws: StorageError.masterKeyMissing(id: MasterKey.testing.id)) {
                try await MasterKeyCheck.verifyOrStore(database.pool, cipher: CredentialCipher(key: .other))
            }
            // What is written now is sealed with the next key; without it, nothing is.
            let written = try await CredentialRepository(pool: database.pool, cipher: Self.both).create(.testing("new"))
            await #expect(throws: StorageError.masterKeyMissing(id: MasterKey.other.id)) {
                _ = try await CredentialRepository(pool: database.pool, cipher: .testing).create(.testing("newer"))
            }
            try await database.pool.withConnection { try await $0.execute(script: "DROP FUNCTION cut CASCADE") }
            let outcome = try await Self.rotate(database, Self.both)
            #expect(outcome.ended == [MasterKey.testing.id] && outcome.sealed == 25 - sealed)
            let other = CredentialCipher(key: .other)
            #expect(try await Self.passwords(of: ids + [written.id], database, other).allSatisfy { $0 != nil })
        }
    }

    @Test func aSecondRotationIsRefusedWhileOneRuns() async throws {
        try await TestDatabase.with(.migrated) { database in
            try await MasterKeyRotation.exclusively(database.configuration) { _ in
                await #expect(throws: StorageError.masterKeyRotationRuns) {
                    try await MasterKeyRotation.exclusively(database.configuration, patience: .zero) { _ in }
                }
            }
            // And is not when the first has ended, or its session has.
            try await MasterKeyRotation.exclusively(database.configuration, patience: .zero) { _ in }
        }
    }

    @Test func whatIsWrittenDuringARotationIsNotLost() async throws {
        try await TestDatabase.with(.migrated) { database in
            let ids = try await Self.create(60, database)
            let credentials = CredentialRepository(pool: database.pool, cipher: Self.both)
            let isOver = Flag()
            let made = try await withThrowingTaskGroup(of: [(Int, String)].self) { group in
                for writer in 0..<3 {
                    group.addTask {
                        var written: [(Int, String)] = []
                        var number = 0
                        while !isOver.isSet {
                            number += 1
                            let password = "w\(writer)-\(number)"
                            written.append(
                                (try await credentials.create(.testing(password, password: password)).id, password)
                            )
                            var changes = CredentialChanges()
                            changes.password = Secret("changed \(password)")
                            let id = ids[(number * 3 + writer) % ids.count]
                            _ = try await credentials.update(id: id, changes)
                            written.append((id, "changed \(password)"))
                        }
                        return written
                    }
                }
                // There and back, several times.
                for round in 0..<6 {
                    let key: MasterKey = round.isMultiple(of: 2) ? .other : .testing
                    let outcome = try await Self.rotate(database, to: key, Self.both)
                    #expect(outcome.unopened.isEmpty && outcome.ended.count == 1)
                }
                isOver.set()
                return try await group.reduce(into: []) { $0.append($1) }
            }
            let status = try await MasterKeyStatus.read(database.pool, Self.both)
            #expect(status.unopened.isEmpty && status.credentials == 60 + made.joined().count / 2)
            #expect(made.allSatisfy { $0.count > 2 })
            // What a writer made is as it made it; what it changed is at its own or another writer's last change.
            for written in made {
                for (id, password) in written where !ids.contains(id) {
                    #expect(try await credentials.decrypted(id: id)?.password.exposed == password)
                }
            }
            let last = Set(made.joined().map(\.1))
            for (index, found) in try await Self.passwords(of: ids, database, Self.both).enumerated() {
                #expect(last.contains(found ?? "") || found == "p\(index + 1)")
            }
        }
    }

    /// An instance that asked for the current key before the rotation named its own commits after the last pass.
    @Test func aLateWriterKeepsItsKeyAliveUntilItsRowIsSealedAnew() async throws {
        try await TestDatabase.with(.migrated) { database in
            _ = try await Self.create(1, database)
            let late = try await database.pool.withTransaction { connection in
                let key = try await MasterKeyTable.current(Self.both, connection)
                #expect(key == .testing)
                let rotation = Task { try await Self.rotate(database, Self.both) }
                // The rotation waits for this transaction, with everything that it sees sealed.
                while try await Self.keyIDs(database) != [MasterKey.other.id] {
                    try await Task.sleep(for: .milliseconds(5))
                }
                let text = try Self.both.seal(Secret("late"), credentialID: 1000, with: key)
                try await connection.query(
                    """
                    INSERT INTO credentials (id, name, credential_type, username, encrypted_password)
                    VALUES (1000, 'late', 'wmi', 'late', $1)
                    """,
                    [text]
                )
                return rotation
            }
            let outcome = try await late.value
            #expect(outcome.sealed == 2 && outcome.ended == [MasterKey.testing.id])
            #expect(try await Self.passwords(of: [1000], database, CredentialCipher(key: .other)) == ["late"])
        }
    }

    @Test func aPasswordThatNoKeyOpensKeepsTheOldKeyAndIsNamed() async throws {
        try await TestDatabase.with(.migrated) { database in
            let ids = try await Self.create(15, database)
            try await database.pool.query(
                """
                UPDATE credentials SET encrypted_password = (SELECT encrypted_password FROM credentials WHERE id = $1)
                WHERE id = $2
                """,
                [ids[0], ids[3]]
            )
            let outcome = try await Self.rotate(database)
            #expect(outcome == .init(ended: [], key: MasterKey.other.id, sealed: 14, unopened: [ids[3]]))
            let status = try await MasterKeyStatus.read(database.pool, Self.both)
            #expect(status.keys.map(\.credentials) == [14, 1] && status.unopened == [ids[3]])
            var changes = CredentialChanges()
            changes.password = Secret("set again")
            _ = try await CredentialRepository(pool: database.pool, cipher: Self.both).update(id: ids[3], changes)
            #expect(try await Self.rotate(database, Self.both).ended == [MasterKey.testing.id])
        }
    }

    @Test func theDatabaseRefusesToEndAKeyThatARowNeeds() async throws {
        try await TestDatabase.with(.migrated) { database in
            _ = try await Self.create(1, database)
            let error = await #expect(throws: PostgresError.self) {
                try await database.pool.query("DELETE FROM master_keys")
            }
            #expect(error?.sqlState == .foreignKeyViolation)
        }
    }
}

private final class Flag: Sendable {
    private let value = Mutex(false)

    var isSet: Bool { self.value.withLock { $0 } }

    func set() { self.value.withLock { $0 = true } }
}

@Suite struct MasterKeyRingTests {
    @Test func aRunningServerFindsAKeyThatWasAdded() async throws {
        try await TestDatabase.with(.migrated) { database in
            let stored = Mutex<[MasterKey]>([.testing])
            let reads = Mutex(0)
            let ring = MasterKeyRing([.testing]) {
                reads.withLock { $0 += 1 }
                return stored.withLock { $0 }
            }
            let credentials = CredentialRepository(
                pool: database.pool,
                cipher: CredentialCipher(key: .testing, ring: ring)
            )
            let id = try await credentials.create(.testing("a", password: "one")).id
            #expect(reads.withLock { $0 } == 0)
            stored.withLock { $0 = [.other] }
            let before = try await database.pool.query("SELECT encrypted_password FROM credentials")
            _ = try await MasterKeyRotation.exclusively(database.configuration) { rotation in
                try await rotation.run(to: .other, .testing, audit: .system)
            }
            #expect(try await credentials.decrypted(id: id)?.password.exposed == "one")
            #expect(reads.withLock { $0 } == 1)
            #expect(try await credentials.decrypted(id: id)?.password.exposed == "one")
            #expect(reads.withLock { $0 } == 1)
            _ = try await credentials.create(.testing("b"))
            // A row that was read before it was sealed anew.
            let cipher = CredentialCipher(key: .testing, ring: ring)
            #expect(try cipher.open(before[0].value("encrypted_password"), credentialID: id) == Secret("one"))
        }
    }

    @Test func anUnknownKeyIsUndecryptable() {
        let ring = MasterKeyRing([.testing]) { [] }
        #expect(ring.key(MasterKey.other.id) == nil && ring.key(MasterKey.testing.id) == .testing)
    }
}

@Suite struct MasterKeyMigrationTests {
    private static let earlier = Migration.all.filter { $0.version < 6 }

    @Test func theCheckValueOfAnOlderDatabaseIsKept() async throws {
        try await TestDatabase.with { database in
            try await Migrator(database.configuration, migrations: Self.earlier).up()
            let check = try MasterKeyTable.check(of: .testing, .testing)
            let password = try CredentialCipher.testing.seal(Secret("old"), credentialID: 1, with: .testing)
            try await database.pool.query("INSERT INTO settings (key, value) VALUES ('master_key_check', $1)", [check])
            try await database.pool.query(
                """
                INSERT INTO credentials (name, credential_type, username, encrypted_password)
                VALUES ('old', 'wmi', 'old', $1)
                """,
                [password]
            )
            try await Migrator(database.configuration).up()
            try await MasterKeyCheck.verifyOrStore(database.pool, cipher: .testing)
            await #expect(throws: StorageError.wrongMasterKey) {
                try await MasterKeyCheck.verifyOrStore(database.pool, cipher: CredentialCipher(key: .other))
            }
            let credentials = CredentialRepository(pool: database.pool, cipher: .testing)
            #expect(try await credentials.decrypted(id: 1)?.password == Secret("old"))
            // And back.
            #expect(try await Migrator(database.configuration).down()?.version == 6)
            let rows = try await database.pool.query("SELECT value FROM settings WHERE key = 'master_key_check'")
            #expect(try rows.map { try $0.value("value", as: String.self) } == [check])
        }
    }

    @Test func anOlderDatabaseThatLostItsCheckValueKnowsItsKeyByItsRows() async throws {
        try await TestDatabase.with { database in
            try await Migrator(database.configuration, migrations: Self.earlier).up()
            let password = try CredentialCipher.testing.seal(Secret("old"), credentialID: 1, with: .testing)
            try await database.pool.query(
                """
                INSERT INTO credentials (name, credential_type, username, encrypted_password)
                VALUES ('old', 'wmi', 'old', $1)
                """,
                [password]
            )
            try await Migrator(database.configuration).up()
            await #expect(throws: StorageError.wrongMasterKey) {
                try await MasterKeyCheck.verifyOrStore(database.pool, cipher: CredentialCipher(key: .other))
            }
            try await MasterKeyCheck.verifyOrStore(database.pool, cipher: .testing)
            let status = try await MasterKeyStatus.read(database.pool, .testing)
            #expect(status.keys == [.init(id: MasterKey.testing.id, isCurrent: true, isKnown: true, credentials: 1)])
        }
    }

    @Test func theStepBackIsRefusedDuringARotation() async throws {
        try await TestDatabase.with(.migrated) { database in
            let both = CredentialCipher(key: .testing, retired: [.other])
            try await MasterKeyCheck.verifyOrStore(database.pool, cipher: both)
            try await database.pool.withTransaction { try await MasterKeyTable.makeCurrent(.other, both, $0) }
            let error = await #expect(throws: MigrationError.self) {
                _ = try await Migrator(database.configuration).down()
            }
            #expect("\(error!)".contains("nmslite keys rotate"))
        }
    }
}
