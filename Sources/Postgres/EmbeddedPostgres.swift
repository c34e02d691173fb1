internal import Foundation
internal import Glibc
package import Logging
package import Supervision
internal import Synchronization

/// A private PostgreSQL server on a UNIX socket, supervised as a child.
///
/// Everything is in one directory (mode 0700, the child user's): `data/` is the cluster, made once; `socket/` the
/// socket, unless its path is too long. Nobody signs in but this process's user, root and the child user, as
/// themselves (`peer`): there is no password and no TCP port.
package final class EmbeddedPostgres: Sendable {
    /// Where and how.
    package struct Configuration: Sendable {
        /// An absolute path; made with mode 0700 when it isn't there; its parent must be.
        package var directory: String
        /// Of the role, which is no superuser, and of the database, which it owns; also part of the run-time
        /// directory's name.
        package var name: String
        /// A directory with `postgres` and `initdb`, in place of those that are found.
        package var binaries: String?
        /// What the server gets to shut down.
        package var stopGrace: Duration
        package var backOff: BackOff

        package init(
            directory: String,
            name: String,
            binaries: String? = nil,
            stopGrace: Duration = .seconds(10),
            backOff: BackOff = BackOff()
        ) {
            self.directory = directory
            self.name = name
            self.binaries = binaries
            self.stopGrace = stopGrace
            self.backOff = backOff
        }
    }

    /// Part of the socket's name only.
    static let port = 5432
    /// Replaying the log after a crash can take minutes.
    private static let startLimit: Duration = .seconds(300)
    static let superuser = "postgres"

    private let supervisor: Supervisor
    /// How to connect to it.
    package let connectionConfiguration: PostgresConfiguration

    private init(supervisor: Supervisor, connectionConfiguration: PostgresConfiguration) {
        self.supervisor = supervisor
        self.connectionConfiguration = connectionConfiguration
    }

    /// Finds the programs and makes the cluster unless it is there; starts nothing yet.
    ///
    /// The caller holds a lock on the directory; `lock` is inherited by every process of the server.
    /// - Throws: ``EmbeddedPostgresError``, `SupervisionError`.
    package static func prepare(
        _ configuration: Configuration,
        user: ServiceUser,
        guardExecutable: GuardExecutable = .current,
        lock: DirectoryLock?,
        logger: Logger
    ) async throws -> EmbeddedPostgres {
        try self.check(name: configuration.name)
        let connection = self.connectionConfiguration(for: configuration, user: user)
        let files = EmbeddedPostgresFiles(
            directory: configuration.directory,
            socketDirectory: connection.host,
            port: self.port
        )
        try PrivateDirectory.prepare(files.directory, mode: 0o700, owner: user)
        try await ChildProcess.checkAccess(to: files.directory, user: user, guardExecutable: guardExecutable)
        try PrivateDirectory.prepare(files.socketDirectory, mode: 0o700, owner: user, adopting: false)
        try await ChildProcess.checkAccess(to: files.socketDirectory, user: user, guardExecutable: guardExecutable)

        let cluster = EmbeddedPostgresCluster(
            files: files,
            user: user,
            guardExecutable: guardExecutable,
            lock: lock,
            logger: logger
        )
        let binaries = try await cluster.prepare(preferring: configuration.binaries)
        let identities = EmbeddedPostgresFiles.identitiesText(
            users: [try ServiceUser.current().name, "root", user.name],
            roles: [configuration.name, self.superuser]
        )
        let setUp = EmbeddedPostgresSetUp(connection: connection)
        let supervisor = Supervisor(
            name: "postgres",
            configuration: {
                cluster.removeStaleLocks()
                try PrivateDirectory.write(
                    EmbeddedPostgresFiles.hostBasedAuthenticationText,
                    to: files.hostBasedAuthentication,
                    owner: user
                )
                try PrivateDirectory.write(identities, to: files.identities, owner: user)
                return ChildConfiguration(
                    name: "postgres",
                    executable: binaries.postgres,
                    arguments: files.arguments,
                    user: user,
                    workingDirectory: files.data,
                    // A fast shutdown: ends sessions, writes a checkpoint.
                    stopSignal: SIGINT,
                    stopGrace: configuration.stopGrace
                )
            },
            checkReadiness: { try await setUp.check() },
            level: EmbeddedPostgresCluster.level(ofLine:),
            backOff: configuration.backOff,
            readiness: .init(timeout: self.startLimit),
            guardExecutable: guardExecutable,
            lock: lock,
            logger: logger
        )
        return EmbeddedPostgres(supervisor: supervisor, connectionConfiguration: connection)
    }

    /// Keeps the server running until this task is cancelled; then stops it, and returns when it is gone.
    package func run() async throws {
        try await self.supervisor.run()
    }

    /// Returns when role and database are there and answer.
    package func waitUntilReady() async throws {
        try await self.supervisor.waitUntilReady()
    }

    /// Runs the server for as long as `body` takes, which begins when the database answers.
    package func whileRunning<Result: Sendable>(
        _ body: @escaping @Sendable () async throws -> Result
    ) async throws -> Result {
        try await self.supervisor.whileRunning(body)
    }

    /// Readiness and restarts, for health and metrics.
    package var status: Supervisor.Status { self.supervisor.status }

    /// How to connect to the server of `configuration`, whoever runs it.
    package static func connectionConfiguration(
        for configuration: Configuration,
        user: ServiceUser
    ) -> PostgresConfiguration {
        PostgresConfiguration(
            host: self.socketDirectory(
                for: configuration,
                user: user,
                runtimeDirectory: getenv("XDG_RUNTIME_DIR").map { String(cString: $0) }
            ),
            port: self.port,
            database: configuration.name,
            user: configuration.name,
            sslMode: .disable
        )
    }

    /// Inside the directory, or below a run-time directory when the socket's path would be too long for the kernel.
    static func socketDirectory(
        for configuration: Configuration,
        user: ServiceUser,
        runtimeDirectory: String?
    ) -> String {
        let inside = configuration.directory + "/socket"
        if EmbeddedPostgresFiles.fits(socketIn: inside, port: self.port) { return inside }
        let hash = EmbeddedPostgresFiles.hash(of: configuration.directory)
        if geteuid() == 0 { return "/run/\(configuration.name)-\(hash)" }
        if let runtimeDirectory, runtimeDirectory.hasPrefix("/") {
            let directory = "\(runtimeDirectory)/\(configuration.name)-\(hash)"
            if EmbeddedPostgresFiles.fits(socketIn: directory, port: self.port) { return directory }
        }
        return "/tmp/\(configuration.name)-\(user.uid)-\(hash)"
    }

    private static func check(name: String) throws {
        let isPlain = name.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == 95 }
        guard isPlain, let first = name.first, !first.isNumber, name.utf8.count <= 40, name != self.superuser else {
            throw EmbeddedPostgresError.invalidName(name)
        }
    }
}

/// Sees to role and database, and that they answer.
final class EmbeddedPostgresSetUp: Sendable {
    private let connection: PostgresConfiguration
    private let isDone = Atomic(false)

    init(connection: PostgresConfiguration) {
        self.connection = connection
    }

    /// Throws as long as the server doesn't answer.
    func check() async throws {
        if !self.isDone.load(ordering: .relaxed) {
            try await self.makeRoleAndDatabase()
            self.isDone.store(true, ordering: .relaxed)
        }
        try await self.withConnection(self.connection) { _ = try await $0.query("SELECT 1") }
    }

    private func makeRoleAndDatabase() async throws {
        var owner = self.connection
        owner.user = EmbeddedPostgres.superuser
        owner.database = "postgres"
        let name = self.connection.user
        try await self.withConnection(owner) { connection in
            // The name was checked to need no quoting.
            if try await connection.query("SELECT 1 FROM pg_roles WHERE rolname = $1", [name]).isEmpty {
                try await connection.execute(script: "CREATE ROLE \(name) LOGIN")
            }
            if try await connection.query("SELECT 1 FROM pg_database WHERE datname = $1", [name]).isEmpty {
                try await connection.execute(script: "CREATE DATABASE \(name) OWNER \(name)")
            }
        }
    }

    private func withConnection(
        _ configuration: PostgresConfiguration,
        _ body: (PostgresConnection) async throws -> Void
    ) async throws {
        let connection = try await PostgresConnection.connect(configuration)
        do {
            try await body(connection)
        } catch {
            await connection.close()
            throw error
        }
        await connection.close()
    }
}
