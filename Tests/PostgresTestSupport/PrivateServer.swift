import Foundation
import Postgres
import Synchronization

#if canImport(Glibc)
import Glibc
#endif

/// A PostgreSQL server of this test run's own: in a temporary directory, on a UNIX socket only, without fsync.
///
/// It starts at first use. A shell holds the other end of a pipe from this process: however this process ends, the
/// shell reads the end of the pipe, stops the server and removes the directory.
final class PrivateServer: Sendable {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    static let superuser = "postgres"
    private static let startTimeout = Duration.seconds(60)
    private static let maxConnections = 400

    /// The one server of this process; a failure to start is the failure of every test that needs it.
    private static let shared = Mutex<Task<PrivateServer, any Error>?>(nil)

    let directory: String
    private let lifeline: FileHandle

    static func start() async throws -> PrivateServer {
        let task = Self.shared.withLock { shared in
            if let shared { return shared }
            let task = Task.detached { try await PrivateServer.launch() }
            shared = task
            return task
        }
        return try await task.value
    }

    private init(directory: String, lifeline: FileHandle) {
        self.directory = directory
        self.lifeline = lifeline
    }

    func configuration(database: String, statementTimeout: Duration? = .seconds(30)) -> PostgresConfiguration {
        PostgresConfiguration(
            host: self.directory,
            database: database,
            user: Self.superuser,
            sslMode: .disable,
            applicationName: "nmslite-tests",
            statementTimeout: statementTimeout
        )
    }

    private static func launch() async throws -> PrivateServer {
        guard let binaries = Self.binaryDirectory() else {
            throw Failure(description: "no PostgreSQL server found: install the package postgresql")
        }
        // Short, because a socket's path has at most 107 bytes.
        let directory = "/tmp/nmslite-pg-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        guard mkdir(directory, 0o700) == 0 else { throw Failure(description: "can't create \(directory)") }
        var wrapper = ""
        if getuid() == 0 {
            guard let user = getpwnam(Self.superuser) else {
                throw Failure(description: "the server refuses to run as root, and there is no user postgres")
            }
            chown(directory, user.pointee.pw_uid, user.pointee.pw_gid)
            wrapper = "setpriv --reuid=\(user.pointee.pw_uid) --regid=\(user.pointee.pw_gid) --clear-groups "
        }
        let script = """
            cd '\(directory)' || exit 1
            \(wrapper)'\(binaries)/initdb' -D '\(directory)/data' -U \(Self.superuser) -A trust -E UTF8 \
            --locale=C.UTF-8 --no-sync --no-instructions || exit 1
            \(wrapper)'\(binaries)/postgres' -D '\(directory)/data' -k '\(directory)' -c listen_addresses= \
            -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=\(Self.maxConnections) \
            -c shared_buffers=64MB -c autovacuum=off -c max_wal_size=256MB < /dev/null &
            server=$!
            cat > /dev/null
            kill -INT $server
            (sleep 10; kill -QUIT $server) 2> /dev/null &
            wait $server
            rm -rf '\(directory)'
            """
        let log = "\(directory)/server.log"
        guard FileManager.default.createFile(atPath: log, contents: nil), let output = FileHandle(forWritingAtPath: log)
        else { throw Failure(description: "can't create \(log)") }
        let pipe = Pipe()
        // No other child of this process may keep the pipe open.
        _ = fcntl(pipe.fileHandleForWriting.fileDescriptor, F_SETFD, FD_CLOEXEC)
        let shell = Process()
        shell.executableURL = URL(fileURLWithPath: "/bin/sh")
        shell.arguments = ["-c", script]
        shell.standardInput = pipe
        shell.standardOutput = output
        shell.standardError = output
        try shell.run()
        let server = PrivateServer(directory: directory, lifeline: pipe.fileHandleForWriting)
        try await server.waitUntilReady(shell, log: log)
        return server
    }

    private func waitUntilReady(_ shell: Process, log: String) async throws {
        let deadline = ContinuousClock.now + Self.startTimeout
        while true {
            do {
                let connection = try await PostgresConnection.connect(self.configuration(database: "postgres"))
                await connection.close()
                return
            } catch {
                guard shell.isRunning, ContinuousClock.now < deadline else {
                    let text = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
                    throw Failure(description: "the test server did not start: \(error)\n\(text)")
                }
                try await Task.sleep(for: .milliseconds(50))
            }
        }
    }

    private static func binaryDirectory() -> String? {
        var candidates = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map(String.init)
        let root = "/usr/lib/postgresql"
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []
        for version in versions.sorted(by: { (Int($0) ?? 0) > (Int($1) ?? 0) }) {
            candidates.append("\(root)/\(version)/bin")
        }
        return candidates.first { directory in
            ["initdb", "postgres"].allSatisfy { FileManager.default.isExecutableFile(atPath: "\(directory)/\($0)") }
        }
    }
}
