package import NMSCore
package import Postgres

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
        ip: IPAddress? = nil, hostname: String?? = nil, os: String?? = nil, pollingInterval: Int? = nil
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
    package func create(_ device: NewDevice) async throws -> Device { fatalError() }
    package func device(id: Int) async throws -> Device? { fatalError() }
    package func list(_ filter: DeviceFilter) async throws -> Page<Device> { fatalError() }
    /// nil when there is no such device.
    package func update(id: Int, _ changes: DeviceChanges) async throws -> Device? { fatalError() }
    /// Deletes the device and its metrics; false when there was none.
    package func delete(id: Int) async throws -> Bool { fatalError() }
    /// Replaces the device's credentials (in order of priority) and, where given, its interval; status becomes
    /// `provisioned` (failure count and last error reset). nil when there is no such device.
    /// - Throws: ``StorageError/missing(field:id:)`` for `credential_id`.
    package func provision(id: Int, credentialIDs: [Int], pollingInterval: Int?) async throws -> Device? { fatalError() }
    /// Back to `discovered`, credentials removed. nil when there is no such device.
    package func deprovision(id: Int) async throws -> Device? { fatalError() }
}

extension DeviceRepository: ScheduleSource {
    package func schedule() async throws -> [ScheduledDevice] { fatalError() }
    package func scheduledDevice(id: Int) async throws -> ScheduledDevice? { fatalError() }
}
