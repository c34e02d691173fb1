import Logging
import Metrics
import NMSAPI
import NMSCollectors
import NMSPoller
import NMSQueue
import NMSRuntime
import NMSScheduler
import NMSStorage
import Postgres
import Prometheus
import ServiceLifecycle
import Supervision

/// This process's metrics: rooms count through swift-metrics, whose backend is one for the process; what exists as state
/// is read here when a scrape asks.
enum Observability {
    static let registry = PrometheusRegistry(MetricsCatalogue.families, logger: Logger(label: "metrics"))

    /// To be called once, before anything counts.
    static func start() {
        MetricsSystem.bootstrap(self.registry)
        self.registry.addSampler("process") { samples in
            ProcessMetrics.sample(into: &samples)
            samples.set("nmslite_build_info", [("version", Version.current)], to: 1)
        }
    }

    /// What `GET /metrics` of the API's port answers from.
    static func exposition(_ configuration: NMSRuntime.Configuration) -> MetricsExposition {
        MetricsExposition(registry: self.registry, scrapeToken: configuration.metrics.scrapeToken)
    }

    /// The listener of `metrics.listen`; nil when there is none.
    static func listener(_ configuration: NMSRuntime.Configuration) throws -> (any Service)? {
        guard let address = configuration.metrics.listen else { return nil }
        return try buildMetricsListener(
            registry: self.registry,
            host: address.host,
            port: address.port,
            logger: Logger(label: "metrics")
        )
    }

    // MARK: - State that is read

    static func observe(child: String, _ status: @escaping @Sendable () -> Supervisor.Status) {
        self.registry.addSampler("child_\(child)") { samples in
            let status = status()
            samples.set("nmslite_child_up", [("child", child)], to: status.isReady)
            samples.set("nmslite_child_restarts_total", [("child", child)], to: status.restarts)
        }
    }

    /// Told how long each caller waited for a connection.
    static func acquireObserver() -> @Sendable (Duration) -> Void {
        let timer = Metrics.Timer(label: "nmslite_db_acquire_duration_seconds", factory: self.registry)
        return { timer.record(duration: $0) }
    }

    static func observe(_ pool: PostgresPool) {
        self.registry.addSampler("database") { samples in
            let statistics = pool.statistics
            let inUse = statistics.open - statistics.idle
            samples.set("nmslite_db_connections", [("state", "in_use")], to: inUse)
            samples.set("nmslite_db_connections", [("state", "idle")], to: statistics.idle)
            samples.set("nmslite_db_connections_max", to: pool.limits.maxOpen)
            samples.set("nmslite_db_waiting", to: statistics.waiting)
        }
    }

    static func observe(_ queue: NATSQueue) {
        self.registry.addSampler("queue") { samples in
            let status = queue.status
            let counts = status.counts
            samples.set("nmslite_queue_connected", to: status.isConnected)
            samples.set("nmslite_queue_reconnects_total", to: status.reconnects)
            samples.set("nmslite_queue_publishes_in_flight", to: status.publishesInFlight)
            samples.set("nmslite_queue_unsettled", to: status.unsettled)
            samples.set("nmslite_queue_published_total", to: counts.published)
            samples.set("nmslite_queue_duplicates_total", to: counts.duplicates)
            samples.set("nmslite_queue_publish_failures_total", to: counts.publishFailures)
            samples.set("nmslite_queue_delivered_total", to: counts.delivered)
            samples.set("nmslite_queue_redelivered_total", to: counts.redelivered)
            samples.set("nmslite_queue_acknowledged_total", to: counts.acknowledged)
            samples.set("nmslite_queue_rejected_total", to: counts.rejected)
            samples.set("nmslite_queue_dead_lettered_total", to: counts.dead)
            samples.set("nmslite_queue_events_dropped_total", to: counts.eventsDropped)
        }
        // Apart, since the server is asked: it may not answer, and the numbers above are then wanted most.
        self.registry.addSampler("queue_depth") { samples in
            let depths = try await queue.depths()
            let streams = [
                ("poll_jobs", depths.pollJobs), ("discovery_jobs", depths.discoveryJobs),
                ("metrics_results", depths.metricsResults),
            ]
            for (stream, depth) in streams {
                let states = [("pending", depth.pending), ("unacknowledged", depth.unacknowledged)]
                for (state, messages) in states {
                    samples.set("nmslite_queue_messages", [("stream", stream), ("state", state)], to: messages)
                }
            }
            samples.set("nmslite_queue_dead_letters", to: depths.dead)
        }
    }

    static func observe(_ writer: StorageWriter) {
        self.registry.addSampler("writer") { samples in
            let statistics = writer.statistics
            samples.set("nmslite_writer_rows_total", to: statistics.rows)
            samples.set("nmslite_writer_batches_total", to: statistics.batches)
            let discarded = [
                ("duplicate", statistics.duplicates), ("unknown_device", statistics.unknownDevices),
                ("not_provisioned", statistics.unprovisioned),
            ]
            for (reason, results) in discarded {
                samples.set("nmslite_writer_discarded_total", [("reason", reason)], to: results)
            }
            samples.set("nmslite_writer_bisections_total", to: statistics.bisections)
            samples.set("nmslite_writer_buried_total", to: statistics.buried)
            samples.set("nmslite_writer_rejected_total", to: statistics.rejected)
            samples.set("nmslite_writer_database_failures_total", to: statistics.databaseFailures)
        }
    }

    static func observe(_ poller: Poller, workers: Int, targets: CachedPollTargets) {
        self.registry.addSampler("poller") { samples in
            let statistics = poller.statistics
            samples.set("nmslite_poll_workers", to: workers)
            samples.set("nmslite_poll_workers_busy", to: statistics.running)
            samples.set("nmslite_poll_jobs_waiting", to: statistics.waiting)
            let caches = targets.statistics
            samples.setCache("poll_devices", caches.devices)
            samples.setCache("poll_credentials", caches.credentials)
        }
    }

    static func observe(_ keeper: PartitionKeeper) {
        self.registry.addSampler("partitions") { samples in
            let status = keeper.status
            samples.set("nmslite_poll_partitions", [("state", "held")], to: status.held)
            samples.set("nmslite_poll_partitions", [("state", "handing_over")], to: status.handingOver)
            samples.set("nmslite_pollers", to: status.members)
        }
    }

    static func observe(collector: String, warmConnections: @escaping @Sendable () -> Int) {
        self.registry.addSampler("collector_\(collector)") { samples in
            samples.set("nmslite_warm_connections", [("collector", collector)], to: warmConnections())
        }
    }

    static func observe(_ scheduler: Scheduler) {
        self.registry.addSampler("scheduler") { samples in
            let statistics = scheduler.statistics
            samples.set("nmslite_schedule_jobs_total", [("result", "published")], to: statistics.published)
            samples.set("nmslite_schedule_jobs_total", [("result", "failed")], to: statistics.failed)
            samples.set("nmslite_schedule_missed_slots_total", to: statistics.missedSlots)
            samples.set("nmslite_schedule_devices", to: statistics.devices)
        }
    }

    /// Runs `body` as the leader of the schedule.
    static func leading(_ body: () async throws -> Void) async rethrows {
        let leader = Meter(label: "nmslite_scheduler_leader", factory: self.registry)
        leader.set(1)
        defer { leader.set(0) }
        try await body()
    }
}
