/// The command line, divided into settings and what is left for the command parser.
struct ConfigurationArguments {
    private(set) var settings: [RawSetting] = []
    private(set) var errors: [ConfigurationError] = []
    /// `--config`, and how it was given.
    private(set) var configPath: String?
    /// Subcommands, their flags, positional arguments.
    private(set) var remaining: [String] = []

    /// The flag that names the file.
    static let configFlag = "config"

    /// What a flag of the configuration means.
    private enum Meaning {
        case configFile
        case setting(ConfigurationKey)
        case secretValue(ConfigurationKey)
        case unknown
    }

    init(_ arguments: [String]) {
        var index = 0
        while index < arguments.count {
            let argument = arguments[index]
            index += 1
            if argument == "--" {
                // What follows is positional, whatever it looks like.
                self.remaining += arguments[(index - 1)...]
                return
            }
            let parts = argument.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard argument.hasPrefix("--"), let name = parts.first.map(String.init),
                let meaning = Self.meaning(of: name)
            else {
                self.remaining.append(argument)
                continue
            }
            var value = parts.count == 2 ? String(parts[1]) : nil
            if value == nil, index < arguments.count, !arguments[index].hasPrefix("--") {
                value = arguments[index]
                index += 1
            }
            self.take(name, meaning, value)
        }
    }

    /// nil when the flag is not one of the configuration: without a dot, and no key of that name.
    private static func meaning(of name: String) -> Meaning? {
        if name == self.configFlag { return .configFile }
        if let key = self.keys[name] { return .setting(key) }
        if let key = ConfigurationKey.named(name), key.isSecret { return .secretValue(key) }
        return name.contains(".") ? .unknown : nil
    }

    private mutating func take(_ name: String, _ meaning: Meaning, _ value: String?) {
        let source = ConfigurationSource.flag("--\(name)")
        let problem: (kind: ConfigurationError.Kind, problem: String, remedy: String)
        switch meaning {
        case .unknown:
            let remedy = KeySuggestion.remedy(
                for: name,
                among: Array(Self.keys.keys.sorted()),
                otherwise: "--help lists the flags."
            )
            problem = (.unknownKey, "is not a flag", remedy)
        case .secretValue:
            // A value on the command line would show in the process list.
            let file = "--\(name)\(ConfigurationKey.fileSuffix) FILE"
            problem = (.secretOnCommandLine, "is a secret and takes no value on the command line", "Write \(file).")
        case .configFile, .setting:
            guard let value, !value.isEmpty else {
                problem = (.missingValue, "has no value", "Write --\(name) VALUE.")
                break
            }
            if case .setting(let key) = meaning {
                let text = key.isSecret ? [value] : key.elements(of: value)
                self.settings.append(RawSetting(key: key, text: text, source: source, isFileName: key.isSecret))
                return
            }
            guard let earlier = self.configPath, earlier != value else {
                self.configPath = value
                return
            }
            problem = (.conflict, "is given twice, and differently", "Keep one of them.")
        }
        self.errors.append(
            ConfigurationError(
                problem.kind,
                key: name,
                source: source,
                problem: problem.problem,
                remedy: problem.remedy
            )
        )
    }

    /// By the flag's name without `--`.
    private static let keys: [String: ConfigurationKey] = Dictionary(
        uniqueKeysWithValues: ConfigurationKey.table.flatMap { key in key.flagNames.map { ($0, key) } }
    )
}
