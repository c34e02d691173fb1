package import NMSCore
internal import Postgres

extension DiscoveryRepository {
    /// Stores hosts and progress in one transaction and renews the lease.
    ///
    /// Each host becomes a device, or refreshes the one that has its address. What a device is set to stays: its status,
    /// its credentials, its interval. A name and an OS that the host tells only to those who sign in replace what is
    /// there; what it tells anyone fills gaps, and replaces no more than what it told anyone before. A credential that
    /// worked is associated where there was none.
    ///
    /// A cancelled discovery takes what was under way.
    /// - Throws: ``DiscoveryLeaseError/lost``, `PostgresError`.
    package func store(
        id: Int,
        worker: String,
        hosts: [DiscoveredHost],
        progress: DiscoveryProgress
    ) async throws -> StoredHosts {
        let prepared = try PreparedHosts(hosts)
        let progress = try PreparedProgress(progress)
        return try await self.pool.withTransaction { connection in
            let rows = try await connection.query(
                """
                UPDATE discoveries SET
                    counts = CASE WHEN $4 >= scanned THEN $5::jsonb ELSE counts END,
                    attempts = CASE WHEN ($6::jsonb->>'index')::integer > (checkpoint->>'index')::integer THEN 0
                        ELSE attempts END,
                    scanned = LEAST(GREATEST(scanned, $3), total),
                    checkpoint = $6::jsonb,
                    rate = CASE WHEN status = 'running' THEN $7::double precision END,
                    eta_seconds = CASE WHEN status = 'running' THEN $8::double precision END,
                    heartbeat_at = NOW(), updated_at = NOW()
                WHERE id = $1 AND worker = $2 AND status IN ('running', 'cancelled')
                RETURNING options::text AS options, requested_by::text AS requested_by
                """,
                [
                    id, worker, progress.scanned, progress.counted, progress.counts, progress.checkpoint,
                    progress.rate, progress.eta,
                ]
            )
            guard let row = rows.first else { throw DiscoveryLeaseError.lost }
            guard !prepared.hosts.isEmpty else { return StoredHosts() }
            let options: DiscoveryOptions = try Self.decoded(row, "options")
            let requester: DiscoveryRequester = try Self.decoded(row, "requested_by")
            return try await HostTransaction(
                connection: connection,
                discoveryID: id,
                options: options,
                audit: requester.context
            ).run(prepared)
        }
    }
}

/// Progress as the columns hold it.
private struct PreparedProgress {
    let scanned: Int
    /// Addresses that ``counts`` tells of: after a restart fewer than ``scanned`` for a moment.
    let counted: Int
    let counts: String
    let checkpoint: String
    let rate: Double?
    let eta: Double?

    init(_ progress: DiscoveryProgress) throws {
        self.scanned = max(0, progress.scanned)
        self.counted = progress.counts.total
        self.counts = try DiscoveryRepository.json(progress.counts)
        self.checkpoint = try DiscoveryRepository.json(progress.checkpoint)
        self.rate = progress.rate.isFinite ? max(0, progress.rate) : nil
        self.eta = progress.etaSeconds.flatMap { $0.isFinite ? max(0, $0) : nil }
    }
}

/// Hosts as the columns hold them: the last of each address, in the order of addresses.
private struct PreparedHosts {
    struct Host {
        let ip: String
        let hostname: String?
        let os: String?
        let build: String?
        let credentialID: Int?
        /// Without the evidence, which has a column of its own.
        let json: String
        let evidence: String
    }

    let hosts: [Host]

    /// `VARCHAR(255)`.
    private static let nameLength = 255
    /// `VARCHAR(50)`.
    private static let buildLength = 50

    init(_ found: [DiscoveredHost]) throws {
        var byAddress: [IPAddress: DiscoveredHost] = [:]
        for host in found {
            guard let address = IPAddress(host.ip) else { continue }
            byAddress[address] = host
        }
        self.hosts = try byAddress.sorted { $0.key < $1.key }.map { address, host in
            let ip = address.description
            var bare = host
            bare.ip = ip
            bare.evidence = DiscoveryEvidence()
            return Host(
                ip: ip,
                hostname: PreparedResult.text(host.hostname, Self.nameLength),
                os: PreparedResult.text(host.os, Self.nameLength),
                build: PreparedResult.text(host.build, Self.buildLength),
                credentialID: host.credentialID.flatMap { Int32(exactly: $0) }.map(Int.init),
                json: Self.storable(try DiscoveryRepository.json(bare)),
                evidence: try Self.evidence(host.evidence)
            )
        }
    }

    /// What can't be written, such as a clock that is off by infinity, must not stop a discovery.
    private static func evidence(_ evidence: DiscoveryEvidence) throws -> String {
        if let json = try? DiscoveryRepository.json(evidence) { return Self.storable(json) }
        return try DiscoveryRepository.json(DiscoveryEvidence(ports: evidence.ports))
    }

    /// jsonb takes no NUL, not even an escaped one; hosts that send one must not stop a discovery.
    private static func storable(_ json: String) -> String {
        let nul = "\\u0000"
        guard json.contains(nul) else { return json }
        var result = ""
        var rest = json[...]
        // Escapes one by one: a backslash that is escaped itself may stand before "u0000".
        while let backslash = rest.firstIndex(of: "\\") {
            result += rest[..<backslash]
            rest = rest[backslash...]
            if rest.hasPrefix(nul) {
                result += "\\ufffd"
                rest = rest.dropFirst(nul.count)
            } else {
                result += rest.prefix(2)
                rest = rest.dropFirst(2)
            }
        }
        return result + rest
    }
}

/// Brings found hosts into `devices` and `discovery_hosts`.
private struct HostTransaction {
    let connection: PostgresConnection
    let discoveryID: Int
    let options: DiscoveryOptions
    let audit: AuditContext

    private struct Known {
        var id: Int
        var status: DeviceStatus
        var isNew: Bool
    }

    func run(_ prepared: PreparedHosts) async throws -> StoredHosts {
        let hosts = prepared.hosts
        var devices = try await self.insert(hosts)
        let known = hosts.filter { devices[$0.ip] == nil }
        for (ip, device) in try await self.refresh(known) { devices[ip] = device }
        let stored = StoredHosts(
            inserted: devices.values.filter(\.isNew).map(\.id).sorted(),
            refreshed: devices.values.filter { !$0.isNew }.map(\.id).sorted(),
            provisioned: try await self.associate(hosts, devices)
        )
        try await self.remember(hosts, devices)
        return stored
    }

    private func insert(_ hosts: [PreparedHosts.Host]) async throws -> [String: Known] {
        let rows = try await self.connection.query(
            """
            INSERT INTO devices (ip, hostname, os, build, polling_interval, last_seen)
            SELECT found.ip, found.hostname, found.os, found.build, $5::integer, NOW()
            FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS found (ip, hostname, os, build)
            ORDER BY found.ip::inet
            ON CONFLICT (ip) DO NOTHING
            RETURNING \(DeviceRepository.columns)
            """,
            [
                hosts.map(\.ip), hosts.map(\.hostname), hosts.map(\.os), hosts.map(\.build),
                self.options.pollingInterval ?? Device.defaultPollingInterval,
            ]
        )
        var devices: [String: Known] = [:]
        for device in try rows.map(DeviceRepository.device) {
            devices[device.ip] = Known(id: device.id, status: device.status, isNew: true)
            try await self.record(.deviceCreated, device, AuditChanges(created: device))
        }
        return devices
    }

    /// Locks rows in the order of their ids, as the storage writer does.
    private func refresh(_ hosts: [PreparedHosts.Host]) async throws -> [String: Known] {
        guard !hosts.isEmpty else { return [:] }
        try await self.connection.query(
            "SELECT id FROM devices WHERE ip = ANY ($1::text[]) ORDER BY id FOR NO KEY UPDATE",
            [hosts.map(\.ip)]
        )
        let rows = try await self.connection.query(
            """
            UPDATE devices AS device SET
                hostname = CASE WHEN found.verified OR old.hostname IS NULL
                    OR old.status = 'discovered' AND old.hostname = told.hostname
                    THEN COALESCE(found.hostname, old.hostname) ELSE old.hostname END,
                os = CASE WHEN found.verified OR old.os IS NULL OR old.status = 'discovered' AND old.os = told.os
                    THEN COALESCE(found.os, old.os) ELSE old.os END,
                build = CASE WHEN found.verified OR old.build IS NULL
                    THEN COALESCE(found.build, old.build) ELSE old.build END,
                last_seen = GREATEST(old.last_seen, NOW()),
                updated_at = NOW()
            FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::boolean[])
                AS found (ip, hostname, os, build, verified)
            JOIN devices AS old ON old.ip = found.ip
            LEFT JOIN LATERAL (
                SELECT hostname, os FROM discovery_hosts
                WHERE device_id = old.id AND host->>'credential_id' IS NULL
                ORDER BY discovery_id DESC LIMIT 1
            ) AS told ON TRUE
            WHERE device.id = old.id
            RETURNING device.id, device.ip, device.status
            """,
            [
                hosts.map(\.ip), hosts.map(\.hostname), hosts.map(\.os), hosts.map(\.build),
                hosts.map { $0.credentialID != nil },
            ]
        )
        var devices: [String: Known] = [:]
        for row in rows {
            devices[try row.value("ip")] = Known(
                id: try row.value("id"),
                status: try row.enumeration("status"),
                isNew: false
            )
        }
        return devices
    }

    /// Associates credentials that worked; with `auto_provision`, devices that are only `discovered` are provisioned
    /// with them.
    private func associate(
        _ hosts: [PreparedHosts.Host],
        _ devices: [String: Known]
    ) async throws -> [ScheduledDevice] {
        let candidates = hosts.compactMap { host -> (device: Known, credential: Int)? in
            guard let credential = host.credentialID, let device = devices[host.ip] else { return nil }
            return (device, credential)
        }
        guard !candidates.isEmpty else { return [] }
        // Locked, so that none is deleted meanwhile.
        let found = try await self.connection.query(
            "SELECT id FROM credentials WHERE id = ANY ($1::integer[]) ORDER BY id FOR KEY SHARE",
            [Array(Set(candidates.map(\.credential))).sorted()]
        )
        let existing = Set(try found.map { try $0.value("id", as: Int.self) })
        let opened = candidates.filter { existing.contains($0.credential) }
        let before = Dictionary(
            try await self.devices(opened.map(\.device.id)).map { ($0.id, $0) },
            uniquingKeysWith: { first, _ in first }
        )
        let fresh = self.options.autoProvision ? opened.filter { $0.device.status == .discovered } : []
        if !fresh.isEmpty {
            try await self.connection.query(
                "DELETE FROM device_credentials WHERE device_id = ANY ($1::integer[])",
                [fresh.map(\.device.id)]
            )
        }
        try await self.connection.query(
            """
            INSERT INTO device_credentials (device_id, credential_id, priority, last_success)
            SELECT opened.device_id, opened.credential_id, 1, NOW()
            FROM unnest($1::integer[], $2::integer[]) AS opened (device_id, credential_id)
            WHERE NOT EXISTS (SELECT 1 FROM device_credentials AS used WHERE used.device_id = opened.device_id)
            """,
            [opened.map(\.device.id), opened.map(\.credential)]
        )
        if !fresh.isEmpty { try await self.provision(fresh.map(\.device.id)) }
        let freshIDs = Set(fresh.map(\.device.id))
        var provisioned: [ScheduledDevice] = []
        for device in try await self.devices(opened.map(\.device.id)) {
            guard let old = before[device.id], old != device else { continue }
            let isProvisioned = freshIDs.contains(device.id)
            try await self.record(
                isProvisioned ? .deviceProvisioned : .deviceUpdated,
                device,
                AuditChanges(from: old, to: device)
            )
            guard isProvisioned, let credential = device.credentialIDs.first else { continue }
            provisioned.append(
                ScheduledDevice(deviceID: device.id, credentialID: credential, interval: device.pollingInterval)
            )
        }
        return provisioned
    }

    private func provision(_ ids: [Int]) async throws {
        try await self.connection.query(
            """
            UPDATE devices SET status = 'provisioned', polling_interval = COALESCE($2, polling_interval),
                consecutive_failures = 0, last_error_code = NULL, last_error_message = NULL, last_error_at = NULL,
                last_result_at = NULL, updated_at = NOW()
            WHERE id = ANY ($1::integer[])
            """,
            [ids, self.options.pollingInterval]
        )
    }

    private func devices(_ ids: [Int]) async throws -> [Device] {
        try await self.connection.query(
            "SELECT \(DeviceRepository.columns) FROM devices WHERE id = ANY ($1::integer[]) ORDER BY id",
            [ids]
        ).map(DeviceRepository.device)
    }

    private func record(_ action: AuditAction, _ device: Device, _ changes: AuditChanges) async throws {
        try await AuditRepository.record(AuditEvent(action, .device(device), changes), self.audit, self.connection)
    }

    private func remember(_ hosts: [PreparedHosts.Host], _ devices: [String: Known]) async throws {
        try await self.connection.query(
            """
            INSERT INTO discovery_hosts AS kept
                (discovery_id, ip, outcome, device_id, credential_id, is_new, hostname, os, host, evidence)
            SELECT $1, found.ip, $9, found.device_id, credentials.id, found.is_new, found.hostname, found.os,
                found.host::jsonb, found.evidence::jsonb
            FROM unnest($2::text[], $3::integer[], $4::integer[], $5::boolean[], $6::text[], $7::text[], $8::text[],
                $10::text[]) AS found (ip, device_id, credential_id, is_new, hostname, os, host, evidence)
            LEFT JOIN credentials ON credentials.id = found.credential_id
            ORDER BY found.ip
            ON CONFLICT (discovery_id, ip) DO UPDATE SET
                outcome = EXCLUDED.outcome, device_id = EXCLUDED.device_id, credential_id = EXCLUDED.credential_id,
                is_new = kept.is_new OR EXCLUDED.is_new, hostname = EXCLUDED.hostname, os = EXCLUDED.os,
                host = EXCLUDED.host, evidence = EXCLUDED.evidence
            """,
            [
                self.discoveryID, hosts.map(\.ip), hosts.map { devices[$0.ip]?.id }, hosts.map(\.credentialID),
                hosts.map { devices[$0.ip]?.isNew ?? false }, hosts.map(\.hostname), hosts.map(\.os),
                hosts.map(\.json), AddressOutcome.windows.rawValue, hosts.map(\.evidence),
            ]
        )
    }
}
