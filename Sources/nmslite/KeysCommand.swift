import ArgumentParser
import Foundation
import Logging
import NMSClient
import NMSCore
import NMSRuntime
import NMSStorage
import Postgres

struct KeysCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys",
        abstract: "Replace the master key that encrypts stored passwords, or show how it stands.",
        subcommands: [Rotate.self, Status.self]
    )

    struct Rotate: ConfiguredCommand {
        static let configuration = CommandConfiguration(
            abstract: "Seal every stored password with the next master key, and end the one before.",
            discussion: """
                Servers run on meanwhile. With the key in the data directory (secrets/master_key) nothing else is needed: \
                the next key is made, running servers find it, and it takes the other's place at the end. Where the key is \
                configured, give encryption.master_key_next to every instance and restart them first, and make it \
                encryption.master_key afterwards. A rotation that was cut off goes on when the command is run again. \
                Backups of the database need the key of their time.
                """
        )

        @ArgumentParser.Flag(help: "Print the outcome as one JSON object.")
        var json = false

        func run(_ configuration: Configuration, warnings: [String]) async throws {
            let source = MasterKeySource(configuration, directory: DataDirectory(configuration))
            // Before a database is opened, or even made, that has no key.
            _ = try source.load()
            let report = RotationReport(json: self.json)
            try await DatabaseAccess.withDatabase(configuration) { connection in
                _ = try await Migrator(connection).up()
                try await MasterKeyRotation.exclusively(connection) { rotation in
                    try await Self.rotate(rotation, source, report)
                }
            }
        }

        private static func rotate(
            _ rotation: MasterKeyRotation,
            _ source: MasterKeySource,
            _ report: RotationReport
        ) async throws {
            // Under the lock: another rotation may just have changed the files.
            let secrets = try source.load()
            let cipher = try CredentialCipher(secrets, source, logger: nil)
            let known = try await rotation.keys(cipher)
            guard let current = known.first else { throw StorageError.wrongMasterKey }
            let secret: SecretBytes
            if known.count == 1, current == cipher.key {
                secret = try source.prepareNext()
            } else {
                // A rotation was cut off, perhaps after its last row.
                secret = try secrets.all.first { try MasterKey($0) == current } ?? secrets.current
            }
            let next = try MasterKey(secret)
            report.begins(from: known.filter { $0 != next }.map(\.id), to: next.id)
            let outcome = try await rotation.run(
                to: next,
                cipher,
                audit: AuditContext(actor: .commandLine(account: NSUserName())),
                progress: report.show
            )
            guard outcome.unopened.isEmpty else { throw Self.incomplete(outcome) }
            // Only now does no row need the key that the file holds.
            let file = try source.promote(secret)
            report.ends(outcome, file: file, mustConfigure: !source.usesFiles && next != cipher.key)
        }

        private static func incomplete(_ outcome: MasterKeyRotation.Outcome) -> CommandError {
            let ids = outcome.unopened.map(String.init).joined(separator: ", ")
            return CommandError(
                "the rotation is not complete, and the keys before stay: no key opens the passwords of credentials \(ids). "
                    + "Set these passwords again or delete the credentials, then run `nmslite keys rotate` again"
            )
        }
    }

    struct Status: ConfiguredCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show the master keys of the database, and whether every stored password opens.",
            discussion: "Changes nothing. The exit status is 1 when a key is missing or a password does not open."
        )

        @ArgumentParser.Flag(help: "Print one JSON object.")
        var json = false

        func run(_ configuration: Configuration, warnings: [String]) async throws {
            let json = self.json
            let source = MasterKeySource(configuration, directory: DataDirectory(configuration))
            let cipher = try CredentialCipher(source.load(), source, logger: nil)
            try await DatabaseAccess.withDatabase(configuration) { connection in
                _ = try await Migrator(connection).up()
                let pool = PostgresPool(connection, limits: PostgresPoolLimits(maxOpen: 1, maxIdle: 1))
                let status: MasterKeyStatus
                do { status = try await MasterKeyStatus.read(pool, cipher) } catch {
                    await pool.close()
                    throw error
                }
                await pool.close()
                let report = KeysReport(status)
                report.print(json: json)
                if let problem = report.problem { throw CommandError(problem) }
            }
        }
    }
}

extension MasterKey {
    init(_ secret: SecretBytes) throws {
        guard let key = MasterKey(bytes: secret.exposed) else {
            throw CommandError("the master key must have \(MasterKey.length) bytes", status: ExitStatus.configuration)
        }
        self = key
    }
}

extension CredentialCipher {
    /// - Parameter logger: hears of keys that are found or missing later.
    init(_ keys: MasterKeySource.Keys, _ source: MasterKeySource, logger: Logger?) throws {
        // A rotation beside a running server adds a file.
        let reload: @Sendable () -> [MasterKey] = {
            guard let keys = try? source.load() else { return [] }
            return keys.all.compactMap { try? MasterKey($0) }
        }
        let ring = MasterKeyRing(
            try keys.all.map { try MasterKey($0) },
            logger: logger,
            reload: source.usesFiles ? reload : nil
        )
        self.init(key: try MasterKey(keys.current), ring: ring)
    }
}
