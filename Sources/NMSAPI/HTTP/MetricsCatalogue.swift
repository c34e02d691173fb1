package import Prometheus

/// Every series that an instance of NMSlite exposes: a name that is not here counts nowhere (`docs/observability.md`
/// says what each means, and when to alarm).
///
/// Labels have values out of closed sets: no device, no address, no user and no path of a client.
package enum MetricsCatalogue {
    package static let families: [MetricFamily] =
        Self.http + Self.polling + Self.scheduling + Self.queue + Self.writing + Self.database + Self.instance
        + ProcessMetrics.families

    // MARK: - Requests

    private static let http: [MetricFamily] = [
        .counter(
            "nmslite_http_requests_total",
            labels: ["method", "route", "status"],
            "Requests by endpoint and class of status."
        ),
        .histogram(
            "nmslite_http_request_duration_seconds",
            labels: ["method", "route"],
            bounds: MetricFamily.secondsBounds,
            "From the head of a request to the head of its answer."
        ),
        .gauge("nmslite_http_requests_in_flight", "Requests that are being answered."),
        .counter("nmslite_sign_ins_total", labels: ["result"], "Logins by result."),
        .counter("nmslite_token_refreshes_total", labels: ["result"], "Exchanges of refresh tokens by result."),
    ]

    // MARK: - Polls

    private static let polling: [MetricFamily] = [
        .counter(
            "nmslite_polls_total",
            labels: ["result"],
            "Polls whose result is in the queue: success, or the code of the error."
        ),
        .counter(
            "nmslite_poll_jobs_dropped_total",
            labels: ["reason"],
            "Poll jobs that gave no result, by reason."
        ),
        .counter(
            "nmslite_poll_local_shortages_total",
            "Polls put off because this machine lacked descriptors, ports or memory."
        ),
        .histogram(
            "nmslite_poll_duration_seconds",
            labels: ["outcome"],
            bounds: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
            "Polls from the first connection to the last sample, the pause before a second sample included."
        ),
        .gauge(
            "nmslite_poll_achieved_interval_ratio",
            "Mean time between polls against the wanted interval, of the last minute with polls; 1 when none is late."
        ),
        .gauge("nmslite_poll_workers", "Polls that may run at once (polling.worker_count)."),
        .gauge("nmslite_poll_workers_busy", "Polls that hold a worker."),
        .gauge("nmslite_poll_jobs_waiting", "Poll jobs that wait for a worker."),
        .gauge(
            "nmslite_poll_partitions",
            labels: ["state"],
            "Of the 64 shares of the fleet: held by this instance, or being handed over to another."
        ),
        .gauge("nmslite_pollers", "Instances that share the fleet's polls, as this one knows."),
        .gauge("nmslite_warm_connections", labels: ["collector"], "Connections to hosts kept for their next poll."),
    ]

    // MARK: - Schedule

    private static let scheduling: [MetricFamily] = [
        .histogram(
            "nmslite_schedule_lag_seconds",
            bounds: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
            "From the moment at which a poll was due until its job was in the queue."
        ),
        .counter("nmslite_schedule_jobs_total", labels: ["result"], "Poll jobs of the schedule: published or failed."),
        .counter("nmslite_schedule_missed_slots_total", "Slots that passed unused because the scheduler was late."),
        .gauge("nmslite_schedule_devices", "Devices in the schedule of this instance, which is empty unless it leads."),
        .gauge("nmslite_scheduler_leader", "1 while this instance schedules for all."),
    ]

    // MARK: - Queue

    private static let queue: [MetricFamily] = [
        .gauge("nmslite_queue_connected", "1 while this instance is connected to NATS."),
        .counter("nmslite_queue_reconnects_total", "Connections to NATS after the first."),
        .gauge(
            "nmslite_queue_messages",
            labels: ["stream", "state"],
            "Messages in a work queue: pending, or delivered and not acknowledged."
        ),
        .gauge("nmslite_queue_dead_letters", "Messages in nmslite.dead."),
        .counter("nmslite_queue_published_total", "Jobs and results that the queue stored for this instance."),
        .counter("nmslite_queue_duplicates_total", "Publishes that the queue knew already by their id."),
        .counter("nmslite_queue_publish_failures_total", "Publishes that were given up."),
        .gauge("nmslite_queue_publishes_in_flight", "Publishes that wait for the queue's answer."),
        .counter("nmslite_queue_delivered_total", "Jobs and results that this instance received."),
        .counter("nmslite_queue_redelivered_total", "Of those delivered, the ones that came again."),
        .counter("nmslite_queue_acknowledged_total", "Jobs and results that this instance has done with."),
        .counter("nmslite_queue_rejected_total", "Jobs and results that this instance handed back."),
        .gauge("nmslite_queue_unsettled", "Jobs and results in the hands of this instance."),
        .counter("nmslite_queue_dead_lettered_total", "Messages that this instance moved to nmslite.dead."),
        .counter("nmslite_queue_events_dropped_total", "Device events that a listener was too slow for."),
    ]

    // MARK: - Writer

    private static let writing: [MetricFamily] = [
        .counter("nmslite_writer_rows_total", "Rows of metrics that are committed."),
        .counter("nmslite_writer_batches_total", "Transactions that are committed."),
        .histogram(
            "nmslite_writer_batch_results",
            bounds: [1, 2, 5, 10, 25, 50, 100, 250, 500],
            "Results that one transaction stored."
        ),
        .histogram(
            "nmslite_writer_batch_duration_seconds",
            bounds: MetricFamily.secondsBounds,
            "From the start of a transaction to its commit."
        ),
        .counter(
            "nmslite_writer_discarded_total",
            labels: ["reason"],
            "Results without a row: stored before, or of a device that is gone or deprovisioned."
        ),
        .counter("nmslite_writer_bisections_total", "Batches cut in two because the database refused some results."),
        .counter("nmslite_writer_buried_total", "Results that no try can store, moved to nmslite.dead."),
        .counter("nmslite_writer_rejected_total", "Results handed back to the queue for another try."),
        .counter("nmslite_writer_database_failures_total", "Tries that failed because the database was away."),
    ]

    // MARK: - Database

    private static let database: [MetricFamily] = [
        .gauge("nmslite_db_connections", labels: ["state"], "Connections of the pool: in_use or idle."),
        .gauge("nmslite_db_connections_max", "The most connections of the pool (database.max_open_conns)."),
        .gauge("nmslite_db_waiting", "Callers that wait for a connection."),
        .histogram(
            "nmslite_db_acquire_duration_seconds",
            bounds: MetricFamily.secondsBounds,
            "How long a caller waited for a connection."
        ),
    ]

    // MARK: - Instance

    private static let instance: [MetricFamily] = [
        .gauge("nmslite_build_info", labels: ["version"], "1, with the version that runs."),
        .gauge("nmslite_devices", labels: ["status"], "Devices by status, told by instances with the role api."),
        .counter("nmslite_cache_hits_total", labels: ["cache"], "Look-ups that a cache answered."),
        .counter("nmslite_cache_misses_total", labels: ["cache"], "Look-ups that a cache could not answer."),
        .gauge("nmslite_child_up", labels: ["child"], "1 while an embedded server answers."),
        .counter("nmslite_child_restarts_total", labels: ["child"], "Starts of an embedded server after its first."),
    ]
}
