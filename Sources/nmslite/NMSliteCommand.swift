import ArgumentParser
import NMSRuntime

/// The command line. Settings such as `--server.port` are taken out before it sees the arguments: the configuration
/// declares them once, for flags, environment and file alike.
struct NMSliteCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "nmslite",
        abstract: "Monitors Windows machines from Linux, without agents, over WinRM and WMI.",
        discussion: """
            Started with no configuration it keeps everything in one data directory, with a PostgreSQL and a NATS of its \
            own, and serves https on port 8443. The first user is admin; the password stands in the data directory's \
            file initial-admin-password.

            \(ConfigurationKey.helpText())
            """,
        subcommands: [
            ServeCommand.self, MigrateCommand.self, UserCommand.self, KeysCommand.self, DatabaseCommand.self,
            LoginCommand.self, LogoutCommand.self, DevicesCommand.self, CredentialsCommand.self, MetricsCommand.self,
            TopCommand.self, DoctorCommand.self, DiscoverCommand.self, EventsCommand.self, VersionCommand.self,
        ],
        defaultSubcommand: ServeCommand.self
    )
}

/// A command that works with the merged configuration.
protocol ConfiguredCommand: ParsableCommand {
    func run(_ configuration: Configuration, warnings: [String]) async throws
}

struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Print the version.")

    func run() throws { print("nmslite \(Version.current)") }
}

enum Version {
    static let current = "0.1.0"
}
