/// How NMSlite signs in to a Windows machine (specification §4.3).
package enum CredentialType: String, Codable, Sendable, CaseIterable {
    /// WMI over DCOM with NTLM.
    case wmi
    /// WS-Management with HTTP Basic.
    case winrmBasic = "winrm_basic"
    /// WS-Management with NTLM inside `Negotiate`.
    case winrmNTLM = "winrm_ntlm"

    /// The port that Windows listens on by default for this type.
    package func defaultPort(useSSL: Bool) -> Int {
        switch self {
        case .wmi: 135
        case .winrmBasic, .winrmNTLM: useSSL ? 5986 : 5985
        }
    }
}

/// How much of a host's TLS certificate must be right.
package enum TLSVerification: String, Codable, Sendable, CaseIterable {
    /// A trusted chain, and a certificate that names the device's hostname or address.
    case full
    /// A trusted chain; the name is not compared.
    case chain
    /// No check at all: an explicit opt-out per credential.
    case none
}

/// Whether a credential may be used for signing in.
package enum CredentialStatus: String, Codable, Sendable, CaseIterable {
    case active
    /// Stopped by the lockout guard until its password changes or someone resumes it.
    case suspended
}
