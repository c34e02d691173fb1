/// Why a poll failed; the value of a device's `last_error.code`.
package enum PollErrorCode: String, Codable, Sendable, CaseIterable {
    case timeout
    case connectionRefused = "connection_refused"
    case connectionReset = "connection_reset"
    case hostUnreachable = "host_unreachable"
    case tlsFailed = "tls_failed"
    case authFailed = "auth_failed"
    case credentialSuspended = "credential_suspended"
    case accessDenied = "access_denied"
    case encryptionRequired = "encryption_required"
    case quotaExceeded = "quota_exceeded"
    case wmiError = "wmi_error"
    case countersMissing = "counters_missing"
    case responseTooLarge = "response_too_large"
    case protocolError = "protocol_error"

    /// A hiccup of the host must not send it credentials that are not valid there.
    fileprivate var suggestsOtherCredential: Bool {
        switch self {
        case .authFailed, .credentialSuspended, .accessDenied, .connectionRefused, .hostUnreachable, .tlsFailed,
            .encryptionRequired:
            true
        case .timeout, .connectionReset, .quotaExceeded, .wmiError, .countersMissing, .responseTooLarge,
            .protocolError:
            false
        }
    }
}

/// A poll, or a part of it, that failed.
///
/// `message` says what failed, with what and what to do; it never holds a secret and is stored and shown to users.
package struct PollFailure: Error, Sendable, Equatable, CustomStringConvertible {
    package var code: PollErrorCode
    package var message: String
    /// Whether the device's next credential is worth trying: this one's way in is closed, or it is not welcome.
    ///
    /// By default what the code says; who knows more, such as that a timeout was that of connecting, may set it.
    package var otherCredentialMayHelp: Bool

    package init(_ code: PollErrorCode, _ message: String) {
        self.code = code
        self.message = message
        self.otherCredentialMayHelp = code.suggestsOtherCredential
    }

    package var description: String { "\(self.code.rawValue): \(self.message)" }
}
