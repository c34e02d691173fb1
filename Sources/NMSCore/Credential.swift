package import struct Foundation.Date

/// Authentication details for Windows hosts, without the password (specification §4.3).
package struct Credential: Sendable, Equatable {
    package var id: Int
    package var name: String
    package var type: CredentialType
    package var username: String
    package var domain: String?
    /// TCP port, 1…65535; nil means the type's default.
    package var port: Int?
    package var useSSL: Bool
    package var tlsVerify: TLSVerification
    /// Basic over plain HTTP is refused unless this is set.
    package var allowUnencryptedBasic: Bool
    /// Networks that this credential may be sent to; empty means all.
    package var allowedTargets: [CIDRBlock]
    package var status: CredentialStatus
    package var createdAt: Date
    package var updatedAt: Date

    package init(
        id: Int,
        name: String,
        type: CredentialType,
        username: String,
        domain: String? = nil,
        port: Int? = nil,
        useSSL: Bool = false,
        tlsVerify: TLSVerification = .full,
        allowUnencryptedBasic: Bool = false,
        allowedTargets: [CIDRBlock] = [],
        status: CredentialStatus = .active,
        createdAt: Date,
        updatedAt: Date
    ) {
        self.id = id
        self.name = name
        self.type = type
        self.username = username
        self.domain = domain
        self.port = port
        self.useSSL = useSSL
        self.tlsVerify = tlsVerify
        self.allowUnencryptedBasic = allowUnencryptedBasic
        self.allowedTargets = allowedTargets
        self.status = status
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }

    /// The port to dial: the credential's own, else the type's default.
    package var effectivePort: Int { self.port ?? self.type.defaultPort(useSSL: self.useSSL) }

    /// Whether this credential may be sent to `address`.
    package func allows(_ address: IPAddress) -> Bool {
        self.allowedTargets.isEmpty || self.allowedTargets.contains { $0.contains(address) }
    }
}

/// A credential with its password, for the poller only; never leaves the process.
package struct DecryptedCredential: Sendable, Equatable {
    package var credential: Credential
    package var password: Secret

    package init(credential: Credential, password: Secret) {
        self.credential = credential
        self.password = password
    }
}
