import NMSCore
import NMSStorage
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Testing

@Suite struct SuspensionTests {
    private struct Fleet {
        let credentials: CredentialRepository
        let credential: Int
        var devices: [Int]

        init(_ pool: PostgresPool, hosts: Int) async throws {
            self.credentials = CredentialRepository(pool: pool, cipher: .testing)
            let repository = DeviceRepository(pool: pool)
            self.credential = try await self.credentials.create(.testing("shared")).id
            var devices: [Int] = []
            for host in 1...hosts {
                let device = try await repository.create(NewDevice(ip: IPAddress("10.0.0.\(host)")!))
                _ = try await repository.provision(
                    id: device.id,
                    credentialIDs: [self.credential],
                    pollingInterval: nil
                )
                devices.append(device.id)
            }
            self.devices = devices
        }

        func fail(_ index: Int) async throws -> SuspensionState {
            try await self.credentials.recordAuthenticationFailure(
                deviceID: self.devices[index],
                credentialID: self.credential
            )
        }

        func succeed(_ index: Int) async throws {
            try await self.credentials.recordAuthenticationSuccess(
                deviceID: self.devices[index],
                credentialID: self.credential
            )
        }

        func state(_ index: Int) async throws -> SuspensionState {
            try await self.credentials.suspension(deviceID: self.devices[index], credentialID: self.credential)
        }
    }

    @Test func twoFailuresSuspendThePairAlone() async throws {
        try await TestDatabase.with(.migrated) { database in
            let fleet = try await Fleet(database.pool, hosts: 2)
            #expect(try await fleet.state(0) == SuspensionState())
            #expect(try await fleet.fail(0) == SuspensionState(pairFailures: 1, failedHosts: 1))
            #expect(try await fleet.fail(0) == SuspensionState(pairFailures: 2, pairSuspended: true, failedHosts: 1))
            #expect(try await fleet.state(1) == SuspensionState(failedHosts: 1))
            // A sign-in that was under way ends no suspension, but the credential works somewhere.
            try await fleet.succeed(0)
            #expect(try await fleet.state(0) == SuspensionState(pairFailures: 2, pairSuspended: true))
            // The poller still gets it: the gate decides.
            let credentials = try await fleet.credentials.triedBy(device: fleet.devices[0])
            #expect(credentials.map(\.credential.status) == [.active])
        }
    }

    @Test func aSuccessBetweenForgetsFailures() async throws {
        try await TestDatabase.with(.migrated) { database in
            let fleet = try await Fleet(database.pool, hosts: 4)
            for index in [0, 1] { _ = try await fleet.fail(index) }
            try await fleet.succeed(3)
            #expect(try await fleet.state(0) == SuspensionState(pairFailures: 1))
            #expect(try await fleet.fail(2) == SuspensionState(pairFailures: 1, failedHosts: 1))
            try await fleet.succeed(0)
            #expect(try await fleet.state(0) == SuspensionState())
            #expect(try await fleet.fail(0) == SuspensionState(pairFailures: 1, failedHosts: 1))
        }
    }

    @Test func failuresOnThreeHostsSuspendTheCredential() async throws {
        try await TestDatabase.with(.migrated) { database in
            let fleet = try await Fleet(database.pool, hosts: 4)
            for index in [0, 1] { #expect(try await !fleet.fail(index).credentialSuspended) }
            #expect(try await fleet.fail(2).credentialSuspended)
            #expect(try await fleet.state(3).credentialSuspended)
            #expect(try await fleet.credentials.credential(id: fleet.credential)?.status == .suspended)
            let decrypted = try await fleet.credentials.triedBy(device: fleet.devices[3])
            #expect(decrypted.map(\.credential.status) == [.suspended])
            try await fleet.succeed(3)
            #expect(try await fleet.state(3).credentialSuspended)

            #expect(try await fleet.credentials.resume(id: fleet.credential)?.status == .active)
            for index in 0..<4 { #expect(try await fleet.state(index) == SuspensionState()) }
            #expect(try await fleet.credentials.resume(id: 4711) == nil)
        }
    }

    @Test(arguments: ["password", "username", "domain", "type"])
    func aChangedSignInEndsEverySuspension(_ field: String) async throws {
        try await TestDatabase.with(.migrated) { database in
            let fleet = try await Fleet(database.pool, hosts: 3)
            for index in [0, 0, 1, 2] { _ = try await fleet.fail(index) }
            var changes = CredentialChanges()
            changes.name = "another name"
            changes.username = "SVC-shared"
            changes.domain = .some(nil)
            changes.type = .winrmNTLM
            changes.password = Secret("correct horse")
            // Nothing of the sign-in changed.
            #expect(try await fleet.credentials.update(id: fleet.credential, changes)?.status == .suspended)
            #expect(try await fleet.state(0).pairSuspended)
            switch field {
            case "password": changes.password = Secret("new")
            case "username": changes.username = "other"
            case "type": changes.type = .winrmBasic
            default: changes.domain = "CORP"
            }
            #expect(try await fleet.credentials.update(id: fleet.credential, changes)?.status == .active)
            for index in 0..<3 { #expect(try await fleet.state(index) == SuspensionState()) }
        }
    }

    /// What no known key opens can't be compared, and is set again for that reason.
    @Test func aPasswordThatReplacesAnUndecryptableOneEndsSuspensions() async throws {
        try await TestDatabase.with(.migrated) { database in
            let fleet = try await Fleet(database.pool, hosts: 1)
            for _ in 0..<2 { _ = try await fleet.fail(0) }
            try await database.pool.query("UPDATE credentials SET encrypted_password = 'v1:' || key_id || ':'")
            var changes = CredentialChanges()
            changes.password = Secret("correct horse")
            #expect(try await fleet.credentials.update(id: fleet.credential, changes) != nil)
            #expect(try await fleet.state(0) == SuspensionState())
        }
    }

    @Test(.timeLimit(.minutes(1))) func concurrentFailuresCountExactly() async throws {
        try await TestDatabase.with(.migrated) { database in
            let fleet = try await Fleet(database.pool, hosts: 6)
            let states = try await withThrowingTaskGroup(of: SuspensionState.self) { group in
                for index in 0..<24 { group.addTask { try await fleet.fail(index % 6) } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            // Of 24 failures on 6 hosts, exactly those before the third host's first leave the credential active.
            #expect(states.count { !$0.credentialSuspended } >= 2)
            #expect(Set(states.map(\.pairFailures)) == [1, 2, 3, 4])
            #expect(states.count { $0.pairFailures == 1 } == 6)
            let final = SuspensionState(pairFailures: 4, pairSuspended: true, credentialSuspended: true, failedHosts: 6)
            for index in 0..<6 { #expect(try await fleet.state(index) == final) }
        }
    }

    /// Without the lock on the credential, each of the three would count its own host only.
    @Test(.timeLimit(.minutes(1))) func threeHostsThatFailAtOnceSuspendTheCredential() async throws {
        try await TestDatabase.with(.migrated) { database in
            let fleet = try await Fleet(database.pool, hosts: 3)
            for _ in 0..<20 {
                try await withThrowingTaskGroup { group in
                    for index in 0..<3 { group.addTask { _ = try await fleet.fail(index) } }
                    try await group.waitForAll()
                }
                #expect(try await fleet.state(0).credentialSuspended)
                _ = try await fleet.credentials.resume(id: fleet.credential)
            }
        }
    }

    @Test func aCredentialThatIsGoneCountsNothing() async throws {
        try await TestDatabase.with(.migrated) { database in
            let fleet = try await Fleet(database.pool, hosts: 1)
            #expect(
                try await fleet.credentials.recordAuthenticationFailure(deviceID: 1, credentialID: 4711)
                    == SuspensionState()
            )
            _ = try await fleet.fail(0)
            _ = try await DeviceRepository(pool: database.pool).deprovision(id: fleet.devices[0])
            #expect(try await fleet.credentials.delete(id: fleet.credential))
            #expect(try await database.pool.count("sign_in_failures") == 0)
        }
    }

    enum Detour: CaseIterable { case provisionedAnew, anotherCredentialMeanwhile, deletedAndMadeAnew }

    /// The account does not forget failed sign-ins when the device does.
    @Test(arguments: Detour.allCases) func aHostsFailuresOutliveItsDevice(_ detour: Detour) async throws {
        try await TestDatabase.with(.migrated) { database in
            var fleet = try await Fleet(database.pool, hosts: 3)
            let devices = DeviceRepository(pool: database.pool)
            let other = try await fleet.credentials.create(.testing("other")).id
            for index in 0..<2 {
                _ = try await fleet.fail(index)
                switch detour {
                case .provisionedAnew: _ = try await devices.deprovision(id: fleet.devices[index])
                case .anotherCredentialMeanwhile:
                    _ = try await devices.provision(
                        id: fleet.devices[index],
                        credentialIDs: [other],
                        pollingInterval: nil
                    )
                case .deletedAndMadeAnew:
                    _ = try await devices.delete(id: fleet.devices[index])
                    let address = IPAddress("10.0.0.\(index + 1)")!
                    fleet.devices[index] = try await devices.create(NewDevice(ip: address)).id
                }
                _ = try await devices.provision(
                    id: fleet.devices[index],
                    credentialIDs: [fleet.credential],
                    pollingInterval: nil
                )
            }
            #expect(try await fleet.state(0) == SuspensionState(pairFailures: 1, failedHosts: 2))
            #expect(try await fleet.fail(0) == SuspensionState(pairFailures: 2, pairSuspended: true, failedHosts: 2))
            #expect(try await fleet.fail(2).credentialSuspended)
        }
    }

    @Test func anotherAddressIsAnotherHost() async throws {
        try await TestDatabase.with(.migrated) { database in
            let fleet = try await Fleet(database.pool, hosts: 1)
            let devices = DeviceRepository(pool: database.pool)
            for _ in 0..<2 { _ = try await fleet.fail(0) }
            _ = try await devices.update(id: fleet.devices[0], DeviceChanges(ip: IPAddress("10.9.9.9")!))
            #expect(try await fleet.state(0) == SuspensionState(failedHosts: 1))
            #expect(try await fleet.fail(0) == SuspensionState(pairFailures: 1, failedHosts: 2))
            _ = try await devices.update(id: fleet.devices[0], DeviceChanges(ip: IPAddress("10.0.0.1")!))
            #expect(try await fleet.state(0).pairSuspended)
        }
    }

    /// Otherwise a device that is deleted while its sign-in is under way would give one free try each time.
    @Test func failuresOfDeletedDevicesCountForTheCredential() async throws {
        try await TestDatabase.with(.migrated) { database in
            let fleet = try await Fleet(database.pool, hosts: 3)
            for index in 0..<3 {
                _ = try await DeviceRepository(pool: database.pool).delete(id: fleet.devices[index])
                #expect(try await fleet.fail(index).failedHosts == index + 1)
            }
            #expect(try await fleet.state(0).credentialSuspended)
        }
    }

    @Test func pollsAndDiscoveriesShareOneMemory() async throws {
        try await TestDatabase.with(.migrated) { database in
            let fleet = try await Fleet(database.pool, hosts: 1)
            let (credentials, id) = (fleet.credentials, fleet.credential)
            func fail(_ ip: String) async throws -> SuspensionState {
                try await credentials.recordAuthenticationFailure(of: .address(IPAddress(ip)!), credentialID: id)
            }
            // The device's own address: one pair, however it is named.
            #expect(try await fail("10.0.0.1") == SuspensionState(pairFailures: 1, failedHosts: 1))
            #expect(try await fleet.state(0) == SuspensionState(pairFailures: 1, failedHosts: 1))
            #expect(try await fail("10.9.9.9") == SuspensionState(pairFailures: 1, failedHosts: 2))
            #expect(try await credentials.isSuspended(credentialID: id) == false)
            try await credentials.recordAuthenticationSuccess(
                of: .address(IPAddress("2001:db8::1")!),
                credentialID: id
            )
            #expect(try await fleet.state(0) == SuspensionState(pairFailures: 1))
            try await credentials.recordAuthenticationSuccess(
                of: .address(IPAddress("10.0.0.1")!),
                credentialID: id
            )
            #expect(try await fleet.state(0) == SuspensionState())
            for host in 1...3 { _ = try await fail("10.1.0.\(host)") }
            #expect(try await fleet.state(0).credentialSuspended)
            #expect(try await credentials.isSuspended(credentialID: id))
            #expect(try await credentials.isSuspended(credentialID: id + 1) == false)
        }
    }
}
