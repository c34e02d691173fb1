extension ConfigurationKey {
    // Ranges keep out what can't work or what a typing error gives, not what is merely unusual.
    private static let networkTimeout: ClosedRange<Duration> = .seconds(1)...(.seconds(3600))
    private static let cacheLifetime: ClosedRange<Duration> = .milliseconds(100)...(.seconds(86_400))

    /// Every setting, in the order of specification §10.2, then what design adds to it.
    package static let table: [ConfigurationKey] = [
        .init(
            "data_dir",
            .path(\.dataDir),
            defaultNote: "`./nmslite-data`; as root `/var/lib/nmslite`",
            "Directory of everything embedded: PostgreSQL, NATS, certificate, generated secrets."
        ),
        .init(
            "roles",
            .choices(\.roles),
            default: "api, scheduler, poller, discovery, writer",
            "What this instance does, so that many can share one PostgreSQL and one NATS."
        ),

        // MARK: server
        .init("server.host", .text(\.server.host), default: "0.0.0.0", "Address that the API listens on."),
        .init(
            "server.port",
            .integer(0...65_535, \.server.port),
            default: "8443",
            "Port that the API listens on; 0 takes a free one."
        ),
        .init(
            "server.read_timeout",
            .duration(networkTimeout, \.server.readTimeout),
            default: "30s",
            "Longest time for reading one request."
        ),
        .init(
            "server.write_timeout",
            .duration(networkTimeout, \.server.writeTimeout),
            default: "30s",
            "Longest time for writing one answer."
        ),
        .init(
            "server.max_connections",
            .integer(10...1_000_000, \.server.maxConnections),
            default: "2000",
            "Most connections of clients at once, within a quarter of the descriptor limit; idle ones are closed for new ones."
        ),
        .init(
            "server.tls.enabled",
            .boolean(\.server.tls.enabled),
            default: "true",
            "HTTPS; false serves plain HTTP, for use behind a proxy, which limits per client then take for the one client."
        ),
        .init(
            "server.tls.cert_file",
            .path(\.server.tls.certFile),
            defaultNote: "self-signed, in the data directory",
            "PEM certificate, followed by its chain."
        ),
        .init(
            "server.tls.key_file",
            .path(\.server.tls.keyFile),
            defaultNote: "in the data directory",
            "PEM private key of the certificate."
        ),
        .init(
            "server.tls.min_version",
            .choice(\.server.tls.minVersion),
            default: "1.2",
            "Lowest TLS version that is accepted."
        ),

        // MARK: database
        .init(
            "database.host",
            .text(\.database.host),
            defaultNote: "embedded PostgreSQL",
            "Host of an external PostgreSQL; with it, no secret is generated."
        ),
        .init("database.port", .integer(1...65_535, \.database.port), default: "5432", "Port of the external server."),
        .init("database.name", .text(\.database.name), default: "nmslite", "Name of the database."),
        .init("database.user", .text(\.database.user), default: "nmslite", "Role that NMSlite signs in as."),
        .init(
            "database.password",
            .secret(\.database.password),
            environmentAliases: ["NMSLITE_DB_PASSWORD"],
            secret: true,
            "Password of the role."
        ),
        .init(
            "database.sslmode",
            .choice(\.database.sslMode),
            default: "prefer",
            "Encryption towards the external server, as libpq names it; verify-full is the safe one."
        ),
        // PostgreSQL's max_connections can't exceed 262143.
        .init(
            "database.max_open_conns",
            .integer(1...262_143, \.database.maxOpenConns),
            default: "25",
            "Most connections open at once."
        ),
        .init(
            "database.max_idle_conns",
            .integer(0...262_143, \.database.maxIdleConns),
            default: "5",
            "Most connections kept open for longer than 10 s while idle; at most database.max_open_conns."
        ),
        .init(
            "database.conn_max_lifetime",
            .duration(.seconds(1)...(.seconds(86_400)), \.database.connMaxLifetime),
            default: "5m",
            "Age at which a connection is replaced."
        ),
        .init(
            "database.statement_timeout",
            .duration(.milliseconds(100)...(.seconds(3600)), \.database.statementTimeout),
            default: "30s",
            "Longest time for one statement."
        ),

        // MARK: auth
        // RFC 7518 §3.2: an HS256 key has at least 256 bits.
        .init(
            "auth.jwt_secret",
            .secret(atLeast: 32, \.auth.jwtSecret),
            defaultNote: "generated with the embedded PostgreSQL",
            environmentAliases: ["NMSLITE_JWT_SECRET"],
            secret: true,
            "Signs access tokens; the same on all instances."
        ),
        .init(
            "auth.access_token_ttl",
            .duration(.seconds(10)...(.seconds(86_400)), wholeSeconds: true, \.auth.accessTokenTTL),
            default: "15m",
            "Lifetime of an access token."
        ),
        .init(
            "auth.refresh_token_ttl",
            .duration(.seconds(10)...(.seconds(31_536_000)), wholeSeconds: true, \.auth.refreshTokenTTL),
            default: "168h",
            "Lifetime of a refresh token; not shorter than the access token's."
        ),
        // crypt(5): 4 to 31. Above 16 one sign-in takes many seconds.
        .init("auth.bcrypt_cost", .integer(4...16, \.auth.bcryptCost), default: "12", "Cost of hashing a password."),

        // MARK: queue
        .init("queue.type", .choice(\.queue.type), default: "nats", "Kind of message queue."),
        .init(
            "queue.url",
            .natsURL(\.queue.url),
            default: "nats://localhost:4222",
            "External NATS with JetStream, used when queue.embedded is false."
        ),
        .init(
            "queue.embedded",
            .boolean(\.queue.embedded),
            default: "true",
            "Supervise a private nats-server instead of using queue.url."
        ),
        // JetStream keeps at most five copies.
        .init(
            "queue.replicas",
            .integer(1...5, \.queue.replicas),
            default: "1",
            "Copies of each stream in a NATS cluster; 3 bear the loss of one server."
        ),

        // MARK: cache
        .init("cache.device_ttl", .duration(cacheLifetime, \.cache.deviceTTL), default: "5m", "Lifetime of a device."),
        .init(
            "cache.credential_ttl",
            .duration(cacheLifetime, \.cache.credentialTTL),
            default: "5m",
            "Lifetime of a decrypted credential."
        ),
        .init(
            "cache.metrics_ttl",
            .duration(cacheLifetime, \.cache.metricsTTL),
            default: "30s",
            "Lifetime of a device's latest metrics."
        ),
        .init(
            "cache.cleanup_interval",
            .duration(cacheLifetime, \.cache.cleanupInterval),
            default: "1m",
            "How often expired entries are removed."
        ),

        // MARK: polling
        .init(
            "polling.default_interval",
            .duration(.seconds(5)...(.seconds(86_400)), wholeSeconds: true, \.polling.defaultInterval),
            default: "60s",
            "Interval of devices that name none."
        ),
        .init(
            "polling.worker_count",
            .integer(1...10_000, \.polling.workerCount),
            default: "10",
            "Polls in flight at once."
        ),
        .init(
            "polling.timeout",
            .duration(.seconds(1)...(.seconds(600)), \.polling.timeout),
            default: "30s",
            "Longest time for one poll."
        ),
        .init(
            "polling.unreachable_after",
            .integer(1...1000, \.polling.unreachableAfter),
            default: "3",
            "Failed polls in a row that make a device unreachable."
        ),

        // MARK: encryption
        .init(
            "encryption.master_key",
            .key256(\.encryption.masterKey),
            defaultNote: "generated with the embedded PostgreSQL",
            environmentAliases: ["NMSLITE_MASTER_KEY"],
            secret: true,
            "Encrypts stored passwords (AES-256-GCM); the same on all instances."
        ),
        .init(
            "encryption.master_key_next",
            .key256(\.encryption.masterKeyNext),
            defaultNote: "none; generated by `nmslite keys rotate` with the embedded PostgreSQL",
            environmentAliases: ["NMSLITE_MASTER_KEY_NEXT"],
            secret: true,
            "The key that `nmslite keys rotate` replaces the master key by; opens stored passwords as well."
        ),

        // MARK: logging
        .init(
            "logging.level",
            .choice(\.logs.level),
            default: "info",
            flagAliases: ["log.level"],
            environmentAliases: ["NMSLITE_LOG_LEVEL"],
            "Lowest level that is written."
        ),
        .init("logging.format", .choice(\.logs.format), default: "json", "Form of a line."),
        .init("logging.output", .logOutput(\.logs.output), default: "stdout", "Where lines go."),

        // MARK: beyond the specification
        .init(
            "targets.allow",
            .networks(\.targets.allow),
            default: "0.0.0.0/0, ::/0",
            "Networks that may be polled and discovered; multicast and the unspecified address never."
        ),
        .init(
            "discovery.max_addresses",
            .integer(1...1_048_576, \.discovery.maxAddresses),
            default: "65536",
            "Addresses that one discovery may sweep."
        ),
        .init(
            "discovery.concurrency",
            .integer(1...65_536, \.discovery.concurrency),
            default: "2048",
            "Connections that a discovery makes at once; fewer where the descriptor limit is low."
        ),
        .init(
            "discovery.rate",
            .integer(1...1_000_000, \.discovery.rate),
            default: "10000",
            "Connections that a discovery begins per second."
        ),
        .init(
            "winrm.max_idle_connections",
            .integer(0...1_000_000, \.winrm.maxIdleConnections),
            default: "12000",
            "Warm connections to hosts kept between polls, over WinRM and WMI together."
        ),
        .init(
            "winrm.ca_file",
            .path(\.winrm.caFile),
            defaultNote: "the system's authorities",
            "PEM certificates of authorities that sign the hosts' certificates."
        ),
        .init(
            "retention.days",
            .integer(1...3650, \.retention.days),
            default: "90",
            "Days that metrics are kept; whole months are dropped, so up to 31 more."
        ),
        .init(
            "retention.hourly_days",
            .integer(1...3650, \.retention.hourlyDays),
            default: "400",
            "Days that hourly values are kept, for histories over long ranges; never less than the metrics themselves."
        ),
        .init(
            "rate_limit.requests_per_second",
            .integer(1...1_000_000, \.rateLimit.requestsPerSecond),
            default: "2000",
            "Requests that one API client may send."
        ),
        .init(
            "metrics.scrape_token",
            .bearerToken(atLeast: 32, \.metrics.scrapeToken),
            defaultNote: "none: the API's port has no /metrics",
            secret: true,
            "Opens GET /metrics on the API's port to scrapers that present it as a bearer token."
        ),
        .init(
            "metrics.listen",
            .loopback(\.metrics.listen),
            defaultNote: "none",
            "Plain HTTP for GET /metrics without a token, to scrapers on this machine."
        ),
    ]
}
