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

    fileprivate var nextCredential: PollFailure.NextCredential {
        switch self {
        case .authFailed, .credentialSuspended, .accessDenied, .tlsFailed, .encryptionRequired: .any
        case .connectionRefused, .hostUnreachable: .otherPort
        case .timeout, .connectionReset, .quotaExceeded, .wmiError, .countersMissing, .responseTooLarge,
            .protocolError:
            .none
        }
    }
}

/// A poll, or a part of it, that failed.
///
/// `message` says what failed, with what and what to do; it never holds a secret and is stored and shown to users.
package struct PollFailure: Error, Sendable, Equatable, CustomStringConvertible {
    package var code: PollErrorCode
    package var message: String
    /// Which of the device's further credentials are worth trying.
    ///
    /// By default what the code says; who knows more, such as that a timeout was that of connecting, may set it.
    package var next: NextCredential

    /// Which credentials may work after one has not.
    package enum NextCredential: Sendable, Equatable {
        /// None: a hiccup of the host must not send it credentials that are not valid there.
        case none
        /// Any: this one is not welcome.
        case any
        /// Those for another port: nobody was asked for anything here, and this port has no answer for others either.
        case otherPort
    }

    package init(_ code: PollErrorCode, _ message: String) {
        self.code = code
        self.message = message
        self.next = code.nextCredential
    }

    package var description: String { "\(self.code.rawValue): \(self.message)" }
}
