package import Logging
package import NMSCore
package import NMSStorage
internal import struct Foundation.UUID

/// Windows machines and whether they are monitored (specification §4.2).
package final class DeviceService: Sendable {
    /// How long a device may be served from memory. Events end an entry at once, but not every poll that changes a
    /// row is announced (a first failure changes `last_error` only), and events may be lost: so it is short.
    package static let readTTL: Duration = .seconds(1)

    private let devices: DeviceRepository
    private let credentials: CredentialRepository
    private let audit: AuditRepository
    private let jobs: any PollJobPublisher
    private let announcer: EventAnnouncer
    private let targets: TargetPolicy
    private let defaultInterval: Int
    private let cache: TTLCache<Int, Device>
    private let clocks: APIClocks
    private let logger: Logger

    /// - Parameters:
    ///   - targets: `targets.allow`.
    ///   - defaultInterval: `polling.default_interval`, in seconds.
    package init(
        devices: DeviceRepository,
        credentials: CredentialRepository,
        audit: AuditRepository,
        jobs: any PollJobPublisher,
        announcer: EventAnnouncer,
        targets: TargetPolicy,
        defaultInterval: Int,
        clocks: APIClocks = APIClocks(),
        logger: Logger
    ) {
        self.devices = devices
        self.credentials = credentials
        self.audit = audit
        self.jobs = jobs
        self.announcer = announcer
        self.targets = targets
        self.defaultInterval = defaultInterval
        self.cache = TTLCache(ttl: Self.readTTL, now: clocks.monotonic)
        self.clocks = clocks
        self.logger = logger
    }

    func create(_ request: CreateDeviceRequest, audit: AuditContext) async throws -> Device {
        var new = request.new
        try self.checkPolicy(new.ip)
        new.pollingInterval = new.pollingInterval ?? self.defaultInterval
        let device = try await self.devices.create(new, audit: audit)
        await self.changed(.deviceUpdated, device.id)
        return device
    }

    /// One device, at most ``readTTL`` old unless it was written here.
    func device(id: Int) async throws -> Device {
        let device = try await self.cache.value(for: id) { try await self.devices.device(id: id) }
        guard let device else { throw ServiceError.notFound("Device", id: id) }
        return device
    }

    /// - Throws: ``ServiceError`` notFound, from the database.
    func requireExistence(id: Int) async throws { _ = try await self.stored(id: id) }

    func list(_ filter: DeviceFilter) async throws -> Page<Device> { try await self.devices.list(filter) }

    func update(id: Int, _ request: UpdateDeviceRequest, audit: AuditContext) async throws -> Device {
        let current = try await self.stored(id: id)
        if request.isEmpty { return current }
        if let ip = request.changes.ip {
            try self.checkPolicy(ip)
            // Else an operator could lead a stored password to another host by moving the device there.
            _ = try await self.permitted(current.credentialIDs, field: "ip", for: ip)
        }
        guard let device = try await self.devices.update(id: id, request.changes, audit: audit) else {
            throw ServiceError.notFound("Device", id: id)
        }
        await self.changed(.deviceUpdated, id)
        return device
    }

    func delete(id: Int, audit: AuditContext) async throws {
        guard try await self.devices.delete(id: id, audit: audit) else { throw ServiceError.notFound("Device", id: id) }
        await self.changed(.deviceDeleted, id)
    }

    /// Starts monitoring, or replaces the choice of credentials, and asks for the first poll at once.
    func provision(id: Int, _ request: ProvisionRequest, audit: AuditContext) async throws -> Device {
        let ip = try self.address(of: try await self.stored(id: id))
        try self.checkPolicy(ip)
        try await self.permitted(request.credentialIDs, field: request.field, for: ip)
        let provisioned = try await self.devices.provision(
            id: id,
            credentialIDs: request.credentialIDs,
            pollingInterval: request.pollingInterval,
            audit: audit
        )
        guard let device = provisioned else { throw ServiceError.notFound("Device", id: id) }
        await self.changed(.deviceUpdated, id)
        try await self.publish(try self.job(for: device))
        return device
    }

    /// Ends monitoring: back to `discovered`; jobs that are queued do nothing.
    func deprovision(id: Int, audit: AuditContext) async throws -> Device {
        guard let device = try await self.devices.deprovision(id: id, audit: audit) else {
            throw ServiceError.notFound("Device", id: id)
        }
        await self.changed(.deviceUpdated, id)
        return device
    }

    /// Asks for a poll outside the schedule; returns the job's id.
    func poll(id: Int, audit: AuditContext) async throws -> String {
        let device = try await self.stored(id: id)
        guard device.status != .discovered, !device.credentialIDs.isEmpty else {
            throw ServiceError(.conflict, "Device \(id) is not provisioned; provision it before polling")
        }
        try self.checkPolicy(try self.address(of: device))
        let job = try self.job(for: device)
        let event = AuditEvent(
            .devicePollRequested,
            .device(device),
            AuditChanges(["job_id": .text(job.jobID)])
        )
        // Before, and not in one transaction: a queue that is away must not hold connections of the database.
        try await self.audit.record(event, audit)
        try await self.publish(job)
        return job.jobID
    }

    /// Takes note of an event of this or another instance.
    func handle(_ event: DeviceEvent) {
        switch event.event {
        case .statusChanged, .deviceUpdated, .deviceDeleted:
            if let id = event.deviceID { self.cache.invalidate(id) }
        case .metricsStored:
            for id in event.deviceIDs ?? [] { self.cache.invalidate(id) }
        case .credentialUpdated: break
        }
    }

    func forgetAll() { self.cache.invalidateAll() }

    func removeExpired() { self.cache.removeExpired() }

    var cacheStatistics: (hits: UInt64, misses: UInt64) { self.cache.statistics }

    /// The row itself: decisions are never taken on a cached one.
    private func stored(id: Int) async throws -> Device {
        guard let device = try await self.devices.device(id: id) else { throw ServiceError.notFound("Device", id: id) }
        return device
    }

    private func address(of device: Device) throws -> IPAddress {
        guard let ip = IPAddress(device.ip) else {
            self.logger.error("device with an unreadable address", metadata: ["device": "\(device.id)"])
            throw ServiceError(.internalError, ServiceError.internalMessage)
        }
        return ip
    }

    private func checkPolicy(_ ip: IPAddress) throws {
        guard self.targets.permits(ip) else { throw ServiceError.targetNotAllowed("\(ip)", by: "targets.allow") }
    }

    /// Every credential must exist and may be sent to `ip`.
    private func permitted(_ ids: [Int], field: String, for ip: IPAddress) async throws {
        for id in ids {
            guard let credential = try await self.credentials.credential(id: id) else {
                throw ServiceError.notFound("Credential", id: id, field: field)
            }
            guard credential.allows(ip) else {
                throw ServiceError.targetNotAllowed("\(ip)", by: "the allowed_targets of credential \(id)")
            }
        }
    }

    /// A poll outside the schedule, with the credential that is first.
    private func job(for device: Device) throws -> PollJob {
        guard let credentialID = device.credentialIDs.first else {
            throw ServiceError(.conflict, "Device \(device.id) has no credential; provision it again")
        }
        return PollJob(
            jobID: UUID().uuidString.lowercased(),
            deviceID: device.id,
            credentialID: credentialID,
            scheduledAt: self.clocks.wall().roundedToMilliseconds,
            interval: device.pollingInterval,
            manual: true
        )
    }

    private func publish(_ job: PollJob) async throws {
        do {
            try await self.jobs.publish(job)
        } catch {
            self.logger.error(
                "poll job not published",
                metadata: ["device": "\(job.deviceID)", "job": "\(job.jobID)", "error": "\(error)"]
            )
            throw ServiceError(.serviceUnavailable, "The queue does not take poll jobs now; try again", retryAfter: 5)
        }
    }

    private func changed(_ kind: DeviceEvent.Kind, _ id: Int) async {
        self.cache.invalidate(id)
        await self.announcer.announce(DeviceEvent(kind, deviceID: id))
    }
}
