package import Foundation
package import Logging
package import Postgres

/// Keeps `metrics_hourly`, from which histories over long ranges are read, as exact as the rows themselves.
///
/// An hour is rolled up once it is over; an hour that gets rows later (`metrics_changes`) is made anew. Each step is one
/// transaction that makes whole hours from their rows, so that a crash costs nothing but the step, and doing one twice
/// changes nothing. Steps of several instances take turns by an advisory lock; writers are never waited for and never
/// wait. What is not rolled up yet is read from rows, so that no answer depends on how far this is
/// (`docs/decisions/0007-history-roll-up.md`).
package final class HistoryRollUp: Sendable {
    package struct Options: Sendable, Equatable {
        /// How long after its end an hour is rolled up: rows that are on their way then come in first.
        package var grace: TimeInterval = 300
        /// Pauses between steps when there is nothing to do, and after a failure.
        package var interval = Duration.seconds(60)
        /// How long hours are kept whose rows were dropped: `retention.hourly_days`, at least 1.
        package var retentionDays = 400
        /// How often hours past retention are looked for.
        package var purgeInterval = Duration.seconds(86_400)

        package init() {}
    }

    /// What a step did.
    package enum Step: Sendable, Equatable {
        /// Rolled up; there may be more to do at once.
        case advanced
        /// Nothing more is due for now.
        case idle
        /// Another instance is at it.
        case busy
    }

    /// The most entries of `metrics_changes` that a step takes, each with the devices of one batch of the writer.
    static let changesPerStep = 100
    /// An hour of ten thousand devices polled every five seconds is seven million rows.
    private static let statementTimeout = Duration.seconds(600)
    /// Devices whose hours are deleted at a time.
    private static let devicesPerPurge = 100

    private let configuration: PostgresConfiguration
    private let options: Options
    private let logger: Logger
    private let clock: any Clock<Duration>
    private let now: @Sendable () -> Date

    /// - Parameter configuration: how to connect; the connection is its own, so that a long step takes none from the pool.
    package init(
        _ configuration: PostgresConfiguration,
        options: Options = Options(),
        logger: Logger,
        clock: any Clock<Duration> = ContinuousClock(),
        now: @escaping @Sendable () -> Date = { Date() }
    ) {
        var configuration = configuration
        configuration.statementTimeout = Self.statementTimeout
        self.configuration = configuration
        self.options = options
        self.logger = logger
        self.clock = clock
        self.now = now
    }

    /// Rolls up and purges until the task is cancelled; failures are logged and tried again.
    package func run() async {
        let pool = PostgresPool(self.configuration, limits: PostgresPoolLimits(maxOpen: 1, maxIdle: 1))
        await withTaskGroup { group in
            group.addTask {
                while !Task.isCancelled {
                    let pause = await self.attempt("roll up metrics") { try await self.catchUp(pool) }
                    try? await self.clock.sleep(for: pause ?? self.options.interval)
                }
            }
            group.addTask {
                while !Task.isCancelled {
                    await self.attempt("purge hours of metrics") { try await self.purge(pool) }
                    try? await self.clock.sleep(for: self.options.purgeInterval)
                }
            }
        }
        await pool.close()
    }

    /// One step; returns how long to pause. Half of the time at most is spent on catching up: polls come first.
    private func catchUp(_ pool: PostgresPool) async throws -> Duration {
        let start = ContinuousClock.now
        guard try await self.step(pool) == .advanced else { return self.options.interval }
        return ContinuousClock.now - start
    }

    @discardableResult
    private func attempt<Value: Sendable>(_ what: String, _ body: () async throws -> Value) async -> Value? {
        do {
            return try await body()
        } catch {
            if !Task.isCancelled { self.logger.error("can't \(what)", metadata: ["error": "\(error)"]) }
            return nil
        }
    }

    // MARK: Steps

    /// Makes changed hours anew, and rolls up the next hour if it is over.
    package func step(_ pool: PostgresPool) async throws -> Step {
        let now = self.now()
        return try await pool.withTransaction { connection in
            let lock = try await connection.query(
                "SELECT pg_try_advisory_xact_lock($1) AS granted",
                [AdvisoryLockKey.historyRollUp.rawValue]
            )
            guard try lock[0].value("granted") else { return .busy }
            // From here on each statement sees all that earlier steps, of whatever instance, have committed.
            let rows = try await connection.query("SELECT rolled_up_until, complete_from FROM metrics_hourly_state")
            let state = try RollUpState(rows[0])
            let horizon = HistoryHours.start(of: now.addingTimeInterval(-self.options.grace))
            guard let start = state.start else {
                try await self.begin(connection, horizon: horizon)
                return .advanced
            }
            let taken = try await self.rollUpChanges(connection, before: start, state: state)
            // Few changes are no haste: the next ones may come to the same hours.
            guard start < horizon else { return taken == Self.changesPerStep ? .advanced : .idle }
            try await self.rollUp(connection, hour: start, horizon: horizon)
            return .advanced
        }
    }

    /// The first step of all: finds the first hour with rows, which may be there since before the roll-up was.
    private func begin(_ connection: PostgresConnection, horizon: Date) async throws {
        let devices = try await self.lockDevices(connection)
        let first = try await self.firstHour(connection, devices: devices, from: Date(timeIntervalSince1970: 0))
        try await self.setState(connection, min(first ?? horizon, horizon))
    }

    /// Makes hours anew that got rows after they were rolled up; returns how many entries were taken.
    private func rollUpChanges(
        _ connection: PostgresConnection,
        before hour: Date,
        state: RollUpState
    ) async throws -> Int {
        let taken = try await connection.query(Self.takeChanges, [hour, Self.changesPerStep])
        var wanted: [Date: Set<Int>] = [:]
        for row in taken {
            let hour: Date = try row.value("hour")
            // Of an hour whose rows were dropped only the late ones are left: it can't be made anew.
            if let completeFrom = state.completeFrom, hour < completeFrom { continue }
            wanted[hour, default: []].formUnion(try row.value("device_ids", as: [Int].self))
        }
        let devices = try await self.lockDevices(connection, wanted.values.reduce(into: []) { $0.formUnion($1) })
        for (hour, ids) in wanted.sorted(by: { $0.key < $1.key }) {
            try await self.rollUp(connection, hour: hour, devices: ids.intersection(devices).sorted())
        }
        return taken.count
    }

    private func rollUp(_ connection: PostgresConnection, hour: Date, horizon: Date) async throws {
        // Before the rows are read: what is committed afterwards leaves its entry for the next step.
        try await connection.query("DELETE FROM metrics_changes WHERE hour = $1", [hour])
        let devices = try await self.lockDevices(connection)
        let next = HistoryHours.next(after: hour)
        if try await self.rollUp(connection, hour: hour, devices: devices) > 0 {
            return try await self.setState(connection, next)
        }
        // Long stretches without rows cost one step.
        let first = try await self.firstHour(connection, devices: devices, from: next)
        try await self.setState(connection, min(first ?? horizon, horizon))
    }

    @discardableResult
    private func rollUp(_ connection: PostgresConnection, hour: Date, devices: [Int]) async throws -> Int {
        guard !devices.isEmpty else { return 0 }
        let hours = Array(repeating: hour, count: devices.count)
        return try await connection.query(MetricsHistoryQueries.rollUp, [devices, hours]).affectedRows
    }

    private func firstHour(_ connection: PostgresConnection, devices: [Int], from: Date) async throws -> Date? {
        let rows = try await connection.query(MetricsHistoryQueries.firstRow, [devices, from])
        return try rows.first?.optional("timestamp", as: Date.self).map(HistoryHours.start)
    }

    /// Devices that are there and stay until the end of the transaction, ascending; all, or those of `ids`.
    ///
    /// Taken before any hour is written: whoever deletes a device holds its row while deleting its hours, and the two
    /// must not wait for each other. Writers' locks on devices do not conflict with this one.
    private func lockDevices(_ connection: PostgresConnection, _ ids: Set<Int>? = nil) async throws -> [Int] {
        if let ids, ids.isEmpty { return [] }
        return try await connection.query(
            "SELECT id FROM devices WHERE $1::integer[] IS NULL OR id = ANY ($1) ORDER BY id FOR KEY SHARE",
            [ids.map { $0.sorted() }]
        ).map { try $0.value("id") }
    }

    private func setState(_ connection: PostgresConnection, _ rolledUpUntil: Date) async throws {
        try await connection.query("UPDATE metrics_hourly_state SET rolled_up_until = $1", [rolledUpUntil])
    }

    private static let takeChanges = """
        DELETE FROM metrics_changes WHERE ctid = ANY (
            ARRAY(SELECT ctid FROM metrics_changes WHERE hour < $1 ORDER BY hour LIMIT $2)
        ) RETURNING hour, device_ids
        """

    // MARK: Retention

    /// Deletes hours that are past their retention and whose rows were dropped before.
    package func purge(_ pool: PostgresPool) async throws {
        let horizon = self.now().addingTimeInterval(-Double(self.options.retentionDays) * 86_400)
        let devices = try await pool.query("SELECT id FROM devices ORDER BY id").map {
            try $0.value("id", as: Int.self)
        }
        for start in stride(from: 0, to: devices.count, by: Self.devicesPerPurge) {
            try Task.checkCancellation()
            try await pool.query(
                """
                DELETE FROM metrics_hourly WHERE device_id = ANY ($1::integer[])
                AND hour < LEAST($2, (SELECT COALESCE(complete_from, '-infinity') FROM metrics_hourly_state))
                """,
                [Array(devices[start...].prefix(Self.devicesPerPurge)), horizon]
            )
        }
    }
}

extension RollUpState {
    /// The next hour to roll up; nil before the beginning. Nothing is rolled up where rows were dropped.
    fileprivate var start: Date? {
        self.rolledUpUntil.map { max($0, self.completeFrom ?? $0) }
    }
}
