package import NMSCore
package import Postgres
internal import struct Foundation.Date

package struct NewDevice: Sendable {
    package var ip: IPAddress
    package var hostname: String?
    package var os: String?
    package var pollingInterval: Int?

    package init(ip: IPAddress, hostname: String? = nil, os: String? = nil, pollingInterval: Int? = nil) {
        self.ip = ip
        self.hostname = hostname
        self.os = os
        self.pollingInterval = pollingInterval
    }
}

/// What an update sets; nil leaves a column alone, `.some(nil)` clears it.
package struct DeviceChanges: Sendable {
    package var ip: IPAddress?
    package var hostname: String??
    package var os: String??
    package var pollingInterval: Int?

    package init(
        ip: IPAddress? = nil,
        hostname: String?? = nil,
        os: String?? = nil,
        pollingInterval: Int? = nil
    ) {
        self.ip = ip
        self.hostname = hostname
        self.os = os
        self.pollingInterval = pollingInterval
    }
}

package struct DeviceFilter: Sendable {
    package enum SortField: String, Sendable, CaseIterable {
        case id, ip, hostname, status
        case lastSeen = "last_seen"
        case createdAt = "created_at"
    }
    package var status: DeviceStatus?
    /// Part of ip, hostname or os, case-insensitive; LIKE wildcards in it are taken literally.
    package var search: String?
    package var sort: SortField = .id
    package var descending = false
    package var limit = 50
    package var offset = 0

    package init() {}
}

/// A slice of a list.
package struct Page<Item: Sendable>: Sendable {
    package var items: [Item]
    /// How many there are in all.
    package var total: Int
    package var limit: Int
    package var offset: Int

    package init(items: [Item], total: Int, limit: Int, offset: Int) {
        self.items = items
        self.total = total
        self.limit = limit
        self.offset = offset
    }
}

/// Devices and which credentials they use.
package struct DeviceRepository: Sendable {
    let pool: PostgresPool

    package init(pool: PostgresPool) { self.pool = pool }

    /// - Throws: ``StorageError/duplicate(field:value:)`` for `ip`.
    package func create(_ device: NewDevice, audit: AuditContext) async throws -> Device {
        try await Self.mappingDuplicates(of: device.ip) {
            try await self.pool.withTransaction { connection in
                let rows = try await connection.query(
                    """
                    INSERT INTO devices (ip, hostname, os, polling_interval) VALUES ($1, $2, $3, $4)
                    RETURNING \(Self.columns)
                    """,
                    [
                        device.ip.description, device.hostname, device.os,
                        device.pollingInterval ?? Device.defaultPollingInterval,
                    ]
                )
                let created = try Self.device(rows[0])
                let event = AuditEvent(.deviceCreated, .device(created), AuditChanges(created: created))
                try await AuditRepository.record(event, audit, connection)
                return created
            }
        }
    }

    package func device(id: Int) async throws -> Device? {
        guard let id = Int32(exactly: id) else { return nil }
        let rows = try await self.pool.read("SELECT \(Self.columns) FROM devices WHERE id = $1", [id])
        return try rows.first.map(Self.device)
    }

    /// A device and its credentials, the one that worked last first, then by priority.
    func deviceInTrialOrder(id: Int) async throws -> (device: Device, credentialIDs: [Int])? {
        guard let id = Int32(exactly: id) else { return nil }
        let rows = try await self.pool.read(
            """
            SELECT \(Self.columns), ARRAY(
                SELECT credential_id FROM device_credentials AS used WHERE used.device_id = devices.id
                ORDER BY \(CredentialRepository.trialOrder)
            ) AS trial_ids
            FROM devices WHERE id = $1
            """,
            [id]
        )
        return try rows.first.map { (try Self.device($0), try $0.value("trial_ids")) }
    }

    package func list(_ filter: DeviceFilter) async throws -> Page<Device> {
        let direction = filter.descending ? "DESC" : "ASC"
        let condition = """
            ($1::text IS NULL OR status = $1)
            AND ($2::text IS NULL OR ip ILIKE $2 OR hostname ILIKE $2 OR os ILIKE $2)
            """
        let pattern = filter.search.map { "%\(Self.escapedForLike($0))%" }
        let count = "SELECT count(*) AS total FROM devices WHERE \(condition)"
        let rows = try await self.pool.read(
            """
            SELECT \(Self.columns), (\(count)) AS total FROM devices WHERE \(condition)
            ORDER BY \(filter.sort.expression) \(direction) NULLS LAST, id \(direction) LIMIT $3 OFFSET $4
            """,
            [filter.status?.rawValue, pattern, max(0, filter.limit), max(0, filter.offset)]
        )
        // A page behind the last one has no row that could tell the total.
        let told = rows.isEmpty ? try await self.pool.read(count, [filter.status?.rawValue, pattern]) : rows
        return Page(
            items: try rows.map(Self.device),
            total: try told[0].value("total"),
            limit: filter.limit,
            offset: filter.offset
        )
    }

    /// nil when there is no such device.
    package func update(id: Int, _ changes: DeviceChanges, audit: AuditContext) async throws -> Device? {
        guard Int32(exactly: id) != nil else { return nil }
        return try await Self.mappingDuplicates(of: changes.ip) {
            try await self.pool.withTransaction { connection in
                guard let old = try await Self.locked(id: id, for: .change, connection) else { return nil }
                let new = try await Self.store(changes, id: id, connection)
                try await AuditRepository.record(
                    AuditEvent(.deviceUpdated, .device(new), AuditChanges(from: old, to: new)),
                    audit,
                    connection
                )
                return new
            }
        }
    }

    /// Deletes the device and its metrics; false when there was none.
    package func delete(id: Int, audit: AuditContext) async throws -> Bool {
        guard Int32(exactly: id) != nil else { return false }
        return try await self.pool.withTransaction { connection in
            guard let old = try await Self.locked(id: id, for: .removal, connection) else { return false }
            try await connection.query("DELETE FROM devices WHERE id = $1", [id])
            let event = AuditEvent(.deviceDeleted, .device(old), AuditChanges(deleted: old))
            try await AuditRepository.record(event, audit, connection)
            return true
        }
    }

    enum RowLock: String {
        /// Lets the roll-up of histories go on, which holds the keys of all devices for long.
        case change = "NO KEY UPDATE"
        case removal = "UPDATE"
    }

    /// The device, which nobody else changes until the transaction ends; nil when there is none.
    static func locked(id: Int, for lock: RowLock, _ connection: PostgresConnection) async throws -> Device? {
        try await connection.query("SELECT id FROM devices WHERE id = $1 FOR \(lock.rawValue)", [id])
        // In a statement of its own: the first may have waited, and knows other tables only as they were before.
        return try await connection.query("SELECT \(Self.columns) FROM devices WHERE id = $1", [id])
            .first.map(Self.device)
    }

    /// - Parameter id: of a device that is locked.
    private static func store(
        _ changes: DeviceChanges,
        id: Int,
        _ connection: PostgresConnection
    ) async throws -> Device {
        let rows = try await connection.query(
            """
            UPDATE devices SET
                ip = COALESCE($2, ip),
                hostname = CASE WHEN $3 THEN $4 ELSE hostname END,
                os = CASE WHEN $5 THEN $6 ELSE os END,
                polling_interval = COALESCE($7, polling_interval),
                updated_at = NOW()
            WHERE id = $1
            RETURNING \(Self.columns)
            """,
            [
                id, changes.ip?.description, changes.hostname != nil, changes.hostname ?? nil,
                changes.os != nil, changes.os ?? nil, changes.pollingInterval,
            ]
        )
        return try Self.device(rows[0])
    }

    // MARK: Rows

    /// What a ``Device`` is read from; `devices` is the table's name or alias.
    static let columns = """
        id, ip, hostname, os, status, polling_interval, last_seen, last_error_code, last_error_message, \
        last_error_at, created_at, updated_at, \
        ARRAY(SELECT credential_id FROM device_credentials AS used WHERE used.device_id = devices.id \
        ORDER BY used.priority, used.id) AS credential_ids
        """

    static func device(_ row: PostgresRow) throws -> Device {
        Device(
            id: try row.value("id"),
            ip: try row.value("ip"),
            hostname: try row.optional("hostname"),
            os: try row.optional("os"),
            status: try row.enumeration("status"),
            pollingInterval: try row.value("polling_interval"),
            lastSeen: try row.optional("last_seen"),
            lastError: try Self.lastError(row),
            credentialIDs: try row.value("credential_ids"),
            createdAt: try row.value("created_at"),
            updatedAt: try row.value("updated_at")
        )
    }

    /// nil also for a code that a newer instance wrote and this one does not know.
    static func lastError(_ row: PostgresRow) throws -> DeviceError? {
        guard let text: String = try row.optional("last_error_code"), let code = PollErrorCode(rawValue: text),
            let at: Date = try row.optional("last_error_at")
        else { return nil }
        return DeviceError(code: code, message: try row.optional("last_error_message") ?? code.rawValue, at: at)
    }

    /// Makes LIKE take `text` literally.
    static func escapedForLike(_ text: String) -> String {
        var escaped = ""
        for character in text.unicodeScalars {
            if character == "%" || character == "_" || character == "\\" { escaped += "\\" }
            escaped.unicodeScalars.append(character)
        }
        return escaped
    }

    private static func mappingDuplicates<Value: Sendable>(
        of ip: IPAddress?,
        _ body: () async throws -> Value
    ) async throws -> Value {
        do {
            return try await body()
        } catch let error as PostgresError where error.sqlState == .uniqueViolation {
            throw StorageError.duplicate(field: "ip", value: ip?.description ?? "")
        }
    }
}

extension DeviceFilter.SortField {
    /// The column to sort by; addresses in numeric order, names without case.
    fileprivate var expression: String {
        switch self {
        case .id: "id"
        case .ip: "ip::inet"
        case .hostname: "lower(hostname)"
        case .status: "status"
        case .lastSeen: "last_seen"
        case .createdAt: "created_at"
        }
    }
}

extension PostgresRow {
    /// The value of a text column as one of an enumeration's cases.
    func enumeration<Value: RawRepresentable & Sendable>(
        _ column: String,
        as type: Value.Type = Value.self
    ) throws -> Value where Value.RawValue == String {
        let text: String = try self.value(column)
        guard let value = Value(rawValue: text) else {
            throw PostgresError.decoding(column: column, expected: "\(type)", found: text)
        }
        return value
    }
}
