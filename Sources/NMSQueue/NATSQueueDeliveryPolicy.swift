internal import NMSCore

/// When a message of a stream is given up, and how long one waits that was rejected.
struct DeliveryPolicy: Sendable, Equatable {
    /// For jobs: they are worth little when their time has passed, and the next slot makes up for one.
    static let job = DeliveryPolicy(deliveries: QueueLimits.maxDeliveries)
    /// For results: a poller was told that they are safe.
    static let result = DeliveryPolicy(
        deliveries: QueueLimits.resultDeliveries,
        longestPause: QueueLimits.rejectedResultPause
    )

    /// A message that is delivered more often, or rejected on the last of these, is buried.
    var deliveries: Int
    /// nil: each rejection waits for as long as was asked.
    var longestPause: Duration?

    /// The pause before the delivery after this one: from the sixth delivery on it doubles with each.
    func pause(after delivery: Int, asked: Duration) -> Duration {
        guard let longestPause = self.longestPause, delivery > QueueLimits.maxDeliveries, asked < longestPause else {
            return asked
        }
        return min(asked * (1 << min(delivery - QueueLimits.maxDeliveries, 20)), longestPause)
    }
}
