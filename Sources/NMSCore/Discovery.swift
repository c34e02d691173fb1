// Where discovery meets the rest: what it finds, how far it is, who stores both, and who permits its sign-ins.

/// What became of one address of a discovery.
package enum AddressOutcome: String, Codable, Sendable, CaseIterable {
    /// A Windows machine, by evidence.
    case windows
    /// Something listens, and it said that it is something else.
    case notWindows = "not_windows"
    /// Something listens and said nothing that tells what it is, such as a tar pit or a lone port 445.
    case unidentified
    /// Nothing listens, and the host said so.
    case closed
    /// No answer at all.
    case silent
    /// A router or this machine said that there is no way to it.
    case unreachable
    /// This machine could not dial: out of descriptors, ports or memory, in spite of retries.
    case failed
}

/// How many addresses came to which outcome. Those that were not reached yet are in none.
package struct OutcomeCounts: Codable, Sendable, Equatable {
    private var counts: [AddressOutcome: Int] = [:]

    package init() {}

    package subscript(outcome: AddressOutcome) -> Int {
        get { self.counts[outcome] ?? 0 }
        set { self.counts[outcome] = newValue }
    }

    package var total: Int { self.counts.values.reduce(0, +) }

    package init(from decoder: any Decoder) throws {
        let values = try decoder.singleValueContainer().decode([String: Int].self)
        for (name, count) in values {
            guard let outcome = AddressOutcome(rawValue: name) else { continue }
            self.counts[outcome] = count
        }
    }

    /// One key for each outcome, zeros included.
    package func encode(to encoder: any Encoder) throws {
        var values: [String: Int] = [:]
        for outcome in AddressOutcome.allCases { values[outcome.rawValue] = self[outcome] }
        var container = encoder.singleValueContainer()
        try container.encode(values)
    }

    package static func == (left: Self, right: Self) -> Bool {
        AddressOutcome.allCases.allSatisfy { left[$0] == right[$0] }
    }
}

/// From where a discovery goes on after a restart.
package struct DiscoveryCheckpoint: Codable, Sendable, Equatable {
    /// Every address before this index is done, and its host, if there is one, was reported.
    package var index: Int
    /// Outcomes of the addresses before ``index``.
    package var counts: OutcomeCounts

    package init(index: Int = 0, counts: OutcomeCounts = OutcomeCounts()) {
        self.index = index
        self.counts = counts
    }
}

/// How far a discovery is. Never goes back, not even over a restart, if ``DiscoveryCheckpoint`` and ``scanned`` were kept.
package struct DiscoveryProgress: Codable, Sendable, Equatable {
    /// Addresses that are done, in whatever order.
    package var scanned: Int
    /// Addresses in all.
    package var total: Int
    /// Outcomes of all addresses that are done; after a restart it may lag behind ``scanned`` for a moment.
    package var counts: OutcomeCounts
    package var checkpoint: DiscoveryCheckpoint
    /// Addresses done per second lately.
    package var rate: Double
    /// Seconds to go at ``rate``; nil while that is not known.
    package var etaSeconds: Double?

    package init(
        scanned: Int,
        total: Int,
        counts: OutcomeCounts,
        checkpoint: DiscoveryCheckpoint,
        rate: Double = 0,
        etaSeconds: Double? = nil
    ) {
        self.scanned = scanned
        self.total = total
        self.counts = counts
        self.checkpoint = checkpoint
        self.rate = rate
        self.etaSeconds = etaSeconds
    }

    enum CodingKeys: String, CodingKey {
        case scanned, total, counts, checkpoint, rate
        case etaSeconds = "eta_seconds"
    }
}

/// Why a credential did not open a host, or that it did.
package struct CredentialTrial: Codable, Sendable, Equatable {
    package var credentialID: Int
    /// Nil if it worked.
    package var error: PollErrorCode?
    /// For users; empty if it worked.
    package var message: String

    package init(credentialID: Int, error: PollErrorCode? = nil, message: String = "") {
        self.credentialID = credentialID
        self.error = error
        self.message = message
    }

    enum CodingKeys: String, CodingKey {
        case credentialID = "credential_id"
        case error, message
    }
}

/// A Windows machine that a discovery found.
///
/// Without a credential that worked all of it is what the host says of itself to strangers; every text is bounded and
/// free of control characters.
package struct DiscoveredHost: Codable, Sendable, Equatable {
    /// In canonical form.
    package var ip: String
    /// DNS name where there is one, else the NetBIOS name.
    package var hostname: String?
    /// DNS domain where the host is a member of one, else the NetBIOS domain or workgroup.
    package var domain: String?
    /// Caption such as `Microsoft Windows Server 2022 Standard`; without a credential only `Microsoft Windows 10.0.20348`.
    package var os: String?
    /// Such as `10.0.20348`.
    package var osVersion: String?
    /// Such as `20348`.
    package var build: String?
    /// The credential that worked; nil if none did or none was given.
    package var credentialID: Int?
    /// Credentials that were tried, in order.
    package var trials: [CredentialTrial]
    package var evidence: DiscoveryEvidence

    package init(
        ip: String,
        hostname: String? = nil,
        domain: String? = nil,
        os: String? = nil,
        osVersion: String? = nil,
        build: String? = nil,
        credentialID: Int? = nil,
        trials: [CredentialTrial] = [],
        evidence: DiscoveryEvidence = DiscoveryEvidence()
    ) {
        self.ip = ip
        self.hostname = hostname
        self.domain = domain
        self.os = os
        self.osVersion = osVersion
        self.build = build
        self.credentialID = credentialID
        self.trials = trials
        self.evidence = evidence
    }

    enum CodingKeys: String, CodingKey {
        case ip, hostname, domain, os, build, trials, evidence
        case osVersion = "os_version"
        case credentialID = "credential_id"
    }
}

/// Who stores what a discovery finds.
package protocol DiscoverySink: Sendable {
    /// Stores hosts and progress together, in one transaction: the checkpoint promises that the hosts before it are stored.
    ///
    /// Called by one task, one call at a time, about once a second and once at the end, however that comes. After a
    /// restart, hosts behind the checkpoint are reported again: store them by address, without duplicates.
    /// - Throws: what ends the discovery; it can be resumed from the last checkpoint that was stored.
    func store(hosts: [DiscoveredHost], progress: DiscoveryProgress) async throws
}

/// Stands before every sign-in to an address that may not be a device yet; otherwise as ``AuthenticationGate``, with the
/// same memory of failures by credential and address.
package protocol AddressAuthenticationGate: Sendable {
    /// Runs `attempt` when the guard permits it; the contract is ``AuthenticationGate``'s.
    func authenticate<Result: Sendable>(
        address: IPAddress,
        credentialID: Int,
        attempt: @Sendable () async throws -> Result
    ) async throws -> Result

    /// Whether the credential as a whole may not be used now.
    func isSuspended(credentialID: Int) async throws -> Bool
}
