// Where the rooms meet: NMSPoller, NMSQueue and NMSStorage never import one another.

/// Hands poll jobs to the queue; returns when the queue has stored the job.
package protocol PollJobPublisher: Sendable {
    func publish(_ job: PollJob) async throws
}

/// Hands results to the queue; returns when the queue has stored the result.
package protocol MetricsResultPublisher: Sendable {
    func publish(_ result: MetricsResult) async throws
}

/// Tells every instance, this one included, of a change. Delivery is at most once: TTLs cover a loss.
package protocol DeviceEventPublisher: Sendable {
    func publish(_ event: DeviceEvent) async throws
}

/// A message from a work queue, to be settled exactly once: acknowledged, rejected or buried.
package struct Delivery<Message: Sendable>: Sendable {
    package let message: Message
    /// 1 on the first delivery.
    package let deliveryCount: Int
    /// The work is done: never deliver again.
    package let acknowledge: @Sendable () async throws -> Void
    /// Deliver again after the delay, here or elsewhere.
    package let reject: @Sendable (_ delay: Duration) async throws -> Void
    /// Still working: restarts the ack wait.
    package let extend: @Sendable () async throws -> Void
    /// Can't ever be done: copied to `nmslite.dead` with the reason, then removed.
    package let bury: @Sendable (_ reason: String) async throws -> Void

    package init(
        message: Message,
        deliveryCount: Int,
        acknowledge: @escaping @Sendable () async throws -> Void,
        reject: @escaping @Sendable (Duration) async throws -> Void,
        extend: @escaping @Sendable () async throws -> Void,
        bury: @escaping @Sendable (String) async throws -> Void
    ) {
        self.message = message
        self.deliveryCount = deliveryCount
        self.acknowledge = acknowledge
        self.reject = reject
        self.extend = extend
        self.bury = bury
    }
}

/// The poller's end of `nmslite.poll.jobs.*`.
package protocol PollJobSource: Sendable {
    /// Jobs of no partition yet, at most `maxOutstanding` unsettled at a time.
    func pollJobs(maxOutstanding: Int) async throws -> PollJobIntake
}

/// The writer's end of `nmslite.metrics.results`.
package protocol MetricsResultSource: Sendable {
    /// Results, at most `maxOutstanding` unsettled at a time; ends when the task is cancelled.
    func metricsResults(maxOutstanding: Int) async throws -> AsyncStream<Delivery<MetricsResult>>
}

/// Everyone's end of `nmslite.device.events`.
package protocol DeviceEventSource: Sendable {
    /// Every event from now on; ends when the task is cancelled, and when an event may have been lost.
    ///
    /// At such an end subscribe anew, and then forget what was known before.
    func deviceEvents() async throws -> AsyncStream<DeviceEvent>
}

/// What a poll needs to know of its device.
package struct PollTarget: Sendable, Equatable {
    package var device: Device
    /// Usable credentials, in the order in which they are to be tried.
    package var credentials: [DecryptedCredential]

    package init(device: Device, credentials: [DecryptedCredential]) {
        self.device = device
        self.credentials = credentials
    }
}

/// Looks up devices and decrypted credentials, cached.
package protocol PollTargetSource: Sendable {
    /// nil when the device is gone or not provisioned: its queued jobs do nothing.
    func pollTarget(deviceID: Int) async throws -> PollTarget?
}

/// What the scheduler knows of a device.
package struct ScheduledDevice: Sendable, Equatable {
    package var deviceID: Int
    package var credentialID: Int
    /// Seconds.
    package var interval: Int

    package init(deviceID: Int, credentialID: Int, interval: Int) {
        self.deviceID = deviceID
        self.credentialID = credentialID
        self.interval = interval
    }
}

/// Reads what is to be scheduled.
package protocol ScheduleSource: Sendable {
    /// Every provisioned device.
    func schedule() async throws -> [ScheduledDevice]
    /// One device; nil when it is gone or not provisioned.
    func scheduledDevice(id: Int) async throws -> ScheduledDevice?
}

/// How far a (device, credential) pair and its credential are from suspension.
package struct SuspensionState: Sendable, Equatable {
    /// Failed sign-ins of this pair since its last success or reset.
    package var pairFailures: Int
    package var pairSuspended: Bool
    package var credentialSuspended: Bool
    /// Distinct hosts on which the credential failed since it last succeeded anywhere.
    package var failedHosts: Int

    package init(
        pairFailures: Int = 0,
        pairSuspended: Bool = false,
        credentialSuspended: Bool = false,
        failedHosts: Int = 0
    ) {
        self.pairFailures = pairFailures
        self.pairSuspended = pairSuspended
        self.credentialSuspended = credentialSuspended
        self.failedHosts = failedHosts
    }
}

/// The lockout guard's memory, shared by all instances (design: two failures suspend a pair, failures on three
/// distinct hosts with no success between suspend the credential).
package protocol SuspensionStore: Sendable {
    func suspension(of host: SignInHost, credentialID: Int) async throws -> SuspensionState
    /// Counts a failed sign-in and suspends what has reached its limit, in one transaction.
    func recordAuthenticationFailure(of host: SignInHost, credentialID: Int) async throws -> SuspensionState
    /// Forgets the pair's failures and the credential's failed hosts.
    func recordAuthenticationSuccess(of host: SignInHost, credentialID: Int) async throws
    /// Whether the credential as a whole is suspended; false when there is none.
    func isSuspended(credentialID: Int) async throws -> Bool
}

/// The host that a credential is tried on. Either way it is remembered by its address, so that polls and discoveries
/// share what is known of it.
package enum SignInHost: Sendable, Hashable, CustomStringConvertible {
    /// A device, at whatever address it has now.
    case device(Int)
    /// A host that may not be a device yet.
    case address(IPAddress)

    package var description: String {
        switch self {
        case .device(let id): "device \(id)"
        case .address(let address): "\(address)"
        }
    }
}

extension SuspensionStore {
    package func suspension(deviceID: Int, credentialID: Int) async throws -> SuspensionState {
        try await self.suspension(of: .device(deviceID), credentialID: credentialID)
    }

    package func recordAuthenticationFailure(deviceID: Int, credentialID: Int) async throws -> SuspensionState {
        try await self.recordAuthenticationFailure(of: .device(deviceID), credentialID: credentialID)
    }

    package func recordAuthenticationSuccess(deviceID: Int, credentialID: Int) async throws {
        try await self.recordAuthenticationSuccess(of: .device(deviceID), credentialID: credentialID)
    }
}

/// The limits of the lockout guard.
package enum LockoutLimits {
    /// Failed sign-ins after which a (device, credential) pair is suspended.
    package static let failuresPerPair = 2
    /// Distinct hosts with failures, and no success between, after which a credential is suspended.
    package static let failedHosts = 3
}

/// Stands before every sign-in to a Windows host.
package protocol AuthenticationGate: Sendable {
    /// Runs `attempt` when the guard permits it.
    ///
    /// A ``PollFailure`` with `auth_failed` thrown by `attempt` counts against the pair and the credential; any other
    /// error counts for nothing; a return is a success.
    /// - Throws: ``PollFailure`` with `credential_suspended` without running `attempt`, or what `attempt` throws.
    func authenticate<Result: Sendable>(
        deviceID: Int,
        credentialID: Int,
        attempt: @Sendable () async throws -> Result
    ) async throws -> Result
}
