import ArgumentParser
import Foundation
import NMSClient
import NMSRuntime
import Postgres

/// `nmslite database run pg_dump …`: programs of PostgreSQL's on the database of this server, wherever it is.
struct DatabaseCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "database",
        abstract: "Run PostgreSQL's own programs on this server's database: backups, and looks inside.",
        subcommands: [Run.self]
    )

    struct Run: ConfiguredCommand {
        static let configuration = CommandConfiguration(
            abstract: "Run a program with PGHOST, PGUSER and PGDATABASE set.",
            discussion: """
                Beside a running server it uses that one's database; otherwise the embedded one is started for the \
                moment. The password of an external one comes from NMSLITE_DB_PASSWORD or database.password_file.

                EXAMPLES
                  nmslite database run pg_dump --format=custom > nmslite.dump
                  nmslite database run pg_restore --dbname=nmslite nmslite.dump
                  nmslite database run psql
                """
        )

        @Argument(parsing: .captureForPassthrough, help: "The program and its arguments.")
        var command: [String]

        func run(_ configuration: NMSRuntime.Configuration, warnings: [String]) async throws {
            guard !self.command.isEmpty, self.command[0] != "--help", self.command[0] != "-h" else {
                throw CommandError(
                    "say which program to run, such as: nmslite database run psql",
                    status: NMSClient.ExitStatus.usage
                )
            }
            let command = self.command
            try await DatabaseAccess.withDatabase(configuration) { connection in
                let status = try await Self.execute(command, connection)
                guard status == 0 else { throw ArgumentParser.ExitCode(status) }
            }
        }

        /// With this process's input and output.
        private static func execute(_ command: [String], _ connection: PostgresConfiguration) async throws -> Int32 {
            var environment = ProcessInfo.processInfo.environment
            environment["PGHOST"] = connection.host
            environment["PGPORT"] = String(connection.port)
            environment["PGUSER"] = connection.user
            environment["PGDATABASE"] = connection.database
            environment["PGPASSWORD"] = connection.password
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
            process.arguments = ["--"] + command
            process.environment = environment
            return try await withCheckedThrowingContinuation { continuation in
                process.terminationHandler = { process in
                    // As shells count signals.
                    let isSignal = process.terminationReason == .uncaughtSignal
                    continuation.resume(returning: process.terminationStatus + (isSignal ? 128 : 0))
                }
                do { try process.run() } catch { continuation.resume(throwing: error) }
            }
        }
    }
}
