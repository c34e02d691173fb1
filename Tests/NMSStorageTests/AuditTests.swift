import Foundation
import NMSCore
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Testing

@testable import NMSStorage

@Suite struct AuditTests {
    private static let ada = AuditContext(
        actor: .user(id: 7, username: "Ada", role: .operator),
        remoteAddress: "192.0.2.7",
        requestID: "request-1"
    )

    private let later = Date().addingTimeInterval(3600)

    // MARK: Entries

    @Test func everyChangeOfADeviceLeavesOneEntry() async throws {
        try await TestDatabase.with(.migrated) { database in
            let devices = DeviceRepository(pool: database.pool)
            let credential = try await database.pool.credential("c").id
            let first = try await database.pool.audit().total

            let new = NewDevice(ip: IPAddress("10.0.0.1")!, hostname: "a", pollingInterval: 60)
            let id = try await devices.create(new, audit: Self.ada).id
            let changes = DeviceChanges(hostname: .some("b"), os: .some("Windows"), pollingInterval: 30)
            _ = try await devices.update(id: id, changes, audit: Self.ada)
            _ = try await devices.provision(id: id, credentialIDs: [credential], pollingInterval: 10, audit: Self.ada)
            _ = try await devices.deprovision(id: id, audit: Self.ada)
            #expect(try await devices.delete(id: id, audit: Self.ada))

            let entries = try await database.pool.audit().items.dropLast(first).reversed()
            #expect(
                entries.map(\.action) == [
                    "device.created", "device.updated", "device.provisioned", "device.deprovisioned", "device.deleted",
                ]
            )
            for entry in entries {
                #expect(entry.actor == .init(type: "user", userID: 7, username: "Ada", role: "operator"))
                #expect(entry.target == .init(type: "device", id: String(id), name: "10.0.0.1"))
                #expect(entry.remoteAddress == "192.0.2.7")
                #expect(entry.requestID == "request-1")
                #expect(abs(entry.at.timeIntervalSinceNow) < 60)
                #expect(entry.at == entry.at.roundedToMilliseconds)
            }
            let found = entries.map(\.changes.fields)
            #expect(
                found[0] == [
                    "ip": .to("10.0.0.1"), "hostname": .to("a"), "status": .to("discovered"),
                    "polling_interval": .values(from: nil, to: .integer(60)),
                ]
            )
            #expect(
                found[1] == [
                    "hostname": .values(from: .text("a"), to: .text("b")), "os": .to("Windows"),
                    "polling_interval": .values(from: .integer(60), to: .integer(30)),
                ]
            )
            #expect(
                found[2] == [
                    "status": .values(from: .text("discovered"), to: .text("provisioned")),
                    "polling_interval": .values(from: .integer(30), to: .integer(10)),
                    "credential_ids": .values(from: nil, to: .list([credential])),
                ]
            )
            #expect(
                found[3] == [
                    "status": .values(from: .text("provisioned"), to: .text("discovered")),
                    "credential_ids": .values(from: .list([credential]), to: nil),
                ]
            )
            #expect(found[4]["hostname"] == .values(from: .text("b"), to: nil))
        }
    }

    @Test func everyChangeOfACredentialLeavesOneEntryWithoutItsPassword() async throws {
        let secrets = ["old-Secret-1", "new-Secret-2"]
        try await TestDatabase.with(.migrated) { database in
            let credentials = CredentialRepository(pool: database.pool, cipher: .testing)
            var new = NewCredential.testing("Backup", password: secrets[0])
            new.allowedTargets = [CIDRBlock("10.0.0.0/8")!]
            let id = try await credentials.create(new, audit: Self.ada).id
            var changes = CredentialChanges()
            changes.password = Secret(secrets[1])
            changes.port = .some(5985)
            _ = try await credentials.update(id: id, changes, audit: Self.ada)
            // The same password again: nothing changes.
            var same = CredentialChanges()
            same.password = Secret(secrets[1])
            _ = try await credentials.update(id: id, same, audit: Self.ada)
            _ = try await credentials.resume(id: id, audit: Self.ada)
            #expect(try await credentials.delete(id: id, audit: Self.ada))

            let entries = try await database.pool.audit().items.reversed().map(\.self)
            #expect(
                entries.map(\.action) == [
                    "credential.created", "credential.updated", "credential.updated", "credential.resumed",
                    "credential.deleted",
                ]
            )
            #expect(entries.allSatisfy { $0.target == .init(type: "credential", id: String(id), name: "Backup") })
            #expect(entries.allSatisfy { $0.actor.username == "Ada" })
            #expect(entries[0].changes.fields["username"] == .to("svc-Backup"))
            #expect(
                entries[0].changes.fields["allowed_targets"] == .values(from: nil, to: .list(["10.0.0.0/8"]))
            )
            #expect(entries[0].changes.fields["password"] == nil)
            #expect(
                entries[1].changes.fields == ["password": .secret, "port": .values(from: nil, to: .integer(5985))]
            )
            #expect(entries[2].changes.fields.isEmpty)
            #expect(entries[3].changes.fields.isEmpty)
            let text = try await database.pool.auditText()
            #expect(text.contains("credential.created"))
            for secret in secrets { #expect(!text.contains(secret)) }
            #expect(!text.contains("v1:"), "a ciphertext")
        }
    }

    @Test func usersAndSessionsLeaveEntries() async throws {
        try await TestDatabase.with(.migrated) { database in
            let users = UserRepository(pool: database.pool)
            let sessions = SessionRepository(pool: database.pool)
            let root = AuditContext(actor: .commandLine(account: "root"))
            let user = try await users.create(username: "Bob", passwordHash: "hash-1", role: .viewer, audit: root)
            #expect(try await users.createFirst(username: "x", passwordHash: "h", role: .admin, audit: .system) == nil)
            let bob = Self.ada.acting(as: AuditActor(user))
            let session = try await sessions.create(
                userID: user.id,
                tokenHash: "token-1",
                expiresAt: self.later,
                audit: bob
            )
            for token in ["token-2", "token-3"] {
                _ = try await sessions.rotate(
                    tokenHash: "token-1",
                    successorHash: token,
                    successorExpiresAt: self.later,
                    now: Date(),
                    audit: Self.ada.acting(as: .anonymous)
                )
            }
            let other = try await sessions.create(
                userID: user.id,
                tokenHash: "token-4",
                expiresAt: self.later,
                audit: bob
            )
            for _ in 1...2 { try await sessions.revoke(sessionID: other, audit: bob) }
            #expect(try await users.setPassword(username: "BOB", passwordHash: "hash-2", audit: root))
            #expect(try await users.remove(username: "bob", audit: root))
            #expect(try await !users.remove(username: "bob", audit: root))

            let entries = try await database.pool.audit().items.reversed().map(\.self)
            #expect(
                entries.map(\.action) == [
                    "user.created", "session.login", "session.reuse_detected", "session.login", "session.logout",
                    "user.password_changed", "user.removed",
                ]
            )
            for entry in entries where entry.target.type == "user" {
                #expect(entry.actor == .init(type: "command_line", username: "root"))
                #expect(entry.target == .init(type: "user", id: String(user.id), name: "Bob"))
                #expect(entry.remoteAddress == nil)
            }
            #expect(entries[0].changes.fields == ["username": .to("Bob"), "role": .to("viewer")])
            #expect(entries[5].changes.fields == ["password": .secret])
            #expect(entries[6].changes.fields["role"] == .values(from: .text("viewer"), to: nil))
            #expect(entries[1].target == .init(type: "session", id: session, name: "Bob"))
            #expect(entries[1].actor == .init(type: "user", userID: user.id, username: "Bob", role: "viewer"))
            #expect(entries[2].actor == .init(type: "system"))
            #expect(entries[2].target == .init(type: "session", id: session, name: "Bob"))
            #expect(entries[2].remoteAddress == "192.0.2.7")
            #expect(entries[4].target.id == other)
            let text = try await database.pool.auditText()
            for secret in ["hash-1", "hash-2", "token-"] { #expect(!text.contains(secret)) }
        }
    }

    @Test func theLockoutGuardSuspendsOnceAsTheSystem() async throws {
        try await TestDatabase.with(.migrated) { database in
            let credentials = CredentialRepository(pool: database.pool, cipher: .testing)
            let credential = try await database.pool.credential("c").id
            for host in 1...5 {
                let device = try await DeviceRepository(pool: database.pool)
                    .create(NewDevice(ip: IPAddress("10.0.0.\(host)")!)).id
                _ = try await credentials.recordAuthenticationFailure(deviceID: device, credentialID: credential)
            }
            let filter = AuditFilter.testing { $0.action = .credentialSuspended }
            let entries = try await AuditRepository(pool: database.pool).list(filter).items
            #expect(entries.count == 1)
            #expect(entries.first?.actor == .init(type: "system"))
            #expect(entries.first?.target == .init(type: "credential", id: String(credential), name: "c"))
            #expect(
                entries.first?.changes.fields == ["status": .values(from: .text("active"), to: .text("suspended"))]
            )
        }
    }

    // MARK: Together with the change

    @Test func whatFailsLeavesNoEntry() async throws {
        try await TestDatabase.with(.migrated) { database in
            let pool = database.pool
            let (devices, users) = (DeviceRepository(pool: pool), UserRepository(pool: pool))
            let credentials = CredentialRepository(pool: pool, cipher: .testing)
            let (device, credential) = try await pool.provisionedDevice(1)
            let other = try await devices.create(NewDevice(ip: IPAddress("10.9.9.9")!)).id
            _ = try await users.create(username: "bob", passwordHash: "h", role: .viewer)
            let before = try await pool.audit().total

            let taken = IPAddress("10.9.9.9")!
            await #expect(throws: StorageError.self) { _ = try await devices.create(NewDevice(ip: taken)) }
            await #expect(throws: StorageError.self) {
                _ = try await devices.update(id: device, DeviceChanges(ip: taken))
            }
            await #expect(throws: StorageError.self) {
                _ = try await devices.provision(id: other, credentialIDs: [4711], pollingInterval: nil)
            }
            await #expect(throws: StorageError.self) { _ = try await credentials.create(.testing("c1")) }
            await #expect(throws: StorageError.self) { _ = try await credentials.delete(id: credential) }
            await #expect(throws: Refusal.self) {
                _ = try await credentials.update(id: credential, CredentialChanges(), audit: .system) { _ in
                    throw Refusal()
                }
            }
            await #expect(throws: StorageError.self) {
                _ = try await users.create(username: "BOB", passwordHash: "h", role: .viewer)
            }
            #expect(try await devices.update(id: 4711, DeviceChanges()) == nil)
            #expect(try await devices.provision(id: 4711, credentialIDs: [], pollingInterval: nil) == nil)
            #expect(try await devices.deprovision(id: 4711) == nil)
            #expect(try await !devices.delete(id: 4711))
            #expect(try await credentials.update(id: 4711, CredentialChanges()) == nil)
            #expect(try await credentials.resume(id: 4711) == nil)
            #expect(try await !credentials.delete(id: 4711))
            #expect(try await !users.setPassword(username: "nobody", passwordHash: "h"))
            #expect(try await pool.audit().total == before)
        }
    }

    @Test func whatCantBeAuditedIsNotDone() async throws {
        try await TestDatabase.with(.migrated) { database in
            let pool = database.pool
            let (devices, users) = (DeviceRepository(pool: pool), UserRepository(pool: pool))
            let (credentials, sessions) = (
                CredentialRepository(pool: pool, cipher: .testing), SessionRepository(pool: pool)
            )
            let (device, credential) = try await pool.provisionedDevice(1)
            let free = try await credentials.create(.testing("free")).id
            let user = try await users.create(username: "bob", passwordHash: "h", role: .viewer)
            let session = try await sessions.create(userID: user.id, tokenHash: "t1", expiresAt: self.later)
            let rotated = try await sessions.create(userID: user.id, tokenHash: "r1", expiresAt: self.later)
            _ = try await self.present("r1", sessions)
            for host in 2...3 {
                let device = try await devices.create(NewDevice(ip: IPAddress("10.0.0.\(host * 9)")!)).id
                _ = try await credentials.recordAuthenticationFailure(deviceID: device, credentialID: credential)
            }
            try await pool.query("ALTER TABLE audit_log ADD CONSTRAINT broken CHECK (FALSE) NOT VALID")
            let before = try await self.state(pool)
            var changes = CredentialChanges()
            changes.password = Secret("another one")
            let attempts: [(String, @Sendable () async throws -> Void)] = [
                ("create", { _ = try await devices.create(NewDevice(ip: IPAddress("10.1.1.1")!)) }),
                ("update", { _ = try await devices.update(id: device, DeviceChanges(pollingInterval: 99)) }),
                ("delete", { _ = try await devices.delete(id: device) }),
                (
                    "provision",
                    { _ = try await devices.provision(id: device, credentialIDs: [free], pollingInterval: 77) }
                ),
                ("deprovision", { _ = try await devices.deprovision(id: device) }),
                ("new credential", { _ = try await credentials.create(.testing("new")) }),
                ("changed credential", { [changes] in _ = try await credentials.update(id: credential, changes) }),
                ("resume", { _ = try await credentials.resume(id: credential) }),
                ("deleted credential", { _ = try await credentials.delete(id: free) }),
                (
                    "suspension",
                    {
                        _ = try await credentials.recordAuthenticationFailure(
                            deviceID: device,
                            credentialID: credential
                        )
                    }
                ),
                ("user", { _ = try await users.create(username: "eve", passwordHash: "h", role: .admin) }),
                ("password", { _ = try await users.setPassword(username: "bob", passwordHash: "h2") }),
                ("removal", { _ = try await users.remove(username: "bob") }),
                (
                    "login",
                    { _ = try await sessions.create(userID: user.id, tokenHash: "t9", expiresAt: self.later) }
                ),
                ("logout", { try await sessions.revoke(sessionID: session) }),
                ("reuse", { _ = try await self.present("r1", sessions) }),
            ]
            for (name, attempt) in attempts {
                await #expect(throws: PostgresError.self, "\(name)") { try await attempt() }
                #expect(try await self.state(pool) == before, "\(name)")
            }
            #expect(try await sessions.user(sessionID: rotated, now: Date()) != nil)
        }
    }

    private struct Refusal: Error {}

    private func present(_ token: String, _ sessions: SessionRepository) async throws -> RefreshOutcome {
        try await sessions.rotate(
            tokenHash: token,
            successorHash: UUID().uuidString,
            successorExpiresAt: self.later,
            now: Date()
        )
    }

    /// All rows of all tables that changes are made in.
    private func state(_ pool: PostgresPool) async throws -> [String] {
        var rows: [String] = []
        for table in ["devices", "credentials", "device_credentials", "sign_in_failures", "users", "sessions"] {
            rows += try await pool.query("SELECT \(table)::text AS row FROM \(table) ORDER BY 1")
                .map { try $0.value("row") }
        }
        return rows
    }

    // MARK: Append-only

    @Test(arguments: [
        "UPDATE audit_log SET actor_name = 'somebody else'", "UPDATE audit_log SET at = at WHERE FALSE",
        "DELETE FROM audit_log", "DELETE FROM audit_log WHERE FALSE", "TRUNCATE audit_log",
        "INSERT INTO audit_log (id, action, actor_type, target_type) OVERRIDING SYSTEM VALUE "
            + "VALUES (1, 'a', 'system', 'device') ON CONFLICT (id) DO UPDATE SET action = 'b'",
        "SET session_replication_role = replica; DELETE FROM audit_log",
    ]) func entriesStayAsTheyAre(_ statement: String) async throws {
        try await TestDatabase.with(.migrated) { database in
            _ = try await DeviceRepository(pool: database.pool).create(NewDevice(ip: IPAddress("10.0.0.1")!))
            let before = try await database.pool.auditText()
            let error = await #expect(throws: PostgresError.self) {
                try await database.pool.withConnection { try await $0.execute(script: statement) }
            }
            #expect("\(try #require(error))".contains("audit_log is append-only"))
            #expect(try await database.pool.auditText() == before)
        }
    }

    /// What the migration's comment says works.
    @Test func theOwnerCanArchiveByHand() async throws {
        try await TestDatabase.with(.migrated) { database in
            _ = try await DeviceRepository(pool: database.pool).create(NewDevice(ip: IPAddress("10.0.0.1")!))
            try await database.pool.withConnection { connection in
                try await connection.execute(
                    script: """
                        BEGIN;
                        ALTER TABLE audit_log DISABLE TRIGGER audit_log_is_append_only;
                        DELETE FROM audit_log WHERE at < '2999-01-01';
                        ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_is_append_only;
                        COMMIT
                        """
                )
            }
            #expect(try await database.pool.audit().total == 0)
            await #expect(throws: PostgresError.self) {
                try await database.pool.query("DELETE FROM audit_log")
            }
        }
    }

    // MARK: Reading

    @Test func filtersNarrowTheList() async throws {
        try await TestDatabase.with(.migrated) { database in
            let pool = database.pool
            let devices = DeviceRepository(pool: pool)
            for host in 1...3 {
                _ = try await devices.create(NewDevice(ip: IPAddress("10.0.0.\(host)")!), audit: Self.ada)
            }
            let id = try await devices.list(DeviceFilter()).items[0].id
            _ = try await devices.delete(id: id, audit: .system)
            func total(_ change: (inout AuditFilter) -> Void) async throws -> Int {
                let page = try await AuditRepository(pool: pool).list(.testing(change))
                #expect(page.items.count == page.total)
                return page.total
            }
            #expect(try await total { _ in } == 4)
            #expect(try await total { $0.user = "aDA" } == 3)
            #expect(try await total { $0.user = "ad" } == 0)
            #expect(try await total { $0.action = .deviceDeleted } == 1)
            #expect(try await total { $0.targetID = String(id) } == 2)
            #expect(try await total { $0.targetType = .credential } == 0)
            #expect(try await total { ($0.targetType, $0.targetID) = (.device, String(id)) } == 2)
            let all = try await pool.audit().items
            #expect(try await total { $0.from = all[0].at } == all.count { $0.at >= all[0].at })
            #expect(try await total { $0.to = all[0].at } == all.count { $0.at < all[0].at })
        }
    }

    @Test func pagesAreStableWhileEntriesAreAdded() async throws {
        try await TestDatabase.with(.migrated) { database in
            let pool = database.pool
            // Many in one millisecond: time alone orders nothing.
            try await pool.query(
                """
                INSERT INTO audit_log (at, action, actor_type, target_type, target_id)
                SELECT '2026-01-01T00:00:00Z'::timestamptz + make_interval(secs => n / 40), 'device.created', 'system',
                    'device', n FROM generate_series(0, 199) AS n
                """
            )
            var filter = AuditFilter()
            filter.to = RFC3339.date(from: "2026-02-01T00:00:00Z")
            filter.limit = 30
            var seen: [String] = []
            while true {
                filter.offset = seen.count
                let page = try await AuditRepository(pool: pool).list(filter)
                #expect(page.total == 200)
                if page.items.isEmpty { break }
                seen += page.items.compactMap(\.target.id)
                _ = try await DeviceRepository(pool: pool).create(NewDevice(ip: IPAddress("10.0.0.\(seen.count)")!))
            }
            #expect(seen == (0...199).reversed().map(String.init))
        }
    }

    @Test func pagesByTimeAndByTargetUseTheirIndexes() async throws {
        try await TestDatabase.with(.migrated) { database in
            let pool = database.pool
            try await pool.query(
                """
                INSERT INTO audit_log (at, action, actor_type, target_type, target_id)
                SELECT now() - make_interval(secs => n), 'device.created', 'system', 'device', n % 5000
                FROM generate_series(1, 50000) AS n
                """
            )
            try await pool.query("ANALYZE audit_log")
            func plan(_ condition: String) async throws -> String {
                let sql = "SELECT * FROM audit_log WHERE \(condition) ORDER BY at DESC, id DESC LIMIT 50 OFFSET 100"
                return try await pool.query("EXPLAIN \(sql)").map { try $0.value("QUERY PLAN") }.joined(separator: "\n")
            }
            #expect(try await plan("TRUE").contains("using audit_log_at "))
            #expect(try await plan("at < now() - interval '1 hour'").contains("using audit_log_at "))
            #expect(
                try await plan("target_type = 'device' AND target_id = '77'").contains("audit_log_target")
            )
        }
    }

    @Test func anEntryOfANewerInstanceCanBeRead() async throws {
        try await TestDatabase.with(.migrated) { database in
            try await database.pool.query(
                """
                INSERT INTO audit_log (action, actor_type, target_type, changes)
                VALUES ('report.sent', 'system', 'report', '{"a": {"from": [1, "x"], "to": null}, "b": {"changed": true}}')
                """
            )
            let entry = try #require(try await database.pool.audit().items.first)
            #expect(entry.action == "report.sent")
            #expect(
                entry.changes.fields == [
                    "a": .values(from: .list([.integer(1), .text("x")]), to: nil), "b": .secret,
                ]
            )
        }
    }
}

extension AuditChanges.Change {
    fileprivate static func to(_ text: String) -> Self { .values(from: nil, to: .text(text)) }
}

extension AuditFilter {
    fileprivate static func testing(_ change: (inout AuditFilter) -> Void) -> AuditFilter {
        var filter = AuditFilter()
        filter.limit = 1000
        change(&filter)
        return filter
    }
}

extension PostgresPool {
    fileprivate func audit() async throws -> Page<AuditEntry> {
        try await AuditRepository(pool: self).list(.testing { _ in })
    }

    /// Every byte of the table.
    fileprivate func auditText() async throws -> String {
        try await self.query("SELECT audit_log::text AS row FROM audit_log ORDER BY id")
            .map { try $0.value("row") }.joined(separator: "\n")
    }

    fileprivate func credential(_ name: String) async throws -> Credential {
        try await CredentialRepository(pool: self, cipher: .testing).create(.testing(name))
    }
}
