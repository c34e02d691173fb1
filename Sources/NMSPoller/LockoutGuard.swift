package import Logging
package import NMSCore
internal import Synchronization

/// Keeps NMSlite from locking accounts: the ``AuthenticationGate`` over a shared ``SuspensionStore``.
///
/// The store decides who is suspended. What it can't bound is how many sign-ins are under way when the first failure
/// comes back, so the guard does: a credential that has not succeeded yet, or that has failed somewhere since, gets
/// only as many sign-ins at once as it has failures left before its suspension.
package final class LockoutGuard: AuthenticationGate {
    /// Sign-ins at once with a credential that works; the most that can fail when its password changes under way.
    static let concurrentSignIns = 16

    private struct Entry {
        /// Succeeded since the start and not failed since.
        var proven = false
        /// Whether the store was asked since the start or the last change: before that, nothing bounds the sign-ins.
        var isKnown = false
        /// Distinct hosts with a failure, as the store last said.
        var failedHosts = 0
        /// Failures that the store could not take: they count on this instance until the credential changes.
        var unrecorded = 0
        var inFlight = 0
        var waiters: [UInt64: CheckedContinuation<Void, Never>] = [:]

        var limit: Int {
            self.proven
                ? LockoutGuard.concurrentSignIns
                : max(LockoutLimits.failedHosts - self.failedHosts - self.unrecorded, 1)
        }
    }

    private struct State {
        var entries: [Int: Entry] = [:]
        var nextWaiter: UInt64 = 0
    }

    private let state = Mutex(State())
    private let store: any SuspensionStore
    private let events: any DeviceEventPublisher
    private let logger: Logger

    package init(store: any SuspensionStore, events: any DeviceEventPublisher, logger: Logger) {
        self.store = store
        self.events = events
        self.logger = logger
    }

    package func authenticate<Result: Sendable>(
        deviceID: Int,
        credentialID: Int,
        attempt: @Sendable () async throws -> Result
    ) async throws -> Result {
        try await self.authenticate(host: .device(deviceID), credentialID: credentialID, attempt: attempt)
    }

    private func authenticate<Result: Sendable>(
        host: SignInHost,
        credentialID: Int,
        attempt: @Sendable () async throws -> Result
    ) async throws -> Result {
        if self.state.withLock({ $0.entries[credentialID]?.isKnown }) != true {
            _ = try await self.permitted(host, credentialID: credentialID)
        }
        try await self.enter(credentialID)
        defer { self.leave(credentialID) }
        // Read after the wait: others may have failed meanwhile.
        let before = try await self.permitted(host, credentialID: credentialID)
        do {
            let result = try await attempt()
            try await self.succeeded(host, credentialID: credentialID, before: before)
            return result
        } catch let failure as PollFailure where failure.code == .authFailed {
            await self.failed(host, credentialID: credentialID)
            throw failure
        }
    }

    private func isUnrecorded(_ credentialID: Int) -> Bool {
        self.state.withLock { $0.entries[credentialID]?.unrecorded ?? 0 } >= LockoutLimits.failedHosts
    }

    /// Forgets what was learnt of a credential that was changed, resumed or deleted.
    package func forget(credentialID: Int) {
        self.state.withLock { state in
            state.entries[credentialID]?.proven = false
            state.entries[credentialID]?.isKnown = false
            state.entries[credentialID]?.unrecorded = 0
        }
    }

    private func permitted(_ host: SignInHost, credentialID: Int) async throws -> SuspensionState {
        let suspension = try await self.store.suspension(of: host, credentialID: credentialID)
        let unrecorded = self.state.withLock { state in
            var entry = state.entries[credentialID] ?? Entry()
            entry.isKnown = true
            entry.failedHosts = suspension.failedHosts
            if suspension.failedHosts > 0 { entry.proven = false }
            state.entries[credentialID] = entry
            return entry.unrecorded
        }
        if suspension.credentialSuspended || suspension.failedHosts + unrecorded >= LockoutLimits.failedHosts {
            throw PollFailure(
                .credentialSuspended,
                "credential \(credentialID) is suspended after failed sign-ins on \(LockoutLimits.failedHosts) hosts; "
                    + "correct its password (PUT /credentials/\(credentialID)) or resume it "
                    + "(POST /credentials/\(credentialID)/resume)"
            )
        }
        if suspension.pairSuspended {
            throw PollFailure(
                .credentialSuspended,
                "credential \(credentialID) is suspended for \(host.asObject) after "
                    + "\(LockoutLimits.failuresPerPair) failed sign-ins; correct its password "
                    + "(PUT /credentials/\(credentialID)) or resume it (POST /credentials/\(credentialID)/resume)"
            )
        }
        return suspension
    }

    private func succeeded(_ host: SignInHost, credentialID: Int, before: SuspensionState) async throws {
        let known = self.state.withLock { state in
            let known = state.entries[credentialID]?.proven == true
            state.entries[credentialID]?.proven = true
            state.entries[credentialID]?.failedHosts = 0
            return known
        }
        // A store that is away must not cost the poll: the count stays higher than it should, which is safe.
        guard !known || before.pairFailures > 0 || before.failedHosts > 0 else { return }
        do { try await self.store.recordAuthenticationSuccess(of: host, credentialID: credentialID) } catch {
            self.logger.warning(
                "sign-in not recorded",
                metadata: [host.logKey: "\(host.logValue)", "credential_id": "\(credentialID)", "error": "\(error)"]
            )
        }
    }

    private func failed(_ host: SignInHost, credentialID: Int) async {
        self.state.withLock { state in
            state.entries[credentialID]?.proven = false
            // Until the store has answered, count for the worst.
            state.entries[credentialID]?.failedHosts += 1
        }
        // A task of its own: a poll that is cancelled at this moment must not make the failure forgotten.
        await Task { await self.record(host, credentialID: credentialID) }.value
    }

    private func record(_ host: SignInHost, credentialID: Int) async {
        do {
            let after = try await self.store.recordAuthenticationFailure(of: host, credentialID: credentialID)
            self.state.withLock { $0.entries[credentialID]?.failedHosts = after.failedHosts }
            self.logger.warning(
                "sign-in failed",
                metadata: [
                    host.logKey: "\(host.logValue)", "credential_id": "\(credentialID)",
                    "pair_failures": "\(after.pairFailures)", "failed_hosts": "\(after.failedHosts)",
                    "pair_suspended": "\(after.pairSuspended)", "credential_suspended": "\(after.credentialSuspended)",
                ]
            )
            if after.credentialSuspended {
                try? await self.events.publish(DeviceEvent(.credentialUpdated, credentialID: credentialID))
            }
        } catch {
            self.state.withLock { $0.entries[credentialID]?.unrecorded += 1 }
            self.logger.error(
                "failed sign-in not recorded; it counts on this instance only",
                metadata: [host.logKey: "\(host.logValue)", "credential_id": "\(credentialID)", "error": "\(error)"]
            )
        }
    }

    // MARK: - Sign-ins at once

    private func enter(_ credentialID: Int) async throws {
        while !self.tryEnter(credentialID) {
            try Task.checkCancellation()
            await self.waitForChange(credentialID)
        }
    }

    private func tryEnter(_ credentialID: Int) -> Bool {
        self.state.withLock { state in
            var entry = state.entries[credentialID] ?? Entry()
            defer { state.entries[credentialID] = entry }
            guard entry.inFlight < entry.limit else { return false }
            entry.inFlight += 1
            return true
        }
    }

    private func waitForChange(_ credentialID: Int) async {
        let number = self.state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let resume = self.state.withLock { state in
                    guard !Task.isCancelled, var entry = state.entries[credentialID], entry.inFlight >= entry.limit
                    else { return true }
                    entry.waiters[number] = continuation
                    state.entries[credentialID] = entry
                    return false
                }
                if resume { continuation.resume() }
            }
        } onCancel: {
            self.state.withLock { $0.entries[credentialID]?.waiters.removeValue(forKey: number) }?.resume()
        }
    }

    private func leave(_ credentialID: Int) {
        let waiters = self.state.withLock { state in
            guard var entry = state.entries[credentialID] else { return [CheckedContinuation<Void, Never>]() }
            entry.inFlight -= 1
            let waiters = entry.waiters.sorted { $0.key < $1.key }.map(\.value)
            entry.waiters = [:]
            state.entries[credentialID] = entry
            return waiters
        }
        for waiter in waiters { waiter.resume() }
    }
}

/// Discovery's sign-ins count with those of polls: one memory, one limit.
extension LockoutGuard: AddressAuthenticationGate {
    package func authenticate<Result: Sendable>(
        address: IPAddress,
        credentialID: Int,
        attempt: @Sendable () async throws -> Result
    ) async throws -> Result {
        try await self.authenticate(host: .address(address), credentialID: credentialID, attempt: attempt)
    }

    package func isSuspended(credentialID: Int) async throws -> Bool {
        if self.isUnrecorded(credentialID) { return true }
        return try await self.store.isSuspended(credentialID: credentialID)
    }
}

extension SignInHost {
    fileprivate var logKey: String { if case .device = self { "device_id" } else { "address" } }

    fileprivate var logValue: String {
        switch self {
        case .device(let id): String(id)
        case .address(let address): address.description
        }
    }

    /// As the object of a sentence for users.
    fileprivate var asObject: String {
        switch self {
        case .device: "this device"
        case .address(let address): "\(address)"
        }
    }
}
