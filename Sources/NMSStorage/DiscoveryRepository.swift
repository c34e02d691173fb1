package import NMSCore
package import Postgres
package import Foundation

package struct NewDiscovery: Sendable {
    /// As it was asked for.
    package var subnet: String
    /// Canonical text of the targets.
    package var targets: String
    /// Addresses in all.
    package var total: Int
    package var options: DiscoveryOptions

    package init(subnet: String, targets: String, total: Int, options: DiscoveryOptions) {
        self.subnet = subnet
        self.targets = targets
        self.total = total
        self.options = options
    }
}

/// A discovery as users see it.
package struct Discovery: Sendable, Equatable {
    package var id: Int
    /// As it was asked for.
    package var subnet: String
    /// The user's name; nil when NMSlite asked by itself.
    package var requestedBy: String?
    package var status: DiscoveryStatus
    package var options: DiscoveryOptions
    package var total: Int
    package var scanned: Int
    package var counts: OutcomeCounts
    /// Addresses per second; nil unless it is running.
    package var rate: Double?
    /// Seconds to go; nil while that is not known.
    package var etaSeconds: Double?
    /// Why it failed.
    package var error: String?
    /// Hosts that were found to be Windows machines.
    package var hosts: Int
    /// Those of ``hosts`` that there was no device of before.
    package var newDevices: Int
    package var createdAt: Date
    package var startedAt: Date?
    package var finishedAt: Date?
    package var updatedAt: Date
}

/// A host that a discovery found, and the device that stands for it.
package struct FoundHost: Sendable, Equatable {
    package var host: DiscoveredHost
    /// nil once the device is deleted.
    package var deviceID: Int?
    package var deviceStatus: DeviceStatus?
    /// Whether this discovery inserted the device.
    package var isNew: Bool
    package var foundAt: Date
}

/// Hosts that a credential did not open, by reason.
package struct DiscoveryTrialFailure: Sendable, Equatable {
    package var credentialID: Int
    package var code: String
    /// The message of one of the hosts.
    package var message: String
    package var hosts: Int
}

package struct DiscoveryFilter: Sendable {
    package enum SortField: String, Sendable, CaseIterable {
        case id, status, total
        case createdAt = "created_at"
        case finishedAt = "finished_at"
    }
    package var status: DiscoveryStatus?
    package var sort: SortField = .id
    package var descending = true
    package var limit = 50
    package var offset = 0

    package init() {}
}

/// What a cancellation came to.
package enum DiscoveryCancellation: Sendable, Equatable {
    case cancelled(Discovery)
    /// It had been cancelled before.
    case alreadyCancelled(Discovery)
    /// It was over by itself.
    case finished(Discovery)
}

/// Discoveries, past and present, and what they found.
package struct DiscoveryRepository: Sendable {
    let pool: PostgresPool

    package init(pool: PostgresPool) { self.pool = pool }

    /// Stores a discovery as `queued`.
    ///
    /// - Parameter overlaps: whether the canonical text of another discovery's targets has an address in common with
    ///   this one's.
    /// - Throws: ``StorageError/discoveryActive(id:)`` for a queued or running one that overlaps.
    package func create(
        _ new: NewDiscovery,
        audit: AuditContext,
        overlaps: (String) -> Bool
    ) async throws -> Discovery {
        try await self.pool.withTransaction { connection in
            // Two requests at once would not see each other's rows.
            try await connection.query("SELECT pg_advisory_xact_lock($1)", [AdvisoryLockKey.discoveries.rawValue])
            let active = try await connection.query(
                "SELECT id, targets FROM discoveries WHERE status IN ('queued', 'running') ORDER BY id"
            )
            for row in active {
                let targets: String = try row.value("targets")
                if targets == new.targets || overlaps(targets) {
                    throw StorageError.discoveryActive(id: try row.value("id"))
                }
            }
            let rows = try await connection.query(
                """
                INSERT INTO discoveries AS discovery (subnet, targets, total, options, requested_by)
                VALUES ($1, $2, $3, $4::jsonb, $5::jsonb)
                RETURNING \(Self.columns)
                """,
                [
                    new.subnet, new.targets, new.total, try Self.json(new.options),
                    try Self.json(DiscoveryRequester(audit)),
                ]
            )
            let discovery = try Self.discovery(rows[0])
            let event = AuditEvent(
                .discoveryStarted,
                discovery.auditTarget,
                AuditChanges([
                    "addresses": .integer(new.total), "auto_provision": .bool(new.options.autoProvision),
                    "credential_ids": .list(new.options.credentialIDs),
                ])
            )
            try await AuditRepository.record(event, audit, connection)
            return discovery
        }
    }

    /// Notes that the message of a new discovery did not get into the queue: the next to look for overdue ones sends it.
    package func noteUnpublished(id: Int) async throws {
        try await self.pool.query(
            "UPDATE discoveries SET published_at = '-infinity' WHERE id = $1 AND status = 'queued'",
            [id]
        )
    }

    package func discovery(id: Int) async throws -> Discovery? {
        guard let id = Int32(exactly: id) else { return nil }
        let rows = try await self.pool.read(
            "SELECT \(Self.columns) FROM discoveries AS discovery WHERE id = $1",
            [id]
        )
        return try rows.first.map(Self.discovery)
    }

    package func list(_ filter: DiscoveryFilter) async throws -> Page<Discovery> {
        let direction = filter.descending ? "DESC" : "ASC"
        let condition = "($1::text IS NULL OR status = $1)"
        let total = try await self.pool.read(
            "SELECT count(*) AS total FROM discoveries WHERE \(condition)",
            [filter.status?.rawValue]
        )
        let rows = try await self.pool.read(
            """
            SELECT \(Self.columns) FROM discoveries AS discovery WHERE \(condition)
            ORDER BY \(filter.sort.rawValue) \(direction) NULLS LAST, id \(direction) LIMIT $2 OFFSET $3
            """,
            [filter.status?.rawValue, max(0, filter.limit), max(0, filter.offset)]
        )
        return Page(
            items: try rows.map(Self.discovery),
            total: try total[0].value("total"),
            limit: filter.limit,
            offset: filter.offset
        )
    }

    /// Found hosts in the order of their addresses.
    package func hosts(id: Int, limit: Int, offset: Int) async throws -> Page<FoundHost> {
        guard let id = Int32(exactly: id) else { return Page(items: [], total: 0, limit: limit, offset: offset) }
        let total = try await self.pool.read(
            "SELECT count(*) AS total FROM discovery_hosts WHERE discovery_id = $1",
            [id]
        )
        let rows = try await self.pool.read(
            """
            SELECT found.host::text AS host, found.evidence::text AS evidence, found.device_id, found.is_new,
                found.found_at, devices.status
            FROM discovery_hosts AS found LEFT JOIN devices ON devices.id = found.device_id
            WHERE found.discovery_id = $1 ORDER BY found.ip::inet LIMIT $2 OFFSET $3
            """,
            [id, max(0, limit), max(0, offset)]
        )
        return Page(
            items: try rows.map(Self.foundHost),
            total: try total[0].value("total"),
            limit: limit,
            offset: offset
        )
    }

    /// Why credentials did not open hosts, the most frequent reason first.
    package func trialFailures(id: Int, limit: Int) async throws -> [DiscoveryTrialFailure] {
        guard let id = Int32(exactly: id) else { return [] }
        return try await self.pool.read(
            """
            SELECT (trial.value->>'credential_id')::integer AS credential_id, trial.value->>'error' AS code,
                COALESCE(min(trial.value->>'message'), '') AS message, count(*) AS hosts
            FROM discovery_hosts AS found CROSS JOIN LATERAL jsonb_array_elements(found.host->'trials') AS trial
            WHERE found.discovery_id = $1 AND trial.value->>'error' IS NOT NULL
            GROUP BY 1, 2 ORDER BY 4 DESC, 1, 2 LIMIT $2
            """,
            [id, max(0, limit)]
        ).map { row in
            DiscoveryTrialFailure(
                credentialID: try row.value("credential_id"),
                code: try row.value("code"),
                message: try row.value("message"),
                hosts: try row.value("hosts")
            )
        }
    }

    /// Ends a discovery that is queued or running: whoever runs it sees the row within a fraction of a second. nil when
    /// there is no such discovery.
    package func cancel(id: Int, audit: AuditContext) async throws -> DiscoveryCancellation? {
        guard let id = Int32(exactly: id) else { return nil }
        let cancelled: Discovery? = try await self.pool.withTransaction { connection in
            let rows = try await connection.query(
                """
                UPDATE discoveries AS discovery
                SET status = 'cancelled', finished_at = NOW(), updated_at = NOW(), rate = NULL, eta_seconds = NULL
                WHERE id = $1 AND status IN ('queued', 'running')
                RETURNING \(Self.columns)
                """,
                [id]
            )
            guard let discovery = try rows.first.map(Self.discovery) else { return nil }
            try await AuditRepository.record(
                AuditEvent(.discoveryCancelled, discovery.auditTarget),
                audit,
                connection
            )
            return discovery
        }
        if let cancelled { return .cancelled(cancelled) }
        guard let discovery = try await self.discovery(id: Int(id)) else { return nil }
        return discovery.status == .cancelled ? .alreadyCancelled(discovery) : .finished(discovery)
    }

    // MARK: Rows

    /// What a ``Discovery`` is read from; `discovery` is the table's alias.
    private static let columns = """
        id, subnet, requested_by->>'name' AS requested_by, status, options::text AS options, total, scanned, counts::text AS counts, rate, \
        eta_seconds, error, created_at, started_at, finished_at, updated_at, \
        (SELECT count(*) FROM discovery_hosts AS found WHERE found.discovery_id = discovery.id) AS hosts, \
        (SELECT count(*) FROM discovery_hosts AS found WHERE found.discovery_id = discovery.id AND is_new) AS new_devices
        """

    private static func discovery(_ row: PostgresRow) throws -> Discovery {
        Discovery(
            id: try row.value("id"),
            subnet: try row.value("subnet"),
            requestedBy: try row.optional("requested_by"),
            status: try row.enumeration("status"),
            options: try Self.decoded(row, "options"),
            total: try row.value("total"),
            scanned: try row.value("scanned"),
            counts: try Self.decoded(row, "counts"),
            rate: try row.optional("rate"),
            etaSeconds: try row.optional("eta_seconds"),
            error: try row.optional("error"),
            hosts: try row.value("hosts"),
            newDevices: try row.value("new_devices"),
            createdAt: try row.value("created_at"),
            startedAt: try row.optional("started_at"),
            finishedAt: try row.optional("finished_at"),
            updatedAt: try row.value("updated_at")
        )
    }

    private static func foundHost(_ row: PostgresRow) throws -> FoundHost {
        var host: DiscoveredHost = try Self.decoded(row, "host")
        host.evidence = try Self.decoded(row, "evidence")
        let status: String? = try row.optional("status")
        return FoundHost(
            host: host,
            deviceID: try row.optional("device_id"),
            deviceStatus: status.flatMap(DeviceStatus.init(rawValue:)),
            isNew: try row.value("is_new"),
            foundAt: try row.value("found_at")
        )
    }

    static func json(_ value: some Encodable) throws -> String {
        String(decoding: try NMSJSON.encoder().encode(value), as: UTF8.self)
    }

    static func decoded<Value: Decodable & Sendable>(
        _ row: PostgresRow,
        _ column: String,
        as type: Value.Type = Value.self
    ) throws -> Value {
        let text: String = try row.value(column)
        do { return try NMSJSON.decoder().decode(type, from: Data(text.utf8)) } catch {
            throw PostgresError.decoding(column: column, expected: "\(type)", found: "other JSON")
        }
    }
}

extension Discovery {
    var auditTarget: AuditTarget { .discovery(id: String(self.id), subnet: self.subnet) }
}

/// Who asked for a discovery, as its row keeps him: the devices that come of it are his doing.
struct DiscoveryRequester: Codable {
    private let id: Int?
    private let name: String?
    private let role: String?
    private let remoteAddress: String?
    private let requestID: String?

    init(_ context: AuditContext) {
        self.id = context.actor.id
        self.name = context.actor.name
        self.role = context.actor.role?.rawValue
        self.remoteAddress = context.remoteAddress
        self.requestID = context.requestID
    }

    /// NMSlite itself where no user is known.
    var context: AuditContext {
        guard let id = self.id, let name = self.name, let role = self.role.flatMap(Role.init(rawValue:)) else {
            return .system
        }
        return AuditContext(
            actor: .user(id: id, username: name, role: role),
            remoteAddress: self.remoteAddress,
            requestID: self.requestID
        )
    }

    enum CodingKeys: String, CodingKey {
        case id, name, role
        case remoteAddress = "remote_address"
        case requestID = "request_id"
    }
}
