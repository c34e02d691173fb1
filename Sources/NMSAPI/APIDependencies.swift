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
    /// Checks passwords, with `auth.bcrypt_cost`.
    package var hasher: PasswordHasher
    package var jobs: any PollJobPublisher
    package var events: any DeviceEventPublisher
    /// Where events of all instances come from; nil leaves caches to their TTLs.
    package var eventSource: (any DeviceEventSource)?
    /// `targets.allow`.
    package var targets: TargetPolicy
    /// What `GET /health` asks.
    package var health: [HealthComponent]
    /// Told the port once the server listens, which matters where the configured one is 0.
    package var onListening: @Sendable (Int) async -> Void
    package var clocks: APIClocks
    package var logger: Logger

    package init(
        users: UserRepository,
        sessions: SessionRepository,
        credentials: CredentialRepository,
        devices: DeviceRepository,
        metrics: MetricsRepository,
        hasher: PasswordHasher,
        jobs: any PollJobPublisher,
        events: any DeviceEventPublisher,
        eventSource: (any DeviceEventSource)? = nil,
        targets: TargetPolicy = TargetPolicy(),
        health: [HealthComponent] = [],
        onListening: @escaping @Sendable (Int) async -> Void = { _ in },
        clocks: APIClocks = APIClocks(),
        logger: Logger
    ) {
        self.users = users
        self.sessions = sessions
        self.credentials = credentials
        self.devices = devices
        self.metrics = metrics
        self.hasher = hasher
        self.jobs = jobs
        self.events = events
        self.eventSource = eventSource
        self.targets = targets
        self.health = health
        self.onListening = onListening
        self.clocks = clocks
        self.logger = logger
    }
}

/// The services behind the API, made once.
struct APIServices: Sendable {
    let auth: AuthService
    let credentials: CredentialService
    let devices: DeviceService
    let metrics: MetricsService
    let health: HealthService

    init(_ dependencies: APIDependencies, _ configuration: APIConfiguration) async throws {
        let announcer = EventAnnouncer(publisher: dependencies.events, logger: dependencies.logger)
        let devices = DeviceService(
            devices: dependencies.devices,
            credentials: dependencies.credentials,
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
            hasher: dependencies.hasher,
            tokens: try await AccessTokens(
                secret: configuration.jwtSecret,
                lifetime: configuration.accessTokenTTL,
                now: dependencies.clocks.wall
            ),
            refreshLifetime: configuration.refreshTokenTTL,
            throttleLimits: configuration.loginThrottle,
            clocks: dependencies.clocks,
            logger: dependencies.logger
        )
        self.credentials = CredentialService(credentials: dependencies.credentials, announcer: announcer)
        self.devices = devices
        self.metrics = MetricsService(
            metrics: dependencies.metrics,
            devices: devices,
            ttl: configuration.metricsTTL,
            clocks: dependencies.clocks
        )
        self.health = HealthService(components: dependencies.health, clocks: dependencies.clocks)
    }

    /// Takes note of an event of this or another instance.
    func handle(_ event: DeviceEvent) {
        self.devices.handle(event)
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
