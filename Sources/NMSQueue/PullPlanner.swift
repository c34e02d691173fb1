/// Decides which consumers are asked for how many messages, so that never more are on the way or unsettled than
/// allowed, and every consumer gets its turn. Pure: times are passed in.
///
/// With room for at least two messages a consumer, each consumer has a request waiting at the server, which costs
/// nothing while nothing happens. With less room, consumers are probed in turn.
struct PullPlanner {
    struct Request: Equatable {
        var key: Int
        var number: UInt64
        var batch: Int
        /// How long the server keeps the request; nil: it answers at once when there is nothing.
        var expires: Duration?
    }

    enum End {
        /// Nothing came, or nothing more.
        case empty
        /// The server refused, or the consumer is gone.
        case failed
    }

    private struct Open {
        var number: UInt64
        var remaining: Int
        /// When another one takes its place.
        var deadline: Duration
    }

    private struct Consumer {
        var open: Open?
        var backlog = 0
        var lastAsked: UInt64 = 0
        var notBefore: Duration = .zero
    }

    /// How long the server keeps a request.
    static let longPoll: Duration = .seconds(20)
    /// Between two probes of a consumer that had nothing.
    static let probePause: Duration = .milliseconds(250)
    /// After a refusal.
    static let failurePause: Duration = .seconds(1)
    /// How long before its expiry a request that waits is followed by the next one. nats-server before 2.9.16 drops a
    /// request without a word when a message comes just as it expires; with nobody asking, the message would wait.
    static let renewAhead: Duration = .milliseconds(500)
    /// A probe without an answer for so long is lost: its server died, or the consumer's leader moved.
    static let answerGrace: Duration = .seconds(3)
    /// Messages in one request.
    static let maxBatch = 2048

    let capacity: Int
    private let probing: Bool
    private let idleBatch: Int
    private var consumers: [Int: Consumer]
    private var nextNumber: UInt64 = 0
    private var reserved = 0
    private(set) var unsettled = 0

    /// - Parameter most: how many consumers there may be one day; what waits for some must leave room for the others.
    init(keys: some Collection<Int>, most: Int = 0, capacity: Int) {
        let most = max(most, keys.count)
        self.capacity = max(capacity, 1)
        self.probing = self.capacity < 2 * most
        self.idleBatch = min(max(1, self.capacity / max(2 * most, 1)), Self.maxBatch)
        self.consumers = Dictionary(keys.map { ($0, Consumer()) }, uniquingKeysWith: { first, _ in first })
    }

    /// Asks these consumers as well.
    mutating func add(_ keys: some Sequence<Int>) {
        for key in keys where self.consumers[key] == nil { self.consumers[key] = Consumer() }
    }

    /// Asks these consumers no more. What a request of theirs still brings is counted as unsettled, so that its
    /// settlement balances.
    mutating func remove(_ keys: some Sequence<Int>) {
        for key in keys {
            guard let consumer = self.consumers.removeValue(forKey: key) else { continue }
            self.reserved -= consumer.open?.remaining ?? 0
        }
    }

    /// The requests to send now.
    mutating func plan(at now: Duration) -> [Request] {
        self.replaceOld(at: now)
        var free = self.capacity - self.unsettled - self.reserved
        guard free > 0 else { return [] }
        let waiting = self.consumers
            .filter { $0.value.open == nil && $0.value.notBefore <= now }
            .sorted { ($0.value.lastAsked, $0.key) < ($1.value.lastAsked, $1.key) }
        var requests: [Request] = []
        for (index, (key, consumer)) in waiting.enumerated() where free > 0 {
            let share = max(1, free / (waiting.count - index))
            let batch = min(share, max(self.idleBatch, consumer.backlog), Self.maxBatch)
            self.nextNumber += 1
            let expires = self.probing ? nil : Self.longPoll
            let deadline = now + (expires.map { $0 - Self.renewAhead } ?? Self.answerGrace)
            self.consumers[key]?.open = Open(number: self.nextNumber, remaining: batch, deadline: deadline)
            self.consumers[key]?.lastAsked = self.nextNumber
            self.reserved += batch
            free -= batch
            requests.append(Request(key: key, number: self.nextNumber, batch: batch, expires: expires))
        }
        return requests
    }

    /// A message came, for the consumer's only request; `pending` more wait.
    mutating func delivered(key: Int, pending: Int) {
        self.unsettled += 1
        guard var consumer = self.consumers[key] else { return }
        consumer.backlog = pending
        if var open = consumer.open {
            open.remaining -= 1
            self.reserved -= 1
            consumer.open = open.remaining > 0 ? open : nil
        }
        self.consumers[key] = consumer
    }

    /// A request is over, whatever it brought.
    mutating func ended(key: Int, number: UInt64, _ end: End, at now: Duration) {
        guard var consumer = self.consumers[key], let open = consumer.open, open.number == number else { return }
        self.reserved -= open.remaining
        consumer.open = nil
        consumer.backlog = 0
        switch end {
        case .empty: if self.probing { consumer.notBefore = now + Self.probePause }
        case .failed: consumer.notBefore = now + Self.failurePause
        }
        self.consumers[key] = consumer
    }

    /// A message that came was settled or handed back.
    mutating func settled() {
        self.unsettled -= 1
    }

    /// The connection was lost, and every request with it.
    mutating func reset() {
        self.reserved = 0
        for key in self.consumers.keys {
            self.consumers[key]?.open = nil
            self.consumers[key]?.notBefore = .zero
        }
    }

    /// When ``plan(at:)`` has something to do though nothing happens until then.
    var nextWake: Duration? {
        let room = self.capacity > self.unsettled + self.reserved
        return self.consumers.values.compactMap { consumer in
            consumer.open?.deadline ?? (room ? consumer.notBefore : nil)
        }.min()
    }

    private mutating func replaceOld(at now: Duration) {
        for (key, consumer) in self.consumers {
            if let open = consumer.open, open.deadline <= now {
                self.ended(key: key, number: open.number, .empty, at: now)
            }
        }
    }
}
