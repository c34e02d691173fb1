internal import Foundation
internal import NMSCore
internal import Postgres

/// What polls change of a device's row; pure.
struct DeviceState {
    let id: Int
    private(set) var machine: DeviceStatusMachine
    private(set) var lastResultAt: Date?
    /// Set by the results applied here; nil leaves the column alone.
    private(set) var lastSeen: Date?
    private(set) var identity = HostIdentity()
    /// The credential of the latest success, and when.
    private(set) var worked: (credentialID: Int, at: Date)?
    private(set) var isChanged = false

    init(id: Int, machine: DeviceStatusMachine, lastResultAt: Date?) {
        self.id = id
        self.machine = machine
        self.lastResultAt = lastResultAt
    }

    init(_ row: PostgresRow, now: Date) throws {
        self.init(
            id: try row.value("id"),
            machine: DeviceStatusMachine(
                status: try row.enumeration("status"),
                failures: try row.value("consecutive_failures"),
                lastError: try DeviceRepository.lastError(row)
            ),
            lastResultAt: try row.optional("last_result_at").flatMap {
                ClockTolerance.isCredible($0, now: now) ? $0 : nil
            }
        )
    }

    /// Applies a result unless a later one was applied before.
    mutating func apply(_ prepared: PreparedResult, unreachableAfter: Int) {
        guard self.lastResultAt.map({ prepared.timestamp > $0 }) ?? true else { return }
        self.isChanged = true
        self.lastResultAt = prepared.timestamp
        self.machine.apply(prepared.result, unreachableAfter: unreachableAfter)
        if prepared.hostAnswered { self.lastSeen = prepared.timestamp }
        let identity = prepared.result.identity
        self.identity.hostname = identity?.hostname ?? self.identity.hostname
        self.identity.os = identity?.os ?? self.identity.os
        self.identity.build = identity?.build ?? self.identity.build
        if prepared.result.success, let credentialID = prepared.result.credentialID,
            Int32(exactly: credentialID) != nil
        {
            self.worked = (credentialID, prepared.timestamp)
        }
    }
}
