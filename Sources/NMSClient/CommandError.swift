/// A command that can't do what it was asked for.
package struct CommandError: Error {
    package var message: String
    package var status: Int32

    package init(_ message: String, status: Int32 = ExitStatus.failure) {
        self.message = message
        self.status = status
    }
}

/// How commands end (sysexits.h).
package enum ExitStatus {
    package static let failure: Int32 = 1
    /// The command was called wrongly (EX_USAGE).
    package static let usage: Int32 = 64
    /// A server does not answer (EX_UNAVAILABLE).
    package static let unavailable: Int32 = 69
    /// Another process is in the way (EX_TEMPFAIL).
    package static let temporary: Int32 = 75
    /// A server is not the one that was expected (EX_PROTOCOL).
    package static let untrusted: Int32 = 76
    /// The server does not let this user do this (EX_NOPERM).
    package static let denied: Int32 = 77
    /// Something in configuration or environment must change before another try makes sense (EX_CONFIG).
    package static let configuration: Int32 = 78
    /// Ended by Ctrl-C, as shells count it: 128 + SIGINT.
    package static let interrupted: Int32 = 130
}
