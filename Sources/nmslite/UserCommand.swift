import ArgumentParser
import Bcrypt
import Foundation
import Logging
import NMSClient
import NMSCore
import NMSRuntime
import NMSStorage
import Postgres

struct UserCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "user",
        abstract: "Manage the people who may call the API.",
        discussion: """
            Passwords are asked for, or read from standard input when it is not a terminal. Changes take effect on a \
            running server within seconds.
            """,
        subcommands: [Add.self, Passwd.self, List.self, Remove.self]
    )

    struct Add: ConfiguredCommand {
        static let configuration = CommandConfiguration(abstract: "Add a user.")

        @Argument(help: "The user's name.")
        var name: String

        @Option(help: "admin (all), operator (devices and credentials) or viewer (reads).")
        var role: Role = .operator

        func run(_ configuration: Configuration, warnings: [String]) async throws {
            let (name, role) = (self.name, self.role)
            guard (1...255).contains(name.utf8.count), !name.unicodeScalars.contains(where: { $0.value < 0x20 }) else {
                throw CommandError("the name must have 1 to 255 bytes and no control characters")
            }
            let password = try PasswordInput.readNew()
            let hash = try await PasswordHasher(cost: configuration.auth.bcryptCost).hash(password.exposed)
            try await UserCommand.withUsers(configuration) { users in
                let others = try await users.count()
                guard role == .admin || others > 0 else {
                    throw CommandError(
                        "there is no user yet, and the first one must be able to administer: start the server once, "
                            + "which makes admin, or give --role admin"
                    )
                }
                do {
                    let user = try await users.create(
                        username: name,
                        passwordHash: hash,
                        role: role,
                        audit: UserCommand.audit
                    )
                    print("added \(user.username) (\(user.role.rawValue))")
                } catch StorageError.duplicate {
                    throw CommandError(
                        "there is a user named \(name) already; `nmslite user passwd` changes a password"
                    )
                }
            }
        }
    }

    struct Passwd: ConfiguredCommand {
        static let configuration = CommandConfiguration(
            abstract: "Change a user's password and end the user's sessions."
        )

        @Argument(help: "The user's name.")
        var name: String

        func run(_ configuration: Configuration, warnings: [String]) async throws {
            let name = self.name
            let password = try PasswordInput.readNew()
            let hash = try await PasswordHasher(cost: configuration.auth.bcryptCost).hash(password.exposed)
            try await UserCommand.withUsers(configuration) { users in
                guard
                    try await users.setPassword(
                        username: name,
                        passwordHash: hash,
                        audit: UserCommand.audit
                    )
                else {
                    throw CommandError("there is no user named \(name)")
                }
                print("changed the password of \(name)")
            }
        }
    }

    struct List: ConfiguredCommand {
        static let configuration = CommandConfiguration(abstract: "List the users.")

        func run(_ configuration: Configuration, warnings: [String]) async throws {
            try await UserCommand.withUsers(configuration) { users in
                for user in try await users.list() {
                    print("\(user.username)\t\(user.role.rawValue)\t\(RFC3339.string(from: user.createdAt))")
                }
            }
        }
    }

    struct Remove: ConfiguredCommand {
        static let configuration = CommandConfiguration(abstract: "Remove a user and end the user's sessions.")

        @Argument(help: "The user's name.")
        var name: String

        func run(_ configuration: Configuration, warnings: [String]) async throws {
            let name = self.name
            try await UserCommand.withUsers(configuration) { users in
                guard try await users.remove(username: name, audit: UserCommand.audit) else {
                    throw CommandError("there is no user named \(name)")
                }
                print("removed \(name)")
            }
        }
    }

    /// Who changes users here: the account of the operating system.
    private static var audit: AuditContext { AuditContext(actor: .commandLine(account: NSUserName())) }

    /// On a schema that is up to date.
    private static func withUsers(
        _ configuration: Configuration,
        _ body: @escaping @Sendable (UserRepository) async throws -> Void
    ) async throws {
        try await DatabaseAccess.withDatabase(configuration) { connection in
            _ = try await Migrator(connection).up()
            let pool = PostgresPool(connection, limits: PostgresPoolLimits(maxOpen: 1, maxIdle: 1))
            do { try await body(UserRepository(pool: pool)) } catch {
                await pool.close()
                throw error
            }
            await pool.close()
        }
    }
}

extension Role: ExpressibleByArgument {}
