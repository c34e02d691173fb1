package import NMSCore
package import Postgres
package import struct Foundation.Date

/// Reads metrics rows.
package struct MetricsRepository: Sendable {
    let pool: PostgresPool

    package init(pool: PostgresPool) { self.pool = pool }

    /// The newest row of a device.
    package func latest(deviceID: Int) async throws -> DeviceMetrics? { fatalError() }
    /// Rows with `from` <= timestamp < `to`, ascending, at most `limit`; `truncated` when there were more.
    package func raw(
        deviceID: Int, from: Date, to: Date, limit: Int
    ) async throws -> (rows: [DeviceMetrics], truncated: Bool) { fatalError() }
}
