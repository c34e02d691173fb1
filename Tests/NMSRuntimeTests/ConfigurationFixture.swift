import NMSCore

@testable import NMSRuntime

/// Loads a configuration from texts, without touching the process.
struct ConfigurationFixture {
    var arguments: [String] = []
    var environment: [String: String] = [:]
    /// By path.
    var files: [String: String] = [:]

    struct Unreadable: Error {}

    func load() throws(ConfigurationErrors) -> ConfigurationLoader.Loaded {
        try ConfigurationLoader.load(arguments: self.arguments, environment: self.environment) { path in
            if path == "/unreadable" { throw Unreadable() }
            return self.files[path]
        }
    }

    /// The errors, or none.
    var errors: [ConfigurationError] {
        do {
            _ = try self.load()
            return []
        } catch {
            return error.errors
        }
    }

    /// A fixture whose default file holds `yaml`.
    static func file(_ yaml: String, environment: [String: String] = [:]) -> ConfigurationFixture {
        ConfigurationFixture(environment: environment, files: [ConfigurationLoader.defaultPath: yaml])
    }

    static let jwtSecret = "0123456789abcdef0123456789abcdef"
    static let masterKey = String(repeating: "0f", count: 32)
}
