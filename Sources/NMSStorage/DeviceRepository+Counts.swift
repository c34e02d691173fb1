package import NMSCore
internal import Postgres

extension DeviceRepository {
    /// How many devices have each status; those that no device has are absent.
    /// - Throws: `PostgresError`.
    package func countsByStatus() async throws -> [DeviceStatus: Int] {
        let rows = try await self.pool.read("SELECT status, count(*) AS devices FROM devices GROUP BY status")
        var counts: [DeviceStatus: Int] = [:]
        for row in rows {
            // A status of a later version is not ours to name.
            guard let status = DeviceStatus(rawValue: try row.value("status")) else { continue }
            counts[status] = try row.value("devices")
        }
        return counts
    }
}
