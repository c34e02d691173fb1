internal import NMSCore
package import NMSStorage

/// Credentials for Windows hosts (specification §4.3). No answer ever holds a password.
package struct CredentialService: Sendable {
    private let credentials: CredentialRepository
    private let announcer: EventAnnouncer

    package init(credentials: CredentialRepository, announcer: EventAnnouncer) {
        self.credentials = credentials
        self.announcer = announcer
    }

    func create(_ request: CreateCredentialRequest, audit: AuditContext) async throws -> Credential {
        try await self.credentials.create(request.new, audit: audit)
    }

    func credential(id: Int) async throws -> Credential {
        guard let credential = try await self.credentials.credential(id: id) else {
            throw ServiceError.notFound("Credential", id: id)
        }
        return credential
    }

    func list(_ filter: CredentialFilter) async throws -> Page<Credential> {
        try await self.credentials.list(filter)
    }

    func update(
        id: Int,
        _ request: UpdateCredentialRequest,
        by principal: Principal,
        audit: AuditContext
    ) async throws -> Credential {
        if request.isEmpty { return try await self.credential(id: id) }
        let changes = request.changes
        let updated = try await self.credentials.update(id: id, changes, audit: audit) { current in
            try CredentialLimits.check(
                type: changes.type ?? current.type,
                username: changes.username ?? current.username,
                useSSL: changes.useSSL ?? current.useSSL,
                allowUnencryptedBasic: changes.allowUnencryptedBasic ?? current.allowUnencryptedBasic
            )
            try CredentialExposure.check(changes, of: current, by: principal)
        }
        guard let updated else { throw ServiceError.notFound("Credential", id: id) }
        await self.announcer.announce(DeviceEvent(.credentialUpdated, credentialID: id))
        return updated
    }

    func delete(id: Int, audit: AuditContext) async throws {
        guard try await self.credentials.delete(id: id, audit: audit) else {
            throw ServiceError.notFound("Credential", id: id)
        }
        await self.announcer.announce(DeviceEvent(.credentialUpdated, credentialID: id))
    }

    func resume(id: Int, audit: AuditContext) async throws -> Credential {
        guard let credential = try await self.credentials.resume(id: id, audit: audit) else {
            throw ServiceError.notFound("Credential", id: id)
        }
        await self.announcer.announce(DeviceEvent(.credentialUpdated, credentialID: id))
        return credential
    }
}
