import NMSCore
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Testing

@testable import NMSStorage

@Suite struct CredentialRepositoryTests {
    @Test func createReadUpdate() async throws {
        try await TestDatabase.with(.migrated) { database in
            let credentials = CredentialRepository(pool: database.pool, cipher: .testing)
            let created = try await credentials.create(
                NewCredential(
                    name: "Domain admin",
                    type: .winrmBasic,
                    username: "svc",
                    password: Secret("pässword\n'\\"),
                    domain: "CORP",
                    port: 5999,
                    useSSL: true,
                    tlsVerify: .chain,
                    allowUnencryptedBasic: true,
                    allowedTargets: [CIDRBlock("10.0.0.0/8")!, CIDRBlock("2001:db8::/32")!, CIDRBlock("10.1.2.3")!]
                )
            )
            #expect(created.allowedTargets.map(\.description) == ["10.0.0.0/8", "2001:db8::/32", "10.1.2.3/32"])
            #expect(created.status == .active)
            #expect(created.tlsVerify == .chain)
            #expect(try await credentials.credential(id: created.id) == created)
            let decrypted = try await credentials.decrypted(id: created.id)
            #expect(decrypted?.credential == created)
            #expect(decrypted?.password.exposed == "pässword\n'\\")

            var changes = CredentialChanges()
            changes.domain = .some(nil)
            changes.port = .some(nil)
            changes.allowedTargets = []
            changes.name = "renamed"
            changes.tlsVerify = TLSVerification.none
            let updated = try await credentials.update(id: created.id, changes)
            #expect(updated?.domain == nil)
            #expect(updated?.port == nil)
            #expect(updated?.allowedTargets == [])
            #expect(updated?.name == "renamed")
            #expect(updated?.tlsVerify == TLSVerification.none)
            #expect(updated?.username == "svc")
            #expect(updated?.allowUnencryptedBasic == true)
            #expect(try await credentials.decrypted(id: created.id)?.password.exposed == "pässword\n'\\")
            #expect(try await credentials.update(id: 999, changes) == nil)
            #expect(try await credentials.decrypted(id: 999) == nil)
            var filter = CredentialFilter()
            let page = try await credentials.list(filter)
            #expect(page.items == [updated])
            #expect(page.total == 1)
            filter.offset = 1
            #expect(try await credentials.list(filter).items.isEmpty)
        }
    }

    @Test func namesAreUniqueWithoutCase() async throws {
        try await TestDatabase.with(.migrated) { database in
            let credentials = CredentialRepository(pool: database.pool, cipher: .testing)
            _ = try await credentials.create(.testing("Backup"))
            let other = try await credentials.create(.testing("other"))
            await #expect(throws: StorageError.duplicate(field: "name", value: "BACKUP")) {
                _ = try await credentials.create(.testing("BACKUP"))
            }
            await #expect(throws: StorageError.duplicate(field: "name", value: "backup")) {
                var changes = CredentialChanges()
                changes.name = "backup"
                _ = try await credentials.update(id: other.id, changes)
            }
        }
    }

    @Test func thePasswordIsStoredSealedAndAfreshEachTime() async throws {
        try await TestDatabase.with(.migrated) { database in
            let credentials = CredentialRepository(pool: database.pool, cipher: .testing)
            let id = try await credentials.create(.testing("a", password: "hunter2 hunter2")).id
            func stored() async throws -> String {
                try await database.pool.query("SELECT encrypted_password, key_id FROM credentials")[0]
                    .value("encrypted_password")
            }
            let first = try await stored()
            #expect(first.hasPrefix("v1:\(MasterKey.testing.id):"))
            #expect(!first.contains("hunter2"))
            var changes = CredentialChanges()
            changes.password = Secret("hunter2 hunter2")
            _ = try await credentials.update(id: id, changes)
            #expect(try await stored() != first)
            let keyID: String = try await database.pool.query("SELECT key_id FROM credentials")[0].value("key_id")
            #expect(keyID == MasterKey.testing.id)
        }
    }

    @Test func aCiphertextOfAnotherRowDoesNotOpen() async throws {
        try await TestDatabase.with(.migrated) { database in
            let credentials = CredentialRepository(pool: database.pool, cipher: .testing)
            let a = try await credentials.create(.testing("a", password: "one")).id
            let b = try await credentials.create(.testing("b", password: "two")).id
            try await database.pool.query(
                "UPDATE credentials SET encrypted_password = (SELECT encrypted_password FROM credentials WHERE id = $1)",
                [a]
            )
            #expect(try await credentials.decrypted(id: a)?.password.exposed == "one")
            await #expect(throws: StorageError.undecryptable(credentialID: b)) {
                _ = try await credentials.decrypted(id: b)
            }
        }
    }

    @Test func aCredentialInUseIsNotDeleted() async throws {
        try await TestDatabase.with(.migrated) { database in
            let credentials = CredentialRepository(pool: database.pool, cipher: .testing)
            let devices = DeviceRepository(pool: database.pool)
            let id = try await credentials.create(.testing("a")).id
            var ids: [Int] = []
            for host in 1...2 {
                let device = try await devices.create(NewDevice(ip: IPAddress("10.0.0.\(host)")!))
                _ = try await devices.provision(id: device.id, credentialIDs: [id], pollingInterval: nil)
                ids.append(device.id)
            }
            #expect(try await credentials.deviceIDs(using: id) == ids)
            await #expect(throws: StorageError.inUse(deviceIDs: ids)) { _ = try await credentials.delete(id: id) }
            for device in ids { _ = try await devices.deprovision(id: device) }
            #expect(try await credentials.delete(id: id))
            #expect(try await !credentials.delete(id: id))
        }
    }

    @Test func anotherMasterKeyIsRefused() async throws {
        try await TestDatabase.with(.migrated) { database in
            let other = CredentialCipher(key: .other)
            try await MasterKeyCheck.verifyOrStore(database.pool, cipher: .testing)
            try await MasterKeyCheck.verifyOrStore(database.pool, cipher: .testing)
            await #expect(throws: StorageError.wrongMasterKey) {
                try await MasterKeyCheck.verifyOrStore(database.pool, cipher: other)
            }
            // A rotated key knows its predecessor.
            try await MasterKeyCheck.verifyOrStore(
                database.pool,
                cipher: CredentialCipher(key: .other, retired: [.testing])
            )
            // Without the check value, the id tells, and whoever has the key writes the value anew.
            try await database.pool.query("UPDATE master_keys SET check_value = NULL")
            await #expect(throws: StorageError.wrongMasterKey) {
                try await MasterKeyCheck.verifyOrStore(database.pool, cipher: other)
            }
            try await MasterKeyCheck.verifyOrStore(database.pool, cipher: .testing)
            let rows = try await database.pool.query("SELECT check_value FROM master_keys WHERE is_current")
            #expect(try rows.map { try $0.optional("check_value", as: String.self) != nil } == [true])
        }
    }
}

@Suite struct CredentialCipherTests {
    @Test func opensOnlyWhatItSealed() throws {
        let cipher = CredentialCipher.testing
        let text = try cipher.seal(Secret("secret"), credentialID: 7, with: .testing)
        #expect(try cipher.open(text, credentialID: 7) == Secret("secret"))
        #expect(throws: StorageError.undecryptable(credentialID: 8)) { try cipher.open(text, credentialID: 8) }
        #expect(throws: StorageError.undecryptable(credentialID: 7)) {
            try CredentialCipher(key: .other).open(text, credentialID: 7)
        }
        #expect(
            try CredentialCipher(key: .other, retired: [.testing]).open(text, credentialID: 7) == Secret("secret")
        )
        for bad in ["", "v1", "v1:\(MasterKey.testing.id):", "v2" + text.dropFirst(2), text.dropLast(4) + "AAAA"] {
            #expect(throws: StorageError.undecryptable(credentialID: 7), "\(bad)") {
                try cipher.open(String(bad), credentialID: 7)
            }
        }
        #expect(try cipher.seal(Secret("secret"), credentialID: 7, with: .testing) != text)
    }

    @Test func aKeyIs32BytesAndNeverShown() throws {
        #expect(MasterKey(bytes: [1, 2, 3]) == nil)
        // SHA-256 of the bytes 0…31.
        #expect(MasterKey.testing.id == "630dcd2966c43366")
        #expect(!String(reflecting: MasterKey.testing).contains("31"))
        #expect(!String(describing: [MasterKey.testing]).contains("bytes"))
    }
}
