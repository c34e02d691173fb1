import Logging
import NMSCore
import NMSRuntime
import NMSStorage
import Postgres
import Supervision

/// The data directory of this instance, locked, with what its children need.
struct InstanceDirectory {
    let directory: DataDirectory
    let user: ServiceUser
    /// Held as long as this process lives: no second nmslite works on the directory.
    let lock: DirectoryLock
    /// Inherited by the guards: a new nmslite waits until the children of the last are gone.
    let childrenLock: DirectoryLock

    /// The user that embedded servers run as when nmslite runs as root: PostgreSQL refuses root.
    static let childUser = "postgres"

    /// - Throws: `SupervisionError.directoryInUse` when another nmslite works on it.
    static func open(_ configuration: Configuration) async throws -> InstanceDirectory {
        let directory = DataDirectory(configuration)
        try directory.prepare()
        let lock = try DirectoryLock.acquire(directory: directory.path, name: DataDirectory.lockName)
        let childrenLock = try await DirectoryLock.acquire(
            directory: directory.path,
            name: DataDirectory.childrenLockName,
            waitingUpTo: .seconds(30)
        )
        return InstanceDirectory(
            directory: directory,
            user: try ServiceUser.forChildren(whenRoot: Self.childUser),
            lock: lock,
            childrenLock: childrenLock
        )
    }
}

extension PostgresConfiguration {
    /// An external server, as configured.
    init(external database: NMSRuntime.Configuration.Database, host: String) {
        self.init(
            host: host,
            port: database.port,
            database: database.name,
            user: database.user,
            password: database.password?.exposed,
            sslMode: PostgresConfiguration.SSLMode(rawValue: database.sslMode.rawValue) ?? .prefer,
            applicationName: "nmslite",
            statementTimeout: database.statementTimeout
        )
    }
}

/// Where the database is, for commands beside a server and for the server itself.
enum DatabaseAccess {
    /// Of the embedded database and its owner.
    private static let name = "nmslite"

    static func embedded(_ directory: DataDirectory) -> EmbeddedPostgres.Configuration {
        EmbeddedPostgres.Configuration(directory: directory.postgresDirectory, name: self.name)
    }

    static func prepare(_ instance: InstanceDirectory, logger: Logger) async throws -> EmbeddedPostgres {
        try await EmbeddedPostgres.prepare(
            self.embedded(instance.directory),
            user: instance.user,
            lock: instance.childrenLock,
            logger: logger
        )
    }

    /// With the statement time-out and name that every connection of NMSlite has.
    static func finished(
        _ connection: PostgresConfiguration,
        _ database: NMSRuntime.Configuration.Database
    ) -> PostgresConfiguration {
        var connection = connection
        connection.applicationName = "nmslite"
        connection.statementTimeout = database.statementTimeout
        return connection
    }

    /// For `user`, `keys` and `migrate`: the external server, the running instance's, or the embedded one for the moment.
    static func withDatabase(
        _ configuration: NMSRuntime.Configuration,
        _ body: @escaping @Sendable (PostgresConfiguration) async throws -> Void
    ) async throws {
        let database = configuration.database
        if let host = database.host {
            return try await body(PostgresConfiguration(external: database, host: host))
        }
        do {
            let instance = try await InstanceDirectory.open(configuration)
            defer { withExtendedLifetime(instance) {} }
            // The command's own output is what its user wants to see.
            var logger = Logger(label: "postgres")
            logger.logLevel = .warning
            let server = try await self.prepare(instance, logger: logger)
            try await server.whileRunning {
                try await body(self.finished(server.connectionConfiguration, database))
            }
        } catch SupervisionError.directoryInUse {
            let connection = EmbeddedPostgres.connectionConfiguration(
                for: self.embedded(DataDirectory(configuration)),
                user: try ServiceUser.forChildren(whenRoot: InstanceDirectory.childUser)
            )
            try await body(self.finished(connection, database))
        }
    }
}
