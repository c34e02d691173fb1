internal import NMSCore
internal import NMSStorage

/// The body of `POST /credentials`.
struct CreateCredentialRequest: RequestBody {
    static let example: JSONValue = [
        "name": "Windows Admin", "credential_type": "winrm_ntlm", "username": "administrator",
        "password": "P@ssw0rd123", "domain": "CORP", "port": 5985, "use_ssl": false,
        "allowed_targets": ["192.168.1.0/24"],
    ]

    let new: NewCredential

    init(_ fields: inout FieldReader) throws(ServiceError) {
        let name = fields.required("name", .credentialName)
        let type = fields.required("credential_type", FieldRule<CredentialType>.choice)
        let username = fields.required("username", .text())
        let password = fields.required("password", .credentialPassword)
        let domain = fields.credentialDomain()
        let port = fields.nullable("port", .credentialPort)
        let useSSL = fields.optional("use_ssl", .bool, default: false)
        let tlsVerify = fields.optional("tls_verify", .tlsVerify, default: .full)
        let allowUnencryptedBasic = fields.optional("allow_unencrypted_basic", .unencryptedBasic, default: false)
        let targets = fields.optional("allowed_targets", .allowedTargets, default: [], shownAs: [])
        fields.declare("anyOf", CredentialLimits.schema)
        try fields.finish()
        guard let name, let type, let username, let password else {
            throw ServiceError(.validationError, "The request is not valid")
        }
        try CredentialLimits.check(
            type: type,
            username: username,
            useSSL: useSSL,
            allowUnencryptedBasic: allowUnencryptedBasic
        )
        self.new = NewCredential(
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
    }
}

/// The body of `PUT /credentials/{id}`: what is left out stays as it is.
struct UpdateCredentialRequest: RequestBody {
    static let example: JSONValue = ["password": "N3w-P@ssw0rd"]

    let changes: CredentialChanges
    let isEmpty: Bool

    init(_ fields: inout FieldReader) throws(ServiceError) {
        var changes = CredentialChanges()
        changes.name = fields.optional("name", .credentialName)
        changes.type = fields.optional("credential_type", FieldRule<CredentialType>.choice)
        changes.username = fields.optional("username", .text())
        changes.password = fields.optional("password", .credentialPassword)
        changes.domain = fields.credentialDomain()
        changes.port = fields.nullable("port", .credentialPort)
        changes.useSSL = fields.optional("use_ssl", .bool)
        changes.tlsVerify = fields.optional("tls_verify", .tlsVerify)
        changes.allowUnencryptedBasic = fields.optional("allow_unencrypted_basic", .unencryptedBasic)
        changes.allowedTargets = fields.optional("allowed_targets", .allowedTargets)
        self.changes = changes
        self.isEmpty = fields.isEmpty
        try fields.finish()
    }
}

extension FieldReader {
    /// An empty domain means none, as in the specification's `omitempty`.
    fileprivate mutating func credentialDomain() -> String?? {
        self.nullable("domain", .domainOrEmpty.described("NetBIOS or DNS; empty means none."))
            .map { $0 == "" ? nil : $0 }
    }
}

// What both bodies have.

extension FieldRule where Value == String {
    fileprivate static var credentialName: Self { .text().described("Unique, compared without case.") }
}

extension FieldRule where Value == Secret {
    fileprivate static var credentialPassword: Self {
        .secret(atMost: CredentialLimits.passwordLength).described("Stored encrypted, and never answered.")
    }
}

extension FieldRule where Value == Int {
    fileprivate static var credentialPort: Self {
        .port.described("Null, or none: 135 for `wmi`, else 5986 with `use_ssl` and 5985 without.")
    }
}

extension FieldRule where Value == Bool {
    fileprivate static var unencryptedBasic: Self {
        .bool.described("Lets `winrm_basic` send the password readable, without `use_ssl`.")
    }
}

extension FieldRule where Value == TLSVerification {
    fileprivate static var tlsVerify: Self {
        .choice.described(
            "`full`: a trusted chain, and a certificate that names the device; `chain`: a trusted chain; `none`: no check."
        )
    }
}

extension FieldRule where Value == [CIDRBlock] {
    fileprivate static var allowedTargets: Self {
        .networks(atMost: CredentialLimits.allowedTargets)
            .described("Networks that the credential may be sent to; empty means all. A bare address is one host.")
    }
}

enum CredentialLimits {
    /// Windows takes up to 256; other directories more.
    static let passwordLength = 1024
    static let allowedTargets = 256

    /// What ``check(type:username:useSSL:allowUnencryptedBasic:)`` demands of a whole credential, in JSON Schema.
    static let schema: JSONValue = [
        ["properties": ["credential_type": ["enum": ["wmi", "winrm_ntlm"]]]],
        [
            "properties": ["username": ["pattern": "^[^:]*$"], "use_ssl": ["const": true]],
            "required": ["use_ssl"],
        ],
        [
            "properties": ["username": ["pattern": "^[^:]*$"], "allow_unencrypted_basic": ["const": true]],
            "required": ["allow_unencrypted_basic"],
        ],
    ]

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
