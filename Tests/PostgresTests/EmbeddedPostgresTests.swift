import Foundation
import Glibc
import Logging
import Supervision
import SupervisionTesting
import Testing

@testable import Postgres

/// Real servers in directories of their own.
@Suite(.timeLimit(.minutes(3)), .serialized) struct EmbeddedPostgresTests {
    private static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    private let user: ServiceUser

    init() throws {
        self.user = try ServiceUser.forChildren(whenRoot: "postgres")
    }

    private func prepare(
        _ directory: String,
        binaries: String? = nil,
        lock: DirectoryLock? = nil
    ) async throws -> EmbeddedPostgres {
        try await EmbeddedPostgres.prepare(
            .init(
                directory: directory + "/postgres",
                name: "nmstest",
                binaries: binaries,
                backOff: BackOff(initial: .milliseconds(50))
            ),
            user: self.user,
            guardExecutable: SupervisionTesting.guardExecutable,
            lock: lock,
            logger: Self.logger
        )
    }

    private static func run(_ sql: String, on server: EmbeddedPostgres) async throws {
        let connection = try await PostgresConnection.connect(server.connectionConfiguration)
        try await connection.execute(script: sql)
        await connection.close()
    }

    private static func rows(_ sql: String, on server: EmbeddedPostgres) async throws -> Int {
        let connection = try await PostgresConnection.connect(server.connectionConfiguration)
        let count = try await connection.query(sql).count
        await connection.close()
        return count
    }

    /// The postmaster's id, from its own file.
    private static func postmaster(in directory: String) throws -> Int32 {
        let text = try String(contentsOfFile: directory + "/postgres/data/postmaster.pid", encoding: .utf8)
        return try #require(text.split(separator: "\n").first.flatMap { Int32($0) })
    }

    @Test func aSecondStartKeepsTheDataAndAKilledServerComesBack() async throws {
        let directory = try SupervisionTesting.makeDirectory()
        defer { SupervisionTesting.remove(directory) }
        let server = try await self.prepare(directory)
        try await server.whileRunning {
            try await Self.run("CREATE TABLE t (n int); INSERT INTO t VALUES (1)", on: server)
            #expect(try await Self.rows("SELECT 1 WHERE current_user = 'nmstest'", on: server) == 1)
            // No superuser, on its own database, without TCP.
            #expect(
                try await Self.rows(
                    "SELECT 1 FROM pg_roles WHERE rolname = current_user AND NOT rolsuper",
                    on: server
                ) == 1
            )
            #expect(
                try await Self.rows(
                    """
                    SELECT 1 WHERE current_setting('listen_addresses') = '' AND current_setting('fsync') = 'on'
                    AND current_setting('server_encoding') = 'UTF8' AND current_setting('max_connections')::int >= 60
                    AND current_setting('data_checksums') = 'on'
                    """,
                    on: server
                ) == 1
            )
        }
        #expect(SupervisionTesting.processes(containing: directory).isEmpty)

        let identity = try FileManager.default.attributesOfItem(atPath: directory + "/postgres/data/PG_VERSION")
        let again = try await self.prepare(directory)
        try await again.whileRunning {
            #expect(try await Self.rows("SELECT n FROM t", on: again) == 1)
            let lost = try Self.postmaster(in: directory)
            kill(lost, SIGKILL)
            #expect(
                await SupervisionTesting.eventually(within: .seconds(30)) {
                    again.status.restarts == 1 && again.status.isReady
                }
            )
            #expect(try await Self.rows("SELECT n FROM t", on: again) == 1)
            #expect(try Self.postmaster(in: directory) != lost)
        }
        let attributes = try FileManager.default.attributesOfItem(atPath: directory + "/postgres/data/PG_VERSION")
        #expect(attributes[.creationDate] as? Date == identity[.creationDate] as? Date)
        #expect(attributes[.systemFileNumber] as? Int == identity[.systemFileNumber] as? Int)
        let mode = try FileManager.default.attributesOfItem(atPath: directory + "/postgres")
        #expect(mode[.posixPermissions] as? Int == 0o700)
        #expect(mode[.ownerAccountName] as? String == self.user.name)
    }

    @Test func recoversFromAnInterruptedInitdbAndFromStaleLocks() async throws {
        let directory = try SupervisionTesting.makeDirectory()
        defer { SupervisionTesting.remove(directory) }
        try PrivateDirectory.prepare(directory + "/postgres", mode: 0o700, owner: self.user)
        let unfinished = directory + "/postgres/data.new-1"
        try PrivateDirectory.prepare(unfinished, mode: 0o700, owner: self.user)
        try PrivateDirectory.write("half", to: unfinished + "/PG_VERSION", owner: self.user)
        let server = try await self.prepare(directory)
        #expect(!FileManager.default.fileExists(atPath: unfinished))

        // The id of a process of the same user that is no postmaster: PostgreSQL alone would refuse to start.
        let sleeper = try ChildProcess.spawn(
            ChildConfiguration(name: "sleep", executable: "/bin/sleep", arguments: ["600"], user: self.user),
            guardExecutable: SupervisionTesting.guardExecutable
        ) { _ in }
        var pid: Int32 = 0
        #expect(
            await SupervisionTesting.eventually {
                pid = SupervisionTesting.children(of: sleeper.guardID).first ?? 0
                return pid > 0 && (try? String(contentsOfFile: "/proc/\(pid)/comm", encoding: .utf8)) == "sleep\n"
            }
        )
        let stale = "\(pid)\n\(directory)/postgres/data\n1700000000\n5432\n\(directory)/postgres/socket\n\n0 0\n"
        try PrivateDirectory.write(stale, to: directory + "/postgres/data/postmaster.pid", owner: self.user)
        try PrivateDirectory.write(stale, to: directory + "/postgres/socket/.s.PGSQL.5432.lock", owner: self.user)
        try await server.whileRunning {
            let rows = try await Self.rows("SELECT 1", on: server)
            #expect(rows == 1)
            #expect(server.status.restarts == 0)
        }
        await sleeper.stop()
    }

    @Test func aKilledGuardTakesTheServerAlongAndTheLockTellsWhen() async throws {
        let directory = try SupervisionTesting.makeDirectory()
        defer { SupervisionTesting.remove(directory) }
        var lock: DirectoryLock? = try DirectoryLock.acquire(directory: directory, name: "children.lock")
        let server = try await self.prepare(directory, lock: lock)
        let run = Task { try await server.run() }
        try await server.waitUntilReady()
        let postmaster = try Self.postmaster(in: directory)
        // A session that would go on for long.
        let session = try await PostgresConnection.connect(server.connectionConfiguration)
        let query = Task { try await session.query("SELECT pg_sleep(25)") }
        #expect(await SupervisionTesting.eventually { SupervisionTesting.children(of: postmaster).count > 5 })
        let stat = try String(contentsOfFile: "/proc/\(postmaster)/stat", encoding: .utf8)
        let parent = try #require(stat.split(separator: ")").last?.split(separator: " ").dropFirst().first)
        kill(try #require(Int32(parent)), SIGKILL)
        await #expect(throws: (any Error).self) { _ = try await query.value }
        #expect(
            await SupervisionTesting.eventually(within: .seconds(30)) {
                server.status.restarts >= 1 && server.status.isReady
            }
        )
        #expect(!SupervisionTesting.isAlive(postmaster))
        run.cancel()
        try await run.value
        await session.close()
        withExtendedLifetime(lock) {}
        lock = nil
        #expect(SupervisionTesting.processes(containing: directory).isEmpty)
    }

    @Test func aLongPathMovesTheSocket() async throws {
        let directory = try SupervisionTesting.makeDirectory()
        defer { SupervisionTesting.remove(directory) }
        let long = directory + "/" + String(repeating: "x", count: 90)
        try FileManager.default.createDirectory(
            atPath: long,
            withIntermediateDirectories: false,
            attributes: [.posixPermissions: 0o711]
        )
        let server = try await self.prepare(long)
        let socket = server.connectionConfiguration.host
        defer { SupervisionTesting.remove(socket) }
        #expect(!socket.hasPrefix(directory))
        try await server.whileRunning {
            let rows = try await Self.rows("SELECT 1", on: server)
            #expect(rows == 1)
            let attributes = try FileManager.default.attributesOfItem(atPath: socket)
            #expect(attributes[.posixPermissions] as? Int == 0o700)
        }
    }

    @Test(.enabled(if: geteuid() == 0)) func aParentThatTheServerCannotEnterIsAnErrorThatSaysSo() async throws {
        let directory = try SupervisionTesting.makeDirectory(mode: 0o700)
        defer { SupervisionTesting.remove(directory) }
        let error = await #expect(throws: SupervisionError.self) { try await self.prepare(directory) }
        #expect(
            error
                == .directoryUnreachable(
                    directory: directory + "/postgres",
                    blocked: directory,
                    user: self.user.name
                )
        )
        #expect(error?.description.contains("chmod o+x '\(directory)'") == true)
    }

    @Test func dataOfAnotherMajorVersionAndWhatIsNoDataAreRefused() async throws {
        let directory = try SupervisionTesting.makeDirectory()
        defer { SupervisionTesting.remove(directory) }
        let data = directory + "/postgres/data"
        try PrivateDirectory.prepare(directory + "/postgres", mode: 0o700, owner: self.user)
        try PrivateDirectory.prepare(data, mode: 0o700, owner: self.user)
        await #expect(throws: EmbeddedPostgresError.notACluster(directory: data)) {
            try await self.prepare(directory)
        }
        try PrivateDirectory.write("9\n", to: data + "/PG_VERSION", owner: self.user)
        let error = await #expect(throws: EmbeddedPostgresError.self) { try await self.prepare(directory) }
        guard case .otherMajorVersion(data, "9", let found) = error, !found.isEmpty else {
            Issue.record("\(String(describing: error))")
            return
        }
        await #expect(throws: EmbeddedPostgresError.binariesMissing) {
            try await self.prepare(directory, binaries: "/nonexistent")
        }
    }
}

@Suite struct EmbeddedPostgresValuesTests {
    private static let listing = ["/usr/lib/postgresql": ["9.6", "15", "17", "x"], "/usr": ["lib", "pgsql-16"]]

    @Test func looksIntoTheNewestLast() {
        let candidates = EmbeddedPostgresBinaries.candidates(path: "/a:.:/b", configured: "/c") {
            Self.listing[$0] ?? []
        }
        let expected = ["/a", "/b", "/c", "/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/15/bin"]
        #expect(candidates == expected + ["/usr/lib/postgresql/9.6/bin", "/usr/pgsql-16/bin"])
    }

    @Test func usesTheVersionThatWroteTheData() {
        let found = [17, 15].map { EmbeddedPostgresBinaries(directory: "/\($0)", majorVersion: $0) }
        #expect(EmbeddedPostgresBinaries.choose(from: found, dataVersion: nil)?.majorVersion == 17)
        #expect(EmbeddedPostgresBinaries.choose(from: found, dataVersion: 15)?.majorVersion == 15)
        #expect(EmbeddedPostgresBinaries.choose(from: found, dataVersion: 14) == nil)
        #expect(EmbeddedPostgresBinaries.majorVersion(in: "postgres (PostgreSQL) 15.18 (Debian 15.18-0)") == 15)
        #expect(EmbeddedPostgresBinaries.majorVersion(in: "postgres: command not found") == nil)
    }

    @Test func quotesWhatItWrites() {
        let text = EmbeddedPostgresFiles.identitiesText(users: ["root", "a\"b", "root"], roles: ["r"])
        #expect(text.split(separator: "\n").dropFirst() == ["owner \"root\" \"r\"", "owner \"a\"\"b\" \"r\""])
        let files = EmbeddedPostgresFiles(directory: "/d", socketDirectory: "/a, \"b\"", port: 5432)
        #expect(files.arguments.contains(#"unix_socket_directories="/a, ""b""""#))
    }

    @Test func socketPathsAreBounded() {
        let longest = "/" + String(repeating: "x", count: 92)
        #expect(EmbeddedPostgresFiles.fits(socketIn: longest, port: 5432))
        #expect(!EmbeddedPostgresFiles.fits(socketIn: longest + "x", port: 5432))
        #expect(EmbeddedPostgresFiles.hash(of: "/a") == EmbeddedPostgresFiles.hash(of: "/a"))
        #expect(EmbeddedPostgresFiles.hash(of: "/a").count == 16)
    }

    @Test(arguments: ["postgres", "", "1a", "a b", "a\"b", "Ä"]) func refusesNamesThatNeedQuoting(name: String) async {
        await #expect(throws: EmbeddedPostgresError.invalidName(name)) {
            try await EmbeddedPostgres.prepare(
                .init(directory: "/nonexistent", name: name),
                user: try ServiceUser.current(),
                lock: nil,
                logger: Logger(label: "test")
            )
        }
    }

    @Test func logLinesHaveLevels() {
        #expect(EmbeddedPostgresCluster.level(ofLine: "LOG:  database system is ready") == .debug)
        #expect(EmbeddedPostgresCluster.level(ofLine: "FATAL:  the database system is starting up") == .debug)
        #expect(EmbeddedPostgresCluster.level(ofLine: "FATAL:  could not open file") == .error)
        #expect(EmbeddedPostgresCluster.level(ofLine: "PANIC:  could not write") == .critical)
    }
}
