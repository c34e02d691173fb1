import NMSCore
import Testing

@testable import NMSRuntime

@Suite struct ConfigurationErrorTests {
    // MARK: Values

    @Test(arguments: [
        ("server.port", "65536"), ("server.port", "-1"), ("server.port", "84 43"),
        ("server.port", "0x1F"), ("server.tls.enabled", "yes"), ("server.tls.min_version", "1.1"),
        ("server.read_timeout", "30"), ("server.read_timeout", "0s"), ("server.read_timeout", "-5s"),
        ("polling.default_interval", "4s"), ("polling.default_interval", "5500ms"), ("auth.bcrypt_cost", "31"),
        ("targets.allow", "10.0.0.0/33"), ("targets.allow", "10.0.0.0/8,,"), ("roles", "api,cook"), ("roles", ","),
        ("logging.level", "INFO"), ("queue.url", "http://x"), ("queue.url", "nats://"), ("queue.url", "nats://u@:1"),
        ("database.name", "a\u{0}b"), ("database.sslmode", "on"), ("queue.type", "kafka"),
    ])
    func aMalformedValueNamesKeyAndSource(_ key: String, _ value: String) throws {
        let fixture = ConfigurationFixture(arguments: ["--\(key)=\(value)"])
        let error = try #require(fixture.errors.first)
        #expect(fixture.errors.count == 1)
        #expect(error.kind == .malformedValue || error.kind == .missingValue)
        #expect(error.key == key)
        #expect(error.source == .flag("--\(key)"))
        #expect(error.description.contains("(flag --\(key))"))
        #expect(!error.remedy.isEmpty)
    }

    @Test func theTextNamesKeyValueSourceAndRemedy() {
        let fixture = ConfigurationFixture.file("server:\n  port: 70000\n")
        #expect(
            fixture.errors.map(\.description) == [
                "server.port: \"70000\" is not an integer from 0 to 65535 (file ./config.yaml:2). "
                    + "Change it, or leave it out."
            ]
        )
    }

    @Test func valuesAreShownOnOneBoundedLine() throws {
        let long = "a\n\u{1B}[31m" + String(repeating: "x", count: 500)
        let error = try #require(ConfigurationFixture(arguments: ["--server.port", long]).errors.first)
        #expect(!error.description.contains("\n"))
        #expect(!error.description.contains("\u{1B}"))
        #expect(error.description.count < 300)
    }

    @Test func severalErrorsComeTogether() {
        let fixture = ConfigurationFixture(
            arguments: ["--server.port", "x", "--no.such", "1", "--polling.timeout"],
            environment: ["NMSLITE_LOG_LEVEL": "loud"],
            files: ["./config.yaml": "polling:\n  worker_count: 0\n  workers: 3\n"]
        )
        #expect(Set(fixture.errors.map(\.kind)) == [.malformedValue, .unknownKey, .missingValue])
        #expect(fixture.errors.count == 6)
        #expect(ConfigurationErrors.exitStatus == 78)
    }

    // MARK: Flags and variables

    @Test func anUnknownDottedFlagSuggestsTheNearest() throws {
        let error = try #require(ConfigurationFixture(arguments: ["--server.prot", "1"]).errors.first)
        #expect(error.kind == .unknownKey)
        #expect(error.remedy == "Did you mean server.port?")
    }

    @Test(arguments: [["--server.port"], ["--server.port="], ["--server.port", "--log.level", "info"], ["--config"]])
    func aFlagWithoutAValueIsAnError(_ arguments: [String]) {
        #expect(ConfigurationFixture(arguments: arguments).errors.map(\.kind) == [.missingValue])
    }

    @Test(arguments: ["NMSLITE_SERVER_PORT", "NMSLITE_JWT_SECRET", "NMSLITE_CONFIG", "NMSLITE_MASTER_KEY_FILE"])
    func anEmptyVariableIsAnError(_ name: String) {
        let errors = ConfigurationFixture(environment: [name: ""]).errors
        #expect(errors.map(\.kind) == [.missingValue])
        #expect(errors.first?.source == .environment(name))
    }

    // MARK: The file

    @Test func anExplicitFileMustExist() {
        for fixture in [
            ConfigurationFixture(arguments: ["--config", "/none"]),
            ConfigurationFixture(environment: ["NMSLITE_CONFIG": "/none"]),
            ConfigurationFixture(arguments: ["--config", "/unreadable"]),
            ConfigurationFixture(arguments: ["--auth.jwt_secret_file", "/none"]),
            ConfigurationFixture(arguments: ["--auth.jwt_secret_file", "/unreadable"]),
            ConfigurationFixture(environment: ["NMSLITE_ADMIN_PASSWORD_FILE": "/none"]),
        ] {
            #expect(fixture.errors.map(\.kind) == [.unreadableFile])
        }
    }

    @Test func theFlagNamesTheFileBeforeTheEnvironment() throws {
        let fixture = ConfigurationFixture(
            arguments: ["--config", "/a"],
            environment: ["NMSLITE_CONFIG": "/b"],
            files: ["/a": "server: {port: 1}", "/b": "server: {port: 2}", "./config.yaml": "server: {port: 3}"]
        )
        #expect(try fixture.load().configuration.server.port == 1)
    }

    @Test(arguments: [
        ("server:\n  porte: 1\n", ConfigurationError.Kind.unknownKey, 2),
        ("server.port: 1\n", .unknownKey, 1),
        ("extra: {a: 1}\n", .unknownKey, 1),
        ("server:\n  port: \"8443\"\n", .wrongType, 2),
        ("server:\n  tls:\n    enabled: \"true\"\n", .wrongType, 3),
        ("server: 1\n", .wrongType, 1),
        ("database:\n  name: [a]\n", .wrongType, 2),
        ("database:\n  name: true\n", .wrongType, 2),
        ("database:\n  name: !tag x\n", .wrongType, 2),
        ("targets:\n  allow: 10.0.0.0/8\n", .wrongType, 2),
        ("targets:\n  allow: [{a: b}]\n", .wrongType, 2),
        ("targets:\n  allow: []\n", .missingValue, 2),
        ("server:\n  host:\n", .missingValue, 2),
        ("server:\n  host: \"\"\n", .missingValue, 2),
        ("server:\n  port: yes\n", .wrongType, 2),
        ("server:\n  tls:\n    enabled: yes\n", .malformedValue, 3),
        ("server:\n  port: 1\n  port: 2\n", .duplicateKey, 2),
        ("server:\n\tport: 1\n", .malformedFile, 2),
        ("- a\n", .malformedFile, 1),
        ("a: b\n---\nc: d\n", .malformedFile, 2),
        ("database:\n  name: \"${DB_NAME}\"\n", .undefinedVariable, 2),
        ("database:\n  name: \"${EMPTY}\"\n", .undefinedVariable, 2),
        ("database:\n  name: \"${OPEN\"\n", .undefinedVariable, 2),
        ("database:\n  name: \"${A-B}\"\n", .undefinedVariable, 2),
        ("auth:\n  jwt_secret: \"${EMPTY}\"\n", .undefinedVariable, 2),
    ])
    func theFileIsStrict(_ yaml: String, _ kind: ConfigurationError.Kind, _ line: Int) {
        let errors = ConfigurationFixture.file(yaml, environment: ["EMPTY": ""]).errors
        #expect(errors.map(\.kind) == [kind])
        #expect(errors.first?.source == .file(path: "./config.yaml", line: line))
    }

    @Test(arguments: ["", "# nothing\n", "server:\n", "---\n", "null\n"])
    func anEmptyFileIsNoError(_ yaml: String) throws {
        #expect(try ConfigurationFixture.file(yaml).load().configuration.server.port == 8443)
    }

    @Test func aFileThatIsFarTooLongIsRefused() {
        let yaml = "#" + String(repeating: "x", count: 1 << 20)
        #expect(ConfigurationFixture.file(yaml).errors.map(\.kind) == [.malformedFile])
    }

    // MARK: Expansion

    @Test func variablesAreExpandedInsideTheFile() throws {
        let yaml = """
            server: {port: "${PORT}", host: "${A}.${B}"}
            polling: {timeout: "${SECONDS}s"}
            queue: {embedded: "${EMBEDDED}"}
            targets: {allow: "${NETS}"}
            database: {user: "$${A}$A$"}
            roles: ["${ROLE}", api]
            """
        let environment = [
            "PORT": "9000", "A": "a", "B": "b", "SECONDS": "20", "NETS": "10.0.0.0/8, 192.168.0.0/16",
            "EMBEDDED": "true", "ROLE": "writer",
        ]
        let configuration = try ConfigurationFixture.file(yaml, environment: environment).load().configuration
        #expect(configuration.server.port == 9000)
        #expect(configuration.server.host == "a.b")
        #expect(configuration.polling.timeout == .seconds(20))
        #expect(configuration.queue.embedded)
        #expect(configuration.targets.allow.map(\.description) == ["10.0.0.0/8", "192.168.0.0/16"])
        #expect(configuration.database.user == "${A}$A$")
        #expect(configuration.roles == [.writer, .api])
    }

    @Test func aVariableCannotSmuggleYAML() throws {
        let fixture = ConfigurationFixture.file(
            "database: {name: \"${NAME}\"}\n",
            environment: ["NAME": "x\"}\nserver: {port: 1} # ${NAME}"]
        )
        let configuration = try fixture.load().configuration
        #expect(configuration.server.port == 8443)
        #expect(configuration.database.name.hasSuffix("${NAME}"))
    }

    // MARK: What must go together

    @Test(arguments: [
        (["--database.max_open_conns", "10", "--database.max_idle_conns", "11"], "database.max_idle_conns"),
        (["--auth.access_token_ttl", "2h", "--auth.refresh_token_ttl", "1h"], "auth.refresh_token_ttl"),
        (["--server.tls.cert_file", "a"], "server.tls.cert_file"),
        (["--server.tls.key_file", "a"], "server.tls.key_file"),
        (["--queue.embedded", "false"], "queue.embedded"),
        (["--queue.replicas", "3"], "queue.replicas"),
    ])
    func whatDoesNotGoTogetherIsAnError(_ arguments: [String], _ key: String) {
        let errors = ConfigurationFixture(arguments: arguments).errors
        #expect(errors.map(\.kind) == [.inconsistent])
        #expect(errors.first?.key == key)
    }

    @Test func aSmallPoolLowersTheDefaultOfIdleConnections() throws {
        let configuration = try ConfigurationFixture(arguments: ["--database.max_open_conns", "2"]).load().configuration
        #expect(configuration.database.maxIdleConns == 2)
    }

    // MARK: Secrets

    private static let marker = "hunter2-MARKER"

    /// Every way that was thought of to bring a secret into an error.
    private static let leaks: [ConfigurationFixture] = [
        .init(arguments: ["--auth.jwt_secret", marker]),
        .init(arguments: ["--auth.jwt_secret=\(marker)"]),
        .init(arguments: ["--database.password=\(marker)"]),
        .init(arguments: ["--database.pasword", marker]),
        .init(arguments: ["--database.pasword=\(marker)"]),
        .init(arguments: ["--queue.url", "nats://user:\(marker)@"]),
        .init(arguments: ["--auth.jwt_secret_file", "/s"], files: ["/s": marker]),
        .init(arguments: ["--encryption.master_key_file", "/s"], files: ["/s": marker]),
        .init(environment: ["NMSLITE_JWT_SECRET": marker]),
        .init(environment: ["NMSLITE_MASTER_KEY": marker]),
        .init(environment: ["NMSLITE_DB_PASSWORD": marker, "NMSLITE_DATABASE_PASSWORD": marker + "2"]),
        .init(environment: ["NMSLITE_DB_PASSWORD": marker + "\u{0}"]),
        .init(environment: ["NMSLITE_ADMIN_PASSWORD": String(repeating: marker, count: 10)]),
        .init(environment: ["NMSLITE_ADMIN_PASSWORD_FILE": "/s"], files: ["/s": String(repeating: marker, count: 10)]),
        .file("auth: {jwt_secret: \(marker)}\n"),
        .file("auth: {jwt_secret: [\(marker)]}\n"),
        .file("auth: {jwt_secret: {\(marker): 1}}\n"),
        .file("auth: {jwt_secret: !\(marker) x}\n"),
        .file("auth: {jwt_secret: *\(marker)}\n"),
        .file("auth: {jwt_secret: &\(marker) }\n"),
        .file("auth:\n  jwt_secret: \"\(marker)\n"),
        .file("auth:\n  jwt_secret: %\(marker)\n"),
        .file("auth:\n  jwt_secret \(marker)\n"),
        .file("auth:\n  jwt_secret: a: \(marker)\n"),
        .file("auth:\n  jwt_secret: ${\(marker)\n"),
        .file("auth:\n  jwt_secret: ${\(marker)}\n"),
        .file("auth:\n  jwt_secret: \(marker)\n  jwt_secret: \(marker)2\n"),
        .file("encryption: {master_key: \"${KEY}\"}\n", environment: ["KEY": marker]),
        .file("server: {port: \"${KEY}\"}\n", environment: ["KEY": marker]),
        .file("targets: {allow: [\"${KEY}\"]}\n", environment: ["KEY": marker]),
        .file("roles: \"${KEY}\"\n", environment: ["KEY": marker]),
        .file("queue: {url: \"\(marker)\"}\n"),
    ]

    @Test(arguments: Self.leaks.indices)
    func noErrorEverHoldsASecret(_ index: Int) {
        let errors = Self.leaks[index].errors
        #expect(!errors.isEmpty)
        for text in [
            ConfigurationErrors(errors).description, String(reflecting: errors), String(describing: errors),
        ] {
            #expect(!text.contains("hunter2"), "\(text)")
        }
    }

    @Test func theConfigurationItselfDoesNotShowSecrets() throws {
        let environment = [
            "NMSLITE_DB_PASSWORD": Self.marker, "NMSLITE_JWT_SECRET": Self.marker + Self.marker + Self.marker,
            "NMSLITE_ADMIN_PASSWORD": Self.marker, "NMSLITE_QUEUE_URL": "nats://u:\(Self.marker)@h:4222,nats://i",
            "NMSLITE_QUEUE_EMBEDDED": "false",
        ]
        let loaded = try ConfigurationFixture(environment: environment).load()
        var text = String(reflecting: loaded)
        dump(loaded, to: &text)
        #expect(!text.contains("hunter2"))
        #expect(loaded.configuration.queue.url.description == "nats://***@h:4222,nats://i")
        #expect(loaded.configuration.queue.url.exposed.contains(Self.marker))
    }
}
