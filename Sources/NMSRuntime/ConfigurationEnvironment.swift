import NMSCore

/// The process's environment, read for settings (specification §10.3).
struct ConfigurationEnvironment {
    private(set) var settings: [RawSetting] = []
    private(set) var errors: [ConfigurationError] = []
    /// `NMSLITE_CONFIG`.
    private(set) var configPath: String?

    static let prefix = "NMSLITE_"
    static let configName = "NMSLITE_CONFIG"
    /// Password of the first user, read at the first start only.
    static let adminPasswordName = "NMSLITE_ADMIN_PASSWORD"
    private static let fileSuffix = ConfigurationKey.fileSuffix.uppercased()
    /// Variables of the project's own tests.
    private static let testPrefix = "NMSLITE_TEST_"

    private let names: [String]

    init(_ environment: [String: String]) {
        self.names = environment.keys.filter { $0.hasPrefix(Self.prefix) }.sorted()
        for key in ConfigurationKey.table {
            for name in key.environmentNames {
                self.take(environment, name, key, isFileName: false)
                if key.isSecret { self.take(environment, name + Self.fileSuffix, key, isFileName: true) }
            }
        }
        if let path = environment[Self.configName] {
            if path.isEmpty { self.fail(.missingValue, Self.configName, nil) } else { self.configPath = path }
        }
    }

    private mutating func take(
        _ environment: [String: String],
        _ name: String,
        _ key: ConfigurationKey,
        isFileName: Bool
    ) {
        guard let value = environment[name] else { return }
        guard !value.isEmpty else { return self.fail(.missingValue, name, key.path) }
        let text = isFileName ? [value] : key.elements(of: value)
        self.settings.append(RawSetting(key: key, text: text, source: .environment(name), isFileName: isFileName))
    }

    private mutating func fail(_ kind: ConfigurationError.Kind, _ name: String, _ key: String?) {
        let problem = key == nil ? "the variable is set but empty" : "is set but empty"
        let remedy = "Unset it, or give it a value."
        let source = ConfigurationSource.environment(name)
        self.errors.append(ConfigurationError(kind, key: key, source: source, problem: problem, remedy: remedy))
    }

    /// One line for each `NMSLITE_…` variable that means nothing: a warning, since other programs may own it.
    ///
    /// - Parameter used: variables that the configuration file names.
    func unknownNames(besides used: Set<String>) -> [String] {
        self.names.filter { !Self.known.contains($0) && !used.contains($0) && !$0.hasPrefix(Self.testPrefix) }.map {
            let remedy = KeySuggestion.remedy(for: $0, among: Self.known.sorted(), otherwise: "It is ignored.")
            return "the environment variable \($0) is not one of NMSlite's. \(remedy)"
        }
    }

    private static let known: Set<String> = Set(
        ConfigurationKey.table.flatMap { key in
            key.environmentNames.flatMap { key.isSecret ? [$0, $0 + Self.fileSuffix] : [$0] }
        } + [Self.configName, Self.adminPasswordName, Self.adminPasswordName + Self.fileSuffix]
    )
}
