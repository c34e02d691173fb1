/// Replaced by the real pool.
package final class PostgresPool: Sendable {}
