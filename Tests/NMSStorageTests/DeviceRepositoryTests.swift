import Foundation
import NMSCore
import NMSStorage
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Testing

@Suite struct DeviceRepositoryTests {
    @Test func createReadUpdateDelete() async throws {
        try await TestDatabase.with(.migrated) { database in
            let devices = DeviceRepository(pool: database.pool)
            let created = try await devices.create(
                NewDevice(ip: IPAddress("::ffff:10.0.0.1")!, hostname: "web", os: "Windows", pollingInterval: 30)
            )
            #expect(created.ip == "10.0.0.1")
            #expect(created.status == .discovered)
            #expect(created.pollingInterval == 30)
            #expect(created.credentialIDs.isEmpty)
            #expect(created.lastError == nil)
            #expect(try await devices.device(id: created.id) == created)
            #expect(try await devices.device(id: 999) == nil)
            #expect(try await devices.device(id: 1 << 40) == nil)

            let updated = try await devices.update(
                id: created.id,
                DeviceChanges(hostname: .some(nil), pollingInterval: 5)
            )
            #expect(updated?.hostname == nil)
            #expect(updated?.os == "Windows")
            #expect(updated?.pollingInterval == 5)
            #expect(updated?.ip == "10.0.0.1")
            let moved = try await devices.update(
                id: created.id,
                DeviceChanges(ip: IPAddress("2001:DB8::1")!, os: .some("X"))
            )
            #expect(moved?.ip == "2001:db8::1")
            #expect(moved?.os == "X")
            #expect(try await devices.update(id: 999, DeviceChanges(pollingInterval: 9)) == nil)

            #expect(try await devices.delete(id: created.id))
            #expect(try await !devices.delete(id: created.id))
            #expect(try await devices.device(id: created.id) == nil)
        }
    }

    @Test func anAddressIsTakenOnce() async throws {
        try await TestDatabase.with(.migrated) { database in
            let devices = DeviceRepository(pool: database.pool)
            let first = IPAddress("10.0.0.1")!
            try await _ = devices.create(NewDevice(ip: first))
            let other = try await devices.create(NewDevice(ip: IPAddress("10.0.0.2")!))
            await #expect(throws: StorageError.duplicate(field: "ip", value: "10.0.0.1")) {
                _ = try await devices.create(NewDevice(ip: first))
            }
            await #expect(throws: StorageError.duplicate(field: "ip", value: "10.0.0.1")) {
                _ = try await devices.update(id: other.id, DeviceChanges(ip: first))
            }
        }
    }

    @Test func listFiltersSortsAndPages() async throws {
        try await TestDatabase.with(.migrated) { database in
            let devices = DeviceRepository(pool: database.pool)
            for (ip, hostname, os) in [
                ("10.0.0.10", "zeta", "Windows 100%"), ("10.0.0.9", "Alpha", "Windows_11"), ("9.9.9.9", nil, nil),
                ("10.0.0.100", "beta", "Windows 2022"),
            ] as [(String, String?, String?)] {
                _ = try await devices.create(NewDevice(ip: IPAddress(ip)!, hostname: hostname, os: os))
            }
            func ips(_ change: (inout DeviceFilter) -> Void) async throws -> [String] {
                var filter = DeviceFilter()
                change(&filter)
                return try await devices.list(filter).items.map(\.ip)
            }
            #expect(try await ips { $0.sort = .ip } == ["9.9.9.9", "10.0.0.9", "10.0.0.10", "10.0.0.100"])
            #expect(
                try await ips {
                    $0.sort = .ip; $0.descending = true
                } == ["10.0.0.100", "10.0.0.10", "10.0.0.9", "9.9.9.9"]
            )
            #expect(try await ips { $0.sort = .hostname } == ["10.0.0.9", "10.0.0.100", "10.0.0.10", "9.9.9.9"])
            #expect(try await ips { $0.search = "ALPHA" } == ["10.0.0.9"])
            #expect(try await ips { $0.search = "10.0.0.1" } == ["10.0.0.10", "10.0.0.100"])
            // Wildcards are literal.
            #expect(try await ips { $0.search = "%" } == ["10.0.0.10"])
            #expect(try await ips { $0.search = "_" } == ["10.0.0.9"])
            #expect(try await ips { $0.search = "\\" } == [])
            #expect(try await ips { $0.search = "'; DROP TABLE devices; --" } == [])
            #expect(try await ips { $0.status = .monitoring } == [])
            for sort in DeviceFilter.SortField.allCases {
                var paged: [String] = []
                for offset in 0..<4 {
                    paged += try await ips {
                        $0.sort = sort; $0.limit = 1; $0.offset = offset
                    }
                }
                #expect(try await ips { $0.sort = sort } == paged, "\(sort)")
                #expect(Set(paged).count == 4)
            }
            var filter = DeviceFilter()
            filter.search = "windows"
            filter.limit = 1
            let page = try await devices.list(filter)
            #expect(page.total == 3)
            #expect(page.items.count == 1)
        }
    }

    @Test func provisionReplacesCredentialsInOrder() async throws {
        try await TestDatabase.with(.migrated) { database in
            let devices = DeviceRepository(pool: database.pool)
            let credentials = CredentialRepository(pool: database.pool, cipher: .testing)
            let device = try await devices.create(NewDevice(ip: IPAddress("10.0.0.1")!))
            let a = try await credentials.create(.testing("a")).id
            let b = try await credentials.create(.testing("b")).id
            #expect(try await devices.scheduledDevice(id: device.id) == nil)
            try await database.pool.query(
                "UPDATE devices SET consecutive_failures = 7, last_error_code = 'timeout', last_error_at = NOW()"
            )
            #expect(try await devices.device(id: device.id)?.lastError?.code == .timeout)

            let provisioned = try await devices.provision(id: device.id, credentialIDs: [b, a, b], pollingInterval: 10)
            #expect(provisioned?.credentialIDs == [b, a])
            #expect(provisioned?.status == .provisioned)
            #expect(provisioned?.pollingInterval == 10)
            #expect(provisioned?.lastError == nil)
            let scheduled = ScheduledDevice(deviceID: device.id, credentialID: b, interval: 10)
            #expect(try await devices.scheduledDevice(id: device.id) == scheduled)
            #expect(try await devices.schedule() == [scheduled])
            #expect(try await credentials.triedBy(device: device.id).map(\.credential.id) == [b, a])

            let again = try await devices.provision(id: device.id, credentialIDs: [a], pollingInterval: nil)
            #expect(again?.credentialIDs == [a])
            #expect(again?.pollingInterval == 10)
            await #expect(throws: StorageError.missing(field: "credential_id", id: 4711)) {
                _ = try await devices.provision(id: device.id, credentialIDs: [b, 4711], pollingInterval: nil)
            }
            #expect(try await devices.device(id: device.id)?.credentialIDs == [a])
            #expect(try await devices.provision(id: 4711, credentialIDs: [a], pollingInterval: nil) == nil)

            let back = try await devices.deprovision(id: device.id)
            #expect(back?.status == .discovered)
            #expect(back?.credentialIDs == [])
            #expect(try await devices.schedule().isEmpty)
            #expect(try await devices.deprovision(id: 4711) == nil)
        }
    }

    @Test func theCredentialThatWorkedIsTriedFirstUntilProvisionedAnew() async throws {
        try await TestDatabase.with(.migrated) { database in
            let devices = DeviceRepository(pool: database.pool)
            let credentials = CredentialRepository(pool: database.pool, cipher: .testing)
            let device = try await devices.create(NewDevice(ip: IPAddress("10.0.0.1")!))
            let a = try await credentials.create(.testing("a")).id
            let b = try await credentials.create(.testing("b")).id
            _ = try await devices.provision(id: device.id, credentialIDs: [a, b], pollingInterval: nil)
            try await database.pool.query(
                "UPDATE device_credentials SET is_active = credential_id = $1, last_success = NOW()",
                [b]
            )
            #expect(try await credentials.triedBy(device: device.id).map(\.credential.id) == [b, a])
            #expect(try await devices.scheduledDevice(id: device.id)?.credentialID == b)
            // The list stays in the order in which it was given.
            #expect(try await devices.device(id: device.id)?.credentialIDs == [a, b])
            _ = try await devices.provision(id: device.id, credentialIDs: [a, b], pollingInterval: nil)
            #expect(try await devices.scheduledDevice(id: device.id)?.credentialID == a)
        }
    }

    @Test func reprovisioningKeepsAPairsSuspension() async throws {
        try await TestDatabase.with(.migrated) { database in
            let devices = DeviceRepository(pool: database.pool)
            let credentials = CredentialRepository(pool: database.pool, cipher: .testing)
            let device = try await devices.create(NewDevice(ip: IPAddress("10.0.0.1")!))
            let a = try await credentials.create(.testing("a")).id
            _ = try await devices.provision(id: device.id, credentialIDs: [a], pollingInterval: nil)
            for _ in 0..<LockoutLimits.failuresPerPair {
                _ = try await credentials.recordAuthenticationFailure(deviceID: device.id, credentialID: a)
            }
            _ = try await devices.provision(id: device.id, credentialIDs: [a], pollingInterval: nil)
            #expect(try await credentials.suspension(deviceID: device.id, credentialID: a).pairSuspended)
        }
    }

    @Test func deletingADeviceDeletesItsMetrics() async throws {
        try await TestDatabase.with(.migrated) { database in
            let devices = DeviceRepository(pool: database.pool)
            let device = try await devices.create(NewDevice(ip: IPAddress("10.0.0.1")!))
            try await database.pool.query("INSERT INTO metrics (device_id) VALUES ($1)", [device.id])
            #expect(try await devices.delete(id: device.id))
            #expect(try await database.pool.query("SELECT count(*) AS n FROM metrics")[0].value("n") == 0)
        }
    }

    /// `HistoryRollUp` holds them for minutes when it catches up.
    @Test func changesDoNotWaitForWhoeverHoldsTheKeys() async throws {
        try await TestDatabase.with(.migrated) { database in
            let pool = database.pool
            let devices = DeviceRepository(pool: pool)
            let (device, credential) = try await pool.provisionedDevice(1)
            try await pool.withTransaction { holder in
                try await holder.query("SELECT id FROM devices FOR KEY SHARE")
                #expect(try await devices.update(id: device, DeviceChanges(hostname: .some("b")))?.hostname == "b")
                #expect(try await devices.deprovision(id: device)?.status == .discovered)
                let again = try await devices.provision(id: device, credentialIDs: [credential], pollingInterval: 30)
                #expect(again?.status == .provisioned)
            }
        }
    }
}
