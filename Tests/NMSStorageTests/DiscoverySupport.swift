import Foundation
import NMSCore
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport

@testable import NMSStorage

/// A database with one discovery of 256 addresses, and what is needed to run it.
struct DiscoveryFixture {
    let pool: PostgresPool
    let discoveries: DiscoveryRepository
    let devices: DeviceRepository
    let credentials: CredentialRepository
    static let user = AuditContext(
        actor: .user(id: 7, username: "olga", role: .operator),
        remoteAddress: "192.0.2.9",
        requestID: "r-1"
    )

    init(_ database: TestDatabase) {
        self.pool = database.pool
        self.discoveries = DiscoveryRepository(pool: database.pool)
        self.devices = DeviceRepository(pool: database.pool)
        self.credentials = CredentialRepository(pool: database.pool, cipher: .testing)
    }

    static func with(_ body: (DiscoveryFixture) async throws -> Void) async throws {
        try await TestDatabase.with(.migrated) { try await body(DiscoveryFixture($0)) }
    }

    func start(
        _ subnet: String = "10.0.0.0/24",
        total: Int = 256,
        options: DiscoveryOptions = DiscoveryOptions(),
        overlaps: (String) -> Bool = { _ in false }
    ) async throws -> Discovery {
        try await self.discoveries.create(
            NewDiscovery(subnet: subnet, targets: "canonical \(subnet)", total: total, options: options),
            audit: Self.user,
            overlaps: overlaps
        )
    }

    /// A discovery that `worker` runs.
    func running(options: DiscoveryOptions = DiscoveryOptions(), worker: String = "w1") async throws -> Int {
        let id = try await self.start(options: options).id
        guard try await self.discoveries.claim(id: id, worker: worker) != nil else { throw Missing() }
        return id
    }

    struct Missing: Error {}

    @discardableResult
    func store(
        _ id: Int,
        _ hosts: [DiscoveredHost],
        worker: String = "w1",
        scanned: Int = 0
    ) async throws -> StoredHosts {
        try await self.discoveries.store(id: id, worker: worker, hosts: hosts, progress: .testing(scanned))
    }

    func credential(_ name: String = "c") async throws -> Int {
        try await self.credentials.create(.testing(name)).id
    }

    func device(_ ip: String) async throws -> Device {
        let rows = try await self.pool.query("SELECT id FROM devices WHERE ip = $1", [ip])
        guard let row = rows.first, let device = try await self.devices.device(id: row.value("id")) else {
            throw Missing()
        }
        return device
    }

    func audited() async throws -> [String] {
        try await self.pool.query(
            "SELECT action || ' ' || COALESCE(target_name, '') || ' by ' || COALESCE(actor_name, actor_type) AS line "
                + "FROM audit_log ORDER BY id"
        ).map { try $0.value("line") }
    }

    /// As if `seconds` had passed since the row was touched.
    func age(_ id: Int, seconds: Int) async throws {
        try await self.pool.query(
            """
            UPDATE discoveries SET heartbeat_at = heartbeat_at - make_interval(secs => $2),
                published_at = published_at - make_interval(secs => $2),
                finished_at = finished_at - make_interval(secs => $2)
            WHERE id = $1
            """,
            [id, seconds]
        )
    }
}

extension DiscoveryProgress {
    /// `scanned` addresses done, all of them silent, the checkpoint at the last one.
    static func testing(_ scanned: Int, total: Int = 256, counted: Int? = nil) -> DiscoveryProgress {
        var counts = OutcomeCounts()
        counts[.silent] = counted ?? scanned
        return DiscoveryProgress(
            scanned: scanned,
            total: total,
            counts: counts,
            checkpoint: DiscoveryCheckpoint(index: counted ?? scanned, counts: counts),
            rate: 12.5,
            etaSeconds: 3
        )
    }
}

extension DiscoveredHost {
    static func testing(
        _ ip: String,
        hostname: String? = "srv.corp.example",
        os: String? = "Microsoft Windows 10.0.20348",
        credential: Int? = nil,
        trials: [CredentialTrial] = []
    ) -> DiscoveredHost {
        var evidence = DiscoveryEvidence(ports: [.init(port: 5985, state: .open)])
        evidence.reasons = ["the NTLM challenge names a Windows build"]
        return DiscoveredHost(
            ip: ip,
            hostname: hostname,
            domain: "corp.example",
            os: os,
            osVersion: "10.0.20348",
            build: "20348",
            credentialID: credential,
            trials: trials,
            evidence: evidence
        )
    }
}
