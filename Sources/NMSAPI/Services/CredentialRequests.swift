internal import NMSCore
internal import NMSStorage

/// The body of `POST /credentials`.
struct CreateCredentialRequest {
    let new: NewCredential

    init(_ body: JSONValue) throws(ServiceError) {
        var fields = try FieldReader(body)
        let name = fields.required("name", .text())
        let type = fields.required("credential_type", FieldRule<CredentialType>.choice)
        let username = fields.required("username", .text())
        let password = fields.required("password", .secret(atMost: CredentialLimits.passwordLength))
        let domain = fields.credentialDomain()
        let port = fields.nullable("port", .port)
        let useSSL = fields.optional("use_ssl", .bool) ?? false
        let tlsVerify = fields.optional("tls_verify", FieldRule<TLSVerification>.choice) ?? .full
        let allowUnencryptedBasic = fields.optional("allow_unencrypted_basic", .bool) ?? false
        let targets = fields.optional("allowed_targets", .networks(atMost: CredentialLimits.allowedTargets)) ?? []
        try fields.finish()
        guard let name, let type, let username, let password else {
            throw ServiceError(.validationError, "The request is not valid")
        }
        let new = NewCredential(
            name: name,
            type: type,
            username: username,
            password: password,
            domain: domain ?? nil,
            port: port ?? nil,
            useSSL: useSSL,
            tlsVerify: tlsVerify,
            allowUnencryptedBasic: allowUnencryptedBasic,
            allowedTargets: targets
        )
        try CredentialLimits.check(
            type: type,
            username: username,
            useSSL: useSSL,
            allowUnencryptedBasic: allowUnencryptedBasic
        )
        self.new = new
    }
}

/// The body of `PUT /credentials/{id}`: what is left out stays as it is.
struct UpdateCredentialRequest {
    let changes: CredentialChanges
    let isEmpty: Bool

    init(_ body: JSONValue) throws(ServiceError) {
        var fields = try FieldReader(body)
        var changes = CredentialChanges()
        changes.name = fields.optional("name", .text())
        changes.type = fields.optional("credential_type", FieldRule<CredentialType>.choice)
        changes.username = fields.optional("username", .text())
        changes.password = fields.optional("password", .secret(atMost: CredentialLimits.passwordLength))
        changes.domain = fields.credentialDomain()
        changes.port = fields.nullable("port", .port)
        changes.useSSL = fields.optional("use_ssl", .bool)
        changes.tlsVerify = fields.optional("tls_verify", FieldRule<TLSVerification>.choice)
        changes.allowUnencryptedBasic = fields.optional("allow_unencrypted_basic", .bool)
        changes.allowedTargets = fields.optional(
            "allowed_targets",
            .networks(atMost: CredentialLimits.allowedTargets)
        )
        try fields.finish()
        self.changes = changes
        self.isEmpty = body == .object([:])
    }
}

extension FieldReader {
    /// An empty domain means none, as in the specification's `omitempty`.
    fileprivate mutating func credentialDomain() -> String?? {
        self.nullable(
            "domain",
            FieldRule<String> { field, value in
                value == .string("") ? .success("") : FieldRule.domain.read(field, value)
            }
        ).map { $0 == "" ? nil : $0 }
    }
}

enum CredentialLimits {
    /// Windows takes up to 256; other directories more.
    static let passwordLength = 1024
    static let allowedTargets = 256

    /// Rules that concern several fields.
    static func check(
        type: CredentialType,
        username: String,
        useSSL: Bool,
        allowUnencryptedBasic: Bool
    ) throws(ServiceError) {
        guard type == .winrmBasic else { return }
        if username.contains(":") {
            // RFC 7617 §2: the first colon ends the user-id.
            throw .invalid(
                "username",
                "username must not contain a colon with credential_type winrm_basic",
                value: EchoedValue.of(.string(username))
            )
        }
        if !useSSL && !allowUnencryptedBasic {
            throw .invalid(
                "use_ssl",
                "winrm_basic without use_ssl would send the password readable over the network; "
                    + "set use_ssl, or allow_unencrypted_basic if that is really wanted",
                value: .bool(false)
            )
        }
    }
}
