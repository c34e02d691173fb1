import Bcrypt
import Foundation
import NMSAPI
import NMSQueue
import NMSRuntime
import NMSStorage
import Postgres
import Supervision

/// What a failed command says, and its exit status (sysexits.h).
struct ErrorReport {
    /// Something in configuration or environment must change before another try makes sense.
    static let configuration = ConfigurationErrors.exitStatus
    /// Another process is in the way.
    static let temporary: Int32 = 75
    static let failure: Int32 = 1
    /// The command was called wrongly (EX_USAGE).
    static let usage: Int32 = 64
    /// A server does not answer (EX_UNAVAILABLE).
    static let unavailable: Int32 = 69
    /// A server is not the one that was expected (EX_PROTOCOL).
    static let untrusted: Int32 = 76
    /// The server does not let this user do this (EX_NOPERM).
    static let denied: Int32 = 77
    /// Ended by Ctrl-C, as shells count it: 128 + SIGINT.
    static let interrupted: Int32 = 130

    let message: String
    let status: Int32

    init(_ error: any Error) {
        switch error {
        case let errors as ConfigurationErrors:
            (self.message, self.status) = (errors.description, Self.configuration)
        case let error as StartError:
            (self.message, self.status) = (error.description, Self.configuration)
        case let error as CommandError:
            (self.message, self.status) = (error.message, error.status)
        case StorageError.wrongMasterKey:
            self.message =
                "the database was made with another master key: give this instance the key that it was made with "
                + "(encryption.master_key, NMSLITE_MASTER_KEY, or secrets/master_key in the data directory)"
            self.status = Self.configuration
        case StorageError.masterKeyMissing(let id):
            self.message =
                "a rotation of the master key is not finished, and this instance lacks its key \(id): give it both keys "
                + "(encryption.master_key and encryption.master_key_next) until `nmslite keys rotate` has ended"
            self.status = Self.configuration
        case StorageError.masterKeyRotationRuns:
            (self.message, self.status) = ("another `nmslite keys rotate` is under way", Self.temporary)
        case StorageError.schemaTooNew(let found, let supported):
            self.message =
                "the database has schema version \(found), this nmslite knows \(supported): use the newer nmslite"
            self.status = Self.configuration
        case let error as APIConfigurationError:
            (self.message, self.status) = (error.description, Self.configuration)
        case let error as BcryptError:
            (self.message, self.status) = ("the password: \(error)", Self.configuration)
        case SupervisionError.directoryInUse, SupervisionError.childrenStillRunning:
            (self.message, self.status) = ("\(error)", Self.temporary)
        default:
            (self.message, self.status) = ("\(error)", Self.failure)
        }
    }

    func printAndExit() -> Never {
        for line in self.message.split(separator: "\n", omittingEmptySubsequences: false) {
            FileHandle.standardError.write(Data("nmslite: \(line)\n".utf8))
        }
        exit(self.status)
    }
}

/// A command that can't do what it was asked for.
struct CommandError: Error {
    var message: String
    var status: Int32 = ErrorReport.failure

    init(_ message: String, status: Int32 = ErrorReport.failure) {
        self.message = message
        self.status = status
    }
}
