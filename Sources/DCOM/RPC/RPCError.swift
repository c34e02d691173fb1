/// Why something with a host did not work at the level of RPC. Never contains a password, a token or a key.
package enum RPCError: Error, Sendable, Hashable {
    /// What was going on when time ran out.
    package enum Phase: String, Sendable, Hashable {
        case connecting = "connecting"
        case waiting = "waiting for the connection's other calls"
        case binding = "binding"
        case authenticating = "signing in"
        case call = "waiting for the answer"
    }

    /// The deadline passed. The connection is closed, as its answer would come out of step.
    case timedOut(Phase)
    /// The deadline passed before anything was sent. The connection is as good as before.
    case notStarted(Phase)
    /// Nothing listens on the port.
    case connectionRefused
    /// There is no way to the host; the text names the system's error.
    case hostUnreachable(String)
    /// This machine lacks what a connection needs, such as descriptors or ports; it says nothing about the host.
    case localShortage(String)
    /// The connection broke in the middle of something; the text names what.
    case connectionReset(String)
    /// The host closed the connection before the first byte of an answer, as it may between calls: connect anew.
    case connectionClosed
    /// A stub over the limit in bytes.
    case responseTooLarge(limit: Int)
    /// The host does not follow DCE/RPC.
    case protocolViolation(String)
    /// An answer whose signature is wrong or missing, or that came twice. The connection is closed.
    case integrityFailed(String)
    /// The host refuses the association.
    case bindRejected(RPCBindNak.Reason, versions: [RPCBindNak.Version])
    /// The host refuses an interface; the text names why. The connection is still good.
    case interfaceRejected(RPCInterface, String)
    /// The host refused user name and password. The only error that counts as a failed login there.
    case authenticationFailed(String)
    /// The host cannot sign anybody in this way; nothing was proved and no failed login counted.
    case authenticationUnavailable(String)
    /// The host knows the user, and denies the call.
    case accessDenied
    /// The host answered the call with a fault. The connection is still good.
    case fault(RPCStatus, didNotExecute: Bool)
    /// The calling task was cancelled.
    case cancelled
    /// The caller did something out of order.
    case misuse(String)
}

extension RPCError {
    /// Whether the host has counted a failed login, so that a lock-out is one step nearer.
    package var countsAsFailedLogin: Bool {
        if case .authenticationFailed = self { true } else { false }
    }

    /// Whether the same call may be tried at once on a new connection: the host had not begun to answer it on one that
    /// was used before.
    package var suggestsReconnect: Bool { self == .connectionClosed }

    /// Whether the connection can be used after this error; never after a refused first association.
    package var leavesConnectionOpen: Bool {
        switch self {
        case .fault, .accessDenied, .interfaceRejected, .misuse, .notStarted: true
        default: false
        }
    }
}

extension RPCError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .timedOut(let phase):
            "the host did not answer in time (\(phase.rawValue))"
        case .notStarted(let phase):
            "no time was left to ask the host (\(phase.rawValue))"
        case .connectionRefused:
            "the host refused the connection: nothing listens on this port; check the port and that RPC is allowed"
        case .hostUnreachable(let why):
            "the host cannot be reached: \(why)"
        case .localShortage(let why):
            "this machine lacks what a connection needs: \(why)"
        case .connectionReset(let why):
            "the connection broke: \(why)"
        case .connectionClosed:
            "the host closed the connection before it answered"
        case .responseTooLarge(let limit):
            "the answer is larger than \(limit) bytes"
        case .protocolViolation(let what):
            "the host does not follow the protocol: \(what)"
        case .integrityFailed(let what):
            "an answer cannot be trusted: \(what)"
        case .bindRejected(let reason, let versions):
            "the host refused the association: \(reason)"
                + (versions.isEmpty
                    ? ""
                    : "; it speaks DCE/RPC " + versions.map { "\($0.major).\($0.minor)" }.joined(separator: ", "))
        case .interfaceRejected(let interface, let why):
            "the host refused the interface \(interface): \(why)"
        case .authenticationFailed(let why):
            "the host refused user name or password\(why.isEmpty ? "" : ": \(why)")"
        case .authenticationUnavailable(let why):
            "signing in with NTLM is not possible: \(why)"
        case .accessDenied:
            "the host denied the call; the user lacks rights to it"
        case .fault(let status, let didNotExecute):
            "the host answered with the fault \(status)\(didNotExecute ? ", without executing the call" : "")"
        case .cancelled:
            "the call was cancelled"
        case .misuse(let what):
            "the connection was used wrongly: \(what)"
        }
    }
}
