internal import CLibpq
internal import Dispatch
internal import Synchronization

/// Cancels the statement that a connection is running, from any thread.
///
/// A cancel request names a server process, not a statement. So that a late one never hits the next statement,
/// ``finish(_:)`` waits for a request that is under way.
final class QueryCanceller: Sendable {
    /// How long a request to cancel may take before the connection counts as lost.
    static let patience = Duration.seconds(5)

    /// Owner of a `PGcancel`: immutable after its creation, and libpq documents `PQcancel` as safe in any thread.
    private final class Handle: @unchecked Sendable {
        private let pointer: OpaquePointer

        init?(_ connection: OpaquePointer) {
            guard let pointer = PQgetCancel(connection) else { return nil }
            self.pointer = pointer
        }

        deinit { PQfreeCancel(self.pointer) }

        func send() {
            var message = [CChar](repeating: 0, count: 256)
            _ = PQcancel(self.pointer, &message, Int32(message.count))
        }
    }

    private struct State {
        var running: UInt64?
        var lastID: UInt64 = 0
        var isCancelled = false
    }

    private let handle: Handle?
    private let state = Mutex(State())
    private let requests = DispatchGroup()

    init(connection: OpaquePointer) { self.handle = Handle(connection) }

    /// Names the statement about to run.
    func begin() -> UInt64 {
        self.state.withLock { state in
            state.lastID += 1
            state.running = state.lastID
            state.isCancelled = false
            return state.lastID
        }
    }

    /// Whether somebody asked to cancel the statement under way.
    var isCancelled: Bool { self.state.withLock { $0.isCancelled } }

    /// Asks the server to end the statement, unless it has ended by itself.
    func cancel(_ id: UInt64) {
        let isRunning = self.state.withLock { state in
            guard state.running == id else { return false }
            state.isCancelled = true
            self.requests.enter()
            return true
        }
        if isRunning { self.send() }
    }

    /// Asks once more, if anybody asked at all: the server ignores a request that reaches it between two steps of one
    /// statement, such as preparing and running it. Called by the connection while its statement is under way.
    func repeatRequest() {
        let isCancelled = self.state.withLock { state in
            guard state.running != nil, state.isCancelled else { return false }
            self.requests.enter()
            return true
        }
        if isCancelled { self.send() }
    }

    private func send() {
        DispatchQueue.global().async { [handle, requests] in
            handle?.send()
            requests.leave()
        }
    }

    /// The statement ended; false when a request to cancel still hangs, so that the connection must not be used again.
    func finish(_ id: UInt64) -> Bool {
        let wasCancelled = self.state.withLock { state in
            if state.running == id { state.running = nil }
            return state.isCancelled
        }
        guard wasCancelled else { return true }
        return self.requests.wait(timeout: .now() + .seconds(Int(Self.patience.components.seconds))) == .success
    }
}
