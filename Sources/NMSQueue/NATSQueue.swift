internal import Foundation
package import Logging
package import NMSCore
internal import Synchronization

/// NMSlite's queue: poll jobs and results through JetStream work queues, events to every instance.
///
/// One connection, which reconnects for ever. Made by ``connect(_:logger:)``, ended by ``shutDown()``.
package final class NATSQueue: Sendable {
    let connection: NATSConnection
    let requester: NATSRequester
    let api: JetStreamAPI
    let publisher: Publisher
    let deadLetters: DeadLetterBox
    let topology: QueueTopology
    let counters: QueueCounters
    let logger: Logger
    let events: EventFan
    private let pulls = Mutex<[WeakPull]>([])

    private struct WeakPull {
        weak var pull: PullSubscription?
    }

    private init(connection: NATSConnection, requester: NATSRequester, options: QueueOptions, logger: Logger) {
        self.connection = connection
        self.requester = requester
        self.api = JetStreamAPI(requester: requester)
        self.topology = QueueTopology(options: options)
        self.logger = logger
        let counters = QueueCounters()
        self.counters = counters
        let publisher = Publisher(api: self.api, counters: counters)
        self.publisher = publisher
        self.deadLetters = DeadLetterBox(publisher: publisher, counters: counters, logger: logger)
        self.events = EventFan(connection: connection, counters: counters, logger: logger)
    }

    /// Whether JetStream answers for the stream of results, within the time that one request has.
    package func answers() async -> Bool {
        (try? await self.api.checkStream(QueueNames.metricsResultsStream)) != nil
    }

    /// How long JetStream may take until it answers after its server does.
    private static let startLimit: Duration = .seconds(15)

    /// Connects, signs in, and makes or updates the streams.
    /// - Throws: ``QueueError``.
    package static func connect(_ options: QueueOptions, logger: Logger) async throws -> NATSQueue {
        let connection = try await NATSConnection.connect(options, logger: logger)
        do {
            _ = connection.addListener { [logger, servers = options.safeServers] event in
                Self.log(event, servers: servers, logger: logger)
            }
            let requester = try await NATSRequester.start(on: connection)
            let queue = NATSQueue(connection: connection, requester: requester, options: options, logger: logger)
            _ = connection.addListener { [counters = queue.counters] event in
                if case .problem = event { counters.add(\.problems) }
            }
            try await queue.ensureStreams()
            _ = connection.addListener { [weak queue] event in
                if case .reconnected = event { queue?.restoreStreams() }
            }
            logger.info("connected to NATS", metadata: ["servers": "\(options.safeServers)"])
            return queue
        } catch {
            await connection.close()
            throw error
        }
    }

    package var status: QueueStatus {
        QueueStatus(
            isConnected: self.connection.isConnected,
            servers: self.topology.options.safeServers,
            reconnects: self.connection.reconnects,
            publishesInFlight: self.requester.inFlight,
            unsettled: self.pulls.withLock { $0.reduce(0) { $0 + ($1.pull?.unsettled ?? 0) } },
            counts: self.counters.current
        )
    }

    /// Messages that wait in the streams, asked of the server.
    package func backlog() async throws -> QueueBacklog {
        QueueBacklog(
            pollJobs: try await self.api.streamState(QueueNames.pollJobsStream).messages,
            discoveryJobs: try await self.api.streamState(QueueNames.discoveryJobsStream).messages,
            metricsResults: try await self.api.streamState(QueueNames.metricsResultsStream).messages,
            dead: try await self.api.streamState(QueueNames.deadStream).messages
        )
    }

    /// Stops pulling, hands back what nobody has read, sends what is left, and closes the connection.
    ///
    /// Deliveries that are still held can't be settled afterwards: settle them first.
    package func shutDown() async {
        for pull in self.pulls.withLock({ $0 }) { pull.pull?.close() }
        self.events.close()
        self.requester.close()
        await self.connection.close()
    }

    /// Opens a pull subscription that ends with its stream of deliveries.
    func pull(
        stream: String,
        consumers: [Int: ConsumerConfiguration],
        most: Int = 1,
        maxOutstanding: Int
    ) async throws -> PullSubscription {
        let pull = try await PullSubscription.open(
            on: self.connection,
            api: self.api,
            stream: stream,
            consumers: consumers,
            most: most,
            capacity: maxOutstanding,
            counters: self.counters,
            logger: self.logger
        )
        self.pulls.withLock { pulls in
            pulls.removeAll { $0.pull == nil }
            pulls.append(WeakPull(pull: pull))
        }
        // Reconnected before it was known here.
        if self.connection.isConnected { await pull.resume() }
        return pull
    }

    private func ensureStreams() async throws {
        let deadline = ContinuousClock.now + Self.startLimit
        for stream in self.topology.streams { try await self.ensure(stream, until: deadline) }
    }

    /// The server may have come back without its storage; a request to a consumer that is gone has no answer.
    private func restoreStreams() {
        // Not structured: it answers to a callback of the library, and is bounded by its time-outs.
        Task { [weak self] in
            guard let self else { return }
            do { try await self.ensureStreams() } catch {
                // Gone again: the next reconnect sees to it.
                self.logger.warning("the streams can't be seen to after a reconnect", metadata: ["error": "\(error)"])
            }
            for pull in self.pulls.withLock({ $0.compactMap(\.pull) }) { await pull.resume() }
        }
    }

    private func ensure(_ stream: StreamConfiguration, until deadline: ContinuousClock.Instant) async throws {
        while true {
            do {
                return try await self.api.ensureStream(stream)
            } catch let error as QueueError where error.isTransient && ContinuousClock.now < deadline {
                try await Task.sleep(for: QueueLimits.retryPause)
            }
        }
    }

    private static func log(_ event: NATSConnection.Event, servers: String, logger: Logger) {
        switch event {
        case .disconnected: logger.warning("the connection to NATS is lost", metadata: ["servers": "\(servers)"])
        case .reconnected: logger.info("connected to NATS again", metadata: ["servers": "\(servers)"])
        case .closed: logger.debug("the connection to NATS is closed")
        case .problem(let text): logger.warning("NATS: \(text)")
        }
    }
}

// MARK: - Publishing

extension NATSQueue: PollJobPublisher {
    /// Returns when the server has stored the job, or knew it already by its id.
    package func publish(_ job: PollJob) async throws {
        try await self.publisher.publish(
            NMSJSON.encoder().encode(job),
            to: QueueNames.pollJobs(partition: Partition.of(deviceID: job.deviceID)),
            messageID: job.jobID,
            limit: QueueLimits.pollJobPayload
        )
    }
}

extension NATSQueue: DiscoveryJobPublisher {
    /// Returns when the server has stored the job, or knew this publication of it already.
    package func publish(_ job: QueuedDiscovery) async throws {
        try await self.publisher.publish(
            NMSJSON.encoder().encode(job),
            to: QueueNames.discoveryJobs,
            messageID: job.messageID,
            limit: QueueLimits.pollJobPayload
        )
    }
}

extension NATSQueue: MetricsResultPublisher {
    /// Returns when the server has stored the result, or knew it already by its job's id.
    package func publish(_ result: MetricsResult) async throws {
        try await self.publisher.publish(
            NMSJSON.encoder().encode(result),
            to: QueueNames.metricsResults,
            messageID: result.jobID,
            limit: QueueLimits.resultPayload
        )
    }
}

extension NATSQueue: DeviceEventPublisher {
    /// Returns when the event is on its way.
    package func publish(_ event: DeviceEvent) async throws {
        let payload = try NMSJSON.encoder().encode(event)
        guard payload.count <= QueueLimits.eventPayload else {
            throw QueueError.payloadTooLarge(
                subject: QueueNames.deviceEvents,
                bytes: payload.count,
                limit: QueueLimits.eventPayload
            )
        }
        try await self.connection.publish(payload, to: QueueNames.deviceEvents)
        self.counters.add(\.eventsPublished)
    }
}
