internal import Synchronization

/// Collects elements and gives them out in batches: by size or by time, whichever comes first. One consumer.
final class BatchBuffer<Element: Sendable>: Sendable {
    private struct State {
        var elements: [Element] = []
        var isFinished = false
        var waiter: (wanted: Int, continuation: CheckedContinuation<Void, Never>)?

        func isReady(_ wanted: Int) -> Bool { self.isFinished || self.elements.count >= wanted }
    }

    private let size: Int
    private let delay: Duration
    private let clock: any Clock<Duration>
    private let state = Mutex(State())

    /// - Parameters:
    ///   - size: the most that a batch holds, at least 1.
    ///   - delay: how long a batch waits for more after its first element.
    init(size: Int, delay: Duration, clock: any Clock<Duration>) {
        self.size = max(1, size)
        self.delay = delay
        self.clock = clock
    }

    /// What waits for a batch at this moment.
    var elements: [Element] { self.state.withLock { $0.elements } }

    /// Dropped after ``finish()``.
    func append(_ element: Element) {
        self.change { if !$0.isFinished { $0.elements.append(element) } }
    }

    /// No more will come: ``next()`` gives out what is left, at once. Idempotent.
    func finish() { self.change { $0.isFinished = true } }

    /// The next batch, never empty; nil after the last one, or when the task is cancelled.
    func next() async -> [Element]? {
        await self.wait(for: 1)
        if !self.state.withLock({ $0.isReady(self.size) }) {
            await withTaskGroup { group in
                group.addTask { await self.wait(for: self.size) }
                group.addTask { try? await self.clock.sleep(for: self.delay) }
                await group.next()
                group.cancelAll()
            }
        }
        if Task.isCancelled { return nil }
        return self.state.withLock { state in
            if state.elements.isEmpty { return nil }
            let batch = Array(state.elements.prefix(self.size))
            state.elements.removeFirst(batch.count)
            return batch
        }
    }

    private func change(_ change: (inout State) -> Void) {
        let continuation = self.state.withLock { state -> CheckedContinuation<Void, Never>? in
            change(&state)
            guard let waiter = state.waiter, state.isReady(waiter.wanted) else { return nil }
            state.waiter = nil
            return waiter.continuation
        }
        continuation?.resume()
    }

    /// Returns when that many elements are there, none will come any more, or the task is cancelled.
    private func wait(for wanted: Int) async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isReady = self.state.withLock { state in
                    if Task.isCancelled || state.isReady(wanted) { return true }
                    state.waiter = (wanted, continuation)
                    return false
                }
                if isReady { continuation.resume() }
            }
        } onCancel: {
            let continuation = self.state.withLock { state in
                defer { state.waiter = nil }
                return state.waiter?.continuation
            }
            continuation?.resume()
        }
    }
}
