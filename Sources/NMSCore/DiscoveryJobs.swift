internal import struct Foundation.Date

// A discovery as it is asked for, queued and stored; what it finds is in Discovery.swift.

/// Where a discovery stands.
package enum DiscoveryStatus: String, Codable, Sendable, CaseIterable {
    /// Waits for an instance with the role `discovery`.
    case queued
    case running
    case completed
    case cancelled
    case failed

    /// Whether nothing more happens to it.
    package var isFinished: Bool {
        switch self {
        case .queued, .running: false
        case .completed, .cancelled, .failed: true
        }
    }
}

/// What a discovery is to do beside sweeping.
package struct DiscoveryOptions: Codable, Sendable, Equatable {
    /// Credentials to sign in with, in the order in which they are tried.
    package var credentialIDs: [Int]
    /// TCP ports to dial; nil means the default ones.
    package var ports: [Int]?
    /// Whether devices that a credential opened are provisioned with it.
    package var autoProvision: Bool
    /// Seconds between polls of new devices, and of those that are provisioned; nil means `polling.default_interval`.
    package var pollingInterval: Int?

    package init(
        credentialIDs: [Int] = [],
        ports: [Int]? = nil,
        autoProvision: Bool = false,
        pollingInterval: Int? = nil
    ) {
        self.credentialIDs = credentialIDs
        self.ports = ports
        self.autoProvision = autoProvision
        self.pollingInterval = pollingInterval
    }

    enum CodingKeys: String, CodingKey {
        case ports
        case credentialIDs = "credential_ids"
        case autoProvision = "auto_provision"
        case pollingInterval = "polling_interval"
    }
}

/// The payload of `nmslite.discovery.jobs` (specification §6.2): what to do stands in the discovery's row.
package struct QueuedDiscovery: Codable, Sendable, Equatable {
    /// What was asked for, shortened to ``maximumSubnetLength``: for people who look into the queue.
    package var subnet: String
    package var discoveryID: Int
    /// How often the discovery was published before: a message that was lost is followed by another.
    package var publication: Int

    package init(subnet: String, discoveryID: Int, publication: Int) {
        self.subnet = String(String.UnicodeScalarView(subnet.unicodeScalars.prefix(Self.maximumSubnetLength)))
        self.discoveryID = discoveryID
        self.publication = publication
    }

    /// In code points; a message in the queue has at most 4 KiB.
    package static let maximumSubnetLength = 512

    /// The message's `Nats-Msg-Id`.
    package var messageID: String { "discovery-\(self.discoveryID)-\(self.publication)" }

    enum CodingKeys: String, CodingKey {
        case subnet, publication
        case discoveryID = "discovery_id"
    }
}

/// Hands discoveries to the queue; returns when the queue has stored the job.
package protocol DiscoveryJobPublisher: Sendable {
    func publish(_ job: QueuedDiscovery) async throws
}

/// The worker's end of `nmslite.discovery.jobs`.
package protocol DiscoveryJobSource: Sendable {
    /// Jobs, at most `maxOutstanding` unsettled at a time; ends when the task is cancelled.
    ///
    /// A job that is neither settled nor extended within 15 s is delivered again.
    func discoveryJobs(maxOutstanding: Int) async throws -> AsyncStream<Delivery<QueuedDiscovery>>
}

/// A discovery's row as the instance that runs it needs it.
package struct ClaimedDiscovery: Sendable, Equatable {
    package var id: Int
    /// Canonical text of the targets.
    package var targets: String
    package var options: DiscoveryOptions
    /// Addresses in all, as counted when it was asked for.
    package var total: Int
    /// Never less than what was shown before.
    package var scanned: Int
    package var checkpoint: DiscoveryCheckpoint

    package init(
        id: Int,
        targets: String,
        options: DiscoveryOptions,
        total: Int,
        scanned: Int,
        checkpoint: DiscoveryCheckpoint
    ) {
        self.id = id
        self.targets = targets
        self.options = options
        self.total = total
        self.scanned = scanned
        self.checkpoint = checkpoint
    }
}

/// What storing a batch of hosts did to devices.
package struct StoredHosts: Sendable, Equatable {
    /// Devices that there were none of before, ascending.
    package var inserted: [Int]
    /// Devices that were known, ascending.
    package var refreshed: [Int]
    /// Devices of either that are provisioned now and were not, with the credential that opened them.
    package var provisioned: [ScheduledDevice]

    package init(inserted: [Int] = [], refreshed: [Int] = [], provisioned: [ScheduledDevice] = []) {
        self.inserted = inserted
        self.refreshed = refreshed
        self.provisioned = provisioned
    }
}

/// A run of a discovery that may not go on.
package enum DiscoveryLeaseError: Error, Sendable, Equatable {
    /// Another instance took the discovery over, or its row is gone.
    case lost
    /// Someone cancelled it; what was found until then was stored.
    case cancelled
}

/// The rows of discoveries, as those who run them see them: one instance at a time, by a lease.
package protocol DiscoveryStore: Sendable {
    /// Takes the discovery for `worker`; nil when it is finished, gone, or held by a worker whose lease is not over.
    func claim(id: Int, worker: String) async throws -> ClaimedDiscovery?
    /// Renews the lease; nil when the row is not this worker's any more, else its status.
    func heartbeat(id: Int, worker: String) async throws -> DiscoveryStatus?
    /// The row's status if it is still this worker's; renews nothing.
    func status(id: Int, worker: String) async throws -> DiscoveryStatus?
    /// Stores hosts and progress in one transaction and renews the lease. Also once after a cancellation.
    /// - Throws: ``DiscoveryLeaseError/lost``.
    func store(id: Int, worker: String, hosts: [DiscoveredHost], progress: DiscoveryProgress) async throws
        -> StoredHosts
    /// Ends the discovery if it is running and this worker's; `error` tells a user why it failed.
    func finish(id: Int, worker: String, error: String?) async throws
    /// Gives the lease back, so that anyone may go on at once.
    func release(id: Int, worker: String) async throws
    /// Discoveries whose message is overdue, each returned to one caller, for publishing anew.
    func overdue() async throws -> [QueuedDiscovery]
    /// Drops the oldest of those that are finished.
    func removeOld() async throws
}

/// Why targets are refused, in words for users.
package struct DiscoveryTargetRefusal: Error, Sendable, Equatable {
    /// Outside of `targets.allow`, and not malformed.
    package var isNotAllowed: Bool
    /// `subnet` or `exclude`.
    package var field: String
    /// The part that is wrong, shortened.
    package var part: String?
    package var message: String

    package init(isNotAllowed: Bool = false, field: String = "subnet", part: String? = nil, message: String) {
        self.isNotAllowed = isNotAllowed
        self.field = field
        self.part = part
        self.message = message
    }
}

/// Addresses of a discovery.
package protocol DiscoveryTargetSet: Sendable {
    /// Text that reads as the same addresses.
    var canonical: String { get }
    /// How many there are, at least 1.
    var count: Int { get }
    /// Whether an address is also among those of another set's canonical text.
    func overlaps(canonical: String) -> Bool
}

/// Reads what users write as targets, within `targets.allow` and `discovery.max_addresses`.
package protocol DiscoveryTargetReader: Sendable {
    func read(_ subnet: String, excluding: [String]) throws(DiscoveryTargetRefusal) -> any DiscoveryTargetSet
}
