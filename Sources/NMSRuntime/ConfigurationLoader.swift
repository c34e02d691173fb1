import NMSCore

/// Merges flags, environment and file into a ``Configuration`` (specification §10.1: in that order of priority).
package enum ConfigurationLoader {
    /// Read when neither `--config` nor `NMSLITE_CONFIG` names one, and only if it exists.
    package static let defaultPath = "./config.yaml"

    /// Reads a file as text; nil when it does not exist.
    package typealias ReadFile = (_ path: String) throws -> String?

    /// What ``load(arguments:environment:readFile:)`` gives.
    package typealias Loaded = (configuration: Configuration, remainingArguments: [String], warnings: [String])

    /// The arguments that are not the configuration's: subcommand, its flags, positional ones. Checks nothing, so that
    /// `--help` and `version` work whatever else is wrong.
    package static func remainingArguments(of arguments: [String]) -> [String] {
        ConfigurationArguments(arguments).remaining
    }

    /// Reads everything and reports everything that is wrong at once.
    ///
    /// - Parameters:
    ///   - arguments: without the program's name.
    ///   - environment: of the process.
    ///   - readFile: reads the configuration file and the files that hold secrets; replaceable in tests.
    /// - Returns: the settings; the arguments that are left for the command parser; and one line for each thing that
    ///   is probably a mistake but no error.
    /// - Throws: every error found. The process then exits with ``ConfigurationErrors/exitStatus``.
    package static func load(
        arguments: [String],
        environment: [String: String],
        readFile: @escaping ReadFile = TextFile.read
    ) throws(ConfigurationErrors) -> Loaded {
        let flags = ConfigurationArguments(arguments)
        let variables = ConfigurationEnvironment(environment)
        var errors: [ConfigurationError] = []

        let path = flags.configPath ?? variables.configPath
        let pathSource: ConfigurationSource =
            flags.configPath != nil
            ? .flag("--\(ConfigurationArguments.configFlag)") : .environment(ConfigurationEnvironment.configName)
        var file = ConfigurationFile(path: path ?? Self.defaultPath, environment: environment)
        do {
            if let text = try readFile(file.path) {
                file.read(text)
            } else if path != nil {
                errors.append(Self.unreadable(nil, pathSource, "the configuration file \(file.path) does not exist"))
            }
        } catch {
            let source = path == nil ? ConfigurationSource.file(path: file.path, line: nil) : pathSource
            let reason = "the configuration file \(file.path) cannot be read: \(TextFile.reason(error))"
            errors.append(Self.unreadable(nil, source, reason))
        }
        errors += file.errors + variables.errors + flags.errors

        var merger = ConfigurationMerger(readFile: readFile)
        // Lowest priority first: what comes later overrides, and what is overridden is checked all the same.
        for layer in [file.settings, variables.settings, flags.settings] { merger.apply(layer) }
        merger.takeAdminPassword(environment)
        errors += merger.errors
        merger.check(besides: errors)
        errors += merger.checkErrors
        guard errors.isEmpty else { throw ConfigurationErrors(errors) }
        let warnings = variables.unknownNames(besides: file.variables) + merger.warnings
        return (merger.configuration, flags.remaining, warnings)
    }

    static func unreadable(_ key: String?, _ source: ConfigurationSource, _ problem: String) -> ConfigurationError {
        ConfigurationError(
            .unreadableFile,
            key: key,
            source: source,
            problem: problem,
            remedy: "Name a file that exists and that this user may read."
        )
    }
}
