package import Bcrypt
package import Logging
package import NMSCore
package import NMSStorage

/// What the composition root hands to the API.
package struct APIDependencies: Sendable {
    package var users: UserRepository
    package var sessions: SessionRepository
    package var credentials: CredentialRepository
    package var devices: DeviceRepository
    package var metrics: MetricsRepository
    package var audit: AuditRepository
    package var discoveries: DiscoveryRepository
    /// Checks passwords, with `auth.bcrypt_cost`.
    package var hasher: PasswordHasher
    package var jobs: any PollJobPublisher
    package var discoveryJobs: any DiscoveryJobPublisher
    /// Reads what is to be swept, within `targets.allow` and `discovery.max_addresses`.
    package var discoveryTargets: any DiscoveryTargetReader
    package var events: any DeviceEventPublisher
    /// Where events of all instances come from; nil leaves caches to their TTLs.
    package var eventSource: (any DeviceEventSource)?
    /// `targets.allow`.
    package var targets: TargetPolicy
    /// What `POST /devices/{id}/test` goes through; nil on an instance that cannot reach devices.
    package var diagnosis: (any DeviceDiagnosing)?
    /// What `GET /health` asks.
    package var health: [HealthComponent]
    /// Told the port once the server listens, which matters where the configured one is 0.
    package var onListening: @Sendable (Int) async -> Void
    /// Each element asks to look at the certificate's files now; nil leaves it to the timer.
    package var certificateReloads: AsyncStream<Void>?
    package var clocks: APIClocks
    package var logger: Logger

    package init(
        users: UserRepository,
        sessions: SessionRepository,
        credentials: CredentialRepository,
        devices: DeviceRepository,
        metrics: MetricsRepository,
        audit: AuditRepository,
        discoveries: DiscoveryRepository,
        hasher: PasswordHasher,
        jobs: any PollJobPublisher,
        discoveryJobs: any DiscoveryJobPublisher,
        discoveryTargets: any DiscoveryTargetReader,
        events: any DeviceEventPublisher,
        eventSource: (any DeviceEventSource)? = nil,
        targets: TargetPolicy = TargetPolicy(),
        diagnosis: (any DeviceDiagnosing)? = nil,
        health: [HealthComponent] = [],
        onListening: @escaping @Sendable (Int) async -> Void = { _ in },
        certificateReloads: AsyncStream<Void>? = nil,
        clocks: APIClocks = APIClocks(),
        logger: Logger
    ) {
        self.users = users
        self.sessions = sessions
        self.credentials = credentials
        self.devices = devices
        self.metrics = metrics
        self.audit = audit
        self.discoveries = discoveries
        self.hasher = hasher
        self.jobs = jobs
        self.discoveryJobs = discoveryJobs
        self.discoveryTargets = discoveryTargets
        self.events = events
        self.eventSource = eventSource
        self.targets = targets
        self.diagnosis = diagnosis
        self.health = health
        self.onListening = onListening
        self.certificateReloads = certificateReloads
        self.clocks = clocks
        self.logger = logger
    }
}

/// The services behind the API, made once.
struct APIServices: Sendable {
    let auth: AuthService
    let credentials: CredentialService
    let devices: DeviceService
    let diagnosis: DiagnosisService
    let discoveries: DiscoveryService
    let metrics: MetricsService
    let health: HealthService
    let audit: AuditService

    init(_ dependencies: APIDependencies, _ configuration: APIConfiguration) async throws {
        let announcer = EventAnnouncer(publisher: dependencies.events, logger: dependencies.logger)
        let devices = DeviceService(
            devices: dependencies.devices,
            credentials: dependencies.credentials,
            audit: dependencies.audit,
            jobs: dependencies.jobs,
            announcer: announcer,
            targets: dependencies.targets,
            defaultInterval: configuration.defaultPollingInterval,
            clocks: dependencies.clocks,
            logger: dependencies.logger
        )
        self.auth = try await AuthService(
            users: dependencies.users,
            sessions: dependencies.sessions,
            audit: dependencies.audit,
            hasher: dependencies.hasher,
            tokens: try await AccessTokens(
                secret: configuration.jwtSecret,
                lifetime: configuration.accessTokenTTL,
                now: dependencies.clocks.wall
            ),
            refreshLifetime: configuration.refreshTokenTTL,
            throttleLimits: configuration.loginThrottle,
            signIns: SignInMetrics(factory: configuration.metricsFactory),
            clocks: dependencies.clocks,
            logger: dependencies.logger
        )
        self.credentials = CredentialService(credentials: dependencies.credentials, announcer: announcer)
        self.devices = devices
        self.diagnosis = DiagnosisService(
            devices: dependencies.devices,
            credentials: dependencies.credentials,
            audit: dependencies.audit,
            targets: dependencies.targets,
            diagnosis: dependencies.diagnosis
        )
        self.discoveries = DiscoveryService(
            discoveries: dependencies.discoveries,
            credentials: dependencies.credentials,
            targets: dependencies.discoveryTargets,
            jobs: dependencies.discoveryJobs,
            defaultInterval: configuration.defaultPollingInterval,
            logger: dependencies.logger
        )
        self.metrics = MetricsService(
            metrics: dependencies.metrics,
            devices: devices,
            ttl: configuration.metricsTTL,
            clocks: dependencies.clocks
        )
        self.audit = AuditService(audit: dependencies.audit)
        self.health = HealthService(components: dependencies.health, clocks: dependencies.clocks)
    }

    /// Takes note of an event of this or another instance.
    func handle(_ event: DeviceEvent) {
        self.devices.handle(event)
        self.diagnosis.handle(event)
        self.metrics.handle(event)
    }

    /// Drops everything that events would have ended, after some may have been missed.
    func forgetAll() {
        self.devices.forgetAll()
        self.metrics.forgetAll()
    }

    /// Drops everything that has expired from memory.
    func removeExpired() {
        self.auth.removeExpired()
        self.devices.removeExpired()
        self.metrics.removeExpired()
    }
}
