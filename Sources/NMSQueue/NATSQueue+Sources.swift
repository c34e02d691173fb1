internal import Foundation
internal import Logging
package import NMSCore

extension NATSQueue: PollJobSource {
    package func pollJobs(maxOutstanding: Int) async throws -> PollJobIntake {
        let pull = try await self.pull(
            stream: QueueNames.pollJobsStream,
            consumers: [:],
            most: Partition.count,
            maxOutstanding: maxOutstanding
        )
        let (topology, connection) = (self.topology, self.connection)
        return PollJobIntake(
            deliveries: self.deliveries(of: PollJob.self, from: pull, limit: QueueLimits.pollJobPayload),
            add: { partitions in
                let consumers = partitions.map { ($0, topology.pollerConsumer(partition: $0)) }
                try await pull.add(Dictionary(uniqueKeysWithValues: consumers))
            },
            remove: { try await pull.remove($0) },
            isConnected: { connection.isConnected }
        )
    }
}

extension NATSQueue: MetricsResultSource {
    package func metricsResults(maxOutstanding: Int) async throws -> AsyncStream<Delivery<MetricsResult>> {
        let pull = try await self.pull(
            stream: QueueNames.metricsResultsStream,
            consumers: [0: self.topology.writerConsumer],
            maxOutstanding: maxOutstanding
        )
        return self.deliveries(of: MetricsResult.self, from: pull, limit: QueueLimits.resultPayload, policy: .result) {
            try MetricsResult(json: $0)
        }
    }
}

extension NATSQueue: DiscoveryJobSource {
    package func discoveryJobs(maxOutstanding: Int) async throws -> AsyncStream<Delivery<QueuedDiscovery>> {
        let pull = try await self.pull(
            stream: QueueNames.discoveryJobsStream,
            consumers: [0: self.topology.discoveryConsumer],
            maxOutstanding: maxOutstanding
        )
        return self.deliveries(of: QueuedDiscovery.self, from: pull, limit: QueueLimits.pollJobPayload)
    }
}

extension NATSQueue: DeviceEventSource {
    package func deviceEvents() async throws -> AsyncStream<DeviceEvent> {
        try await self.events.stream()
    }
}

extension NATSQueue {
    /// Ends the subscription when the stream of deliveries is let go of.
    private final class Owner: Sendable {
        let pull: PullSubscription

        init(_ pull: PullSubscription) {
            self.pull = pull
        }

        deinit {
            self.pull.close()
        }
    }

    /// Messages are decoded when they are asked for, so that what was not asked for can be handed back.
    private func deliveries<Message: Decodable & Sendable>(
        of type: Message.Type,
        from pull: PullSubscription,
        limit: Int,
        policy: DeliveryPolicy = .job,
        decode: @escaping @Sendable (Data) throws -> Message = { try NMSJSON.decoder().decode(Message.self, from: $0) }
    ) -> AsyncStream<Delivery<Message>> {
        let owner = Owner(pull)
        return AsyncStream {
            while let received = await owner.pull.next() {
                let delivery = await self.delivery(
                    received,
                    pull: owner.pull,
                    limit: limit,
                    policy: policy,
                    decode: decode
                )
                if let delivery { return delivery }
            }
            return nil
        }
    }

    /// nil when the message went to `nmslite.dead`, or is to come again because that failed.
    private func delivery<Message: Sendable>(
        _ received: PullSubscription.Received,
        pull: PullSubscription,
        limit: Int,
        policy: DeliveryPolicy,
        decode: (Data) throws -> Message
    ) async -> Delivery<Message>? {
        self.counters.add(\.delivered)
        let deliveries = received.metadata.deliveryCount
        if deliveries > 1 { self.counters.add(\.redelivered) }
        let settlement = Settlement(
            received,
            policy: policy,
            pull: pull,
            connection: self.connection,
            deadLetters: self.deadLetters,
            counters: self.counters,
            logger: self.logger
        )
        let problem: String
        do {
            let bytes = received.message.payload.count
            if deliveries > policy.deliveries {
                problem = "not settled in \(deliveries - 1) deliveries"
            } else if bytes > limit {
                problem = "\(bytes) bytes are over the limit of \(limit)"
                self.counters.add(\.undecodable)
            } else {
                return settlement.delivery(of: try decode(received.message.payload))
            }
        } catch {
            problem = "cannot be decoded: \(Self.describe(error))"
            self.counters.add(\.undecodable)
        }
        do {
            try await settlement.bury(reason: problem)
        } catch {
            self.logger.error("a message of \(received.message.subject) could not be buried: \(error)")
        }
        return nil
    }

    /// Where and what, without the payload's values.
    static func describe(_ error: any Error) -> String {
        guard let error = error as? DecodingError else { return "\(type(of: error))" }
        let (problem, context): (String, DecodingError.Context) =
            switch error {
            case .typeMismatch(let type, let context): ("not a \(type)", context)
            case .valueNotFound(_, let context): ("null", context)
            case .keyNotFound(let key, let context): ("no key '\(key.stringValue)'", context)
            case .dataCorrupted(let context): ("malformed", context)
            @unknown default: ("malformed", DecodingError.Context(codingPath: [], debugDescription: ""))
            }
        let path = context.codingPath.map(\.stringValue).joined(separator: ".")
        return path.isEmpty ? problem : "\(problem) at \(path)"
    }
}
