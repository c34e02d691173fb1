package import struct Foundation.Date
package import Logging
package import Postgres
internal import Synchronization

/// Makes the monthly partitions of `metrics` ahead of time and drops those past retention (specification §5.3).
///
/// Safe with several instances: making and dropping happens under an advisory lock, and what exists already is left.
package final class MetricsPartitions: Sendable {
    /// How many months beyond the current one are made ahead.
    package static let monthsAhead = 2
    /// How long a change waits for running queries before it gives way to them.
    private static let lockTimeout = "5s"
    private static let attempts = 5
    /// How long a month that is not rolled up outlives its retention: the disk is finite.
    private static let rollUpPatience = 31 * 86_400.0
    /// Pauses of ``run(retentionDays:clock:now:)`` after a success and after a failure.
    private static let interval = Duration.seconds(86_400)
    private static let retryInterval = Duration.seconds(60)

    private let pool: PostgresPool
    private let logger: Logger
    private let known = Mutex<Set<MetricsMonth>>([])

    package init(pool: PostgresPool, logger: Logger) {
        self.pool = pool
        self.logger = logger
    }

    /// Makes the partitions of `now`'s month and the next ``monthsAhead``.
    package func ensureAhead(now: Date) async throws {
        var months: [MetricsMonth] = []
        var month = MetricsMonth(now)
        while let current = month, months.count <= Self.monthsAhead {
            months.append(current)
            month = current.next
        }
        // Asked for anew each time: another instance may have dropped one, or somebody by hand.
        self.forget(months)
        try await self.ensure(Set(months))
    }

    /// Makes the partitions that are not known to exist.
    ///
    /// - Throws: ``MetricsPartitionError`` after the other months were seen to, `PostgresError`.
    package func ensure(_ months: Set<MetricsMonth>) async throws {
        let missing = self.known.withLock { months.subtracting($0) }
        var refusal: MetricsPartitionError?
        for month in missing.sorted() {
            do {
                try await self.changing { try await Self.make(month, $0) }
                self.known.withLock { _ = $0.insert(month) }
            } catch let error as MetricsPartitionError {
                refusal = refusal ?? error
            }
        }
        if let refusal { throw refusal }
    }

    private static func make(_ month: MetricsMonth, _ connection: PostgresConnection) async throws {
        let rows = try await connection.query(
            """
            SELECT to_regclass($1::text) IS NOT NULL AS is_taken, EXISTS (
                SELECT 1 FROM pg_inherits JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
                WHERE pg_inherits.inhparent = 'metrics'::regclass AND NOT pg_inherits.inhdetachpending
                AND child.relname = $1::text
            ) AS is_attached
            """,
            [month.partition]
        )
        if try rows[0].value("is_attached") { return }
        // What is in such a table, and why it was detached, is not for us to say.
        if try rows[0].value("is_taken") { throw MetricsPartitionError.unattached(month) }
        // Attaching a finished table, unlike CREATE … PARTITION OF, blocks neither readers nor writers of the other
        // partitions. Names and bounds are made of numbers only.
        try await connection.execute(
            script: """
                CREATE TABLE \(month.partition) (LIKE metrics INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
                ALTER TABLE metrics ATTACH PARTITION \(month.partition)
                    FOR VALUES FROM ('\(month.bounds.from)') TO ('\(month.bounds.to)')
                """
        )
    }

    /// A row found no partition although one was known: look again next time.
    func forget(_ months: some Sequence<MetricsMonth>) {
        self.known.withLock { $0.subtract(months) }
    }

    /// Drops every partition all of whose rows are older than `retentionDays`: whole months, so that rows live up to 31
    /// days longer. Returns what was dropped, ascending.
    ///
    /// A month whose hours are not all rolled up is left for the next time, ``rollUpPatience`` at most.
    @discardableResult
    package func dropExpired(now: Date, retentionDays: Int) async throws -> [MetricsMonth] {
        let horizon = now.addingTimeInterval(-Double(retentionDays) * 86_400)
        let expired = try await self.existing().filter { $0.end <= horizon }
        var dropped: [MetricsMonth] = []
        for month in expired {
            let isOverdue = month.end <= horizon.addingTimeInterval(-Self.rollUpPatience)
            self.forget([month])
            let isDropped = try await self.changing { try await Self.drop(month, isOverdue: isOverdue, $0) }
            if isDropped { dropped.append(month) }
            self.logger.info(
                isDropped
                    ? "dropped a month of metrics past its retention"
                    : "a month of metrics past its retention is kept until its hours are rolled up",
                metadata: ["partition": "\(month.partition)", "retention_days": "\(retentionDays)"]
            )
        }
        return dropped
    }

    /// Whether the month was dropped: not when the roll-up would lose it, unless it is overdue.
    private static func drop(
        _ month: MetricsMonth,
        isOverdue: Bool,
        _ connection: PostgresConnection
    ) async throws -> Bool {
        let isThere = try await connection.query(
            "SELECT to_regclass($1::text) IS NOT NULL AS is_there",
            [month.partition]
        )
        // Another instance was first.
        guard try isThere[0].value("is_there") else { return true }
        // Not while a step of the roll-up reads the rows, which it would wait for halfway through its locks.
        try await connection.query("SELECT pg_advisory_xact_lock($1)", [AdvisoryLockKey.historyRollUp.rawValue])
        let found = try await connection.query(
            """
            SELECT COALESCE(rolled_up_until >= $1, FALSE) AND NOT EXISTS (
                SELECT 1 FROM metrics_changes WHERE hour >= GREATEST($2, complete_from) AND hour < $1
            ) AS is_rolled_up FROM metrics_hourly_state
            """,
            [month.end, month.start]
        )
        let isEmpty = try await connection.query("SELECT NOT EXISTS (SELECT 1 FROM \(month.partition)) AS is_empty")
        guard try found[0].value("is_rolled_up") || isEmpty[0].value("is_empty") || isOverdue else { return false }
        try await connection.query(
            "UPDATE metrics_hourly_state SET complete_from = GREATEST(complete_from, $1)",
            [month.end]
        )
        try await connection.execute(script: "DROP TABLE IF EXISTS \(month.partition)")
        return true
    }

    /// The months that have a partition, ascending.
    package func existing() async throws -> [MetricsMonth] {
        try await self.pool.read(
            """
            SELECT child.relname AS name FROM pg_inherits
            JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
            WHERE pg_inherits.inhparent = 'metrics'::regclass
            """
        ).compactMap { MetricsMonth(partition: try $0.value("name", as: String.self)) }.sorted()
    }

    /// Makes and drops partitions once a day until the task is cancelled; a failure is logged and tried again soon.
    ///
    /// - Parameter retentionDays: `retention.days`, at least 1.
    package func run(
        retentionDays: Int,
        clock: any Clock<Duration> = ContinuousClock(),
        now: @Sendable () -> Date = { Date() }
    ) async {
        while !Task.isCancelled {
            // One must not keep the other from being done.
            let isMade = await self.maintain { try await self.ensureAhead(now: now()) }
            let isDropped = await self.maintain {
                _ = try await self.dropExpired(now: now(), retentionDays: retentionDays)
            }
            try? await clock.sleep(for: isMade && isDropped ? Self.interval : Self.retryInterval)
        }
    }

    /// Whether `body` did its work.
    private func maintain(_ body: () async throws -> Void) async -> Bool {
        do {
            try await body()
            return true
        } catch {
            if !Task.isCancelled {
                self.logger.error("can't maintain the partitions of metrics", metadata: ["error": "\(error)"])
            }
            return false
        }
    }

    /// Runs `body` in a transaction under the lock; gives way to running queries and tries again.
    private func changing<Value: Sendable>(
        _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        var attempt = 1
        while true {
            do {
                return try await self.pool.withTransaction { connection in
                    try await connection.query(
                        "SELECT pg_advisory_xact_lock($1)",
                        [AdvisoryLockKey.partitions.rawValue]
                    )
                    try await connection.query("SELECT set_config('lock_timeout', $1, true)", [Self.lockTimeout])
                    return try await body(connection)
                }
            } catch let error as PostgresError where error.sqlState == .lockNotAvailable && attempt < Self.attempts {
                attempt += 1
            }
        }
    }
}
