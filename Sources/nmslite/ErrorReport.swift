import Bcrypt
import Foundation
import NMSAPI
import NMSClient
import NMSQueue
import NMSRuntime
import NMSStorage
import Postgres
import Supervision

/// What a failed command says, and its exit status (sysexits.h).
struct ErrorReport {
    let message: String
    let status: Int32

    init(_ error: any Error) {
        switch error {
        case let errors as ConfigurationErrors:
            (self.message, self.status) = (errors.description, ExitStatus.configuration)
        case let error as StartError:
            (self.message, self.status) = (error.description, ExitStatus.configuration)
        case let error as CommandError:
            (self.message, self.status) = (error.message, error.status)
        case StorageError.wrongMasterKey:
            self.message =
                "the database was made with another master key: give this instance the key that it was made with "
                + "(encryption.master_key, NMSLITE_MASTER_KEY, or secrets/master_key in the data directory)"
            self.status = ExitStatus.configuration
        case StorageError.masterKeyMissing(let id):
            self.message =
                "a rotation of the master key is not finished, and this instance lacks its key \(id): give it both keys "
                + "(encryption.master_key and encryption.master_key_next) until `nmslite keys rotate` has ended"
            self.status = ExitStatus.configuration
        case StorageError.masterKeyRotationRuns:
            (self.message, self.status) = ("another `nmslite keys rotate` is under way", ExitStatus.temporary)
        case StorageError.schemaTooNew(let found, let supported):
            self.message =
                "the database has schema version \(found), this nmslite knows \(supported): use the newer nmslite"
            self.status = ExitStatus.configuration
        case let error as APIConfigurationError:
            (self.message, self.status) = (error.description, ExitStatus.configuration)
        case let error as BcryptError:
            (self.message, self.status) = ("the password: \(error)", ExitStatus.configuration)
        case SupervisionError.directoryInUse, SupervisionError.childrenStillRunning:
            (self.message, self.status) = ("\(error)", ExitStatus.temporary)
        default:
            (self.message, self.status) = ("\(error)", ExitStatus.failure)
        }
    }

    func printAndExit() -> Never {
        for line in self.message.split(separator: "\n", omittingEmptySubsequences: false) {
            FileHandle.standardError.write(Data("nmslite: \(line)\n".utf8))
        }
        exit(self.status)
    }
}
