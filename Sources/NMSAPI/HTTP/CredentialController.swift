internal import NMSCore
internal import NMSStorage
internal import struct Foundation.Date

/// `/credentials…`.
struct CredentialController: Sendable {
    let credentials: CredentialService

    @Sendable func list(_ call: Call<CredentialListQuery, NoBody>) async throws -> CredentialListBody {
        let page = try await self.credentials.list(call.query.filter)
        return CredentialListBody(
            credentials: page.items.map(CredentialBody.init),
            total: page.total,
            limit: page.limit,
            offset: page.offset
        )
    }

    @Sendable func create(_ call: Call<NoQuery, CreateCredentialRequest>) async throws -> CredentialBody {
        let credential = try await self.credentials.create(call.body, audit: call.audit())
        return CredentialBody(credential)
    }

    @Sendable func get(_ call: Call<NoQuery, NoBody>) async throws -> CredentialBody {
        CredentialBody(try await self.credentials.credential(id: call.id()))
    }

    @Sendable func update(_ call: Call<NoQuery, UpdateCredentialRequest>) async throws -> CredentialBody {
        let updated = try await self.credentials.update(
            id: call.id(),
            call.body,
            by: call.caller(),
            audit: call.audit()
        )
        return CredentialBody(updated)
    }

    @Sendable func delete(_ call: Call<NoQuery, NoBody>) async throws -> MessageBody {
        try await self.credentials.delete(id: call.id(), audit: call.audit())
        return MessageBody(message: "Credential deleted")
    }

    @Sendable func resume(_ call: Call<NoQuery, NoBody>) async throws -> CredentialBody {
        CredentialBody(try await self.credentials.resume(id: call.id(), audit: call.audit()))
    }
}

/// The query of `GET /credentials`.
struct CredentialListQuery: RequestQuery {
    let filter: CredentialFilter

    init(_ query: inout QueryReader) throws(ServiceError) {
        var filter = CredentialFilter()
        filter.type = query.choice("credential_type", CredentialType.self, "Only credentials of this type.")
        filter.status = query.choice("status", CredentialStatus.self, "Only credentials with this status.")
        filter.search = query.text(
            "search",
            "Only credentials with this text in `name`, `username` or `domain`, in any case."
        )
        (filter.sort, filter.descending) = query.sort(by: CredentialFilter.SortField.self, default: .id)
        (filter.limit, filter.offset) = query.page()
        self.filter = filter
    }
}

/// Bounds of lists.
enum ListLimits {
    static let defaultLimit = 50
    static let range = 1...1_000
    static let offsets = 0...Int(Int32.max)
}

/// A credential as clients see it: without its password in any form.
struct CredentialBody: ResponseBody {
    static let schema = JSONSchema.object([
        "id": .id,
        "name": .string(length: 1...255),
        "credential_type": .choice(CredentialType.self),
        "username": .string(length: 1...255),
        "domain": JSONSchema.string(length: 1...255).orNull,
        "port": JSONSchema.integer(1...65_535)
            .described("The one that is dialled, also when it is the default of type and `use_ssl`."),
        "use_ssl": .boolean,
        "tls_verify": .choice(TLSVerification.self),
        "allow_unencrypted_basic": .boolean,
        "allowed_targets": JSONSchema.array(of: .string(pattern: SchemaPattern.network))
            .described("Networks that the credential may be sent to; empty means all."),
        "status": JSONSchema.choice(CredentialStatus.self)
            .described("`suspended` by the lockout guard until its password changes or someone resumes it."),
        "created_at": .time,
        "updated_at": .time,
    ])

    static let example: JSONValue = [
        "id": 1, "name": "Windows Admin", "credential_type": "winrm_ntlm", "username": "administrator",
        "domain": "CORP", "port": 5985, "use_ssl": false, "tls_verify": "full", "allow_unencrypted_basic": false,
        "allowed_targets": ["192.168.1.0/24"], "status": "active", "created_at": "2025-12-03T10:00:00.000Z",
        "updated_at": "2025-12-03T10:00:00.000Z",
    ]

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

struct CredentialListBody: ResponseBody {
    static let schema = JSONSchema.page("credentials", of: .reference(to: CredentialBody.self))
    static let example: JSONValue = [
        "credentials": [CredentialBody.example], "total": 1, "limit": 50, "offset": 0,
    ]

    let credentials: [CredentialBody]
    let total: Int
    let limit: Int
    let offset: Int
}
