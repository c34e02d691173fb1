import NMSCore
import NMSStorage
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Synchronization
import Testing

@Suite struct CachedPollTargetsTests {
    private struct Setup {
        let database: TestDatabase
        let clock = ManualClock()
        let targets: CachedPollTargets
        let devices: DeviceRepository
        let credentials: CredentialRepository
        let device: Int
        let credential: Int

        init(_ database: TestDatabase) async throws {
            self.database = database
            self.devices = DeviceRepository(pool: database.pool)
            self.credentials = CredentialRepository(pool: database.pool, cipher: .testing)
            (self.device, self.credential) = try await database.pool.provisionedDevice()
            let (clock, start) = (self.clock, ContinuousClock.now)
            self.targets = CachedPollTargets(
                devices: self.devices,
                credentials: self.credentials,
                deviceTTL: .seconds(60),
                credentialTTL: .seconds(120),
                now: { start + clock.now.offset }
            )
        }

        func target() async throws -> PollTarget? { try await self.targets.pollTarget(deviceID: self.device) }
    }

    @Test func targetsComeFromMemoryUntilTheirTTL() async throws {
        try await TestDatabase.with(.migrated) { database in
            let setup = try await Setup(database)
            let first = try #require(try await setup.target())
            #expect(first.device.id == setup.device)
            #expect(first.credentials.map(\.password.exposed) == ["correct horse"])
            _ = try await setup.devices.update(id: setup.device, DeviceChanges(pollingInterval: 7))
            var changes = CredentialChanges()
            changes.password = Secret("new")
            _ = try await setup.credentials.update(id: setup.credential, changes)
            #expect(try await setup.target() == first)
            setup.clock.advance(by: .seconds(61))
            #expect(try await setup.target()?.device.pollingInterval == 7)
            #expect(try await setup.target()?.credentials.map(\.password.exposed) == ["correct horse"])
            setup.clock.advance(by: .seconds(60))
            #expect(try await setup.target()?.credentials.map(\.password.exposed) == ["new"])
        }
    }

    @Test func eventsDropWhatChanged() async throws {
        try await TestDatabase.with(.migrated) { database in
            let setup = try await Setup(database)
            _ = try await setup.target()
            _ = try await setup.devices.update(id: setup.device, DeviceChanges(pollingInterval: 7))
            setup.targets.apply(DeviceEvent(.metricsStored, deviceIDs: [setup.device]))
            setup.targets.apply(DeviceEvent(.deviceUpdated, deviceID: setup.device + 1))
            #expect(try await setup.target()?.device.pollingInterval == 60)
            setup.targets.apply(DeviceEvent(.deviceUpdated, deviceID: setup.device))
            #expect(try await setup.target()?.device.pollingInterval == 7)

            var changes = CredentialChanges()
            changes.password = Secret("new")
            _ = try await setup.credentials.update(id: setup.credential, changes)
            #expect(try await setup.target()?.credentials.map(\.password.exposed) == ["correct horse"])
            setup.targets.apply(DeviceEvent(.credentialUpdated, credentialID: setup.credential))
            #expect(try await setup.target()?.credentials.map(\.password.exposed) == ["new"])
        }
    }

    @Test func aDeviceThatIsGoneOrNotProvisionedIsNoTarget() async throws {
        try await TestDatabase.with(.migrated) { database in
            let setup = try await Setup(database)
            #expect(try await setup.target() != nil)
            _ = try await setup.devices.deprovision(id: setup.device)
            setup.targets.apply(DeviceEvent(.deviceUpdated, deviceID: setup.device))
            #expect(try await setup.target() == nil)
            // A miss is not remembered.
            _ = try await setup.devices.provision(
                id: setup.device,
                credentialIDs: [setup.credential],
                pollingInterval: nil
            )
            #expect(try await setup.target() != nil)
            _ = try await setup.devices.delete(id: setup.device)
            setup.targets.apply(DeviceEvent(.deviceDeleted, deviceID: setup.device))
            #expect(try await setup.target() == nil)
        }
    }
}

@Suite struct AdvisoryLockTests {
    private func lock(_ database: TestDatabase) -> AdvisoryLock {
        AdvisoryLock(
            database.configuration,
            key: .schedulerLeader,
            retryInterval: .milliseconds(20),
            logger: .testing
        )
    }

    @Test(.timeLimit(.minutes(1))) func oneLeadsAndItsEndMakesAnotherLead() async throws {
        try await TestDatabase.with { database in
            let (events, continuation) = AsyncStream<String>.makeStream()
            var iterator = events.makeAsyncIterator()
            func lead(_ name: String, _ lock: AdvisoryLock) -> Task<Void, any Error> {
                Task {
                    try await lock.whileHeld {
                        continuation.yield("\(name) leads")
                        await Self.untilCancelled()
                        continuation.yield("\(name) ends")
                    }
                }
            }
            let (first, second) = (self.lock(database), self.lock(database))
            let a = lead("a", first)
            #expect(await iterator.next() == "a leads")
            #expect(first.isHeld)
            let b = lead("b", second)
            a.cancel()
            #expect(await iterator.next() == "a ends")
            #expect(await iterator.next() == "b leads")
            _ = await a.result
            #expect(!first.isHeld)
            #expect(second.isHeld)
            b.cancel()
            _ = await b.result
        }
    }

    @Test(.timeLimit(.minutes(1))) func aLostConnectionIsALostLock() async throws {
        try await TestDatabase.with { database in
            let (events, continuation) = AsyncStream<String>.makeStream()
            var iterator = events.makeAsyncIterator()
            let lock = self.lock(database)
            let task = Task {
                try await lock.whileHeld {
                    continuation.yield("leads")
                    await Self.untilCancelled()
                    continuation.yield("ends")
                }
            }
            #expect(await iterator.next() == "leads")
            try await database.pool.query(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = "
                    + "(SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            #expect(await iterator.next() == "ends")
            #expect(await iterator.next() == "leads")
            task.cancel()
            _ = await task.result
        }
    }

    @Test(.timeLimit(.minutes(1))) func theBodysEndGivesTheLockBack() async throws {
        struct Failure: Error {}
        try await TestDatabase.with { database in
            try await self.lock(database).whileHeld {}
            await #expect(throws: Failure.self) { try await self.lock(database).whileHeld { throw Failure() } }
            try await self.lock(database).whileHeld {}
        }
    }

    private static func untilCancelled() async {
        let (stream, _) = AsyncStream<Void>.makeStream()
        for await _ in stream {}
    }
}
