import Foundation
import NMSCore
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Testing

@testable import NMSStorage

@Suite struct DiscoveryHostsTests {
    @Test func aHostBecomesADeviceWithItsEvidence() async throws {
        try await DiscoveryFixture.with { fixture in
            let id = try await fixture.running(options: DiscoveryOptions(pollingInterval: 33))
            let stored = try await fixture.store(
                id,
                [.testing("10.0.0.9"), .testing("10.0.0.10", hostname: nil, os: nil), .testing("2001:DB8::1")],
                scanned: 30
            )
            let device = try await fixture.device("10.0.0.9")
            #expect(stored.inserted.count == 3)
            #expect(stored.inserted.contains(device.id))
            #expect(stored.refreshed.isEmpty && stored.provisioned.isEmpty)
            #expect(device.hostname == "srv.corp.example")
            #expect(device.os == "Microsoft Windows 10.0.20348")
            #expect(device.status == .discovered)
            #expect(device.pollingInterval == 33)
            #expect(device.lastSeen != nil)
            #expect(device.credentialIDs.isEmpty)
            #expect(try await fixture.device("2001:db8::1").hostname == "srv.corp.example")
            let page = try await fixture.discoveries.hosts(id: id, limit: 2, offset: 0)
            #expect(page.total == 3)
            #expect(page.items.map(\.host.ip) == ["10.0.0.9", "10.0.0.10"])
            #expect(page.items[0].host == .testing("10.0.0.9"))
            #expect(page.items[0].deviceID == device.id)
            #expect(page.items[0].deviceStatus == .discovered)
            #expect(page.items[0].isNew)
            let shown = try #require(try await fixture.discoveries.discovery(id: id))
            #expect((shown.hosts, shown.newDevices, shown.scanned) == (3, 3, 30))
            #expect((shown.rate, shown.etaSeconds) == (12.5, 3))
            #expect(shown.counts[.silent] == 30)
            #expect(try await fixture.audited().dropFirst().sorted().first == "device.created 10.0.0.10 by olga")
            #expect(try await fixture.audited().count == 4)
        }
    }

    @Test func nothingComesTwiceAndProgressNeverGoesBack() async throws {
        try await DiscoveryFixture.with { fixture in
            let id = try await fixture.running()
            try await fixture.store(id, [.testing("10.0.0.1")], scanned: 100)
            // As after a restart: the counts begin at the checkpoint, and hosts behind it come again.
            let again = DiscoveryProgress.testing(90, counted: 60)
            let stored = try await fixture.discoveries.store(
                id: id,
                worker: "w1",
                hosts: [.testing("10.0.0.1", hostname: "first"), .testing("10.0.0.1", hostname: "renamed")],
                progress: again
            )
            #expect(stored.inserted.isEmpty)
            let shown = try #require(try await fixture.discoveries.discovery(id: id))
            #expect(shown.scanned == 100)
            #expect(shown.counts[.silent] == 100)
            #expect((shown.hosts, shown.newDevices) == (1, 1))
            #expect(try await fixture.pool.count("devices") == 1)
            #expect(try await fixture.device("10.0.0.1").hostname == "renamed")
            #expect(try await fixture.audited().count { $0.hasPrefix("device.created") } == 1)
            // Never beyond the end, either.
            try await fixture.store(id, [], scanned: 999)
            #expect(try await fixture.discoveries.discovery(id: id)?.scanned == 256)
        }
    }

    @Test func aKnownDeviceKeepsItsSettings() async throws {
        try await DiscoveryFixture.with { fixture in
            let credential = try await fixture.credential("own")
            let other = try await fixture.credential("other")
            let device = try await fixture.devices.create(
                NewDevice(ip: IPAddress("10.0.0.5")!, hostname: "db01.corp.example", os: "mine", pollingInterval: 17)
            )
            _ = try await fixture.devices.provision(id: device.id, credentialIDs: [credential], pollingInterval: nil)
            let options = DiscoveryOptions(credentialIDs: [other], autoProvision: true, pollingInterval: 99)
            let id = try await fixture.running(options: options)
            // Strangers' words replace nothing that is there.
            let stored = try await fixture.store(id, [.testing("10.0.0.5")], scanned: 1)
            #expect(stored == StoredHosts(refreshed: [device.id]))
            var now = try await fixture.device("10.0.0.5")
            #expect((now.hostname, now.os) == ("db01.corp.example", "mine"))
            #expect((now.status, now.pollingInterval, now.credentialIDs) == (.provisioned, 17, [credential]))
            #expect(now.lastSeen != nil)
            // Who signed in knows better, but settings stay.
            let opened = DiscoveredHost.testing("10.0.0.5", os: "Windows Server", credential: other)
            #expect(try await fixture.store(id, [opened], scanned: 1).provisioned.isEmpty)
            now = try await fixture.device("10.0.0.5")
            #expect((now.hostname, now.os) == ("srv.corp.example", "Windows Server"))
            #expect((now.status, now.pollingInterval, now.credentialIDs) == (.provisioned, 17, [credential]))
            let found = try await fixture.discoveries.hosts(id: id, limit: 10, offset: 0).items
            #expect(found.map(\.isNew) == [false])
        }
    }

    @Test func whatStrangersSaidIsReplacedByWhatTheySayNow() async throws {
        try await DiscoveryFixture.with { fixture in
            let credential = try await fixture.credential()
            let first = try await fixture.running()
            try await fixture.store(
                first,
                [
                    .testing("10.0.0.1", hostname: "old"),
                    .testing("10.0.0.2", hostname: "proven", credential: credential),
                ]
            )
            try await fixture.discoveries.finish(id: first, worker: "w1", error: nil)
            _ = try await fixture.devices.create(NewDevice(ip: IPAddress("10.0.0.3")!, hostname: "typed"))
            let second = try await fixture.running()
            try await fixture.store(second, ["1", "2", "3"].map { .testing("10.0.0.\($0)", hostname: "new") })
            #expect(try await fixture.device("10.0.0.1").hostname == "new")
            #expect(try await fixture.device("10.0.0.2").hostname == "proven")
            #expect(try await fixture.device("10.0.0.3").hostname == "typed")
            #expect(try await fixture.device("10.0.0.3").os == "Microsoft Windows 10.0.20348")
        }
    }

    @Test func aCredentialThatWorkedIsAssociatedWhereThereWasNone() async throws {
        try await DiscoveryFixture.with { fixture in
            let (first, second) = (try await fixture.credential("a"), try await fixture.credential("b"))
            let id = try await fixture.running()
            try await fixture.store(id, [.testing("10.0.0.1", credential: first), .testing("10.0.0.2")])
            #expect(try await fixture.device("10.0.0.1").credentialIDs == [first])
            #expect(try await fixture.device("10.0.0.1").status == .discovered)
            #expect(try await fixture.device("10.0.0.2").credentialIDs.isEmpty)
            let row = try await fixture.pool.query("SELECT priority, last_success FROM device_credentials")
            #expect(try row[0].value("priority") == 1)
            #expect(try row[0].optional("last_success", as: Date.self) != nil)
            try await fixture.store(id, [.testing("10.0.0.1", credential: second)])
            #expect(try await fixture.device("10.0.0.1").credentialIDs == [first])
            // One that is deleted meanwhile is no reason to fail.
            try await fixture.store(id, [.testing("10.0.0.3", credential: 999)])
            #expect(try await fixture.device("10.0.0.3").credentialIDs.isEmpty)
        }
    }

    @Test func autoProvisionTakesWhatACredentialOpenedAndNothingElse() async throws {
        try await DiscoveryFixture.with { fixture in
            let credential = try await fixture.credential()
            let options = DiscoveryOptions(credentialIDs: [credential], autoProvision: true, pollingInterval: 15)
            let id = try await fixture.running(options: options)
            let stored = try await fixture.store(
                id,
                [.testing("10.0.0.1", credential: credential), .testing("10.0.0.2")]
            )
            let device = try await fixture.device("10.0.0.1")
            #expect(
                stored.provisioned == [
                    ScheduledDevice(deviceID: device.id, credentialID: credential, interval: 15)
                ]
            )
            #expect((device.status, device.pollingInterval) == (.provisioned, 15))
            #expect(try await fixture.device("10.0.0.2").status == .discovered)
            // Reported again after a restart: it is provisioned already, and its state is not touched.
            #expect(try await fixture.store(id, [.testing("10.0.0.1", credential: credential)]).provisioned.isEmpty)
            #expect(try await fixture.devices.schedule().map(\.deviceID) == [device.id])
            #expect(
                try await fixture.audited().filter { $0.contains("10.0.0.1") } == [
                    "device.created 10.0.0.1 by olga", "device.provisioned 10.0.0.1 by olga",
                ]
            )
        }
    }

    @Test func textThatColumnsCannotHoldIsCut() async throws {
        try await DiscoveryFixture.with { fixture in
            let id = try await fixture.running()
            var host = DiscoveredHost.testing("10.0.0.1", hostname: String(repeating: "ä", count: 300), os: "a\u{0}b")
            host.build = String(repeating: "1", count: 80)
            host.evidence.banner = .init(port: 135, text: "x\u{0}y \\u0000")
            try await fixture.store(id, [host, .testing("not an address")])
            let device = try await fixture.device("10.0.0.1")
            #expect(device.hostname?.count == 255)
            #expect(device.os == "ab")
            #expect(try await fixture.pool.count("devices") == 1)
        }
    }

    @Test func failuresOfCredentialsAreCountedByReason() async throws {
        try await DiscoveryFixture.with { fixture in
            let id = try await fixture.running()
            let refused = CredentialTrial(credentialID: 4, error: .authFailed, message: "refused")
            try await fixture.store(
                id,
                [
                    .testing("10.0.0.1", trials: [refused]), .testing("10.0.0.2", trials: [refused]),
                    .testing(
                        "10.0.0.3",
                        trials: [
                            CredentialTrial(credentialID: 4, error: .timeout, message: "slow"), .init(credentialID: 5),
                        ]
                    ),
                ]
            )
            #expect(
                try await fixture.discoveries.trialFailures(id: id, limit: 10) == [
                    DiscoveryTrialFailure(credentialID: 4, code: "auth_failed", message: "refused", hosts: 2),
                    DiscoveryTrialFailure(credentialID: 4, code: "timeout", message: "slow", hosts: 1),
                ]
            )
        }
    }

    @Test func deletingADeviceLeavesTheHistory() async throws {
        try await DiscoveryFixture.with { fixture in
            let id = try await fixture.running()
            try await fixture.store(id, [.testing("10.0.0.1")])
            _ = try await fixture.devices.delete(id: fixture.device("10.0.0.1").id)
            let hosts = try await fixture.discoveries.hosts(id: id, limit: 10, offset: 0)
            #expect(hosts.items.map(\.deviceID) == [nil])
            #expect(hosts.items[0].host == .testing("10.0.0.1"))
        }
    }

    @Test func manyHostsAreStoredAtOnce() async throws {
        try await DiscoveryFixture.with { fixture in
            let id = try await fixture.running()
            let hosts = (0..<1000).map { DiscoveredHost.testing("10.0.\($0 / 250).\($0 % 250 + 1)") }
            let clock = ContinuousClock()
            let took = try await clock.measure { try await fixture.store(id, hosts) }
            #expect(try await fixture.pool.count("devices") == 1000)
            #expect(took < .seconds(10), "\(took)")
        }
    }
}
