import NMSCore

/// Applies layers of settings to a ``Configuration``, lowest priority first, then checks what must go together.
struct ConfigurationMerger {
    let readFile: ConfigurationLoader.ReadFile
    private(set) var configuration = Configuration.defaults
    private(set) var errors: [ConfigurationError] = []
    private(set) var checkErrors: [ConfigurationError] = []
    private(set) var warnings: [String] = []

    init(readFile: @escaping ConfigurationLoader.ReadFile) { self.readFile = readFile }

    /// bcrypt reads no further (design §5: longer passwords are refused).
    static let longestPassword = 72

    // MARK: Layers

    mutating func apply(_ layer: [RawSetting]) {
        var seen: [String: (text: [String], source: ConfigurationSource)] = [:]
        for setting in layer {
            guard let text = self.text(of: setting) else { continue }
            if let earlier = seen[setting.key.path] {
                if earlier.text != text { self.conflict(setting, earlier.source) }
                continue
            }
            seen[setting.key.path] = (text, setting.source)
            self.apply(setting, text)
        }
    }

    private mutating func apply(_ setting: RawSetting, _ text: [String]) {
        let key = setting.key
        guard !text.isEmpty, !text.contains("") else {
            let problem = text.isEmpty ? "is an empty list" : "is empty"
            let remedy = "Give it a value, or leave it out."
            self.errors.append(
                ConfigurationError(
                    .missingValue,
                    key: key.path,
                    source: setting.source,
                    problem: problem,
                    remedy: remedy
                )
            )
            return
        }
        do {
            try key.type.apply(text, &self.configuration)
            self.configuration.sources[key.path] = setting.source
        } catch {
            let isShown = key.type.showsValue && !key.isSecret && !setting.isExpanded
            let kind = key.type.name == "secret" ? "the secret is not" : isShown ? "is not" : "the value is not"
            self.errors.append(
                ConfigurationError(
                    .malformedValue,
                    key: key.path,
                    value: isShown ? text.joined(separator: ", ") : nil,
                    source: setting.source,
                    problem: "\(kind) \(error.expected)",
                    remedy: key.isSecret ? "Give another one." : "Change it, or leave it out."
                )
            )
        }
    }

    /// The value itself, read from its file if the setting names one; nil after an error.
    private mutating func text(of setting: RawSetting) -> [String]? {
        guard setting.isFileName, let path = setting.text.first else { return setting.text }
        do {
            if let text = try self.readFile(path) { return [TextFile.withoutFinalNewline(text)] }
            let problem = "the file \(path) does not exist"
            self.errors.append(ConfigurationLoader.unreadable(setting.key.path, setting.source, problem))
        } catch {
            let problem = "the file \(path) cannot be read: \(TextFile.reason(error))"
            self.errors.append(ConfigurationLoader.unreadable(setting.key.path, setting.source, problem))
        }
        return nil
    }

    private mutating func conflict(_ setting: RawSetting, _ other: ConfigurationSource) {
        self.errors.append(
            ConfigurationError(
                .conflict,
                key: setting.key.path,
                source: setting.source,
                problem: "differs from what \(other) says",
                remedy: "Keep one of them."
            )
        )
    }

    mutating func takeAdminPassword(_ environment: [String: String]) {
        let name = ConfigurationEnvironment.adminPasswordName
        let fileName = name + ConfigurationKey.fileSuffix.uppercased()
        var password = environment[name]
        var source = ConfigurationSource.environment(name)
        if let path = environment[fileName] {
            if password != nil {
                let problem = "\(name) and \(fileName) are both set"
                let remedy = "Keep one of them."
                self.errors.append(ConfigurationError(.conflict, source: source, problem: problem, remedy: remedy))
                return
            }
            source = .environment(fileName)
            do {
                guard let text = try self.readFile(path) else { throw TextFile.Failure.absent }
                password = TextFile.withoutFinalNewline(text)
            } catch {
                let problem = "the file \(path) cannot be read: \(TextFile.reason(error))"
                self.errors.append(ConfigurationLoader.unreadable(nil, source, problem))
                return
            }
        }
        // Deployment tools hand on a variable that nobody set as an empty one; a password is then generated.
        guard let password, !password.isEmpty || source != .environment(name) else { return }
        guard (1...Self.longestPassword).contains(password.utf8.count), !password.utf8.contains(0) else {
            let problem =
                password.isEmpty
                ? "the first user's password is empty"
                : "the first user's password is longer than \(Self.longestPassword) bytes or holds NUL bytes"
            let remedy = "Unset it to have one generated, or give another."
            self.errors.append(ConfigurationError(.malformedValue, source: source, problem: problem, remedy: remedy))
            return
        }
        self.configuration.adminPassword = Secret(password)
    }

    // MARK: What must go together

    /// - Parameter errors: found so far; keys that have one are not checked again.
    mutating func check(besides errors: [ConfigurationError]) {
        let broken = Set(errors.compactMap(\.key))
        let configuration = self.configuration
        let sources = configuration.sources
        func whole(_ keys: String...) -> Bool { broken.isDisjoint(with: keys) }

        let database = configuration.database
        if whole("database.max_idle_conns", "database.max_open_conns"), database.maxIdleConns > database.maxOpenConns {
            // The default of one must not refuse a sensible other: only what was set can be wrong.
            if sources["database.max_idle_conns"] == nil {
                self.configuration.database.maxIdleConns = database.maxOpenConns
            } else {
                let problem = "is more than database.max_open_conns (\(database.maxOpenConns))"
                self.inconsistent("database.max_idle_conns", "\(database.maxIdleConns)", problem, "Lower it.")
            }
        }
        let auth = configuration.auth
        if whole("auth.access_token_ttl", "auth.refresh_token_ttl"), auth.refreshTokenTTL < auth.accessTokenTTL {
            let value = DurationText.string(from: auth.refreshTokenTTL)
            let access = DurationText.string(from: auth.accessTokenTTL)
            let problem = "is shorter than auth.access_token_ttl (\(access))"
            self.inconsistent("auth.refresh_token_ttl", value, problem, "Raise it.")
        }
        let tls = configuration.server.tls
        if whole("server.tls.cert_file", "server.tls.key_file"), (tls.certFile == nil) != (tls.keyFile == nil) {
            let (given, absent) = tls.certFile == nil ? ("key_file", "cert_file") : ("cert_file", "key_file")
            let problem = "is set without server.tls.\(absent)"
            self.inconsistent("server.tls.\(given)", nil, problem, "Set both, or neither.")
        }
        if !configuration.queue.embedded, whole("queue.embedded", "queue.url"), sources["queue.url"] == nil {
            self.inconsistent(
                "queue.embedded",
                "false",
                "needs queue.url",
                "Set queue.url to the NATS server's address."
            )
        }
        if configuration.queue.embedded, configuration.queue.replicas > 1, whole("queue.embedded", "queue.replicas") {
            self.inconsistent(
                "queue.replicas",
                "\(configuration.queue.replicas)",
                "needs a cluster of NATS, and queue.embedded supervises a single server",
                "Set queue.embedded to false and queue.url to the cluster's servers, or queue.replicas to 1."
            )
        }
        if !database.isEmbedded {
            // Instances that share a database share these: one that made its own could read nothing.
            if auth.jwtSecret == nil, whole("auth.jwt_secret") { self.missingSecret("auth.jwt_secret") }
            if configuration.encryption.masterKey == nil, whole("encryption.master_key") {
                self.missingSecret("encryption.master_key")
            }
        } else {
            // A copy of the example names the defaults: only what differs was meant for an external server.
            let standard = Configuration.defaults.database
            let differs = [
                "database.port": database.port != standard.port, "database.name": database.name != standard.name,
                "database.user": database.user != standard.user, "database.password": database.password != nil,
                "database.sslmode": database.sslMode != standard.sslMode,
            ]
            for key in ConfigurationKey.table where differs[key.path] == true {
                let source = sources[key.path].map { " (\($0))" } ?? ""
                self.warnings.append(
                    "\(key.path)\(source) is ignored: database.host is not set, so PostgreSQL is embedded."
                )
            }
        }
    }

    private mutating func inconsistent(_ key: String, _ value: String?, _ problem: String, _ remedy: String) {
        let source = self.configuration.sources[key]
        self.checkErrors.append(
            ConfigurationError(.inconsistent, key: key, value: value, source: source, problem: problem, remedy: remedy)
        )
    }

    private mutating func missingSecret(_ path: String) {
        guard let key = ConfigurationKey.named(path) else { return }
        let name = key.environmentNames.last ?? ""
        self.checkErrors.append(
            ConfigurationError(
                .missingSecret,
                key: path,
                source: self.configuration.sources["database.host"],
                problem: "must be given when database.host is set",
                remedy: "Set \(name), --\(path)\(ConfigurationKey.fileSuffix) FILE, or the key in the file."
            )
        )
    }
}
