import Foundation
import NMSCore
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Testing

@testable import NMSStorage

/// A clock that was ahead for a moment, here or at a poller.
@Suite struct StorageWriterClockTests {
    @Test(.timeLimit(.minutes(1))) func aResultOfTheFutureFreezesNoDevice() async throws {
        try await withWriter { database, harness, _ in
            let (device, credential) = try await database.pool.provisionedDevice()
            let devices = DeviceRepository(pool: database.pool)
            let now = Date().roundedToMilliseconds
            harness.deliver(.testing(device: device, at: now.addingTimeInterval(86_400), credential: credential))
            await harness.settled(1)
            #expect(try await devices.device(id: device)?.status == .monitoring)
            harness.deliver(.testing(device: device, at: now, error: .accessDenied, credential: credential))
            await harness.settled(2)
            let stored = try await devices.device(id: device)
            #expect(stored?.lastError?.code == .accessDenied)
            #expect(stored?.lastSeen == now)
            // From here on, order counts again.
            harness.deliver(.testing(device: device, at: now.addingTimeInterval(-1), credential: credential))
            await harness.settled(3)
            #expect(try await devices.device(id: device)?.lastError?.code == .accessDenied)
        }
    }

    @Test func provisioningStartsAnew() async throws {
        try await TestDatabase.with(.migrated) { database in
            let (device, credential) = try await database.pool.provisionedDevice()
            let devices = DeviceRepository(pool: database.pool)
            func isReset() async throws -> Bool {
                try await database.pool.query("SELECT last_result_at IS NULL AS reset FROM devices")[0].value("reset")
            }
            try await database.pool.query("UPDATE devices SET last_result_at = NOW()")
            _ = try await devices.provision(id: device, credentialIDs: [credential], pollingInterval: nil)
            #expect(try await isReset())
            try await database.pool.query("UPDATE devices SET last_result_at = NOW()")
            _ = try await devices.deprovision(id: device)
            #expect(try await isReset())
        }
    }
}
