internal import NMSCore

/// The streams and consumers that NMSlite needs, from its options.
struct QueueTopology: Sendable {
    let options: QueueOptions

    var streams: [StreamConfiguration] {
        [
            self.workQueue(
                QueueNames.pollJobsStream,
                subject: QueueNames.pollJobs + ".*",
                messages: QueueLimits.pollJobMessages,
                age: QueueLimits.pollJobAge,
                payload: QueueLimits.pollJobPayload,
                ackWait: self.options.pollAckWait
            ),
            self.workQueue(
                QueueNames.discoveryJobsStream,
                subject: QueueNames.discoveryJobs,
                messages: QueueLimits.discoveryJobMessages,
                age: QueueLimits.discoveryJobAge,
                payload: QueueLimits.pollJobPayload,
                ackWait: QueueLimits.discoveryAckWait
            ),
            self.workQueue(
                QueueNames.metricsResultsStream,
                subject: QueueNames.metricsResults,
                messages: QueueLimits.resultMessages,
                age: .zero,
                payload: QueueLimits.resultPayload,
                ackWait: self.options.resultAckWait
            ),
            StreamConfiguration(
                name: QueueNames.deadStream,
                subjects: [QueueNames.dead],
                retention: .limits,
                discard: .old,
                maxMessages: -1,
                maxBytes: QueueLimits.deadBytes,
                maxAge: QueueLimits.deadAge.nanoseconds,
                maxMessageSize: QueueLimits.deadPayload,
                replicas: self.options.replicas,
                duplicateWindow: self.duplicateWindow(ackWait: self.options.pollAckWait)
            ),
        ]
    }

    func pollerConsumer(partition: Int) -> ConsumerConfiguration {
        ConsumerConfiguration(
            durableName: QueueNames.pollerConsumer(partition: partition),
            filterSubject: QueueNames.pollJobs(partition: partition),
            ackWait: self.options.pollAckWait.nanoseconds,
            maxAckPending: QueueLimits.pollJobsUnsettled
        )
    }

    var writerConsumer: ConsumerConfiguration {
        ConsumerConfiguration(
            durableName: QueueNames.writerConsumer,
            filterSubject: QueueNames.metricsResults,
            ackWait: self.options.resultAckWait.nanoseconds,
            maxAckPending: QueueLimits.resultsUnsettled
        )
    }

    var discoveryConsumer: ConsumerConfiguration {
        ConsumerConfiguration(
            durableName: QueueNames.discoveryConsumer,
            filterSubject: QueueNames.discoveryJobs,
            ackWait: QueueLimits.discoveryAckWait.nanoseconds,
            maxAckPending: QueueLimits.discoveryJobsUnsettled
        )
    }

    private func workQueue(
        _ name: String,
        subject: String,
        messages: Int,
        age: Duration,
        payload: Int,
        ackWait: Duration
    ) -> StreamConfiguration {
        StreamConfiguration(
            name: name,
            subjects: [subject],
            retention: .workqueue,
            discard: .new,
            maxMessages: messages,
            maxBytes: -1,
            maxAge: age.nanoseconds,
            maxMessageSize: payload,
            replicas: self.options.replicas,
            duplicateWindow: self.duplicateWindow(ackWait: ackWait)
        )
    }

    /// Longer than a job can take through all of its deliveries (design: queue and rows).
    private func duplicateWindow(ackWait: Duration) -> Int64 {
        (ackWait * QueueLimits.maxDeliveries + QueueLimits.duplicateMargin).nanoseconds
    }
}
