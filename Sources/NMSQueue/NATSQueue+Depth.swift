/// Messages in a work queue.
package struct QueueDepth: Sendable, Equatable {
    /// Waiting to be delivered.
    package var pending: Int
    /// Delivered and not settled.
    package var unacknowledged: Int
}

/// How deep every queue is.
package struct QueueDepths: Sendable, Equatable {
    package var pollJobs: QueueDepth
    package var discoveryJobs: QueueDepth
    package var metricsResults: QueueDepth
    /// Messages in `nmslite.dead`.
    package var dead: Int
}

extension NATSQueue {
    /// Asked of the server, for all instances together.
    /// - Throws: ``QueueError``.
    package func depths() async throws -> QueueDepths {
        async let pollJobs = self.depth(of: QueueNames.pollJobsStream)
        async let discoveryJobs = self.depth(of: QueueNames.discoveryJobsStream)
        async let metricsResults = self.depth(of: QueueNames.metricsResultsStream)
        async let dead = self.api.streamState(QueueNames.deadStream).messages
        return QueueDepths(
            pollJobs: try await pollJobs,
            discoveryJobs: try await discoveryJobs,
            metricsResults: try await metricsResults,
            dead: try await dead
        )
    }

    private func depth(of stream: String) async throws -> QueueDepth {
        // In this order: what is acknowledged between the two answers must not make pending negative, or look like more.
        let unacknowledged = try await self.api.unacknowledged(in: stream)
        let messages = try await self.api.streamState(stream).messages
        return QueueDepth(
            pending: max(0, messages - unacknowledged),
            unacknowledged: min(messages, unacknowledged)
        )
    }
}
