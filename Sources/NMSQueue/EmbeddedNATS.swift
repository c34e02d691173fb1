internal import Foundation
internal import Glibc
package import Logging
package import Supervision
internal import Synchronization

/// A private nats-server with JetStream on the loopback interface, supervised as a child.
///
/// It keeps everything in one directory (mode 0700, the child user's): `nats-server.conf` with the token (0600) and
/// `store/`. Port and token are new at every ``prepare(_:user:guardExecutable:lock:logger:)`` and stay the same while
/// the server is restarted, so that clients find it again.
package final class EmbeddedNATS: Sendable {
    /// Where and how.
    package struct Configuration: Sendable {
        /// Made with mode 0700 when it isn't there; its parent must be.
        package var directory: String
        /// Searched before PATH and the usual places.
        package var executable: String?
        /// Bytes of JetStream's memory streams, of which NMSlite has none.
        package var maxMemory: Int
        /// Bytes of JetStream's files, of all streams together: beyond them publishers get an error.
        package var maxFile: Int
        package var backOff: BackOff

        package init(
            directory: String,
            executable: String? = nil,
            maxMemory: Int = 64 << 20,
            maxFile: Int = 4 << 30,
            backOff: BackOff = BackOff()
        ) {
            self.directory = directory
            self.executable = executable
            self.maxMemory = maxMemory
            self.maxFile = maxFile
            self.backOff = backOff
        }
    }

    /// Places besides PATH: Debian's, and those of packages and hand-made installations.
    static let usualPlaces = ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/local/sbin", "/opt/nats-server"]

    /// Ports to choose from: below Linux's ephemeral range (32768 and up), so that no outgoing connection takes the
    /// port between two starts of the server.
    static let ports = 20_000..<32_000

    private let supervisor: Supervisor
    private let port: Int
    private let token: String

    private init(supervisor: Supervisor, port: Int, token: String) {
        self.supervisor = supervisor
        self.port = port
        self.token = token
    }

    /// Finds the server and writes its configuration; starts nothing yet.
    /// - Throws: ``QueueError/serverMissing``, or `SupervisionError`.
    package static func prepare(
        _ configuration: Configuration,
        user: ServiceUser,
        guardExecutable: GuardExecutable = .current,
        lock: DirectoryLock?,
        logger: Logger
    ) async throws -> EmbeddedNATS {
        guard let executable = self.findServer(preferring: configuration.executable) else {
            throw QueueError.serverMissing
        }
        let directory = configuration.directory
        try PrivateDirectory.prepare(directory, mode: 0o700, owner: user)
        try await ChildProcess.checkAccess(to: directory, user: user, guardExecutable: guardExecutable)
        let store = directory + "/store"
        try PrivateDirectory.prepare(store, mode: 0o700, owner: user)
        let file = directory + "/nats-server.conf"
        let server = NATSServerConfiguration(
            port: try self.freePort(),
            token: self.makeToken(),
            storeDirectory: store,
            maxMemory: configuration.maxMemory,
            maxFile: configuration.maxFile
        )
        let options = self.options(port: server.port, token: server.token)
        let supervisor = Supervisor(
            name: "nats-server",
            configuration: {
                try PrivateDirectory.write(server.text, to: file, owner: user)
                return ChildConfiguration(
                    name: "nats-server",
                    executable: executable,
                    arguments: ["--config", file],
                    user: user,
                    workingDirectory: directory,
                    stopSignal: SIGTERM
                )
            },
            checkReadiness: { try await self.probe(options) },
            level: self.level(ofLine:),
            backOff: configuration.backOff,
            liveness: Supervisor.Liveness { try await self.probe(options, streams: QueueNames.streams) },
            guardExecutable: guardExecutable,
            lock: lock,
            logger: logger
        )
        return EmbeddedNATS(supervisor: supervisor, port: server.port, token: server.token)
    }

    /// Keeps the server running until this task is cancelled; then stops it, and returns when it is gone.
    package func run() async throws {
        try await self.supervisor.run()
    }

    /// Returns when the server answers with JetStream.
    package func waitUntilReady() async throws {
        try await self.supervisor.waitUntilReady()
    }

    /// Runs the server for as long as `body` takes, which begins when the server answers.
    package func whileRunning<Result: Sendable>(
        _ body: @escaping @Sendable () async throws -> Result
    ) async throws -> Result {
        try await self.supervisor.whileRunning(body)
    }

    /// Readiness and restarts, for health and metrics.
    package var status: Supervisor.Status { self.supervisor.status }

    /// How to connect to it. Holds the token.
    package var queueOptions: QueueOptions { Self.options(port: self.port, token: self.token) }

    private static func options(port: Int, token: String) -> QueueOptions {
        QueueOptions(servers: ["nats://127.0.0.1:\(port)"], token: token, connectTimeout: .seconds(2))
    }

    /// Connects, and asks JetStream: for its account, and for what these streams hold.
    ///
    /// nats-server 2.9 may hang in a stream's lock when its disk is full: it answers pings, and for the account, but never
    /// again for the stream, not even when there is room.
    private static func probe(_ options: QueueOptions, streams: [String] = []) async throws {
        let connection = try await NATSConnection.connect(
            options,
            reconnecting: false,
            logger: Logger(label: "probe") { _ in SwiftLogNoOpLogHandler() }
        )
        do {
            let requester = try await NATSRequester.start(on: connection)
            let api = JetStreamAPI(requester: requester)
            try await api.checkAccount()
            for stream in streams { try await api.checkStream(stream) }
            requester.close()
        } catch {
            await connection.close()
            throw error
        }
        await connection.close()
    }

    static func findServer(preferring executable: String?, path: String? = getenv("PATH").map { String(cString: $0) })
        -> String?
    {
        if let executable { return access(executable, X_OK) == 0 ? executable : nil }
        let places = (path ?? "").split(separator: ":").map(String.init) + self.usualPlaces
        return places.filter { $0.hasPrefix("/") }.map { $0 + "/nats-server" }.first { access($0, X_OK) == 0 }
    }

    /// 32 random bytes as hexadecimal digits.
    private static func makeToken() -> String {
        (0..<32).map { _ in String(format: "%02x", UInt8.random(in: .min ... .max)) }.joined()
    }

    /// A port of ``ports`` on which nobody listens.
    /// - Throws: `SupervisionError` when many in a row are taken.
    private static func freePort() throws -> Int {
        for _ in 0..<100 {
            let port = Int.random(in: self.ports)
            if self.isFree(port) { return port }
        }
        throw SupervisionError.cannotStart(name: "nats-server", reason: "no port is free on 127.0.0.1")
    }

    private static func isFree(_ port: Int) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }

    /// nats-server writes `[pid] [INF] text`.
    static func level(ofLine line: String) -> Logger.Level {
        // The token stands in a file that only its user can read: nothing that an administrator should mend.
        if line.contains("Plaintext passwords detected") { return .debug }
        if line.contains("[ERR]") { return .error }
        if line.contains("[FTL]") { return .critical }
        if line.contains("[WRN]") { return .warning }
        return .debug
    }
}
