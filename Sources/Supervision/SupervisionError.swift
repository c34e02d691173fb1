package import Glibc

/// What keeps a child server from running.
package enum SupervisionError: Error, Equatable, CustomStringConvertible {
    /// Another process holds the lock of a directory; `pid` when it could be read.
    case directoryInUse(directory: String, pid: Int?)
    /// Children of an earlier process are still ending.
    case childrenStillRunning(directory: String, waited: Duration)
    case userMissing(name: String)
    case userUnnamed(uid: uid_t)
    /// A user cannot enter `blocked`, which lies on the way to `directory`.
    case directoryUnreachable(directory: String, blocked: String, user: String)
    /// Something of another kind or owner stands where a private directory should be.
    case directoryUnsafe(path: String, reason: String)
    case cannotStart(name: String, reason: String)
    /// It ended, or did not become ready, before it was ready for the first time.
    case neverReady(name: String, reason: String, lastLines: [String])
    case system(operation: String, path: String, code: Int32)

    package var description: String {
        switch self {
        case .directoryInUse(let directory, let pid):
            let holder = pid.map { "process \($0)" } ?? "another process"
            return "the directory \(directory) is in use by \(holder); stop that first, or choose another directory"
        case .childrenStillRunning(let directory, let waited):
            return "servers of an earlier process are still running on \(directory) after \(waited); end them first"
        case .userMissing(let name):
            return "there is no user '\(name)', which child servers run as when started by root; "
                + "install the package that makes it, or run: adduser --system --group \(name)"
        case .userUnnamed(let uid):
            return
                "user id \(uid) has no entry in the password database, which PostgreSQL needs; add one to /etc/passwd"
        case .directoryUnreachable(let directory, let blocked, let user):
            return "user '\(user)' cannot reach the directory \(directory): \(blocked) does not let it in; "
                + "run: chmod o+x '\(blocked)', or choose another directory"
        case .directoryUnsafe(let path, let reason):
            return "\(path) cannot be used: \(reason); remove it, or choose another directory"
        case .cannotStart(let name, let reason):
            return "cannot start \(name): \(reason)"
        case .neverReady(let name, let reason, let lastLines):
            let log = lastLines.isEmpty ? "" : "; its last words: " + lastLines.joined(separator: " | ")
            return "\(name) did not become ready: \(reason)\(log)"
        case .system(let operation, let path, let code):
            return "\(operation) \(path): \(String(cString: strerror(code)))"
        }
    }
}
