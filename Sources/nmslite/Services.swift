import Bcrypt
import Foundation
import Logging
import NIOPosix
import NMSAPI
import NMSCollectors
import NMSCore
import NMSPoller
import NMSQueue
import NMSRuntime
import NMSScheduler
import NMSStorage
import Postgres
import ServiceLifecycle

/// What runs once everything below is open, by the instance's roles.
struct Services {
    let configuration: NMSRuntime.Configuration
    /// File descriptors that this process may have.
    let descriptorLimit: Int
    let pool: PostgresPool
    let queue: NATSQueue
    let cipher: CredentialCipher
    let secrets: Secrets
    let certificate: ServerCertificate?
    /// Each element asks to look at the certificate's files.
    let certificateReloads: AsyncStream<Void>
    let renewal: CertificateRenewal?
    let logger: Logger

    /// Runs until a graceful shutdown, which ends the services from the last to the first: requests, schedule, polls,
    /// rows.
    func run() async throws {
        let devices = DeviceRepository(pool: self.pool)
        let credentials = CredentialRepository(pool: self.pool, cipher: self.cipher)
        let partitions = MetricsPartitions(pool: self.pool, logger: Logger(label: "storage"))
        var services: [any Service] = [self.trimService()]
        if self.has(.writer) {
            services.append(self.partitionService(partitions))
            services.append(self.rollUpService())
            services.append(self.writerService(partitions))
        }
        // One of each: the guard bounds the sign-ins of polls and discoveries together.
        let gate = LockoutGuard(store: credentials, events: self.queue, logger: Logger(label: "sign-in"))
        let collectors = self.collectors()
        if self.has(.poller) {
            services.append(
                contentsOf: self.pollerServices(
                    devices: devices,
                    credentials: credentials,
                    gate: gate,
                    collectors: collectors
                )
            )
        }
        if self.has(.discovery) {
            let identifiers = collectors.all.compactMap { $0 as? any WindowsIdentifier }
            let discovery = DiscoveryServices(
                services: self,
                gate: gate,
                identifiers: identifiers,
                credentials: credentials
            )
            services.append(contentsOf: discovery.make())
        }
        if self.has(.scheduler) { services.append(self.schedulerService(devices)) }
        if self.has(.api) {
            if let renewal = self.renewal { services.append(CancelledService { try await renewal.run() }) }
            let diagnosis = WindowsDiagnosis(collectors: collectors, gate: gate) { gate.forget(credentialID: $0) }
            services.append(try await self.api(devices: devices, credentials: credentials, diagnosis: diagnosis))
        }
        if let listener = try Observability.listener(self.configuration) { services.append(listener) }
        var group = ServiceGroupConfiguration(
            services: services.map { .init(service: $0) },
            logger: Logger(label: "nmslite.lifecycle") { _ in SwiftLogNoOpLogHandler() }
        )
        group.maximumGracefulShutdownDuration = .seconds(12)
        try await ServiceGroup(configuration: group).run()
    }

    private func has(_ role: NMSRuntime.Configuration.Role) -> Bool { self.configuration.roles.contains(role) }

    private func trimService() -> any Service {
        let interval = self.configuration.cache.cleanupInterval
        return CancelledService {
            while (try? await Task.sleep(for: interval)) != nil { MemoryTrimmer.run() }
        }
    }

    // MARK: - Storage

    private func writerService(_ partitions: MetricsPartitions) -> any Service {
        var options = StorageWriter.Options()
        options.unreachableAfter = self.configuration.polling.unreachableAfter
        let writer = StorageWriter(
            pool: self.pool,
            source: self.queue,
            events: self.queue,
            partitions: partitions,
            options: options,
            logger: Logger(label: "writer")
        )
        Observability.observe(writer)
        return CancelledService { await writer.run() }
    }

    private func partitionService(_ partitions: MetricsPartitions) -> any Service {
        let days = self.configuration.retention.days
        return CancelledService { await partitions.run(retentionDays: days) }
    }

    private func rollUpService() -> any Service {
        var options = HistoryRollUp.Options()
        options.retentionDays = self.configuration.retention.hourlyDays
        let rollUp = HistoryRollUp(self.pool.configuration, options: options, logger: Logger(label: "storage"))
        return CancelledService { await rollUp.run() }
    }

    // MARK: - Polling

    private func pollerServices(
        devices: DeviceRepository,
        credentials: CredentialRepository,
        gate: LockoutGuard,
        collectors: CollectorRegistry
    ) -> [any Service] {
        let logger = Logger(label: "poller")
        let targets = CachedPollTargets(
            devices: devices,
            credentials: credentials,
            deviceTTL: self.configuration.cache.deviceTTL,
            credentialTTL: self.configuration.cache.credentialTTL
        )
        var polling = Poller.Configuration()
        polling.workerCount = self.configuration.polling.workerCount
        polling.timeout = self.configuration.polling.timeout
        polling.descriptorLimit = self.descriptorLimit
        polling.outstanding = DescriptorLimit.polls(
            wanted: polling.workerCount + Poller.outstandingBeyondWorkers,
            limit: self.descriptorLimit
        )
        polling.unreachableAfter = self.configuration.polling.unreachableAfter
        let leases = PartitionLeases(self.pool.configuration, name: self.instanceName, logger: logger)
        let keeper = PartitionKeeper(store: leases, run: leases.run, logger: logger)
        let poller = Poller(
            configuration: polling,
            source: self.queue,
            targets: targets,
            collectors: collectors,
            gate: gate,
            results: self.queue,
            policy: self.configuration.targets.policy,
            keeper: keeper,
            probe: TCPReachProbe(eventLoopGroup: MultiThreadedEventLoopGroup.singleton),
            logger: logger
        )
        Observability.observe(poller, workers: polling.workerCount, targets: targets)
        Observability.observe(keeper)
        let follower = PollEventFollower(
            source: self.queue,
            targets: targets,
            gate: gate,
            collectors: collectors,
            poller: poller,
            logger: logger
        )
        let interval = self.configuration.cache.cleanupInterval
        return [
            CancelledService { await follower.run() },
            CancelledService {
                while (try? await Task.sleep(for: interval)) != nil { targets.removeExpired() }
            },
            PollerService(poller: poller, collectors: collectors, logger: logger),
        ]
    }

    /// Tells this instance from others of the same database, also after a restart. There are no others of an embedded one,
    /// whatever the host is called by then.
    private var instanceName: String {
        if self.configuration.database.isEmbedded { return "embedded" }
        let directory = URL(fileURLWithPath: DataDirectory(self.configuration).path).standardizedFileURL.path
        // Not ProcessInfo's, which may ask a name server.
        var name = [CChar](repeating: 0, count: 256)
        gethostname(&name, name.count - 1)
        let host = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return "\(host):\(directory)"
    }

    /// Every way to read a machine. A new collector is one line here.
    private func collectors() -> CollectorRegistry {
        var limits = WindowsCollectorLimits()
        limits.idleConnections = IdleConnectionBudget(limit: self.idleConnections())
        let group = MultiThreadedEventLoopGroup.singleton
        let winrm = WinRMCollector(caFile: self.configuration.winrm.caFile, limits: limits, eventLoopGroup: group)
        let wmi = WMICollector(limits: limits, eventLoopGroup: group)
        Observability.observe(collector: winrm.name) { winrm.sessions.count }
        Observability.observe(collector: wmi.name) { wmi.sessions.count }
        return CollectorRegistry([winrm, wmi])
    }

    /// `winrm.max_idle_connections`, or what the descriptor limit allows.
    private func idleConnections() -> Int {
        let wanted = self.configuration.winrm.maxIdleConnections
        let allowed = DescriptorLimit.idleConnections(
            wanted: wanted,
            clients: self.clientConnections,
            limit: self.descriptorLimit
        )
        if allowed < wanted {
            self.logger.notice(
                "fewer idle connections than winrm.max_idle_connections: the descriptor limit (ulimit -Hn) is low",
                metadata: ["wanted": "\(wanted)", "allowed": "\(allowed)", "descriptors": "\(self.descriptorLimit)"]
            )
        }
        return allowed
    }

    /// Connections that clients of the API may have: `server.max_connections`, or what the descriptor limit allows.
    private var clientConnections: Int {
        guard self.has(.api) else { return 0 }
        let wanted = self.configuration.server.maxConnections
        return DescriptorLimit.clientConnections(wanted: wanted, limit: self.descriptorLimit)
    }

    private func schedulerService(_ devices: DeviceRepository) -> any Service {
        let logger = Logger(label: "scheduler")
        let scheduler = Scheduler(source: devices, publisher: self.queue, events: self.queue, logger: logger)
        Observability.observe(scheduler)
        let lock = AdvisoryLock(self.pool.configuration, key: .schedulerLeader, logger: logger)
        return CancelledService {
            await Retry.untilCancelled("scheduler", logger: logger) {
                try await lock.whileHeld { try await Observability.leading { try await scheduler.run() } }
            }
        }
    }

    // MARK: - API

    private func api(
        devices: DeviceRepository,
        credentials: CredentialRepository,
        diagnosis: WindowsDiagnosis
    ) async throws -> any Service {
        var api = APIConfiguration(jwtSecret: self.secrets.jwtSecret)
        api.host = self.configuration.server.host
        api.port = self.configuration.server.port
        let minimumVersion: APIConfiguration.TLS.Version =
            switch self.configuration.server.tls.minVersion {
            case .v12: .v12
            case .v13: .v13
            }
        api.tls = self.certificate.map {
            APIConfiguration.TLS(
                certificatePath: $0.certificateFile,
                privateKeyPath: $0.privateKeyFile,
                minimumVersion: minimumVersion
            )
        }
        api.maximumConnections = self.clientConnections
        if api.maximumConnections < self.configuration.server.maxConnections {
            self.logger.notice(
                "fewer connections of clients than server.max_connections: the descriptor limit (ulimit -Hn) is low",
                metadata: ["allowed": "\(api.maximumConnections)", "descriptors": "\(self.descriptorLimit)"]
            )
        }
        api.readTimeout = self.configuration.server.readTimeout
        api.writeTimeout = self.configuration.server.writeTimeout
        api.accessTokenTTL = self.configuration.auth.accessTokenTTL
        api.refreshTokenTTL = self.configuration.auth.refreshTokenTTL
        api.metricsTTL = self.configuration.cache.metricsTTL
        api.cleanupInterval = self.configuration.cache.cleanupInterval
        api.defaultPollingInterval = Int(self.configuration.polling.defaultInterval.components.seconds)
        api.exposition = Observability.exposition(self.configuration)
        api.requestsPerSecond = self.configuration.rateLimit.requestsPerSecond
        let (pool, queue) = (self.pool, self.queue)
        let dependencies = APIDependencies(
            users: UserRepository(pool: pool),
            sessions: SessionRepository(pool: pool),
            credentials: credentials,
            devices: devices,
            metrics: MetricsRepository(pool: pool),
            audit: AuditRepository(pool: pool),
            discoveries: DiscoveryRepository(pool: pool),
            hasher: try PasswordHasher(cost: self.configuration.auth.bcryptCost),
            jobs: queue,
            discoveryJobs: queue,
            discoveryTargets: DiscoveryTargetAdapter(self.configuration),
            events: queue,
            eventSource: queue,
            targets: self.configuration.targets.policy,
            diagnosis: diagnosis,
            health: [
                HealthComponent("database") {
                    do {
                        try await pool.ping()
                        return ComponentHealth(.up)
                    } catch {
                        return ComponentHealth(.down, message: "PostgreSQL does not answer")
                    }
                },
                HealthComponent("queue") {
                    guard queue.status.isConnected else {
                        return ComponentHealth(.down, message: "NATS is not connected")
                    }
                    // A connection says little: a server whose disk is full may keep it and store nothing.
                    return await queue.answers()
                        ? ComponentHealth(.up) : ComponentHealth(.down, message: "JetStream does not answer")
                },
            ],
            certificateReloads: self.certificateReloads,
            logger: Logger(label: "api")
        )
        return try await buildApplication(dependencies: dependencies, configuration: api)
    }
}
