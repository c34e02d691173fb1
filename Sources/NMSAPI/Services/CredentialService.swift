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

    func create(_ request: CreateCredentialRequest) async throws -> Credential {
        try await self.credentials.create(request.new)
    }

    func credential(id: Int) async throws -> Credential {
        guard let credential = try await self.credentials.credential(id: id) else {
            throw ServiceError.notFound("Credential", id: id)
        }
        return credential
    }

    func list(limit: Int, offset: Int) async throws -> Page<Credential> {
        try await self.credentials.list(limit: limit, offset: offset)
    }

    func update(id: Int, _ request: UpdateCredentialRequest, by principal: Principal) async throws -> Credential {
        let current = try await self.credential(id: id)
        if request.isEmpty { return current }
        let changes = request.changes
        try CredentialLimits.check(
            type: changes.type ?? current.type,
            username: changes.username ?? current.username,
            useSSL: changes.useSSL ?? current.useSSL,
            allowUnencryptedBasic: changes.allowUnencryptedBasic ?? current.allowUnencryptedBasic
        )
        try Self.checkWidening(from: current.allowedTargets, changes, by: principal)
        guard let updated = try await self.credentials.update(id: id, changes) else {
            throw ServiceError.notFound("Credential", id: id)
        }
        await self.announcer.announce(DeviceEvent(.credentialUpdated, credentialID: id))
        return updated
    }

    func delete(id: Int) async throws {
        guard try await self.credentials.delete(id: id) else { throw ServiceError.notFound("Credential", id: id) }
        await self.announcer.announce(DeviceEvent(.credentialUpdated, credentialID: id))
    }

    func resume(id: Int) async throws -> Credential {
        guard let credential = try await self.credentials.resume(id: id) else {
            throw ServiceError.notFound("Credential", id: id)
        }
        await self.announcer.announce(DeviceEvent(.credentialUpdated, credentialID: id))
        return credential
    }

    /// `allowed_targets` keeps an operator from sending a stored password to a host of his own: widening it takes an
    /// admin, or someone who knows the password and gives it in the same request.
    private static func checkWidening(
        from current: [CIDRBlock],
        _ changes: CredentialChanges,
        by principal: Principal
    ) throws {
        guard let wanted = changes.allowedTargets, !current.isEmpty else { return }
        let widens =
            wanted.isEmpty
            || !wanted.allSatisfy { block in
                current.contains { $0.contains(block.network) && $0.prefixLength <= block.prefixLength }
            }
        guard widens, !principal.role.covers(.admin), changes.password == nil else { return }
        throw ServiceError(
            .forbidden,
            "Only an admin may widen allowed_targets without giving the password anew",
            details: ErrorDetails(field: "allowed_targets")
        )
    }
}
