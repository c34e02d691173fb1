internal import Foundation
internal import Logging
internal import NMSCore
internal import Synchronization

/// Settles one delivery, once.
final class Settlement: Sendable {
    private let received: PullSubscription.Received
    private let pull: PullSubscription
    private let connection: NATSConnection
    private let deadLetters: DeadLetterBox
    private let counters: QueueCounters
    private let logger: Logger
    private let policy: DeliveryPolicy
    private let isSettled = Atomic(false)

    init(
        _ received: PullSubscription.Received,
        policy: DeliveryPolicy,
        pull: PullSubscription,
        connection: NATSConnection,
        deadLetters: DeadLetterBox,
        counters: QueueCounters,
        logger: Logger
    ) {
        self.received = received
        self.policy = policy
        self.pull = pull
        self.connection = connection
        self.deadLetters = deadLetters
        self.counters = counters
        self.logger = logger
    }

    deinit {
        guard !self.isSettled.load(ordering: .relaxed) else { return }
        // The server delivers it again after the ack wait; here it makes room.
        self.logger.warning("a message of \(self.received.message.subject) was dropped without being settled")
        self.pull.settled()
    }

    func delivery<Message: Sendable>(of message: Message) -> Delivery<Message> {
        Delivery(
            message: message,
            deliveryCount: self.received.metadata.deliveryCount,
            acknowledge: { try await self.acknowledge() },
            reject: { try await self.reject(after: $0) },
            extend: { try await self.extend() },
            bury: { try await self.bury(reason: $0) }
        )
    }

    /// A plain acknowledgement, not confirmed by the server: when it is lost, the message comes again, and the row's
    /// job id makes that harmless; a confirmation would cost a round trip for each result and change nothing.
    func acknowledge() async throws {
        try await self.settle {
            self.post(Acknowledgement.done)
            self.counters.add(\.acknowledged)
        }
    }

    func reject(after delay: Duration) async throws {
        let deliveries = self.received.metadata.deliveryCount
        guard deliveries < self.policy.deliveries else {
            return try await self.bury(reason: "rejected on delivery \(deliveries)")
        }
        try await self.settle {
            try await self.answer(Acknowledgement.reject(self.policy.pause(after: deliveries, asked: delay)))
            self.counters.add(\.rejected)
        }
    }

    func extend() async throws {
        guard !self.isSettled.load(ordering: .relaxed) else { return }
        try await self.answer(Acknowledgement.progress)
    }

    /// The copy is stored before the original is removed.
    func bury(reason: String) async throws {
        try await self.settle {
            do {
                try await self.deadLetters.store(self.received, reason: reason)
            } catch {
                try? await self.answer(Acknowledgement.reject(QueueLimits.burialRetry))
                throw error
            }
            try await self.answer(Acknowledgement.terminate)
        }
    }

    /// Without waiting until the library has it, which for each result of a batch would cost a turn of its queue.
    private func post(_ body: Data) {
        guard let reply = self.received.message.reply else { return }
        self.connection.post(body, to: reply) { [logger] error in
            logger.warning("a message was settled but the server was not told; it comes again: \(error)")
        }
    }

    private func answer(_ body: Data) async throws {
        guard let reply = self.received.message.reply else { return }
        try await self.connection.publish(body, to: reply)
    }

    /// Runs `body` unless the delivery is settled already; there is room for another whatever comes of it.
    private func settle(_ body: () async throws -> Void) async throws {
        guard !self.isSettled.exchange(true, ordering: .relaxed) else { return }
        defer { self.pull.settled() }
        try await body()
    }
}

/// Puts copies into `nmslite.dead`.
final class DeadLetterBox: Sendable {
    private let publisher: Publisher
    private let counters: QueueCounters
    private let logger: Logger

    init(publisher: Publisher, counters: QueueCounters, logger: Logger) {
        self.publisher = publisher
        self.counters = counters
        self.logger = logger
    }

    func store(_ received: PullSubscription.Received, reason: String) async throws {
        let letter = DeadLetter(
            of: received.message,
            reason: reason,
            deliveryCount: received.metadata.deliveryCount,
            at: Date()
        )
        let payload = try NMSJSON.encoder().encode(letter)
        // The same message buried twice, because its removal was lost, is one letter.
        let id = "dead-\(received.metadata.stream)-\(received.metadata.streamSequence)"
        try await self.publisher.publish(
            payload,
            to: QueueNames.dead,
            messageID: id,
            limit: QueueLimits.deadPayload
        )
        self.counters.add(\.dead)
        self.logger.error(
            "a message went to \(QueueNames.dead): \(reason)",
            metadata: ["subject": "\(letter.subject)", "job_id": "\(letter.messageID ?? "")"]
        )
    }
}
