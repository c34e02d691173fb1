internal import Foundation
internal import NMSCore
internal import Postgres

/// What a committed batch did.
struct BatchOutcome: Sendable, Equatable {
    /// Rows of `metrics`.
    var rows = 0
    /// Results whose job had been stored before.
    var duplicates = 0
    /// Results of devices that are deleted.
    var unknownDevices = 0
    /// Results of devices that are not provisioned any more.
    var unprovisioned = 0
    /// Devices with new rows, ascending.
    var deviceIDs: [Int] = []
    /// Devices whose status is another one now.
    var transitions: [Transition] = []

    struct Transition: Sendable, Equatable {
        var deviceID: Int
        var status: DeviceStatus
    }
}

/// Stores a batch of results: all of it or, when it throws, nothing.
struct BatchTransaction {
    /// How long the ids of processed jobs are kept.
    static let jobRetention: TimeInterval = 7200
    /// Results older than this are compared with the rows themselves, because their job's id may have been pruned. Half
    /// of ``jobRetention``, so that clocks of several machines may differ.
    static let jobHorizon: TimeInterval = jobRetention / 2

    let connection: PostgresConnection
    let unreachableAfter: Int
    let now: Date

    func run(_ batch: [PreparedResult]) async throws -> BatchOutcome {
        var outcome = BatchOutcome()
        let fresh = try await self.newResults(batch)
        outcome.duplicates = batch.count - fresh.count
        guard !fresh.isEmpty else { return outcome }
        var states = try await self.lockedStates(of: fresh)
        let statuses = states.mapValues(\.machine.status)

        var rows = PostgresCopyBuffer()
        var deviceIDs: Set<Int> = []
        var stored: [PreparedResult] = []
        // Later results last, so that the device ends in the state of the latest.
        for result in fresh.sorted(by: { $0.timestamp < $1.timestamp }) {
            guard let status = statuses[result.deviceID] else {
                outcome.unknownDevices += 1
                continue
            }
            guard status != .discovered else {
                outcome.unprovisioned += 1
                continue
            }
            states[result.deviceID]?.apply(result, unreachableAfter: self.unreachableAfter)
            guard result.hasRow else { continue }
            deviceIDs.insert(result.deviceID)
            stored.append(result)
            try result.append(to: &rows)
        }
        if rows.rowCount > 0 {
            outcome.rows = try await self.connection.copy(
                "COPY metrics (\(PreparedResult.columns)) FROM STDIN",
                from: rows
            )
            let changes = stored.reduce(into: [Date: Set<Int>]()) { changes, result in
                changes[HistoryHours.start(of: result.timestamp), default: []].insert(result.deviceID)
            }
            // In the rows' own transaction: whoever sees one sees the other (``HistoryRollUp``).
            try await self.connection.query(
                MetricsHistoryQueries.noteChanges,
                [changes.map(\.key), changes.map { "{\($0.value.sorted().map(String.init).joined(separator: ","))}" }]
            )
        }
        let changed = states.values.filter(\.isChanged).sorted { $0.id < $1.id }
        try await self.store(changed)
        try await self.storeWorkingCredentials(changed)
        outcome.deviceIDs = deviceIDs.sorted()
        outcome.transitions = changed.compactMap { state in
            state.machine.status == statuses[state.id]
                ? nil : BatchOutcome.Transition(deviceID: state.id, status: state.machine.status)
        }
        return outcome
    }

    /// The results whose job was not stored before, the first of each job.
    private func newResults(_ batch: [PreparedResult]) async throws -> [PreparedResult] {
        // Sorted, so that writers with jobs in common wait for each other in one direction.
        var new = Set(batch.map(\.jobID))
        let jobs = new.sorted()
        let inserted = try await self.connection.query(
            "INSERT INTO processed_jobs (job_id) SELECT * FROM unnest($1::uuid[]) ON CONFLICT DO NOTHING",
            [jobs]
        ).affectedRows
        if inserted < jobs.count {
            // Rare, so that naming the new ones is not paid for with every batch.
            let own = try await self.connection.query(
                """
                SELECT job_id FROM processed_jobs
                WHERE job_id = ANY ($1::uuid[]) AND xmin = pg_current_xact_id()::xid
                """,
                [jobs]
            )
            new = Set(try own.map { try $0.value("job_id", as: String.self) })
        }
        let horizon = self.now.addingTimeInterval(-Self.jobHorizon)
        let old = batch.filter { $0.timestamp < horizon && $0.hasRow }
        if !old.isEmpty {
            let stored = try await self.connection.query(
                """
                SELECT old.job_id FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[]) AS old (job_id, device_id, at)
                WHERE EXISTS (
                    SELECT 1 FROM metrics WHERE metrics.device_id = old.device_id AND metrics.job_id = old.job_id
                    AND metrics.timestamp BETWEEN old.at - INTERVAL '1 hour' AND old.at + INTERVAL '1 hour'
                )
                """,
                [old.map(\.jobID), old.map(\.deviceID), old.map(\.timestamp)]
            )
            for row in stored { new.remove(try row.value("job_id")) }
        }
        return batch.filter { new.remove($0.jobID) != nil }
    }

    /// The devices' rows, locked in the order of their ids until the end of the transaction.
    private func lockedStates(of results: [PreparedResult]) async throws -> [Int: DeviceState] {
        let ids = Set(results.map(\.deviceID)).filter { Int32(exactly: $0) != nil }.sorted()
        let rows = try await self.connection.query(
            """
            SELECT id, status, consecutive_failures, last_result_at, last_error_code, last_error_message, last_error_at
            FROM devices WHERE id = ANY ($1::integer[]) ORDER BY id FOR NO KEY UPDATE
            """,
            [ids]
        )
        var states: [Int: DeviceState] = [:]
        for row in rows {
            let state = try DeviceState(row, now: self.now)
            states[state.id] = state
        }
        return states
    }

    private func store(_ states: [DeviceState]) async throws {
        guard !states.isEmpty else { return }
        try await self.connection.query(
            """
            UPDATE devices SET
                status = polled.status,
                consecutive_failures = polled.failures,
                last_result_at = polled.last_result_at,
                last_error_code = polled.error_code,
                last_error_message = polled.error_message,
                last_error_at = polled.error_at,
                last_seen = CASE
                    WHEN devices.last_seen > $12 THEN COALESCE(polled.last_seen, devices.last_seen)
                    ELSE GREATEST(devices.last_seen, polled.last_seen)
                END,
                hostname = COALESCE(polled.hostname, devices.hostname),
                os = COALESCE(polled.os, devices.os),
                build = COALESCE(polled.build, devices.build),
                updated_at = CASE
                    WHEN devices.status <> polled.status OR devices.hostname IS DISTINCT FROM COALESCE(
                        polled.hostname, devices.hostname
                    ) OR devices.os IS DISTINCT FROM COALESCE(polled.os, devices.os) THEN NOW()
                    ELSE devices.updated_at
                END
            FROM unnest(
                $1::integer[], $2::text[], $3::integer[], $4::timestamptz[], $5::text[], $6::text[], $7::timestamptz[],
                $8::timestamptz[], $9::text[], $10::text[], $11::text[]
            ) AS polled (
                id, status, failures, last_result_at, error_code, error_message, error_at, last_seen, hostname, os, build
            )
            WHERE devices.id = polled.id
            """,
            [
                states.map(\.id), states.map(\.machine.status.rawValue), states.map(\.machine.failures),
                states.map(\.lastResultAt), states.map(\.machine.lastError?.code.rawValue),
                states.map(\.machine.lastError?.message), states.map(\.machine.lastError?.at), states.map(\.lastSeen),
                states.map(\.identity.hostname), states.map(\.identity.os), states.map(\.identity.build),
                ClockTolerance.latest(now: self.now),
            ]
        )
    }

    /// How old the mark of a credential that works may become: it tells that it is good, not when it was tried last.
    private static let credentialMarkAge: TimeInterval = 3600

    /// Marks the credential that worked, so that it is tried first; one that was taken from the device meanwhile marks
    /// nothing. A pair that is marked well enough costs a look, and no new version of its row.
    private func storeWorkingCredentials(_ states: [DeviceState]) async throws {
        let worked = states.compactMap { state in state.worked.map { (state.id, $0.credentialID, $0.at) } }
        guard !worked.isEmpty else { return }
        try await self.connection.query(
            """
            UPDATE device_credentials AS pair SET
                is_active = pair.credential_id = worked.credential_id,
                last_success = CASE WHEN pair.credential_id = worked.credential_id THEN worked.at
                    ELSE pair.last_success END
            FROM unnest($1::integer[], $2::integer[], $3::timestamptz[]) AS worked (device_id, credential_id, at)
            WHERE pair.device_id = worked.device_id AND (
                pair.credential_id = worked.credential_id AND (
                    NOT pair.is_active OR pair.last_success IS NULL
                    OR pair.last_success NOT BETWEEN worked.at - make_interval(secs => $4) AND worked.at
                )
                OR pair.credential_id <> worked.credential_id AND pair.is_active AND EXISTS (
                    SELECT 1 FROM device_credentials AS other
                    WHERE other.device_id = worked.device_id AND other.credential_id = worked.credential_id
                )
            )
            """,
            [worked.map(\.0), worked.map(\.1), worked.map(\.2), Self.credentialMarkAge]
        )
    }
}
