internal import Foundation
internal import Logging
internal import NMSCore
internal import Synchronization

/// Hands every event to every listener of this instance, over one subscription that lives as long as the queue.
///
/// A stream ends when it may have missed an event: when the connection was lost, once it is back, and when its listener
/// fell too far behind. Whoever listens then subscribes anew and forgets what it knows.
final class EventFan: Sendable {
    private struct State {
        var listeners: [UInt64: AsyncStream<DeviceEvent>.Continuation] = [:]
        var next: UInt64 = 0
        var subscribing: Task<NATSSubscription, any Error>?
        var isClosed = false
    }

    private let connection: NATSConnection
    private let counters: QueueCounters
    private let logger: Logger
    private let state = Mutex(State())

    init(connection: NATSConnection, counters: QueueCounters, logger: Logger) {
        self.connection = connection
        self.counters = counters
        self.logger = logger
        _ = connection.addListener { [weak self] event in self?.handle(event) }
    }

    /// Every event from now on, until one is lost.
    /// - Throws: ``QueueError``.
    func stream() async throws -> AsyncStream<DeviceEvent> {
        let limit = QueueLimits.pendingEvents
        let (stream, continuation) = AsyncStream.makeStream(
            of: DeviceEvent.self,
            bufferingPolicy: .bufferingNewest(limit)
        )
        let (id, subscribing) = try self.state.withLock { state -> (UInt64, Task<NATSSubscription, any Error>) in
            guard !state.isClosed else { throw QueueError.closed }
            state.next += 1
            state.listeners[state.next] = continuation
            // Shared by listeners that come at the same time, hence a task; it ends as soon as it has subscribed.
            let subscribing =
                state.subscribing
                ?? Task { [weak self, connection] in
                    try await connection.subscribe(QueueNames.deviceEvents) { [weak self] in self?.receive($0) }
                }
            state.subscribing = subscribing
            return (state.next, subscribing)
        }
        continuation.onTermination = { [weak self] _ in
            _ = self?.state.withLock { $0.listeners.removeValue(forKey: id) }
        }
        do {
            _ = try await subscribing.value
        } catch {
            self.state.withLock { $0.subscribing = nil }
            continuation.finish()
            throw error
        }
        return stream
    }

    func close() {
        let listeners = self.state.withLock { state in
            state.isClosed = true
            return Array(state.listeners.values)
        }
        for listener in listeners { listener.finish() }
    }

    private func handle(_ event: NATSConnection.Event) {
        switch event {
        case .reconnected:
            Task {
                // A listener that is quick would believe to be subscribed before the server has read it.
                try? await self.connection.flush()
                self.endStreams(because: "the connection to NATS was lost")
            }
        case .problem(NATSConnection.slowConsumer):
            // It may have been another subscription; to look twice is cheap.
            self.endStreams(because: "the client library dropped messages")
        case .problem, .disconnected, .closed: return
        }
    }

    private func endStreams(because reason: String) {
        let listeners = self.state.withLock { Array($0.listeners.values) }
        if !listeners.isEmpty { self.logger.info("events may have been lost: \(reason); everything is read anew") }
        for listener in listeners { listener.finish() }
    }

    private func receive(_ message: NATSMessage) {
        let event: DeviceEvent
        do {
            event = try NMSJSON.decoder().decode(DeviceEvent.self, from: message.payload)
        } catch {
            // A newer instance may tell of what this one doesn't know.
            self.logger.debug("an event is not understood: \(NATSQueue.describe(error))")
            return
        }
        self.counters.add(\.eventsReceived)
        for listener in self.state.withLock({ Array($0.listeners.values) }) {
            guard case .dropped = listener.yield(event) else { continue }
            self.counters.add(\.eventsDropped)
            self.logger.warning("a listener of events is \(QueueLimits.pendingEvents) behind; it reads everything anew")
            listener.finish()
        }
    }
}
