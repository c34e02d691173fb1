internal import DequeModule
internal import Foundation
internal import Synchronization

/// Stores messages in streams: each attempt bounded, repeated under the same message id until the server has it or
/// time is up, never more than a number of them at once.
final class Publisher: Sendable {
    private let api: JetStreamAPI
    private let counters: QueueCounters
    private let slots: Slots

    init(api: JetStreamAPI, counters: QueueCounters, inFlight: Int = QueueLimits.publishesInFlight) {
        self.api = api
        self.counters = counters
        self.slots = Slots(inFlight)
    }

    /// - Throws: ``QueueError``, `CancellationError`. A time-out doesn't say that the message was not stored: with a
    ///   message id, publishing it again is safe.
    @discardableResult
    func publish(_ payload: Data, to subject: String, messageID: String, limit: Int) async throws -> Bool {
        guard payload.count <= limit else {
            self.counters.add(\.publishFailures)
            throw QueueError.payloadTooLarge(subject: subject, bytes: payload.count, limit: limit)
        }
        try await self.slots.take()
        defer { self.slots.giveBack() }
        let deadline = ContinuousClock.now + QueueLimits.publishDeadline
        while true {
            do {
                let answer = try await self.api.publish(payload, to: subject, messageID: messageID)
                self.counters.add(answer.isDuplicate ? \.duplicates : \.published)
                return !answer.isDuplicate
            } catch let error as QueueError where error.isTransient && ContinuousClock.now < deadline {
                try await Task.sleep(for: QueueLimits.retryPause)
            } catch {
                self.counters.add(\.publishFailures)
                throw error
            }
        }
    }
}

/// A number of slots, handed out in the order of asking.
final class Slots: Sendable {
    private struct State {
        var free: Int
        var waiting = Deque<(id: UInt64, continuation: CheckedContinuation<Void, any Error>)>()
        var next: UInt64 = 0
    }

    private let state: Mutex<State>

    init(_ count: Int) {
        self.state = Mutex(State(free: count))
    }

    func take() async throws {
        let id = self.state.withLock { state in
            state.next += 1
            return state.next
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                let result = self.state.withLock { state -> Result<Void, any Error>? in
                    if Task.isCancelled { return .failure(CancellationError()) }
                    if state.free > 0 {
                        state.free -= 1
                        return .success(())
                    }
                    state.waiting.append((id, continuation))
                    return nil
                }
                if let result { continuation.resume(with: result) }
            }
        } onCancel: {
            let continuation = self.state.withLock { state in
                state.waiting.firstIndex { $0.id == id }.map { state.waiting.remove(at: $0).continuation }
            }
            continuation?.resume(throwing: CancellationError())
        }
    }

    func giveBack() {
        let next = self.state.withLock { state -> CheckedContinuation<Void, any Error>? in
            guard !state.waiting.isEmpty else {
                state.free += 1
                return nil
            }
            return state.waiting.removeFirst().continuation
        }
        next?.resume()
    }
}
