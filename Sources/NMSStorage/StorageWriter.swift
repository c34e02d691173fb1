package import struct Foundation.Date
package import Logging
package import Metrics
package import NMSCore
package import Postgres
internal import Synchronization

/// The writer's numbers since its start.
package struct StorageWriterStatistics: Sendable, Equatable {
    /// Committed transactions.
    package var batches = 0
    /// Rows of `metrics`.
    package var rows = 0
    /// Results whose job had been stored before.
    package var duplicates = 0
    /// Results copied to the dead letters because no try can store them.
    package var buried = 0
    /// Results of devices that were deleted meanwhile.
    package var unknownDevices = 0
    /// Results of devices that were deprovisioned meanwhile.
    package var unprovisioned = 0
    /// Batches that were cut in two because the database refused some of their results.
    package var bisections = 0
    /// Results handed back to the queue for another try.
    package var rejected = 0
    /// Tries that failed because of the database as a whole.
    package var databaseFailures = 0
    /// Results of the last batch.
    package var lastBatchSize = 0
    /// From the start of the last batch's transaction to its commit.
    package var lastBatchDuration = Duration.zero
}

/// Stores results in batches, one transaction each, and acknowledges a result only after its transaction is committed.
///
/// At least once on the wire, exactly once in the table: a job gives at most one row, however often its result comes.
/// A row that the database refuses is found by bisection and buried; when the database is away, results are held and
/// their deliveries extended until it is back, never rejected: a rejection counts as a failure of the result itself.
package final class StorageWriter: Sendable {
    package struct Options: Sendable, Equatable {
        /// The most results that one transaction stores.
        package var batchSize = 2000
        /// How long a batch waits for more after its first result.
        package var batchDelay = Duration.milliseconds(200)
        /// The most results that are unsettled at a time.
        package var maxOutstanding = 8000
        /// `polling.unreachable_after`, at least 1.
        package var unreachableAfter = 3
        /// How long the flush after the end may take.
        package var shutdownGrace = Duration.seconds(5)
        /// Pauses between tries while the database is away: the first, doubled up to the last.
        package var retryDelay = Duration.milliseconds(250)
        package var maxRetryDelay = Duration.seconds(5)
        /// How often the deliveries of held results are extended: well within the queue's ack wait.
        package var extendInterval = Duration.seconds(10)
        /// After how long a rejected result is delivered again.
        package var redeliveryDelay = Duration.seconds(5)
        /// How often ids of processed jobs are pruned.
        package var pruneInterval = Duration.seconds(600)

        package init() {}
    }

    typealias Item = Delivery<MetricsResult>

    private let pool: PostgresPool
    private let source: any MetricsResultSource
    private let events: any DeviceEventPublisher
    private let partitions: MetricsPartitions
    private let options: Options
    private let logger: Logger
    private let clock: any Clock<Duration>
    private let now: @Sendable () -> Date
    private let state = Mutex(StorageWriterStatistics())
    /// Results of a committed transaction, and its time.
    private let batchResults: Recorder
    private let batchDuration: Metrics.Timer

    package init(
        pool: PostgresPool,
        source: any MetricsResultSource,
        events: any DeviceEventPublisher,
        partitions: MetricsPartitions,
        options: Options = Options(),
        logger: Logger,
        metrics: any MetricsFactory = MetricsSystem.factory,
        clock: any Clock<Duration> = ContinuousClock(),
        now: @escaping @Sendable () -> Date = { Date() }
    ) {
        self.pool = pool
        self.source = source
        self.events = events
        self.partitions = partitions
        self.options = options
        self.logger = logger
        self.batchResults = Recorder(label: "nmslite_writer_batch_results", factory: metrics)
        self.batchDuration = Metrics.Timer(label: "nmslite_writer_batch_duration_seconds", factory: metrics)
        self.clock = clock
        self.now = now
    }

    package var statistics: StorageWriterStatistics { self.state.withLock { $0 } }

    /// Writes until the task is cancelled; then stores what is in hand, within the shutdown grace, and returns.
    package func run() async {
        let buffer = BatchBuffer<Item>(
            size: self.options.batchSize,
            delay: self.options.batchDelay,
            clock: self.clock
        )
        // Not child tasks: cancelling `run` must end the intake but let what is in hand be stored.
        let writing = Task { await self.write(from: buffer) }
        await withTaskGroup { group in
            group.addTask { await self.prune() }
            await self.receive(into: buffer)
            group.cancelAll()
        }
        buffer.finish()
        let timer = Task {
            try? await self.clock.sleep(for: self.options.shutdownGrace)
            writing.cancel()
        }
        await writing.value
        timer.cancel()
    }

    // MARK: Intake

    private func receive(into buffer: BatchBuffer<Item>) async {
        while !Task.isCancelled {
            do {
                for await delivery in try await self.source.metricsResults(maxOutstanding: self.options.maxOutstanding)
                {
                    buffer.append(delivery)
                }
            } catch is CancellationError {
                return
            } catch {
                self.logger.error("can't receive results", metadata: ["error": "\(error)"])
            }
            if !Task.isCancelled { try? await self.clock.sleep(for: self.options.retryDelay) }
        }
    }

    // MARK: Writing

    /// Settlements are performed in the order of the batches, while the next batch is being stored.
    private func write(from buffer: BatchBuffer<Item>) async {
        let (settlements, continuation) = AsyncStream<Settlement>.makeStream()
        await withTaskGroup { group in
            group.addTask { [events, logger] in
                for await settlement in settlements { await settlement.perform(events: events, logger: logger) }
            }
            while let batch = await buffer.next() {
                await self.store(batch, buffer: buffer) { continuation.yield($0) }
            }
            continuation.finish()
            await group.waitForAll()
        }
    }

    private func store(
        _ batch: [Item],
        buffer: BatchBuffer<Item>,
        settle: (Settlement) -> Void
    ) async {
        await withTaskGroup { group in
            // Beside the transactions, which may hang as well as fail.
            group.addTask { await self.extend(batch, and: buffer) }
            await self.store(batch, settle: settle)
            group.cancelAll()
        }
    }

    /// Held, not failed: results must neither come to another writer nor use up their deliveries.
    private func extend(_ batch: [Item], and buffer: BatchBuffer<Item>) async {
        while true {
            do { try await self.clock.sleep(for: self.options.extendInterval) } catch { return }
            for item in batch + buffer.elements { try? await item.extend() }
        }
    }

    private func store(_ batch: [Item], settle: (Settlement) -> Void) async {
        var prepared: [(item: Item, result: PreparedResult)] = []
        for item in batch {
            do {
                prepared.append((item, try PreparedResult(item.message)))
            } catch {
                self.bury(item, reason: (error as? UnstorableResult)?.reason ?? "\(error)", settle: settle)
            }
        }
        // Depth first, so that the parts of a bisected batch keep their order.
        var parts = prepared.isEmpty ? [] : [prepared]
        while let part = parts.popLast() {
            switch await self.commit(part.map(\.result)) {
            case .stored(let outcome):
                settle(.acknowledge(part.map(\.item), outcome))
            case .refusedData(let reason) where part.count == 1:
                self.bury(part[0].item, reason: reason, settle: settle)
            case .refusedData:
                self.state.withLock { $0.bisections += 1 }
                let middle = part.count / 2
                parts.append(Array(part[middle...]))
                parts.append(Array(part[..<middle]))
            case .refusedMonth(let month, let reason):
                let isRefused = { (result: PreparedResult) in result.hasRow && result.month == month }
                for (item, result) in part where isRefused(result) { self.bury(item, reason: reason, settle: settle) }
                let rest = part.filter { !isRefused($0.result) }
                if !rest.isEmpty { parts.append(rest) }
            case .stopped:
                // The queue delivers them again: nobody settles them.
                self.logger.notice(
                    "stopped before results were stored; the queue keeps them",
                    metadata: ["results": "\(part.count + parts.reduce(0) { $0 + $1.count })"]
                )
                return
            case .failed:
                self.state.withLock { $0.rejected += part.count }
                settle(.reject(part.map(\.item), after: self.options.redeliveryDelay))
            }
        }
    }

    private enum CommitResult {
        case stored(BatchOutcome)
        /// The database refuses some of the results.
        case refusedData(reason: String)
        /// The database has no place for rows of a month.
        case refusedMonth(MetricsMonth, reason: String)
        /// Neither stored nor to blame on the results: another try may do.
        case failed
        /// The writer has to end.
        case stopped
    }

    /// Commits the results, however long the database is away.
    private func commit(_ results: [PreparedResult]) async -> CommitResult {
        var delay = self.options.retryDelay
        while true {
            do {
                return .stored(try await self.transaction(results))
            } catch {
                if Task.isCancelled { return .stopped }
                switch WriteFailure(error) {
                case .data(let reason): return .refusedData(reason: reason)
                case .month(let month, let reason): return .refusedMonth(month, reason: reason)
                case .cancelled: return .stopped
                case .unexpected:
                    self.logger.error("can't store results", metadata: ["error": "\(error)"])
                    return .failed
                case .database:
                    self.state.withLock { $0.databaseFailures += 1 }
                    self.logger.error(
                        "the database is away, results are held",
                        metadata: ["error": "\(error)", "results": "\(results.count)", "retry_in": "\(delay)"]
                    )
                }
            }
            try? await self.clock.sleep(for: delay)
            if Task.isCancelled { return .stopped }
            delay = min(delay * 2, self.options.maxRetryDelay)
        }
    }

    private func transaction(_ results: [PreparedResult]) async throws -> BatchOutcome {
        let months = Set(results.filter(\.hasRow).map(\.month))
        try await self.partitions.ensure(months)
        let start = ContinuousClock.now
        let outcome: BatchOutcome
        do {
            outcome = try await self.attempt(results)
        } catch let error as PostgresError where error.isMissingPartition {
            // Dropped or detached since it was seen; when it is there and still takes no row, the row is to blame.
            self.partitions.forget(months)
            try await self.partitions.ensure(months)
            outcome = try await self.attempt(results)
        }
        let duration = ContinuousClock.now - start
        self.batchResults.record(results.count)
        self.batchDuration.record(duration: duration)
        self.state.withLock { state in
            state.batches += 1
            state.rows += outcome.rows
            state.duplicates += outcome.duplicates
            state.unknownDevices += outcome.unknownDevices
            state.unprovisioned += outcome.unprovisioned
            state.lastBatchSize = results.count
            state.lastBatchDuration = duration
        }
        return outcome
    }

    private func attempt(_ results: [PreparedResult]) async throws -> BatchOutcome {
        try await self.pool.withTransaction { connection in
            try await BatchTransaction(
                connection: connection,
                unreachableAfter: self.options.unreachableAfter,
                now: self.now()
            ).run(results)
        }
    }

    private func bury(_ item: Item, reason: String, settle: (Settlement) -> Void) {
        self.state.withLock { $0.buried += 1 }
        self.logger.warning(
            "a result can't be stored and is buried",
            metadata: [
                "job_id": "\(item.message.jobID)", "device_id": "\(item.message.deviceID)", "reason": "\(reason)",
            ]
        )
        settle(.bury(item, reason: reason))
    }

    // MARK: Clean-up

    /// Forgets jobs whose results can't come again, a slice at a time.
    private func prune() async {
        while !Task.isCancelled {
            do {
                let horizon = self.now().addingTimeInterval(-BatchTransaction.jobRetention)
                while try await self.pool.query(Self.pruneQuery, [horizon]).affectedRows > 0 {}
            } catch is CancellationError {
                return
            } catch {
                self.logger.warning("can't prune processed jobs", metadata: ["error": "\(error)"])
            }
            try? await self.clock.sleep(for: self.options.pruneInterval)
        }
    }

    private static let pruneQuery = """
        DELETE FROM processed_jobs WHERE ctid = ANY (
            ARRAY(SELECT ctid FROM processed_jobs WHERE processed_at < $1 LIMIT 10000)
        )
        """
}
