internal import NMSCore
internal import NMSStorage
internal import struct Foundation.Date

/// `/credentials…`.
struct CredentialController: Sendable {
    let credentials: CredentialService

    @Sendable func list(_ call: EndpointCall) async throws -> Answer {
        var query = try QueryReader(call.query)
        let limit = query.integer("limit", ListLimits.range, default: ListLimits.defaultLimit)
        let offset = query.integer("offset", ListLimits.offsets, default: 0)
        try query.finish()
        let page = try await self.credentials.list(limit: limit, offset: offset)
        return .ok(
            CredentialListBody(
                credentials: page.items.map(CredentialBody.init),
                total: page.total,
                limit: page.limit,
                offset: page.offset
            )
        )
    }

    @Sendable func create(_ call: EndpointCall) async throws -> Answer {
        let credential = try await self.credentials.create(CreateCredentialRequest(call.body))
        return .created(CredentialBody(credential))
    }

    @Sendable func get(_ call: EndpointCall) async throws -> Answer {
        .ok(CredentialBody(try await self.credentials.credential(id: call.id())))
    }

    @Sendable func update(_ call: EndpointCall) async throws -> Answer {
        let updated = try await self.credentials.update(
            id: call.id(),
            UpdateCredentialRequest(call.body),
            by: call.caller()
        )
        return .ok(CredentialBody(updated))
    }

    @Sendable func delete(_ call: EndpointCall) async throws -> Answer {
        try await self.credentials.delete(id: call.id())
        return .ok(MessageBody(message: "Credential deleted"))
    }

    @Sendable func resume(_ call: EndpointCall) async throws -> Answer {
        .ok(CredentialBody(try await self.credentials.resume(id: call.id())))
    }
}

/// Bounds of lists.
enum ListLimits {
    static let defaultLimit = 50
    static let range = 1...1_000
    static let offsets = 0...Int(Int32.max)
}

/// A credential as clients see it: without its password in any form.
struct CredentialBody: Encodable, Sendable {
    let id: Int
    let name: String
    let credentialType: CredentialType
    let username: String
    @OrNull var domain: String?
    /// The one that is dialled, also when it is the type's default.
    let port: Int
    let useSSL: Bool
    let tlsVerify: TLSVerification
    let allowUnencryptedBasic: Bool
    let allowedTargets: [String]
    let status: CredentialStatus
    let createdAt: Date
    let updatedAt: Date

    init(_ credential: Credential) {
        self.id = credential.id
        self.name = credential.name
        self.credentialType = credential.type
        self.username = credential.username
        self._domain = OrNull(wrappedValue: credential.domain)
        self.port = credential.effectivePort
        self.useSSL = credential.useSSL
        self.tlsVerify = credential.tlsVerify
        self.allowUnencryptedBasic = credential.allowUnencryptedBasic
        self.allowedTargets = credential.allowedTargets.map(\.description)
        self.status = credential.status
        self.createdAt = credential.createdAt
        self.updatedAt = credential.updatedAt
    }

    enum CodingKeys: String, CodingKey {
        case id, name
        case credentialType = "credential_type"
        case username, domain, port
        case useSSL = "use_ssl"
        case tlsVerify = "tls_verify"
        case allowUnencryptedBasic = "allow_unencrypted_basic"
        case allowedTargets = "allowed_targets"
        case status
        case createdAt = "created_at"
        case updatedAt = "updated_at"
    }
}

struct CredentialListBody: Encodable, Sendable {
    let credentials: [CredentialBody]
    let total: Int
    let limit: Int
    let offset: Int
}
