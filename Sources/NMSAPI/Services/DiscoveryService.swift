package import Logging
package import NMSCore
package import NMSStorage

/// Searches of subnets for Windows machines (specification §4.2, §6.2).
package struct DiscoveryService: Sendable {
    /// Reasons for which credentials did not open hosts that are told of one discovery.
    static let maximumErrors = 50

    private let discoveries: DiscoveryRepository
    private let credentials: CredentialRepository
    private let targets: any DiscoveryTargetReader
    private let jobs: any DiscoveryJobPublisher
    private let defaultInterval: Int
    private let logger: Logger

    /// - Parameter defaultInterval: `polling.default_interval`, in seconds.
    package init(
        discoveries: DiscoveryRepository,
        credentials: CredentialRepository,
        targets: any DiscoveryTargetReader,
        jobs: any DiscoveryJobPublisher,
        defaultInterval: Int,
        logger: Logger
    ) {
        self.discoveries = discoveries
        self.credentials = credentials
        self.targets = targets
        self.jobs = jobs
        self.defaultInterval = defaultInterval
        self.logger = logger
    }

    func start(_ request: DiscoverRequest, audit: AuditContext) async throws -> Discovery {
        let targets = try self.read(request)
        for id in request.options.credentialIDs where try await self.credentials.credential(id: id) == nil {
            throw ServiceError.notFound("Credential", id: id, field: "credential_ids")
        }
        var options = request.options
        options.pollingInterval = options.pollingInterval ?? self.defaultInterval
        let discovery = try await self.discoveries.create(
            NewDiscovery(
                subnet: request.subnet,
                targets: targets.canonical,
                total: targets.count,
                options: options
            ),
            audit: audit
        ) { targets.overlaps(canonical: $0) }
        await self.publish(discovery)
        return discovery
    }

    func discovery(id: Int) async throws -> Discovery {
        guard let discovery = try await self.discoveries.discovery(id: id) else {
            throw ServiceError.notFound("Discovery", id: id)
        }
        return discovery
    }

    func hosts(id: Int, limit: Int, offset: Int) async throws -> Page<FoundHost> {
        try await self.discoveries.hosts(id: id, limit: limit, offset: offset)
    }

    func failures(id: Int) async throws -> [DiscoveryTrialFailure] {
        try await self.discoveries.trialFailures(id: id, limit: Self.maximumErrors)
    }

    func list(_ filter: DiscoveryFilter) async throws -> Page<Discovery> { try await self.discoveries.list(filter) }

    /// Cancelling twice is no error; one that ended by itself can't be cancelled.
    func cancel(id: Int, audit: AuditContext) async throws -> Discovery {
        switch try await self.discoveries.cancel(id: id, audit: audit) {
        case .cancelled(let discovery), .alreadyCancelled(let discovery): return discovery
        case .finished(let discovery):
            throw ServiceError(
                .conflict,
                "Discovery \(id) is \(discovery.status.rawValue) already; there is nothing to cancel",
                details: ErrorDetails(field: "status", value: .string(discovery.status.rawValue))
            )
        case nil: throw ServiceError.notFound("Discovery", id: id)
        }
    }

    private func read(_ request: DiscoverRequest) throws(ServiceError) -> any DiscoveryTargetSet {
        do throws(DiscoveryTargetRefusal) {
            return try self.targets.read(request.subnet, excluding: request.exclude)
        } catch {
            let value = error.part.map { EchoedValue.of(.string($0)) ?? .null }
            guard error.isNotAllowed else { throw .invalid(error.field, error.message, value: value) }
            throw ServiceError(
                .targetNotAllowed,
                error.message,
                details: ErrorDetails(field: error.field, value: value)
            )
        }
    }

    /// The row is the discovery; a message that the queue does not take now is sent by the next instance to look.
    private func publish(_ discovery: Discovery) async {
        let job = QueuedDiscovery(subnet: discovery.subnet, discoveryID: discovery.id, publication: 1)
        do { try await self.jobs.publish(job) } catch {
            self.logger.warning(
                "discovery not published; it will be",
                metadata: ["discovery_id": "\(discovery.id)", "error": "\(error)"]
            )
            try? await self.discoveries.noteUnpublished(id: discovery.id)
        }
    }
}
