import Logging
import NMSCore
import Synchronization
import Testing

@testable import NMSPoller

/// A value that tasks share; a local `Mutex` can't be captured by them.
final class Locked<Value: Sendable>: Sendable {
    private let mutex: Mutex<Value>
    init(_ value: Value) { self.mutex = Mutex(value) }
    @discardableResult
    func withLock<R: Sendable>(_ body: (inout Value) -> R) -> R { self.mutex.withLock { body(&$0) } }
}

/// The store's contract in memory; the real one is tested against PostgreSQL in NMSStorageTests.
final class MemorySuspensions: SuspensionStore, DeviceEventPublisher, Sendable {
    struct State {
        var failures: [SignInHost: Int] = [:]
        var failedHosts: Set<SignInHost> = []
        var suspended = false
        var reads = 0
        var successes = 0
        var isAway = false
        var events: [DeviceEvent] = []
    }
    struct Away: Error {}
    let state = Mutex(State())

    private func current(_ state: State, _ host: SignInHost) -> SuspensionState {
        let failures = state.failures[host, default: 0]
        return SuspensionState(
            pairFailures: failures,
            pairSuspended: failures >= LockoutLimits.failuresPerPair,
            credentialSuspended: state.suspended,
            failedHosts: state.failedHosts.count
        )
    }

    func suspension(of host: SignInHost, credentialID: Int) async throws -> SuspensionState {
        await Task.yield()
        return self.state.withLock { state in
            state.reads += 1
            return self.current(state, host)
        }
    }

    func recordAuthenticationFailure(of host: SignInHost, credentialID: Int) async throws -> SuspensionState {
        await Task.yield()
        if self.state.withLock({ $0.isAway }) { throw Away() }
        return self.state.withLock { state in
            state.failures[host, default: 0] += 1
            state.failedHosts.insert(host)
            if state.failedHosts.count >= LockoutLimits.failedHosts { state.suspended = true }
            return self.current(state, host)
        }
    }

    func recordAuthenticationSuccess(of host: SignInHost, credentialID: Int) async throws {
        self.state.withLock { state in
            state.failures[host] = nil
            state.failedHosts = []
            state.successes += 1
        }
    }

    func isSuspended(credentialID: Int) async throws -> Bool { self.state.withLock { $0.suspended } }

    func publish(_ event: DeviceEvent) async throws { self.state.withLock { $0.events.append(event) } }
}

@Suite(.timeLimit(.minutes(1))) struct LockoutGuardTests {
    let store = MemorySuspensions()

    func makeGuard() -> LockoutGuard {
        LockoutGuard(store: self.store, events: self.store, logger: Logger(label: "test"))
    }

    @Test func discoveriesAndPollsShareOneLimit() async throws {
        let guardian = self.makeGuard()
        let attempts = Locked(0)
        await withTaskGroup(of: Void.self) { group in
            for host in 1...20 {
                group.addTask {
                    let attempt: @Sendable () async throws -> Void = {
                        attempts.withLock { $0 += 1 }
                        for _ in 0..<20 { await Task.yield() }
                        throw PollFailure(.authFailed, "refused")
                    }
                    if host % 2 == 0 {
                        try? await guardian.authenticate(deviceID: host, credentialID: 1, attempt: attempt)
                    } else if let address = IPAddress("10.0.0.\(host)") {
                        try? await guardian.authenticate(address: address, credentialID: 1, attempt: attempt)
                    }
                }
            }
        }
        #expect(attempts.withLock { $0 } == LockoutLimits.failedHosts)
        #expect(try await guardian.isSuspended(credentialID: 1))
    }

    @Test func aFailureThatCouldNotBeRecordedCountsForDiscoveriesToo() async throws {
        let guardian = self.makeGuard()
        self.store.state.withLock { $0.isAway = true }
        for host in 1...LockoutLimits.failedHosts {
            let address = try #require(IPAddress("10.0.0.\(host)"))
            #expect(try await guardian.isSuspended(credentialID: 1) == false)
            try? await guardian.authenticate(address: address, credentialID: 1) {
                throw PollFailure(.authFailed, "refused")
            }
        }
        #expect(try await guardian.isSuspended(credentialID: 1))
        guardian.forget(credentialID: 1)
        #expect(try await guardian.isSuspended(credentialID: 1) == false)
    }

    @Test func aWrongPasswordOnManyHostsFailsNoMoreThanTheLimit() async {
        let guardian = self.makeGuard()
        let attempts = Locked(0)
        let suspended = Locked(0)
        await withTaskGroup(of: Void.self) { group in
            for device in 1...50 {
                group.addTask {
                    do {
                        try await guardian.authenticate(deviceID: device, credentialID: 1) {
                            attempts.withLock { $0 += 1 }
                            for _ in 0..<20 { await Task.yield() }
                            throw PollFailure(.authFailed, "refused")
                        }
                    } catch let failure as PollFailure where failure.code == .credentialSuspended {
                        suspended.withLock { $0 += 1 }
                    } catch {}
                }
            }
        }
        #expect(attempts.withLock { $0 } == LockoutLimits.failedHosts)
        #expect(suspended.withLock { $0 } == 47)
        #expect(self.store.state.withLock { $0.events } == [DeviceEvent(.credentialUpdated, credentialID: 1)])
    }

    @Test func aPairIsSuspendedAfterTwoFailures() async throws {
        let guardian = self.makeGuard()
        for _ in 1...2 {
            await #expect(throws: PollFailure(.authFailed, "no")) {
                try await guardian.authenticate(deviceID: 1, credentialID: 1) { throw PollFailure(.authFailed, "no") }
            }
        }
        let error = await #expect(throws: PollFailure.self) {
            try await guardian.authenticate(deviceID: 1, credentialID: 1) { Issue.record("must not run") }
        }
        #expect(error?.code == .credentialSuspended)
        // Another host may still try.
        try await guardian.authenticate(deviceID: 2, credentialID: 1) {}
    }

    @Test(arguments: [false, true])
    func whatWasCountedBeforeTheStartBoundsTheFirstSignIns(afterForget: Bool) async {
        let guardian = self.makeGuard()
        self.store.state.withLock { $0.failedHosts = [.device(901), .device(902)] }
        if afterForget {
            guardian.forget(credentialID: 1)
        }
        let attempts = Locked(0)
        await withTaskGroup(of: Void.self) { group in
            for device in 1...20 {
                group.addTask {
                    try? await guardian.authenticate(deviceID: device, credentialID: 1) {
                        attempts.withLock { $0 += 1 }
                        for _ in 0..<20 { await Task.yield() }
                        throw PollFailure(.authFailed, "")
                    }
                }
            }
        }
        #expect(attempts.withLock { $0 } == 1)
    }

    @Test func failuresThatCannotBeRecordedCountOnThisInstance() async throws {
        let guardian = self.makeGuard()
        self.store.state.withLock { $0.isAway = true }
        let attempts = Locked(0)
        for device in 1...10 {
            try? await guardian.authenticate(deviceID: device, credentialID: 1) {
                attempts.withLock { $0 += 1 }
                throw PollFailure(.authFailed, "")
            }
        }
        #expect(attempts.withLock { $0 } == LockoutLimits.failedHosts)
        // Until someone corrects or resumes the credential.
        self.store.state.withLock { $0.isAway = false }
        guardian.forget(credentialID: 1)
        try await guardian.authenticate(deviceID: 1, credentialID: 1) {}
    }

    @Test func aFailureIsRecordedEvenIfItsPollIsCancelled() async throws {
        let guardian = self.makeGuard()
        let poll = Task {
            try await guardian.authenticate(deviceID: 1, credentialID: 1) {
                withUnsafeCurrentTask { $0?.cancel() }
                throw PollFailure(.authFailed, "")
            }
        }
        _ = await poll.result
        #expect(self.store.state.withLock { $0.failures } == [.device(1): 1])
    }

    @Test func onlyAuthenticationFailuresCount() async throws {
        let guardian = self.makeGuard()
        for device in 1...10 {
            await #expect(throws: PollFailure(.timeout, "t")) {
                try await guardian.authenticate(deviceID: device, credentialID: 1) { throw PollFailure(.timeout, "t") }
            }
        }
        try await guardian.authenticate(deviceID: 1, credentialID: 1) {}
    }

    @Test func aSuccessBetweenFailuresKeepsTheCredential() async throws {
        let guardian = self.makeGuard()
        for device in 1...10 {
            try? await guardian.authenticate(deviceID: device, credentialID: 1) { throw PollFailure(.authFailed, "") }
            try await guardian.authenticate(deviceID: 100 + device, credentialID: 1) {}
        }
        #expect(self.store.state.withLock { $0.suspended } == false)
    }

    @Test func aProvenCredentialSignsInManyAtOnceAndWritesNothing() async throws {
        let guardian = self.makeGuard()
        try await guardian.authenticate(deviceID: 1, credentialID: 1) {}
        let peak = Locked((now: 0, highest: 0))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for device in 2...100 {
                group.addTask {
                    try await guardian.authenticate(deviceID: device, credentialID: 1) {
                        peak.withLock { $0 = ($0.now + 1, max($0.highest, $0.now + 1)) }
                        for _ in 0..<50 { await Task.yield() }
                        peak.withLock { $0.now -= 1 }
                    }
                }
            }
            try await group.waitForAll()
        }
        let highest = peak.withLock { $0.highest }
        #expect(highest > LockoutLimits.failedHosts && highest <= LockoutGuard.concurrentSignIns)
        #expect(self.store.state.withLock { $0.successes } == 1)
    }

    @Test func aCancelledWaiterLeaves() async throws {
        let guardian = self.makeGuard()
        let (gate, open) = AsyncStream<Void>.makeStream()
        let running = Locked(0)
        let holders = (1...3).map { device in
            Task {
                try await guardian.authenticate(deviceID: device, credentialID: 1) {
                    running.withLock { $0 += 1 }
                    for await _ in gate {}
                }
            }
        }
        while running.withLock({ $0 }) < 3 { await Task.yield() }
        let waiter = Task { try await guardian.authenticate(deviceID: 9, credentialID: 1) { Issue.record("ran") } }
        for _ in 0..<100 { await Task.yield() }
        waiter.cancel()
        await #expect(throws: CancellationError.self) { try await waiter.value }
        open.finish()
        for holder in holders { try await holder.value }
    }
}
