/// Why something with a host did not work. Never contains a password, a token or a key.
package enum WinRMError: Error, Sendable, Hashable {
    /// What was going on when time ran out.
    package enum Phase: String, Sendable, Hashable {
        case connecting = "connecting"
        case handshake = "the TLS handshake"
        case authenticating = "signing in"
        case request = "waiting for the answer"
    }

    /// The deadline passed. The connection is closed, as its answer would come out of step.
    case timedOut(Phase)
    /// Nothing listens on the port.
    case connectionRefused
    /// There is no way to the host; the text names the system's error.
    case hostUnreachable(String)
    /// This machine lacks what a connection needs, such as descriptors or ports; it says nothing about the host.
    case localShortage(String)
    /// The connection broke in the middle of something.
    case connectionReset(String)
    /// The host closed the connection before the first byte of an answer, as it may between requests: connect anew.
    case connectionClosed
    case tlsFailed(TLSFailure)
    /// An HTTP body or an enumeration over the limit in bytes.
    case responseTooLarge(limit: Int)
    /// The host does not follow HTTP, the sealing, SOAP or WS-Management.
    case protocolViolation(String)
    /// An HTTP status without anything that explains it.
    case httpStatus(Int)
    /// The host refused user name and password. The only error that counts as a failed login there.
    case authenticationFailed(String)
    /// A 401 after signing in: sign in again on a new connection, once.
    case authenticationExpired
    /// The host offers no scheme that these credentials can use.
    case noCommonScheme(offered: [String])
    /// The host does not take unencrypted messages.
    case encryptionRequired(String)
    /// This client does not send a password over plain HTTP unless told so.
    case unencryptedBasicRefused
    case fault(WSManFault)
    /// The calling task was cancelled.
    case cancelled
    /// The caller did something out of order.
    case misuse(String)
}

/// Why a TLS connection was not trusted or not made.
package enum TLSFailure: Error, Sendable, Hashable {
    /// The certificate's time is over.
    case expired(name: String)
    /// The certificate's time has not begun.
    case notYetValid(name: String)
    /// No chain to a trusted root.
    case untrusted(name: String)
    /// The certificate is for other names.
    case nameMismatch(expected: [String], presented: [String])
    /// A certificate that cannot be read, or none.
    case unreadableCertificate
    /// The CA file is missing or holds no certificate.
    case invalidCAFile(String)
    /// No common version or cipher, a port that does not speak TLS, and the like.
    case handshake(String)
}

extension WinRMError {
    /// Coarse kinds for callers that report in codes.
    package enum Category: String, Sendable, Hashable, CaseIterable {
        case timeout
        case connectionRefused
        case connectionReset
        case hostUnreachable
        /// Of this machine, not of the host.
        case localShortage
        case tlsFailed
        /// Wrong user name or password.
        case authenticationFailed
        /// Signing in was not possible or not attempted with these credentials; no failed login on the host.
        case authenticationUnavailable
        case accessDenied
        case encryptionRequired
        case quotaExceeded
        /// A class, namespace or filter that the host does not know.
        case missingClass
        /// Any other fault of WMI or WS-Management.
        case queryFailed
        case responseTooLarge
        case protocolError
        case cancelled
    }

    package var category: Category {
        switch self {
        case .timedOut: .timeout
        case .connectionRefused: .connectionRefused
        case .hostUnreachable: .hostUnreachable
        case .localShortage: .localShortage
        case .connectionReset, .connectionClosed: .connectionReset
        case .tlsFailed: .tlsFailed
        case .responseTooLarge: .responseTooLarge
        case .protocolViolation, .misuse: .protocolError
        case .httpStatus(403): .accessDenied
        case .httpStatus: .protocolError
        case .authenticationFailed, .authenticationExpired: .authenticationFailed
        case .noCommonScheme: .authenticationUnavailable
        case .encryptionRequired, .unencryptedBasicRefused: .encryptionRequired
        case .cancelled: .cancelled
        case .fault(let fault):
            switch fault.kind {
            case .accessDenied: .accessDenied
            case .quotaExceeded: .quotaExceeded
            case .timedOut: .timeout
            case .missingClass: .missingClass
            case .tooLarge: .responseTooLarge
            case .other: .queryFailed
            }
        }
    }

    /// Whether the host has counted a failed login, so that a lock-out is one step nearer.
    package var countsAsFailedLogin: Bool {
        if case .authenticationFailed = self { true } else { false }
    }

    /// Whether the same request may be tried at once on a new connection: the host had not begun to answer it on one
    /// that was used before, or it wants the client to sign in anew.
    package var suggestsReconnect: Bool {
        switch self {
        case .connectionClosed, .authenticationExpired: true
        default: false
        }
    }
}

extension WinRMError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .timedOut(let phase):
            "the host did not answer in time (\(phase.rawValue))"
        case .connectionRefused:
            "the host refused the connection: nothing listens on this port; enable WinRM or check the port"
        case .hostUnreachable(let why):
            "the host cannot be reached: \(why)"
        case .localShortage(let why):
            "this machine lacks what a connection needs: \(why)"
        case .connectionReset(let why):
            "the connection broke: \(why)"
        case .connectionClosed:
            "the host closed the connection before it answered"
        case .tlsFailed(let failure):
            "TLS failed: \(failure)"
        case .responseTooLarge(let limit):
            "the answer is larger than \(limit) bytes"
        case .protocolViolation(let what):
            "the host does not follow the protocol: \(what)"
        case .httpStatus(let status):
            "the host answered with HTTP status \(status)"
        case .authenticationFailed(let why):
            "the host refused user name or password\(why.isEmpty ? "" : ": \(why)")"
        case .authenticationExpired:
            "the host no longer accepts the connection's authentication; sign in again on a new connection"
        case .noCommonScheme(let offered):
            "the host offers no authentication that these credentials can use; it offers "
                + (offered.isEmpty ? "none" : offered.joined(separator: ", "))
        case .encryptionRequired(let why):
            "the host requires encryption: \(why)"
        case .unencryptedBasicRefused:
            "a password is not sent over plain HTTP; use HTTPS, NTLM, or allow unencrypted Basic for this credential"
        case .fault(let fault):
            fault.description
        case .cancelled:
            "the request was cancelled"
        case .misuse(let what):
            "the connection was used wrongly: \(what)"
        }
    }
}

extension TLSFailure: CustomStringConvertible {
    package var description: String {
        switch self {
        case .expired(let name):
            "the certificate (\(name)) has expired; renew it on the host"
        case .notYetValid(let name):
            "the certificate (\(name)) is not valid yet; check the clocks"
        case .untrusted(let name):
            "no trusted authority has signed the certificate (\(name)); add its authority to the CA file, "
                + "or turn verification off for this credential"
        case .nameMismatch(let expected, let presented):
            "the certificate is for \(presented.isEmpty ? "no name" : presented.joined(separator: ", ")), not for "
                + "\(expected.joined(separator: " or ")); issue one with that name, or verify the chain only"
        case .unreadableCertificate:
            "the host's certificate is missing or cannot be read"
        case .invalidCAFile(let path):
            "the CA file \(path) is missing or holds no certificate in PEM form"
        case .handshake(let why):
            "the handshake failed (\(why)); check that the port speaks TLS 1.2 or later"
        }
    }
}
