package import Foundation
package import NMSCore
package import NMSStorage

// Changes by nobody in particular: for tests that are not about the audit. Only tests have them, so that the product
// can't change anything without saying who did it.

extension DeviceRepository {
    package func create(_ device: NewDevice) async throws -> Device {
        try await self.create(device, audit: .system)
    }

    package func update(id: Int, _ changes: DeviceChanges) async throws -> Device? {
        try await self.update(id: id, changes, audit: .system)
    }

    package func delete(id: Int) async throws -> Bool { try await self.delete(id: id, audit: .system) }

    package func provision(id: Int, credentialIDs: [Int], pollingInterval: Int?) async throws -> Device? {
        try await self.provision(
            id: id,
            credentialIDs: credentialIDs,
            pollingInterval: pollingInterval,
            audit: .system
        )
    }

    package func deprovision(id: Int) async throws -> Device? { try await self.deprovision(id: id, audit: .system) }
}

extension CredentialRepository {
    package func create(_ credential: NewCredential) async throws -> Credential {
        try await self.create(credential, audit: .system)
    }

    package func update(id: Int, _ changes: CredentialChanges) async throws -> Credential? {
        try await self.update(id: id, changes, audit: .system)
    }

    package func delete(id: Int) async throws -> Bool { try await self.delete(id: id, audit: .system) }

    package func resume(id: Int) async throws -> Credential? { try await self.resume(id: id, audit: .system) }
}

extension UserRepository {
    package func create(username: String, passwordHash: String, role: Role) async throws -> User {
        try await self.create(username: username, passwordHash: passwordHash, role: role, audit: .system)
    }

    package func createFirst(username: String, passwordHash: String, role: Role) async throws -> User? {
        try await self.createFirst(username: username, passwordHash: passwordHash, role: role, audit: .system)
    }

    package func setPassword(username: String, passwordHash: String) async throws -> Bool {
        try await self.setPassword(username: username, passwordHash: passwordHash, audit: .system)
    }

    package func remove(username: String) async throws -> Bool {
        try await self.remove(username: username, audit: .system)
    }
}

extension SessionRepository {
    package func create(userID: Int, tokenHash: String, expiresAt: Date) async throws -> String {
        try await self.create(userID: userID, tokenHash: tokenHash, expiresAt: expiresAt, audit: .system)
    }

    package func rotate(
        tokenHash: String,
        successorHash: String,
        successorExpiresAt: Date,
        now: Date
    ) async throws -> RefreshOutcome {
        try await self.rotate(
            tokenHash: tokenHash,
            successorHash: successorHash,
            successorExpiresAt: successorExpiresAt,
            now: now,
            audit: .system
        )
    }

    package func revoke(sessionID: String) async throws { try await self.revoke(sessionID: sessionID, audit: .system) }
}
