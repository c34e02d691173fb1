internal import Dispatch
internal import Foundation
internal import Synchronization

/// Requests and their answers over one inbox of a connection.
///
/// Answers are matched by the last token of their subject. A request ends with its answer, its time-out, the task's
/// cancellation or the loss of the connection, whichever is first.
final class NATSRequester: Sendable {
    private struct Pending {
        var continuation: CheckedContinuation<NATSMessage, any Error>
        var subject: String
        var deadline: ContinuousClock.Instant
    }

    private struct State {
        var pending: [UInt64: Pending] = [:]
        var next: UInt64 = 0
        var sweeping = false
        var isClosed = false
    }

    /// How exactly time-outs are kept.
    private static let sweepInterval: Duration = .milliseconds(200)

    private let connection: NATSConnection
    private let inbox = Inbox.unique()
    private let state = Mutex(State())
    private let subscription = Mutex<NATSSubscription?>(nil)
    private let listener = Mutex<Int?>(nil)

    private init(connection: NATSConnection) {
        self.connection = connection
    }

    static func start(on connection: NATSConnection) async throws -> NATSRequester {
        let requester = NATSRequester(connection: connection)
        let subscription = try await connection.subscribe(requester.inbox + ".*") { [weak requester] message in
            requester?.receive(message)
        }
        requester.subscription.withLock { $0 = subscription }
        let listener = connection.addListener { [weak requester] event in
            switch event {
            case .disconnected: requester?.failAll(QueueError.disconnected, closing: false)
            case .closed: requester?.failAll(QueueError.closed, closing: true)
            case .reconnected, .problem: break
            }
        }
        requester.listener.withLock { $0 = listener }
        return requester
    }

    var inFlight: Int { self.state.withLock { $0.pending.count } }

    /// Sends a request and waits for its answer.
    /// - Throws: ``QueueError/timeout(subject:)``, ``QueueError/noResponders(subject:)``, ``QueueError/disconnected``,
    ///   ``QueueError/closed``, `CancellationError`.
    func request(
        _ payload: Data,
        to subject: String,
        messageID: String? = nil,
        timeout: Duration = QueueLimits.requestTimeout
    ) async throws -> NATSMessage {
        let id = self.state.withLock { state in
            state.next += 1
            return state.next
        }
        let answer = try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                self.register(continuation, id: id, subject: subject, timeout: timeout)
                let reply = "\(self.inbox).\(id)"
                self.send(payload, to: subject, reply: reply, messageID: messageID, id: id)
            }
        } onCancel: {
            self.end(id, with: .failure(CancellationError()))
        }
        guard answer.status != 503 else { throw QueueError.noResponders(subject: subject) }
        return answer
    }

    func close() {
        self.subscription.withLock { $0 }?.close()
        if let listener = self.listener.withLock({ $0 }) { self.connection.removeListener(listener) }
        self.failAll(QueueError.closed, closing: true)
    }

    private func register(
        _ continuation: CheckedContinuation<NATSMessage, any Error>,
        id: UInt64,
        subject: String,
        timeout: Duration
    ) {
        let refusal = self.state.withLock { state -> (any Error)? in
            if state.isClosed { return QueueError.closed }
            if Task.isCancelled { return CancellationError() }
            state.pending[id] = Pending(
                continuation: continuation,
                subject: subject,
                deadline: ContinuousClock.now + timeout
            )
            if !state.sweeping {
                state.sweeping = true
                self.scheduleSweep()
            }
            return nil
        }
        if let refusal { continuation.resume(throwing: refusal) }
    }

    private func send(_ payload: Data, to subject: String, reply: String, messageID: String?, id: UInt64) {
        self.connection.post(payload, to: subject, reply: reply, messageID: messageID) { [weak self] error in
            self?.end(id, with: .failure(error))
        }
    }

    private func receive(_ message: NATSMessage) {
        guard let token = message.subject.split(separator: ".").last, let id = UInt64(token) else { return }
        self.end(id, with: .success(message))
    }

    private func end(_ id: UInt64, with result: Result<NATSMessage, any Error>) {
        self.state.withLock { $0.pending.removeValue(forKey: id) }?.continuation.resume(with: result)
    }

    private func failAll(_ error: any Error, closing: Bool) {
        let failed = self.state.withLock { state in
            if closing { state.isClosed = true }
            defer { state.pending = [:] }
            return state.pending.values
        }
        for request in failed { request.continuation.resume(throwing: error) }
    }

    private func scheduleSweep() {
        let milliseconds = Int(Self.sweepInterval / .milliseconds(1))
        self.connection.queue.asyncAfter(deadline: .now() + .milliseconds(milliseconds)) { [weak self] in
            self?.sweep()
        }
    }

    private func sweep() {
        let now = ContinuousClock.now
        let overdue = self.state.withLock { state in
            let overdue = state.pending.filter { $0.value.deadline <= now }
            for id in overdue.keys { state.pending.removeValue(forKey: id) }
            state.sweeping = !state.pending.isEmpty
            if state.sweeping { self.scheduleSweep() }
            return overdue.values
        }
        for request in overdue { request.continuation.resume(throwing: QueueError.timeout(subject: request.subject)) }
    }
}

/// Subjects that nobody else listens to.
enum Inbox {
    static func unique() -> String {
        let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
        return "_INBOX." + String((0..<22).map { _ in letters[Int.random(in: letters.indices)] })
    }
}
