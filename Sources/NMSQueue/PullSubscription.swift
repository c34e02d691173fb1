internal import DequeModule
internal import Dispatch
internal import Foundation
internal import Logging
internal import Synchronization

/// Performs what ``PullPlanner`` decides for a set of durable consumers of one stream, and keeps what arrives until it
/// is asked for.
///
/// One wildcard inbox carries all of its messages, so that closing it withdraws every waiting request: the protocol has
/// no other way to withdraw one. When consumers are removed, the inbox is drained and the others go on with a new one.
final class PullSubscription: Sendable {
    struct Received: Sendable {
        var message: NATSMessage
        var metadata: AckMetadata
    }

    private struct State {
        var planner: PullPlanner
        var consumers: [Int: ConsumerConfiguration] = [:]
        var keys: [String: Int] = [:]
        /// Those that were seen to.
        var ensured: Set<String> = []
        var inbox = Inbox.unique()
        var isConnected: Bool
        var isClosed = false
        /// The inbox is being replaced: nothing is asked for.
        var isPaused = false
        /// Connected again, and it is not known yet whether what is asked is there: such a request has no answer.
        var awaitsStreams = false
        var buffer = Deque<Received>()
        var reader: CheckedContinuation<Received?, Never>?
        var wake: Duration?
        var restoring: Set<Int> = []
    }

    private struct NextRequest: Encodable {
        var batch: Int
        var expires: Int64?
        var noWait: Bool?

        enum CodingKeys: String, CodingKey {
            case batch, expires
            case noWait = "no_wait"
        }
    }

    private let connection: NATSConnection
    private let api: JetStreamAPI
    private let stream: String
    private let counters: QueueCounters
    private let logger: Logger
    private let start = ContinuousClock.now
    private let state: Mutex<State>
    private let subscription = Mutex<NATSSubscription?>(nil)
    private let listener = Mutex<Int?>(nil)
    /// The end of the change of consumers that was begun last: they are made one after another.
    private let change = Mutex<Task<Void, any Error>?>(nil)

    private init(
        connection: NATSConnection,
        api: JetStreamAPI,
        stream: String,
        most: Int,
        capacity: Int,
        counters: QueueCounters,
        logger: Logger
    ) {
        self.connection = connection
        self.api = api
        self.stream = stream
        self.counters = counters
        self.logger = logger
        let planner = PullPlanner(keys: [], most: most, capacity: capacity)
        self.state = Mutex(State(planner: planner, isConnected: connection.isConnected))
    }

    deinit {
        self.close()
    }

    /// Sees to the consumers and begins to pull.
    ///
    /// - Parameter most: how many consumers there may be one day.
    static func open(
        on connection: NATSConnection,
        api: JetStreamAPI,
        stream: String,
        consumers: [Int: ConsumerConfiguration],
        most: Int = 1,
        capacity: Int,
        counters: QueueCounters,
        logger: Logger
    ) async throws -> PullSubscription {
        let pull = PullSubscription(
            connection: connection,
            api: api,
            stream: stream,
            most: max(most, consumers.count),
            capacity: capacity,
            counters: counters,
            logger: logger
        )
        try await pull.subscribe()
        let listener = connection.addListener { [weak pull] in pull?.handle($0) }
        pull.listener.withLock { $0 = listener }
        pull.state.withLock { $0.isConnected = connection.isConnected }
        try await pull.add(consumers)
        return pull
    }

    // MARK: - Consumers

    /// Sees to these consumers and pulls from them as well.
    /// - Throws: ``QueueError``, `CancellationError`; then nothing has changed.
    func add(_ consumers: [Int: ConsumerConfiguration]) async throws {
        try Task.checkCancellation()
        try await self.inTurn {
            try await self.ensure(Array(consumers.values))
            self.state.withLock { state in
                for (key, consumer) in consumers {
                    state.consumers[key] = consumer
                    state.keys[consumer.durableName] = key
                }
                state.planner.add(consumers.keys)
            }
            self.pump()
        }
    }

    /// Pulls from these consumers no more. When it returns, no message of theirs is returned by ``next()`` any more, and
    /// what nobody had read is handed back.
    /// - Throws: ``QueueError`` when the others can't go on: the server is away, and the subscription of no more use.
    func remove(_ keys: Set<Int>) async throws {
        try await self.inTurn {
            let removes = self.state.withLock { state in
                guard !state.isClosed, !keys.isDisjoint(with: state.consumers.keys) else { return false }
                state.isPaused = true
                state.planner.remove(keys)
                return true
            }
            guard removes else { return }
            defer {
                self.state.withLock { $0.isPaused = false }
                self.pump()
            }
            // What the server has sent until then arrives here, and nothing after it.
            let old = self.subscription.withLock { $0 }
            await old?.drain()
            let unread = self.state.withLock { state in
                let names = keys.compactMap { state.consumers.removeValue(forKey: $0)?.durableName }
                for name in names { state.keys[name] = nil }
                // Requests ended with their inbox.
                state.planner.reset()
                let unread = state.buffer.filter { names.contains($0.metadata.consumer) }
                state.buffer.removeAll { names.contains($0.metadata.consumer) }
                for _ in unread { state.planner.settled() }
                state.inbox = Inbox.unique()
                return unread
            }
            for received in unread { self.handBack(received.message) }
            try await self.subscribe()
            await self.settleInterest()
        }
    }

    /// Goes on after a reconnect, once the streams were seen to: makes the consumers again that are not there any more.
    func resume() async {
        guard self.state.withLock({ $0.awaitsStreams }) else { return }
        do {
            try await self.inTurn {
                let consumers = self.state.withLock { state in
                    state.ensured = []
                    return Array(state.consumers.values)
                }
                try await self.ensure(consumers)
            }
        } catch {
            self.logger.warning("consumers can't be seen to after a reconnect", metadata: ["error": "\(error)"])
        }
        self.state.withLock { $0.awaitsStreams = false }
        self.pump()
    }

    private func ensure(_ consumers: [ConsumerConfiguration]) async throws {
        let missing = self.state.withLock { state in consumers.filter { !state.ensured.contains($0.durableName) } }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for consumer in missing {
                group.addTask { try await self.api.ensureConsumer(consumer, stream: self.stream) }
            }
            try await group.waitForAll()
        }
        self.state.withLock { $0.ensured.formUnion(missing.map(\.durableName)) }
    }

    private func subscribe() async throws {
        let inbox = self.state.withLock { $0.inbox }
        let connection = self.connection
        let subscription = try await connection.subscribe(inbox + ".>") { [weak self, weak connection] message in
            if let self { self.receive(message) } else { Self.handBack(message, on: connection) }
        }
        self.subscription.withLock { $0 = subscription }
        // Closed meanwhile, it saw the old one only.
        if self.state.withLock({ $0.isClosed }) { subscription.close() }
    }

    /// Returns when the server knows that the old inbox is nobody's. Until then it gives a waiting request of it the next
    /// message, which would come again after the ack wait only.
    private func settleInterest() async {
        for _ in 0..<NATSConnection.flushAttempts where self.state.withLock({ $0.isConnected && !$0.isClosed }) {
            do { return try await self.connection.flush() } catch {
                self.logger.debug("the server takes long to answer", metadata: ["error": "\(error)"])
            }
        }
    }

    private func inTurn(_ body: @escaping @Sendable () async throws -> Void) async throws {
        // Not structured: it must go on when whoever asked is cancelled. Its steps have time-outs.
        let task = self.change.withLock { change in
            let before = change
            let task = Task {
                _ = await before?.result
                try await body()
            }
            change = task
            return task
        }
        try await task.value
    }

    // MARK: - Messages

    var unsettled: Int { self.state.withLock { $0.planner.unsettled } }

    /// The next message; nil when the subscription was closed or this task was cancelled.
    func next() async -> Received? {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let result = self.state.withLock { state -> Received?? in
                    if state.isClosed { return .some(nil) }
                    if !state.buffer.isEmpty { return state.buffer.removeFirst() }
                    state.reader = continuation
                    return nil
                }
                if let result { continuation.resume(returning: result) }
            }
        } onCancel: {
            self.close()
        }
    }

    /// A message that ``next()`` returned is settled: there is room for another.
    func settled() {
        self.state.withLock { $0.planner.settled() }
        self.pump()
    }

    /// Stops pulling and hands back what nobody has read.
    func close() {
        let (unread, reader, first) = self.state.withLock { state in
            defer {
                state.isClosed = true
                state.buffer = []
                state.reader = nil
            }
            return (state.buffer, state.reader, !state.isClosed)
        }
        guard first else { return }
        if let listener = self.listener.withLock({ $0 }) { self.connection.removeListener(listener) }
        self.subscription.withLock { $0 }?.close()
        for received in unread { self.handBack(received.message) }
        reader?.resume(returning: nil)
    }

    private func handBack(_ message: NATSMessage) {
        self.counters.add(\.handedBack)
        Self.handBack(message, on: self.connection)
    }

    private static func handBack(_ message: NATSMessage, on connection: NATSConnection?) {
        guard let reply = message.reply else { return }
        connection?.post(Acknowledgement.reject(QueueLimits.handBackDelay), to: reply) { _ in }
    }

    private var now: Duration { self.start.duration(to: .now) }

    private func handle(_ event: NATSConnection.Event) {
        switch event {
        case .disconnected, .reconnected:
            self.state.withLock { state in
                state.planner.reset()
                state.isConnected = if case .reconnected = event { true } else { false }
                state.awaitsStreams = true
            }
        case .closed: self.close()
        case .problem: break
        }
    }

    private func receive(_ message: NATSMessage) {
        guard message.status == nil else { return self.receiveStatus(message) }
        guard let metadata = message.reply.flatMap({ AckMetadata(replySubject: $0) }) else { return }
        let received = Received(message: message, metadata: metadata)
        let (reader, closed) = self.state.withLock { state -> (CheckedContinuation<Received?, Never>?, Bool) in
            guard !state.isClosed else { return (nil, true) }
            if let key = state.keys[metadata.consumer] {
                state.planner.delivered(key: key, pending: metadata.pending)
            }
            guard let reader = state.reader else {
                state.buffer.append(received)
                return (nil, false)
            }
            state.reader = nil
            return (reader, false)
        }
        if closed { return self.handBack(message) }
        reader?.resume(returning: received)
        self.pump()
    }

    /// The inbox's last two tokens tell consumer and request.
    private func receiveStatus(_ message: NATSMessage) {
        let tokens = message.subject.split(separator: ".").suffix(2).map { $0 }
        guard tokens.count == 2, let key = Int(tokens[0]), let number = UInt64(tokens[1]), let status = message.status
        else { return }
        switch status {
        // A heartbeat or flow control: the request goes on.
        case 100: return
        case 404, 408: self.ended(key: key, number: number, .empty)
        // Such as "Exceeded MaxAckPending" or "Leadership Change"; with 503 nobody has the consumer.
        default:
            self.logger.debug("the queue refused to deliver: \(status) \(message.statusText ?? "")")
            self.ended(key: key, number: number, .failed)
            let gone = status == 503 || message.statusText?.lowercased().contains("consumer deleted") == true
            if gone { self.restoreConsumer(key) }
        }
    }

    private func ended(key: Int, number: UInt64, _ end: PullPlanner.End) {
        self.state.withLock { $0.planner.ended(key: key, number: number, end, at: self.now) }
        self.pump()
    }

    /// Makes a consumer again that somebody deleted, once at a time; the planner asks again a second later.
    private func restoreConsumer(_ key: Int) {
        let lost = self.state.withLock { state -> ConsumerConfiguration? in
            guard !state.isClosed, let consumer = state.consumers[key], state.restoring.insert(key).inserted else {
                return nil
            }
            return consumer
        }
        guard let consumer = lost else { return }
        // Not structured: it answers to a callback of the library, and is bounded by its request's time-out.
        Task { [weak self, api, stream, logger] in
            do {
                try await api.ensureConsumer(consumer, stream: stream)
            } catch {
                logger.warning("the consumer \(consumer.durableName) cannot be restored: \(error)")
            }
            self?.state.withLock { _ = $0.restoring.remove(key) }
        }
    }

    /// Sends the requests that are due, and sees to being called when the next ones are.
    private func pump() {
        let (requests, wake) = self.state.withLock { state -> ([PullPlanner.Request], Duration?) in
            guard state.isConnected, !state.isClosed, !state.isPaused, !state.awaitsStreams else { return ([], nil) }
            let now = self.now
            let requests = state.planner.plan(at: now)
            guard let next = state.planner.nextWake.map({ max($0, now + .milliseconds(20)) }),
                state.wake.map({ next < $0 }) ?? true
            else { return (requests, nil) }
            state.wake = next
            return (requests, next)
        }
        for request in requests { self.send(request) }
        if let wake { self.schedule(wake) }
    }

    private func schedule(_ wake: Duration) {
        let milliseconds = Int((wake - self.now) / .milliseconds(1)) + 1
        self.connection.queue.asyncAfter(deadline: .now() + .milliseconds(milliseconds)) { [weak self] in
            guard let self else { return }
            self.state.withLock { if $0.wake == wake { $0.wake = nil } }
            self.pump()
        }
    }

    private func send(_ request: PullPlanner.Request) {
        let (consumer, inbox) = self.state.withLock { ($0.consumers[request.key], $0.inbox) }
        guard let consumer else { return }
        let body = NextRequest(
            batch: request.batch,
            expires: request.expires?.nanoseconds,
            noWait: request.expires == nil ? true : nil
        )
        // Encoding two numbers and a flag cannot fail.
        let payload = (try? JSONEncoder().encode(body)) ?? Data()
        self.connection.post(
            payload,
            to: JetStreamAPI.nextSubject(stream: self.stream, consumer: consumer.durableName),
            reply: "\(inbox).\(request.key).\(request.number)"
        ) { [weak self] error in
            self?.logger.debug("a pull request was not sent: \(error)")
            self?.ended(key: request.key, number: request.number, .failed)
        }
    }
}
