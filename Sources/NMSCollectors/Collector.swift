package import NMSCore

/// What a collector needs to reach and sign in to one device (specification §4.6).
package struct CollectorTarget: Sendable {
    package var deviceID: Int
    package var address: IPAddress
    /// The name that the device is known by, for certificate checks.
    package var hostname: String?
    package var credential: DecryptedCredential
    /// When the poll must be over.
    package var deadline: ContinuousClock.Instant
    /// Every sign-in goes through it.
    package var gate: any AuthenticationGate

    package init(
        deviceID: Int,
        address: IPAddress,
        hostname: String?,
        credential: DecryptedCredential,
        deadline: ContinuousClock.Instant,
        gate: any AuthenticationGate
    ) {
        self.deviceID = deviceID
        self.address = address
        self.hostname = hostname
        self.credential = credential
        self.deadline = deadline
        self.gate = gate
    }
}

/// A plug-in that reads a Windows machine's counters.
///
/// A collector may keep connections between polls. It is called for one device by one caller at a time, and for many
/// devices at once.
package protocol Collector: Sendable {
    /// What it is called in logs, such as `winrm`.
    var name: String { get }

    /// Whether it signs in the way `type` says.
    func supports(_ type: CredentialType) -> Bool

    /// Reads the given groups.
    ///
    /// A group that fails alone is a failure in the sample; when none can be read, or the host can't be reached or
    /// signed in to, the whole call throws. It returns or throws soon after `target.deadline` at the latest, and as
    /// soon as the task is cancelled.
    /// - Throws: ``PollFailure``, or `CancellationError`.
    func sample(_ target: CollectorTarget, groups: Set<CounterGroup>) async throws -> RawSample

    /// Closes what is kept for a device.
    func forget(deviceID: Int) async

    /// Closes what was signed in with a credential.
    func forget(credentialID: Int) async

    /// Closes everything.
    func shutDown() async
}

/// The collectors by credential type (specification §4.6).
package struct CollectorRegistry: Sendable {
    private var collectors: [any Collector] = []

    package init(_ collectors: [any Collector] = []) { self.collectors = collectors }

    /// Adds a collector; for a type that two support, the first one added wins.
    package mutating func register(_ collector: any Collector) { self.collectors.append(collector) }

    /// - Throws: ``PollFailure`` with `protocol_error` when no collector supports the type.
    package func collector(for type: CredentialType) throws(PollFailure) -> any Collector {
        guard let collector = self.collectors.first(where: { $0.supports(type) }) else {
            throw PollFailure(
                .protocolError,
                "no collector supports the credential type \(type.rawValue); use one of: "
                    + self.supportedTypes.map(\.rawValue).joined(separator: ", ")
            )
        }
        return collector
    }

    package var all: [any Collector] { self.collectors }

    package var supportedTypes: [CredentialType] {
        CredentialType.allCases.filter { type in self.collectors.contains { $0.supports(type) } }
    }
}
