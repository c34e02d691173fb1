import NMSCore
import Testing

@testable import NMSRuntime

@Suite struct ConfigurationLoaderTests {
    // MARK: Defaults and precedence

    @Test func nothingAtAllGivesTheSpecificationsDefaultsWithEverythingEmbedded() throws {
        let configuration = try ConfigurationFixture().load().configuration
        #expect(configuration.server.host == "0.0.0.0")
        #expect(configuration.server.port == 8443)
        #expect(configuration.server.readTimeout == .seconds(30))
        #expect(configuration.server.tls.enabled)
        #expect(configuration.server.tls.certFile == nil)
        #expect(configuration.server.tls.minVersion == .v12)
        #expect(configuration.database.isEmbedded)
        #expect(configuration.database.maxOpenConns == 25)
        #expect(configuration.database.maxIdleConns == 5)
        #expect(configuration.database.connMaxLifetime == .seconds(300))
        #expect(configuration.auth.accessTokenTTL == .seconds(900))
        #expect(configuration.auth.refreshTokenTTL == .seconds(168 * 3600))
        #expect(configuration.auth.bcryptCost == 12)
        #expect(configuration.queue.embedded)
        #expect(configuration.cache.metricsTTL == .seconds(30))
        #expect(configuration.polling.defaultInterval == .seconds(60))
        #expect(configuration.polling.workerCount == 10)
        #expect(configuration.polling.unreachableAfter == 3)
        #expect(configuration.logs.level == .info)
        #expect(configuration.logs.format == .json)
        #expect(configuration.logs.output == .standardOutput)
        #expect(configuration.winrm.maxIdleConnections == 12_000)
        #expect(configuration.retention.days == 90)
        #expect(configuration.rateLimit.requestsPerSecond == 2000)
        #expect(configuration.roles == Set(Configuration.Role.allCases))
        #expect(configuration.sources.isEmpty)
        let policy = configuration.targets.policy
        #expect(try policy.permits(#require(IPAddress("203.0.113.7"))))
        #expect(try policy.permits(#require(IPAddress("2001:db8::1"))))
        #expect(try !policy.permits(#require(IPAddress("224.0.0.1"))))
    }

    @Test func flagsOverrideTheEnvironmentWhichOverridesTheFile() throws {
        var fixture = ConfigurationFixture.file("server:\n  port: 1001\n")
        #expect(try fixture.load().configuration.server.port == 1001)
        #expect(
            try fixture.load().configuration.sources["server.port"] == .file(path: "./config.yaml", line: 2)
        )
        fixture.environment["NMSLITE_SERVER_PORT"] = "1002"
        #expect(try fixture.load().configuration.server.port == 1002)
        fixture.arguments = ["--server.port", "1003"]
        let configuration = try fixture.load().configuration
        #expect(configuration.server.port == 1003)
        #expect(configuration.sources["server.port"] == .flag("--server.port"))
    }

    @Test func anOverriddenValueIsCheckedAllTheSame() {
        let fixture = ConfigurationFixture(
            arguments: ["--server.port", "1003"],
            environment: ["NMSLITE_SERVER_PORT": "many"]
        )
        #expect(fixture.errors.map(\.kind) == [.malformedValue])
        #expect(fixture.errors.first?.source == .environment("NMSLITE_SERVER_PORT"))
    }

    @Test func everyKeyCanBeSetByFlagAndByEnvironment() throws {
        for key in ConfigurationKey.table where !key.isSecret {
            let value = Self.anotherValue[key.path] ?? "unlisted"
            for name in key.flagNames {
                for arguments in [["--\(name)", value], ["--\(name)=\(value)"]] {
                    var fixture = ConfigurationFixture(arguments: arguments + Self.companions(of: key.path))
                    fixture.environment = Self.externalSecrets
                    #expect(try fixture.load().configuration.sources[key.path] == .flag("--\(name)"))
                }
            }
            for name in key.environmentNames {
                var fixture = ConfigurationFixture(arguments: Self.companions(of: key.path))
                fixture.environment = Self.externalSecrets.merging([name: value]) { $1 }
                #expect(try fixture.load().configuration.sources[key.path] == .environment(name))
            }
        }
    }

    private static func companions(of path: String) -> [String] {
        switch path {
        case "server.tls.cert_file": ["--server.tls.key_file", "k"]
        case "server.tls.key_file": ["--server.tls.cert_file", "c"]
        case "queue.replicas": ["--queue.embedded", "false", "--queue.url", "nats://a:4222"]
        default: []
        }
    }

    private static let externalSecrets = [
        "NMSLITE_JWT_SECRET": ConfigurationFixture.jwtSecret, "NMSLITE_MASTER_KEY": ConfigurationFixture.masterKey,
    ]

    private static let anotherValue = [
        "data_dir": "/srv/nmslite", "roles": "api,poller", "server.host": "127.0.0.1", "server.port": "9443",
        "server.read_timeout": "10s", "server.write_timeout": "1m30s", "server.max_connections": "100",
        "server.tls.enabled": "false",
        "server.tls.cert_file": "a.crt", "server.tls.key_file": "a.key", "server.tls.min_version": "1.3",
        "database.host": "db.example", "database.port": "6543", "database.name": "n", "database.user": "u",
        "database.sslmode": "verify-full", "database.max_open_conns": "50", "database.max_idle_conns": "10",
        "database.conn_max_lifetime": "1h", "database.statement_timeout": "500ms", "auth.access_token_ttl": "5m",
        "auth.refresh_token_ttl": "24h", "auth.bcrypt_cost": "4", "queue.type": "nats",
        "queue.url": "tls://a:4222,tls://b:4222", "queue.embedded": "true", "queue.replicas": "3",
        "cache.device_ttl": "1m",
        "cache.credential_ttl": "1m", "cache.metrics_ttl": "1m", "cache.cleanup_interval": "10s",
        "polling.default_interval": "10s", "polling.worker_count": "50", "polling.timeout": "20s",
        "polling.unreachable_after": "5", "logging.level": "debug", "logging.format": "text",
        "logging.output": "stderr", "targets.allow": "10.0.0.0/8, fd00::/8", "winrm.max_idle_connections": "100",
        "discovery.max_addresses": "256", "discovery.concurrency": "100", "discovery.rate": "50",
        "winrm.ca_file": "ca.pem", "retention.days": "30", "retention.hourly_days": "500",
        "rate_limit.requests_per_second": "10", "metrics.listen": "127.0.0.1:9464",
    ]

    // MARK: Arguments

    @Test func whatIsNotASettingIsLeftForTheCommandParser() throws {
        let fixture = ConfigurationFixture(
            arguments: [
                "user", "--server.port=9000", "add", "--roles", "api", "alice", "--role", "admin", "-v", "--",
                "--server.port", "x",
            ]
        )
        let loaded = try fixture.load()
        #expect(
            loaded.remainingArguments == ["user", "add", "alice", "--role", "admin", "-v", "--", "--server.port", "x"]
        )
        #expect(loaded.configuration.server.port == 9000)
        #expect(loaded.configuration.roles == [.api])
        #expect(
            ConfigurationLoader.remainingArguments(of: ["--help", "--no.such=1", "version"]) == ["--help", "version"]
        )
    }

    @Test func theSpecificationsAliasesWork() throws {
        #expect(
            try ConfigurationFixture(arguments: ["--log.level", "debug"]).load().configuration.logs.level == .debug
        )
        let environment = [
            "NMSLITE_DB_PASSWORD": "pw", "NMSLITE_JWT_SECRET": ConfigurationFixture.jwtSecret,
            "NMSLITE_MASTER_KEY": ConfigurationFixture.masterKey, "NMSLITE_LOG_LEVEL": "warn",
            "NMSLITE_DATABASE_HOST": "db", "NMSLITE_DATA_DIR": "/d",
        ]
        let configuration = try ConfigurationFixture(environment: environment).load().configuration
        #expect(configuration.database.password?.exposed == "pw")
        #expect(configuration.auth.jwtSecret?.exposed == ConfigurationFixture.jwtSecret)
        #expect(configuration.encryption.masterKey?.exposed == ConfigurationFixture.masterKey)
        #expect(configuration.logs.level == .warn)
        #expect(configuration.dataDir == "/d")
    }

    @Test(
        arguments: [
            (["--log.level", "debug", "--logging.level", "info"], [:]),
            (["--server.port", "1", "--server.port=2"], [:]),
            (["--config", "a", "--config", "b"], [:]),
            ([], ["NMSLITE_LOG_LEVEL": "info", "NMSLITE_LOGGING_LEVEL": "debug"]),
            ([], ["NMSLITE_DB_PASSWORD": "a", "NMSLITE_DATABASE_PASSWORD": "b"]),
            ([], ["NMSLITE_JWT_SECRET": ConfigurationFixture.jwtSecret, "NMSLITE_JWT_SECRET_FILE": "/other"]),
            ([], ["NMSLITE_ADMIN_PASSWORD": "a", "NMSLITE_ADMIN_PASSWORD_FILE": "/other"]),
        ] as [([String], [String: String])]
    )
    func namesThatDisagreeAreAnError(_ arguments: [String], _ environment: [String: String]) {
        let other = "another secret of thirty-two bytes"
        let files = ["/other": other, "a": "", "b": ""]
        let fixture = ConfigurationFixture(arguments: arguments, environment: environment, files: files)
        #expect(fixture.errors.map(\.kind) == [.conflict])
    }

    @Test func namesThatAgreeAreNoError() throws {
        let fixture = ConfigurationFixture(
            arguments: ["--log.level", "debug", "--logging.level=debug"],
            environment: ["NMSLITE_LOG_LEVEL": "info", "NMSLITE_LOGGING_LEVEL": "info"]
        )
        #expect(try fixture.load().configuration.logs.level == .debug)
    }

    // MARK: Secrets

    @Test func secretsComeFromFilesNamedByFlagEnvironmentOrKey() throws {
        let files = ["/s": ConfigurationFixture.jwtSecret + "\n", "./config.yaml": "auth:\n  jwt_secret_file: /s\n"]
        let ways: [ConfigurationFixture] = [
            .init(arguments: ["--auth.jwt_secret_file", "/s"], files: files.filter { $0.key == "/s" }),
            .init(environment: ["NMSLITE_JWT_SECRET_FILE": "/s"], files: files.filter { $0.key == "/s" }),
            .init(files: files),
        ]
        for way in ways {
            #expect(try way.load().configuration.auth.jwtSecret?.exposed == ConfigurationFixture.jwtSecret)
        }
    }

    @Test func anExternalDatabaseNeedsBothSecrets() throws {
        let fixture = ConfigurationFixture(arguments: ["--database.host", "db"])
        #expect(fixture.errors.map(\.kind) == [.missingSecret, .missingSecret])
        #expect(fixture.errors.map(\.key) == ["auth.jwt_secret", "encryption.master_key"])
        #expect(fixture.errors.allSatisfy { $0.remedy.contains("NMSLITE_") })
    }

    @Test func theAdminPasswordComesFromTheEnvironmentAlone() throws {
        let given = ConfigurationFixture(environment: ["NMSLITE_ADMIN_PASSWORD": "first"])
        #expect(try given.load().configuration.adminPassword?.exposed == "first")
        let file = ConfigurationFixture(environment: ["NMSLITE_ADMIN_PASSWORD_FILE": "/p"], files: ["/p": "second\n"])
        #expect(try file.load().configuration.adminPassword?.exposed == "second")
        #expect(try ConfigurationFixture().load().configuration.adminPassword == nil)
        let empty = ConfigurationFixture(environment: ["NMSLITE_ADMIN_PASSWORD": ""])
        #expect(try empty.load().configuration.adminPassword == nil)
        for bad in [
            ConfigurationFixture(environment: ["NMSLITE_ADMIN_PASSWORD": String(repeating: "x", count: 73)]),
            ConfigurationFixture(environment: ["NMSLITE_ADMIN_PASSWORD_FILE": "/p"], files: ["/p": "\n"]),
        ] {
            #expect(bad.errors.map(\.kind) == [.malformedValue])
        }
    }

    // MARK: Warnings

    @Test func unknownVariablesOnlyWarn() throws {
        let fixture = ConfigurationFixture.file(
            "database:\n  name: \"${NMSLITE_MINE}\"\n",
            environment: ["NMSLITE_SERVER_PROT": "1", "NMSLITE_TEST_PYTHON": "x", "NMSLITE_MINE": "n", "OTHER": "y"]
        )
        let warnings = try fixture.load().warnings
        #expect(warnings.count == 2)
        #expect(warnings.first?.contains("NMSLITE_SERVER_PROT") == true)
        #expect(warnings.first?.contains("Did you mean NMSLITE_SERVER_PORT?") == true)
        // The file's database.name is ignored, since the database is embedded.
        #expect(warnings.last?.contains("database.name") == true)
    }
}
