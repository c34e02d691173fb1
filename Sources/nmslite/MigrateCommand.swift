import ArgumentParser
import Logging
import NMSCore
import NMSRuntime
import NMSStorage
import Postgres

struct MigrateCommand: ConfiguredCommand {
    enum Action: String, ExpressibleByArgument, CaseIterable { case up, down, status }

    static let configuration = CommandConfiguration(
        commandName: "migrate",
        abstract: "Show the schema's migrations, apply those that are missing, or take the last one back.",
        discussion: """
            A server applies missing migrations by itself when it starts. `down` takes one step back and deletes what \
            that step had made: stop the server and make a backup first.
            """
    )

    @Argument(help: "up, down or status.")
    var action: Action

    func run(_ configuration: Configuration, warnings: [String]) async throws {
        let action = self.action
        try await DatabaseAccess.withDatabase(configuration) { connection in
            let migrator = Migrator(connection)
            switch action {
            case .up:
                let applied = try await migrator.up()
                for migration in applied { print("applied \(migration.version) \(migration.name)") }
                if applied.isEmpty { print("nothing to apply") }
            case .down:
                guard let migration = try await migrator.down() else { return print("nothing to take back") }
                print("took back \(migration.version) \(migration.name)")
            case .status:
                for status in try await migrator.status() {
                    let when = status.appliedAt.map { "applied \(RFC3339.string(from: $0))" } ?? "not applied"
                    print("\(status.version) \(status.name): \(when)")
                }
            }
        }
    }
}
