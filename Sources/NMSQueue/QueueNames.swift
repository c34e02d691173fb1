internal import NMSCore

/// Subjects, streams and consumers: the wire contract (specification §6.2, design: queue and rows).
package enum QueueNames {
    package static let pollJobs = "nmslite.poll.jobs"
    package static let discoveryJobs = "nmslite.discovery.jobs"
    package static let metricsResults = "nmslite.metrics.results"
    package static let deviceEvents = "nmslite.device.events"
    package static let dead = "nmslite.dead"

    package static let pollJobsStream = "NMSLITE_POLL_JOBS"
    package static let discoveryJobsStream = "NMSLITE_DISCOVERY_JOBS"
    package static let metricsResultsStream = "NMSLITE_METRICS_RESULTS"
    package static let deadStream = "NMSLITE_DEAD"
    /// All of them.
    static let streams = [pollJobsStream, discoveryJobsStream, metricsResultsStream, deadStream]

    package static let writerConsumer = "writer"
    package static let discoveryConsumer = "discovery"

    package static func pollJobs(partition: Int) -> String { "\(self.pollJobs).\(partition)" }
    package static func pollerConsumer(partition: Int) -> String { "poller-\(partition)" }
}

/// Every limit of the queue, in one place.
package enum QueueLimits {
    /// Deliveries of a job; when the last one fails, the job goes to `nmslite.dead` (design: queue and rows).
    package static let maxDeliveries = 5
    /// Deliveries of a result, which somebody was told is safe: writers that were killed use them up without a fault of
    /// the result. What can't be stored is buried by the writer, with the reason; this bounds only what ends every
    /// process that reads it (docs/decisions/0010).
    package static let resultDeliveries = 1_000
    /// The longest pause before a result that was rejected often comes again: 1,000 deliveries take three days.
    package static let rejectedResultPause: Duration = .seconds(300)

    /// Beyond a poll's timeout: its second sample (about 1 s), waiting for a worker, publishing the result.
    package static let pollAckMargin: Duration = .seconds(15)
    /// Whoever runs a discovery extends it every few seconds; what died with its instance comes again soon.
    package static let discoveryAckWait: Duration = .seconds(15)
    /// Writing a batch takes milliseconds; a writer that waits for its database extends.
    package static let resultAckWait: Duration = .seconds(30)
    /// The duplicate window is longer than ack wait × deliveries by this.
    package static let duplicateMargin: Duration = .seconds(60)

    /// A device's interval is at most a day, and a job older than that is dropped anyway.
    package static let pollJobAge: Duration = .seconds(86_400)
    package static let discoveryJobAge: Duration = .seconds(86_400)
    package static let deadAge: Duration = .seconds(14 * 86_400)

    // Messages in the work queues; a publisher to a full one gets an error. Messages, not bytes: before it stores a
    // message, nats-server underestimates its size, and then makes room by dropping the oldest although it was told to
    // refuse the new one (nats-server issues 4771 and 4775). Bytes are bounded by the server's max_file_store.
    package static let pollJobMessages = 250_000
    package static let discoveryJobMessages = 10_000
    /// About 40 minutes of 12,000 devices a minute while the database is away.
    package static let resultMessages = 500_000
    /// Bytes on disk of the dead, which give way to newer ones.
    package static let deadBytes = 128 << 20

    // Bytes of a payload: what the stream takes and the decoder reads.
    package static let pollJobPayload = 4 << 10
    package static let resultPayload = 64 << 10
    package static let deadPayload = 512 << 10
    package static let eventPayload = 64 << 10
    /// Bytes of a buried payload that are kept.
    package static let buriedPayload = 64 << 10

    /// Delivered and not settled, for each consumer, over all instances.
    package static let pollJobsUnsettled = 2_000
    package static let resultsUnsettled = 20_000
    package static let discoveryJobsUnsettled = 1_000

    /// Publishes waiting for the server's answer.
    package static let publishesInFlight = 256
    /// One attempt to publish; repeated with the same message id until ``publishDeadline``.
    package static let requestTimeout: Duration = .seconds(3)
    package static let publishDeadline: Duration = .seconds(10)
    /// Pause before an attempt is repeated.
    package static let retryPause: Duration = .milliseconds(200)

    /// Bytes that are kept for the server while it is away; then publishing fails.
    package static let reconnectBuffer = 8 << 20
    /// Messages that a subscriber may be behind.
    package static let pendingMessages = 65_536
    /// Events that a listener may be behind; beyond them its stream ends, and it subscribes anew.
    package static let pendingEvents = 4_096

    /// What is handed back unread is delivered again after this, when another reader waits for it: nats-server 2.9 may
    /// lose a redelivery, until the ack wait is over, while only requests of readers that are gone wait (as it loses
    /// requests: `PullPlanner.renewAhead`).
    package static let handBackDelay: Duration = .seconds(1)
    /// A message whose burial failed is delivered again after this.
    package static let burialRetry: Duration = .seconds(5)
    /// What a closing connection gets to send what is left.
    package static let drainTimeout: Duration = .seconds(5)
}
