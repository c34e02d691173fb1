internal import NMSCore

/// Says who may sign in with which credential now, so that one that may be wrong meets few hosts at a time.
///
/// The lockout guard decides for all instances; the desk keeps this job from queueing at the guard with connections that
/// grow old meanwhile, and remembers within the job what the guard must not be asked again.
actor CredentialDesk {
    /// How a turn ended.
    enum Result: Sendable {
        case signedIn
        /// The host counted a failed login.
        case failed
        /// Nobody's password was judged.
        case undecided
    }

    /// Sign-ins at once with a credential that works; the most that can fail when its password changes under way.
    static let concurrentSignIns = 16

    private struct Entry {
        var proven = false
        var isSuspended = false
        var failedHosts = 0
        var inFlight = 0

        var limit: Int {
            self.proven ? CredentialDesk.concurrentSignIns : max(LockoutLimits.failedHosts - self.failedHosts, 1)
        }
    }

    private var entries: [Int: Entry] = [:]
    private var waiters: [CheckedContinuation<Void, Never>] = []

    /// Waits for a turn, to be ended with ``leave(_:_:)``.
    ///
    /// - Returns: false if the credential is not to be used any more in this job, or the task was cancelled.
    func enter(_ credentialID: Int) async -> Bool {
        while true {
            var entry = self.entries[credentialID] ?? Entry()
            if entry.isSuspended || Task.isCancelled { return false }
            if entry.inFlight < entry.limit {
                entry.inFlight += 1
                self.entries[credentialID] = entry
                return true
            }
            // Those who have a turn end it soon when the job is cancelled, and wake everybody up.
            await withCheckedContinuation { self.waiters.append($0) }
        }
    }

    func leave(_ credentialID: Int, _ result: Result) {
        var entry = self.entries[credentialID] ?? Entry()
        entry.inFlight -= 1
        switch result {
        case .signedIn:
            entry.proven = true
            entry.failedHosts = 0
        case .failed:
            entry.proven = false
            entry.failedHosts += 1
            if entry.failedHosts >= LockoutLimits.failedHosts { entry.isSuspended = true }
        case .undecided: break
        }
        self.entries[credentialID] = entry
        self.wakeAll()
    }

    /// The guard says that the credential is suspended.
    func suspend(_ credentialID: Int) {
        self.entries[credentialID, default: Entry()].isSuspended = true
        self.wakeAll()
    }

    private func wakeAll() {
        let waiters = self.waiters
        self.waiters = []
        for waiter in waiters { waiter.resume() }
    }
}
