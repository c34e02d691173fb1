package import NMSCore
internal import Postgres

extension DeviceRepository {
    /// Replaces the device's credentials (in order of priority) and, where given, its interval; status becomes
    /// `provisioned` (failure count and last error reset). nil when there is no such device.
    ///
    /// What the lockout guard knows of the host stays: a suspension ends only by a changed sign-in or `resume`. What
    /// worked before is forgotten, so that the new order counts.
    /// - Throws: ``StorageError/missing(field:id:)`` for `credential_id`.
    package func provision(
        id: Int,
        credentialIDs: [Int],
        pollingInterval: Int?,
        audit: AuditContext
    ) async throws -> Device? {
        guard Int32(exactly: id) != nil else { return nil }
        var ids: [Int] = []
        for id in credentialIDs where !ids.contains(id) { ids.append(id) }
        if let impossible = ids.first(where: { Int32(exactly: $0) == nil }) {
            throw StorageError.missing(field: "credential_id", id: impossible)
        }
        return try await self.pool.withTransaction { [ids] connection in
            guard let old = try await Self.locked(id: id, for: .change, connection) else { return nil }
            let found = try await connection.query(
                "SELECT id FROM credentials WHERE id = ANY ($1::integer[]) ORDER BY id FOR KEY SHARE",
                [ids]
            )
            let known = Set(try found.map { try $0.value("id", as: Int.self) })
            if let missing = ids.first(where: { !known.contains($0) }) {
                throw StorageError.missing(field: "credential_id", id: missing)
            }
            try await connection.query(
                "DELETE FROM device_credentials WHERE device_id = $1 AND credential_id <> ALL ($2::integer[])",
                [id, ids]
            )
            try await connection.query(
                """
                INSERT INTO device_credentials (device_id, credential_id, priority)
                SELECT $1::integer, chosen.id, chosen.priority
                FROM unnest($2::integer[]) WITH ORDINALITY AS chosen (id, priority)
                ON CONFLICT (device_id, credential_id)
                DO UPDATE SET priority = EXCLUDED.priority, is_active = TRUE, last_success = NULL
                """,
                [id, ids]
            )
            let new = try await Self.setStatus(.provisioned, id: id, pollingInterval: pollingInterval, connection)
            try await AuditRepository.record(
                AuditEvent(.deviceProvisioned, .device(new), AuditChanges(from: old, to: new)),
                audit,
                connection
            )
            return new
        }
    }

    /// Back to `discovered`, credentials removed. nil when there is no such device.
    package func deprovision(id: Int, audit: AuditContext) async throws -> Device? {
        guard Int32(exactly: id) != nil else { return nil }
        return try await self.pool.withTransaction { connection in
            guard let old = try await Self.locked(id: id, for: .change, connection) else { return nil }
            try await connection.query("DELETE FROM device_credentials WHERE device_id = $1", [id])
            let new = try await Self.setStatus(.discovered, id: id, pollingInterval: nil, connection)
            try await AuditRepository.record(
                AuditEvent(.deviceDeprovisioned, .device(new), AuditChanges(from: old, to: new)),
                audit,
                connection
            )
            return new
        }
    }

    /// - Parameter id: of a device that is locked.
    private static func setStatus(
        _ status: DeviceStatus,
        id: Int,
        pollingInterval: Int?,
        _ connection: PostgresConnection
    ) async throws -> Device {
        let rows = try await connection.query(
            """
            UPDATE devices SET status = $2, polling_interval = COALESCE($3, polling_interval),
                consecutive_failures = 0, last_error_code = NULL, last_error_message = NULL, last_error_at = NULL,
                last_result_at = NULL, updated_at = NOW()
            WHERE id = $1
            RETURNING \(Self.columns)
            """,
            [id, status.rawValue, pollingInterval]
        )
        return try Self.device(rows[0])
    }
}

extension DeviceRepository: ScheduleSource {
    package func schedule() async throws -> [ScheduledDevice] {
        try await self.pool.read("\(Self.scheduleQuery) ORDER BY devices.id").map(Self.scheduled)
    }

    package func scheduledDevice(id: Int) async throws -> ScheduledDevice? {
        guard let id = Int32(exactly: id) else { return nil }
        return try await self.pool.read("\(Self.scheduleQuery) AND devices.id = $1", [id]).first.map(Self.scheduled)
    }

    /// Every provisioned device with the credential that would be tried first.
    private static let scheduleQuery = """
        SELECT devices.id, devices.polling_interval, first.credential_id
        FROM devices
        CROSS JOIN LATERAL (
            SELECT credential_id FROM device_credentials AS used WHERE used.device_id = devices.id
            ORDER BY \(CredentialRepository.trialOrder) LIMIT 1
        ) AS first
        WHERE devices.status <> 'discovered'
        """

    private static func scheduled(_ row: PostgresRow) throws -> ScheduledDevice {
        ScheduledDevice(
            deviceID: try row.value("id"),
            credentialID: try row.value("credential_id"),
            interval: try row.value("polling_interval")
        )
    }
}
