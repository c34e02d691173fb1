package import Logging
internal import Synchronization

/// Keeps one child running: starts it, waits until it is ready, restarts it with back-off when it ends.
///
/// ``run()`` owns the child; it returns when its task is cancelled and the child has ended.
package final class Supervisor: Sendable {
    /// What supervision looks like from outside.
    package struct Status: Sendable, Equatable {
        package var isReady = false
        /// Starts after the first.
        package var restarts = 0
        /// How the child ended last.
        package var lastExit: ChildExit?
    }

    /// Times of a child that is starting.
    package struct ReadinessLimits: Sendable {
        /// Between two checks.
        package var interval: Duration
        /// A child that isn't ready by then is stopped and counts as failed.
        package var timeout: Duration

        package init(interval: Duration = .milliseconds(100), timeout: Duration = .seconds(60)) {
            self.interval = interval
            self.timeout = timeout
        }
    }

    /// Looks at a child that was ready, which may run on and answer no more.
    package struct Liveness: Sendable {
        /// Returns when the child answers, throws when it does not. Must come to an end by itself.
        package var check: @Sendable () async throws -> Void
        /// Between two checks.
        package var interval: Duration
        /// Checks in a row that must fail before the child is stopped and started again.
        package var failures: Int

        package init(
            interval: Duration = .seconds(5),
            failures: Int = 3,
            check: @escaping @Sendable () async throws -> Void
        ) {
            self.interval = interval
            self.failures = failures
            self.check = check
        }
    }

    private struct State {
        var machine: SupervisorStateMachine
        var status = Status()
        /// Why there is nothing more to wait for.
        var failure: (any Error)?
        var waiters: [Int: CheckedContinuation<Void, any Error>] = [:]
        var nextWaiter = 0
    }

    /// Lines of a child's log that the error of a failed start carries.
    private static let linesInError = 8

    private let name: String
    private let makeConfiguration: @Sendable () async throws -> ChildConfiguration
    private let checkReadiness: @Sendable () async throws -> Void
    private let level: @Sendable (String) -> Logger.Level
    private let guardExecutable: GuardExecutable
    private let lock: DirectoryLock?
    private let readiness: ReadinessLimits
    private let liveness: Liveness?
    private let logger: Logger
    private let clock: any Clock<Duration>
    private let now: @Sendable () -> Duration
    private let recent = RecentLines(limit: Supervisor.linesInError)
    private let state: Mutex<State>

    /// - Parameters:
    ///   - configuration: asked before every start.
    ///   - checkReadiness: returns when the child answers, throws when it doesn't yet.
    ///   - level: the level at which a line of the child's log is passed on.
    ///   - liveness: nil when a child that was ready is taken for alive until it ends.
    package init<C: Clock<Duration>>(
        name: String,
        configuration: @escaping @Sendable () async throws -> ChildConfiguration,
        checkReadiness: @escaping @Sendable () async throws -> Void,
        level: @escaping @Sendable (String) -> Logger.Level = { _ in .debug },
        backOff: BackOff = BackOff(),
        readiness: ReadinessLimits = ReadinessLimits(),
        liveness: Liveness? = nil,
        guardExecutable: GuardExecutable,
        lock: DirectoryLock?,
        logger: Logger,
        clock: C = ContinuousClock()
    ) {
        self.name = name
        self.makeConfiguration = configuration
        self.checkReadiness = checkReadiness
        self.level = level
        self.readiness = readiness
        self.liveness = liveness
        self.guardExecutable = guardExecutable
        self.lock = lock
        self.logger = logger
        self.clock = clock
        let start = clock.now
        self.now = { start.duration(to: clock.now) }
        self.state = Mutex(State(machine: SupervisorStateMachine(backOff: backOff)))
    }

    package var status: Status { self.state.withLock { $0.status } }

    /// Runs the child until this task is cancelled; then stops it and returns when it is gone.
    /// - Throws: ``SupervisionError/neverReady(name:reason:lastLines:)`` when the first starts failed.
    package func run() async throws {
        var action = self.state.withLock { $0.machine.begin() }
        while true {
            switch action {
            case .start:
                let reason = await self.runOnce()
                action = self.state.withLock { state in
                    if Task.isCancelled { state.machine.stopRequested() }
                    state.status.isReady = false
                    return state.machine.childEnded(at: self.now())
                }
                if case .pause(let pause) = action {
                    self.logger.warning("\(self.name) ended and is restarted: \(reason)", metadata: ["in": "\(pause)"])
                } else if action == .fail {
                    try self.fail(reason: reason)
                }
            case .pause(let pause):
                try? await self.clock.sleep(for: pause)
                action = self.state.withLock { state in
                    if Task.isCancelled { state.machine.stopRequested() }
                    let next = state.machine.pauseEnded()
                    state.status.restarts = state.machine.restarts
                    return next
                }
            case .fail, .finish:
                self.state.withLock { $0.failure = $0.failure ?? CancellationError() }
                self.wakeAll(throwing: CancellationError())
                return
            }
        }
    }

    /// Returns when the child is ready, at once when it is.
    /// - Throws: what ``run()`` throws when the first starts fail; `CancellationError`.
    package func waitUntilReady() async throws {
        let id = self.state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                let result = self.state.withLock { state -> Result<Void, any Error>? in
                    if state.status.isReady { return .success(()) }
                    if let failure = state.failure { return .failure(failure) }
                    if Task.isCancelled { return .failure(CancellationError()) }
                    state.waiters[id] = continuation
                    return nil
                }
                if let result { continuation.resume(with: result) }
            }
        } onCancel: {
            self.state.withLock { $0.waiters.removeValue(forKey: id) }?.resume(throwing: CancellationError())
        }
    }

    private func fail(reason: String) throws {
        let error = SupervisionError.neverReady(name: self.name, reason: reason, lastLines: self.recent.all)
        self.state.withLock { $0.failure = error }
        self.wakeAll(throwing: error)
        throw error
    }

    private func wakeAll(throwing error: (any Error)?) {
        let waiters = self.state.withLock { state in
            defer { state.waiters = [:] }
            return state.waiters.values
        }
        for waiter in waiters {
            if let error { waiter.resume(throwing: error) } else { waiter.resume() }
        }
    }

    /// One life of the child; returns why it ended.
    private func runOnce() async -> String {
        self.recent.clear()
        let child: ChildProcess
        do {
            child = try ChildProcess.spawn(
                try await self.makeConfiguration(),
                guardExecutable: self.guardExecutable,
                lock: self.lock,
                output: { self.forward($0) }
            )
        } catch {
            return "\(error)"
        }
        self.logger.debug("\(self.name) started", metadata: ["guard": "\(child.guardID)"])
        return await withTaskCancellationHandler {
            await withTaskGroup(of: String?.self) { group in
                group.addTask { await self.watch(child) }
                let exit = await child.waitForExit()
                group.cancelAll()
                let reason = await group.next() ?? nil
                self.state.withLock { $0.status.lastExit = exit }
                return reason ?? "\(exit)"
            }
        } onCancel: {
            child.requestStop()
        }
    }

    /// Returns when the child was stopped, and why, or nil when this task is cancelled.
    private func watch(_ child: ChildProcess) async -> String? {
        if await self.awaitReadiness(of: child) { return "not ready after \(self.readiness.timeout)" }
        guard let liveness = self.liveness else { return nil }
        var failures = 0
        while (try? await self.clock.sleep(for: liveness.interval)) != nil {
            do {
                try await liveness.check()
                failures = 0
            } catch {
                if Task.isCancelled { return nil }
                failures += 1
                self.logger.warning(
                    "\(self.name) does not answer",
                    metadata: ["checks_failed": "\(failures) of \(liveness.failures)", "error": "\(error)"]
                )
                guard failures < liveness.failures else {
                    self.state.withLock { $0.status.isReady = false }
                    child.requestStop()
                    return "it ran, but did not answer \(failures) checks in a row"
                }
            }
        }
        return nil
    }

    /// Returns true when the child had to be stopped because it did not become ready in time.
    private func awaitReadiness(of child: ChildProcess) async -> Bool {
        let start = self.now()
        while !Task.isCancelled {
            do {
                try await self.checkReadiness()
                self.becameReady()
                return false
            } catch {
                self.logger.trace("\(self.name) is not ready: \(error)")
            }
            if self.now() - start >= self.readiness.timeout {
                child.requestStop()
                return true
            }
            try? await self.clock.sleep(for: self.readiness.interval)
        }
        return false
    }

    private func becameReady() {
        self.state.withLock { state in
            state.machine.becameReady(at: self.now())
            state.status.isReady = true
        }
        self.logger.info("\(self.name) is ready")
        self.wakeAll(throwing: nil)
    }

    private func forward(_ line: String) {
        self.recent.append(line)
        self.logger.log(level: self.level(line), "\(self.name): \(line)")
    }
}

extension Supervisor {
    /// Runs the child for as long as `body` takes, which begins when the child is ready.
    ///
    /// When this task is cancelled, `body` is, and the child goes on until `body` has returned: it may need the child
    /// to finish. When the child can't be kept running at first, `body` doesn't begin and the error is thrown.
    package func whileRunning<Result: Sendable>(
        _ body: @Sendable () async throws -> Result
    ) async throws -> Result {
        // Not a child task, which would be cancelled together with the body; it is awaited on every way out.
        let runner = Task { try await self.run() }
        do {
            try await self.waitUntilReady()
            let result = try await body()
            runner.cancel()
            try await runner.value
            return result
        } catch {
            runner.cancel()
            // What kept it from starting says more than that waiting for it ended.
            if case .failure(let failure) = await runner.result, !(failure is CancellationError) { throw failure }
            throw error
        }
    }
}
