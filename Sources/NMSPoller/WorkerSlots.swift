internal import Synchronization

/// Who may run next: pure bookkeeping of worker slots.
///
/// A slot that is held longer than a healthy host needs is *slow*. At most a quarter of the slots may be slow: beyond
/// that a slow holder gives its slot back and finishes without one, so that hosts that stall never keep the healthy
/// ones waiting. Devices known to be slow wait for a slow slot from the start.
struct WorkerSlotState {
    struct Ticket: Hashable {
        fileprivate let number: UInt64
    }

    private struct Waiter {
        let ticket: Ticket
        let slow: Bool
    }

    private enum Holding {
        case normal
        case slow
        /// Runs on without a slot.
        case parked
    }

    let count: Int
    let slowLimit: Int
    private var next: UInt64 = 0
    private var waiters: [Waiter] = []
    private var holders: [Ticket: Holding] = [:]
    private var held = 0
    private var slowHeld = 0
    private(set) var slowWaiting = 0

    init(count: Int) {
        precondition(count > 0)
        self.count = count
        self.slowLimit = count / 4
    }

    var waiting: Int { self.waiters.count }
    var running: Int { self.held }

    /// Queues for a slot; the tickets that may run now are returned.
    mutating func enqueue(slow: Bool) -> (own: Ticket, granted: [Ticket]) {
        let ticket = Ticket(number: self.next)
        self.next += 1
        // With fewer than four slots there is no slow share: a slow device starts like any other and is parked later.
        let waiter = Waiter(ticket: ticket, slow: slow && self.slowLimit > 0)
        self.waiters.append(waiter)
        if waiter.slow { self.slowWaiting += 1 }
        return (ticket, self.grant())
    }

    /// Leaves the queue; false when the ticket had been granted already.
    mutating func abandon(_ ticket: Ticket) -> Bool {
        guard let index = self.waiters.firstIndex(where: { $0.ticket == ticket }) else { return false }
        if self.waiters.remove(at: index).slow { self.slowWaiting -= 1 }
        return true
    }

    /// The holder has taken longer than a healthy host would.
    mutating func markSlow(_ ticket: Ticket) -> [Ticket] {
        guard self.holders[ticket] == .normal else { return [] }
        if self.slowHeld < self.slowLimit {
            self.slowHeld += 1
            self.holders[ticket] = .slow
            return []
        }
        self.held -= 1
        self.holders[ticket] = .parked
        return self.grant()
    }

    mutating func release(_ ticket: Ticket) -> [Ticket] {
        switch self.holders.removeValue(forKey: ticket) {
        case .normal: self.held -= 1
        case .slow:
            self.held -= 1
            self.slowHeld -= 1
        case .parked, nil: return []
        }
        return self.grant()
    }

    private mutating func grant() -> [Ticket] {
        var granted: [Ticket] = []
        var index = 0
        while self.held < self.count, index < self.waiters.count {
            let waiter = self.waiters[index]
            if waiter.slow, self.slowHeld >= self.slowLimit {
                index += 1
                continue
            }
            self.waiters.remove(at: index)
            self.held += 1
            if waiter.slow {
                self.slowWaiting -= 1
                self.slowHeld += 1
            }
            self.holders[waiter.ticket] = waiter.slow ? .slow : .normal
            granted.append(waiter.ticket)
        }
        return granted
    }
}

/// `polling.worker_count` slots for polls that are under way.
final class WorkerSlots: Sendable {
    fileprivate struct State {
        var slots: WorkerSlotState
        var continuations: [WorkerSlotState.Ticket: CheckedContinuation<Bool, Never>] = [:]
        /// Granted before the waiter had stored its continuation.
        var early: Set<WorkerSlotState.Ticket> = []
    }

    private let state: Mutex<State>

    init(count: Int) { self.state = Mutex(State(slots: WorkerSlotState(count: count))) }

    var running: Int { self.state.withLock { $0.slots.running } }
    var waiting: Int { self.state.withLock { $0.slots.waiting } }
    /// Of these, the ones that wait for a slow slot.
    var slowWaiting: Int { self.state.withLock { $0.slots.slowWaiting } }

    /// Waits for a slot, first come first served.
    /// - Throws: `CancellationError` when the task is cancelled while it waits.
    func acquire(slow: Bool) async throws -> WorkerSlotState.Ticket {
        let ticket = self.update { $0.enqueueMarkingEarly(slow: slow) }
        let granted = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let now = self.state.withLock { state -> Bool? in
                    if state.early.remove(ticket) != nil { return true }
                    if Task.isCancelled, state.slots.abandon(ticket) { return false }
                    state.continuations[ticket] = continuation
                    return nil
                }
                if let now { continuation.resume(returning: now) }
            }
        } onCancel: {
            let continuation = self.state.withLock { state -> CheckedContinuation<Bool, Never>? in
                guard let continuation = state.continuations[ticket], state.slots.abandon(ticket) else { return nil }
                state.continuations[ticket] = nil
                return continuation
            }
            continuation?.resume(returning: false)
        }
        guard granted else { throw CancellationError() }
        return ticket
    }

    func markSlow(_ ticket: WorkerSlotState.Ticket) { self.resume { $0.markSlow(ticket) } }

    func release(_ ticket: WorkerSlotState.Ticket) { self.resume { $0.release(ticket) } }

    private func update(
        _ body: (inout State) -> (WorkerSlotState.Ticket, [CheckedContinuation<Bool, Never>])
    ) -> WorkerSlotState.Ticket {
        let (ticket, continuations) = self.state.withLock { body(&$0) }
        for continuation in continuations { continuation.resume(returning: true) }
        return ticket
    }

    private func resume(_ body: (inout WorkerSlotState) -> [WorkerSlotState.Ticket]) {
        let continuations = self.state.withLock { state in state.take(body(&state.slots)) }
        for continuation in continuations { continuation.resume(returning: true) }
    }
}

extension WorkerSlots.State {
    fileprivate mutating func enqueueMarkingEarly(
        slow: Bool
    ) -> (WorkerSlotState.Ticket, [CheckedContinuation<Bool, Never>]) {
        let (ticket, granted) = self.slots.enqueue(slow: slow)
        return (ticket, self.take(granted))
    }

    fileprivate mutating func take(_ granted: [WorkerSlotState.Ticket]) -> [CheckedContinuation<Bool, Never>] {
        granted.compactMap { ticket in
            guard let continuation = self.continuations.removeValue(forKey: ticket) else {
                self.early.insert(ticket)
                return nil
            }
            return continuation
        }
    }
}
