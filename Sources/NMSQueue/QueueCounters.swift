internal import Synchronization

/// What the queue has done since it was connected.
package struct QueueCounts: Sendable, Equatable {
    /// Jobs and results that the server has stored.
    package var published = 0
    /// Publishes that the server knew already by their message id.
    package var duplicates = 0
    /// Publishes that were given up.
    package var publishFailures = 0
    package var eventsPublished = 0
    package var eventsReceived = 0
    /// Events that a listener was too slow for; each ended its stream.
    package var eventsDropped = 0
    package var delivered = 0
    /// Deliveries that were not the first of their message.
    package var redelivered = 0
    package var acknowledged = 0
    package var rejected = 0
    /// Messages copied to `nmslite.dead` and removed.
    package var dead = 0
    /// Of ``dead``, those that could not be decoded.
    package var undecodable = 0
    /// Deliveries given back unread at the end of a subscription.
    package var handedBack = 0
    /// Messages that the client library dropped because this process was too slow.
    package var problems = 0
}

/// How the queue is doing, for health and metrics.
package struct QueueStatus: Sendable, Equatable {
    package var isConnected: Bool
    /// Without user information.
    package var servers: String
    package var reconnects: Int
    /// Publishes that wait for the server's answer.
    package var publishesInFlight: Int
    /// Messages received and not settled.
    package var unsettled: Int
    package var counts: QueueCounts
}

/// Messages in the streams.
package struct QueueBacklog: Sendable, Equatable {
    package var pollJobs: Int
    package var discoveryJobs: Int
    package var metricsResults: Int
    package var dead: Int
}

final class QueueCounters: Sendable {
    private let counts = Mutex(QueueCounts())

    var current: QueueCounts { self.counts.withLock { $0 } }

    func add(_ key: any WritableKeyPath<QueueCounts, Int> & Sendable, _ amount: Int = 1) {
        self.counts.withLock { $0[keyPath: key] += amount }
    }
}
