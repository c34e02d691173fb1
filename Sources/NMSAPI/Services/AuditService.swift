internal import NMSCore
internal import NMSStorage

/// Reads the audit: who changed what and when.
struct AuditService: Sendable {
    let audit: AuditRepository

    func list(_ filter: AuditFilter) async throws -> Page<AuditEntry> { try await self.audit.list(filter) }
}

extension AuditActor {
    init(_ principal: Principal) {
        self = .user(id: principal.userID, username: principal.username, role: principal.role)
    }
}
