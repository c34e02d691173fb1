import Bcrypt
import Foundation
import Logging
import NMSClient
import NMSCore
import NMSQueue
import NMSRuntime
import NMSStorage
import Postgres
import ServiceLifecycle
import Synchronization

/// Something that happens once.
final class Flag: Sendable {
    private let value = Mutex(false)

    var isSet: Bool { self.value.withLock { $0 } }

    func set() { self.value.withLock { $0 = true } }
}

/// One running nmslite: what it stands on is opened from the bottom up, and closed from the top down.
struct Instance: Service {
    let configuration: NMSRuntime.Configuration
    /// File descriptors that this process may have.
    let descriptorLimit: Int
    /// Each element asks to look at the certificate's files.
    let certificateReloads: AsyncStream<Void>
    let logger: Logger

    /// Set when the services take over; until then a shutdown cancels the start.
    private let isServing = Flag()

    init(
        configuration: NMSRuntime.Configuration,
        descriptorLimit: Int,
        certificateReloads: AsyncStream<Void>,
        logger: Logger
    ) {
        self.configuration = configuration
        self.descriptorLimit = descriptorLimit
        self.certificateReloads = certificateReloads
        self.logger = logger
    }

    func run() async throws {
        // A task of its own so that a signal during a long start (initdb, crash recovery) can cancel it.
        let work = Task { try await self.open() }
        try await withTaskCancellationHandler {
            try await withGracefulShutdownHandler {
                do { try await work.value } catch is CancellationError where !self.isServing.isSet {
                    self.logger.info("stopped during the start")
                }
            } onGracefulShutdown: {
                if !self.isServing.isSet { work.cancel() }
            }
        } onCancel: {
            work.cancel()
        }
    }

    private func open() async throws {
        let instance = try await InstanceDirectory.open(self.configuration)
        defer { withExtendedLifetime(instance) {} }
        let secrets = try Secrets.load(self.configuration, directory: instance.directory)
        for file in secrets.generatedFiles { self.logger.info("secret generated", metadata: ["file": "\(file)"]) }
        let certificate = try ServerCertificate.prepare(self.configuration, directory: instance.directory)
        self.announce(certificate)
        try await self.withPostgres(instance) { database in
            try await self.withQueue(instance) { queue in
                try await self.withPool(database) { pool in
                    let cipher = try await self.prepareDatabase(pool, secrets: secrets, directory: instance.directory)
                    try Task.checkCancellation()
                    self.isServing.set()
                    try await Services(
                        configuration: self.configuration,
                        descriptorLimit: self.descriptorLimit,
                        pool: pool,
                        queue: queue,
                        cipher: cipher,
                        secrets: secrets,
                        certificate: certificate,
                        certificateReloads: self.certificateReloads,
                        renewal: self.renewal(of: certificate, directory: instance.directory),
                        logger: self.logger
                    ).run()
                }
            }
        }
    }

    // MARK: - What it stands on

    private func withPostgres(
        _ instance: InstanceDirectory,
        _ body: @escaping @Sendable (PostgresConfiguration) async throws -> Void
    ) async throws {
        let database = self.configuration.database
        if let host = database.host {
            return try await body(PostgresConfiguration(external: database, host: host))
        }
        let server = try await DatabaseAccess.prepare(instance, logger: Logger(label: "postgres"))
        Observability.observe(child: "postgres") { server.status }
        try await server.whileRunning {
            try await body(DatabaseAccess.finished(server.connectionConfiguration, database))
        }
    }

    private func withQueue(
        _ instance: InstanceDirectory,
        _ body: @escaping @Sendable (NATSQueue) async throws -> Void
    ) async throws {
        guard self.configuration.queue.embedded else {
            let servers = try QueueOptions.servers(inURL: self.configuration.queue.url.exposed)
            let options = QueueOptions(servers: servers, replicas: self.configuration.queue.replicas)
            return try await self.withConnection(options, body)
        }
        let server = try await EmbeddedNATS.prepare(
            EmbeddedNATS.Configuration(directory: instance.directory.natsDirectory),
            user: instance.user,
            lock: instance.childrenLock,
            logger: Logger(label: "nats-server")
        )
        Observability.observe(child: "nats") { server.status }
        try await server.whileRunning { try await self.withConnection(server.queueOptions, body) }
    }

    private func withConnection(
        _ options: QueueOptions,
        _ body: @Sendable (NATSQueue) async throws -> Void
    ) async throws {
        var options = options
        options.pollTimeout = self.configuration.polling.timeout
        let queue = try await NATSQueue.connect(options, logger: Logger(label: "queue"))
        Observability.observe(queue)
        do { try await body(queue) } catch {
            await queue.shutDown()
            throw error
        }
        await queue.shutDown()
    }

    private func withPool(
        _ connection: PostgresConfiguration,
        _ body: (PostgresPool) async throws -> Void
    ) async throws {
        let database = self.configuration.database
        let pool = PostgresPool(
            connection,
            limits: PostgresPoolLimits(
                maxOpen: database.maxOpenConns,
                maxIdle: database.maxIdleConns,
                maxLifetime: database.connMaxLifetime
            ),
            onAcquire: Observability.acquireObserver()
        )
        Observability.observe(pool)
        do { try await body(pool) } catch {
            await pool.close()
            throw error
        }
        await pool.close()
    }

    // MARK: - Before anything runs

    /// Schema, master key, partitions and the first user.
    private func prepareDatabase(
        _ pool: PostgresPool,
        secrets: Secrets,
        directory: DataDirectory
    ) async throws -> CredentialCipher {
        for migration in try await Migrator(pool.configuration).up() {
            self.logger.info("migration applied", metadata: ["version": "\(migration.version)"])
        }
        let source = MasterKeySource(self.configuration, directory: directory)
        let cipher = try CredentialCipher(secrets.masterKeys, source, logger: self.logger)
        try await MasterKeyCheck.verifyOrStore(pool, cipher: cipher)
        try await MetricsPartitions(pool: pool, logger: self.logger).ensureAhead(now: Date())
        try await self.makeFirstUser(UserRepository(pool: pool), directory: directory)
        return cipher
    }

    private func makeFirstUser(_ users: UserRepository, directory: DataDirectory) async throws {
        guard try await users.count() == 0 else { return }
        let first = try FirstAdminPassword.prepare(self.configuration, directory: directory)
        let hasher = try PasswordHasher(cost: self.configuration.auth.bcryptCost)
        let hash = try await hasher.hash(first.password.exposed)
        let made = try await users.createFirst(username: "admin", passwordHash: hash, role: .admin, audit: .system)
        guard made != nil else {
            // Another instance was first: the password in our file opens nothing.
            if let file = first.file { try? FileManager.default.removeItem(atPath: file) }
            return
        }
        self.logger.info(
            "first user made",
            metadata: ["username": "admin", "initial_password_file": "\(first.file ?? "none: NMSLITE_ADMIN_PASSWORD")"]
        )
    }

    /// nil for a certificate that was given: its owner renews it.
    private func renewal(of certificate: ServerCertificate?, directory: DataDirectory) -> CertificateRenewal? {
        guard certificate?.isSelfSigned == true else { return nil }
        let configuration = self.configuration
        return CertificateRenewal(
            prepare: { try ServerCertificate.prepare(configuration, directory: directory) },
            logger: self.logger
        )
    }

    private func announce(_ certificate: ServerCertificate?) {
        guard let certificate else {
            self.logger.warning("TLS is off: passwords and tokens travel in the clear")
            return
        }
        self.logger.info(
            "certificate",
            metadata: [
                "file": "\(certificate.certificateFile)",
                "sha256": "\(certificate.fingerprint)",
                "self_signed": "\(certificate.isSelfSigned)",
                "not_after": "\(RFC3339.string(from: certificate.notValidAfter))",
            ]
        )
    }
}
