package import NMSCore
package import NMSStorage
internal import Synchronization

/// Tests whether a device can be polled with a credential, and says what is in the way.
package final class DiagnosisService: Sendable {
    /// At once, on this instance: each holds connections and a worker of the database for seconds.
    package static let concurrentDiagnoses = 4
    /// Seconds after which one of them is over.
    static let retryAfter = 10

    private let devices: DeviceRepository
    private let credentials: CredentialRepository
    private let audit: AuditRepository
    private let targets: TargetPolicy
    private let diagnosis: (any DeviceDiagnosing)?
    private let running = Mutex(0)

    /// - Parameters:
    ///   - targets: `targets.allow`.
    ///   - diagnosis: nil on an instance that cannot reach devices.
    package init(
        devices: DeviceRepository,
        credentials: CredentialRepository,
        audit: AuditRepository,
        targets: TargetPolicy,
        diagnosis: (any DeviceDiagnosing)?
    ) {
        self.devices = devices
        self.credentials = credentials
        self.audit = audit
        self.targets = targets
        self.diagnosis = diagnosis
    }

    /// What a test has shown.
    struct Outcome: Sendable {
        var device: Device
        var credential: Credential
        var report: DiagnosisReport
    }

    /// - Parameter credentialID: nil for the first of the device's own.
    /// - Throws: ``ServiceError``; `CancellationError` when the caller has gone away.
    func test(deviceID: Int, credentialID: Int?, audit: AuditContext) async throws -> Outcome {
        guard let device = try await self.devices.device(id: deviceID) else {
            throw ServiceError.notFound("Device", id: deviceID)
        }
        guard let chosen = credentialID ?? device.credentialIDs.first else {
            throw ServiceError(
                .conflict,
                "Device \(deviceID) has no credential; give the one to test with as credential_id, or provision the device"
            )
        }
        let known = try await self.credentials.credential(id: chosen)
        guard let known else { throw ServiceError.notFound("Credential", id: chosen, field: "credential_id") }
        let address = try self.permitted(device, known)
        guard let diagnosis = self.diagnosis else {
            throw ServiceError(.serviceUnavailable, "This instance does not reach devices; ask another")
        }
        try self.enter()
        defer { self.leave() }
        guard let credential = try await self.credentials.decrypted(id: chosen), credential.credential.allows(address)
        else { throw ServiceError(.conflict, "Credential \(chosen) was changed at this moment; try again") }
        let request = DiagnosisRequest(
            deviceID: device.id,
            address: address,
            hostname: device.hostname,
            credential: credential
        )
        let result: Result<DiagnosisReport, any Error>
        do { result = .success(try await diagnosis.diagnose(request)) } catch { result = .failure(error) }
        try await self.record(result, device, credential.credential, audit)
        return Outcome(device: device, credential: credential.credential, report: try result.get())
    }

    /// Takes note of an event of this or another instance.
    func handle(_ event: DeviceEvent) {
        guard event.event == .credentialUpdated, let id = event.credentialID else { return }
        self.diagnosis?.credentialChanged(id: id)
    }

    /// The address, if this credential may be sent there at all.
    private func permitted(_ device: Device, _ credential: Credential) throws -> IPAddress {
        guard let address = IPAddress(device.ip) else {
            throw ServiceError(.internalError, ServiceError.internalMessage)
        }
        guard self.targets.permits(address) else {
            throw ServiceError.targetNotAllowed("\(address)", by: "targets.allow")
        }
        guard credential.allows(address) else {
            throw ServiceError.targetNotAllowed("\(address)", by: "the allowed_targets of credential \(credential.id)")
        }
        return address
    }

    /// A task of its own: a test that its caller has left signed in all the same.
    private func record(
        _ result: Result<DiagnosisReport, any Error>,
        _ device: Device,
        _ credential: Credential,
        _ context: AuditContext
    ) async throws {
        let outcome: String
        switch result {
        case .success(let report):
            let failed = report.stages.first { $0.result == .failed }
            outcome = report.isOK ? "ok" : failed?.cause?.code.rawValue ?? "incomplete"
        case .failure(let error): outcome = error is CancellationError ? "cancelled" : "error"
        }
        let changes = AuditChanges(["result": .text(outcome), "credential_id": .integer(credential.id)])
        let audit = self.audit
        try await Task { try await audit.record(AuditEvent(.deviceTested, .device(device), changes), context) }.value
    }

    private func enter() throws(ServiceError) {
        let isFree = self.running.withLock { running in
            guard running < Self.concurrentDiagnoses else { return false }
            running += 1
            return true
        }
        guard isFree else {
            throw ServiceError(
                .rateLimited,
                "\(Self.concurrentDiagnoses) devices are being tested already; try again in a moment",
                retryAfter: Self.retryAfter
            )
        }
    }

    private func leave() { self.running.withLock { $0 -= 1 } }
}
