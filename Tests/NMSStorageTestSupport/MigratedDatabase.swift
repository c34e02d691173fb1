internal import Foundation
internal import Logging
internal import NMSStorage
internal import Postgres
package import PostgresTestSupport

extension TestDatabase.Template {
    /// NMSlite's schema, every migration applied, and the metrics partitions of this month and the next two.
    package static let migrated = TestDatabase.Template(name: "nmslite_migrated") { pool in
        try await Migrator(pool.configuration).up()
        try await MetricsPartitions(pool: pool, logger: Logger(label: "tests")).ensureAhead(now: Date())
    }
}
