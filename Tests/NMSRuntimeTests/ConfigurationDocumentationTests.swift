import Foundation
import Testing

@testable import NMSRuntime

/// What is written by hand must agree with the declarations.
@Suite struct ConfigurationDocumentationTests {
    private static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path

    private static func text(_ path: String) throws -> String {
        try String(contentsOfFile: "\(self.root)/\(path)", encoding: .utf8)
    }

    private static let examplePath = "config/config.example.yaml"

    @Test func theExampleLoadsAsItStandsAndHoldsTheDefaults() throws {
        let yaml = try Self.text(Self.examplePath)
        let loaded = try ConfigurationFixture.file(yaml).load()
        var configuration = loaded.configuration
        configuration.sources = [:]
        #expect(configuration == .defaults)
        #expect(loaded.warnings.isEmpty)
    }

    @Test func theExampleHoldsEveryKeyAndNoOther() throws {
        // Keys without a default are commented out as `#name: value`; prose is `# Prose`.
        let yaml = try Self.text(Self.examplePath)
            .replacing(/(?m)^( *)#([a-z_]+:)/) { "\($0.output.1)\($0.output.2)" }
        let environment = [
            "DB_PASSWORD": "p", "JWT_SECRET": ConfigurationFixture.jwtSecret,
            "NMSLITE_MASTER_KEY": ConfigurationFixture.masterKey,
            "NMSLITE_MASTER_KEY_NEXT": ConfigurationFixture.masterKey,
            "METRICS_SCRAPE_TOKEN": ConfigurationFixture.jwtSecret,
        ]
        let loaded = try ConfigurationFixture.file(yaml, environment: environment).load()
        // An unknown key would have been an error.
        #expect(Set(loaded.configuration.sources.keys) == Set(ConfigurationKey.table.map(\.path)))
        #expect(loaded.warnings.isEmpty)
    }

    @Test func theReferenceIsGeneratedFromTheDeclarations() throws {
        let path = "\(Self.root)/docs/configuration.md"
        let text = try String(contentsOfFile: path, encoding: .utf8)
        let marker = "<!-- Generated from ConfigurationKey.table: -->\n"
        let parts = text.components(separatedBy: marker)
        try #require(parts.count == 3)
        if ProcessInfo.processInfo.environment["NMSLITE_TEST_UPDATE"] == "1" {
            let updated = [parts[0], ConfigurationKey.markdownTable(), parts[2]].joined(separator: marker)
            try updated.write(toFile: path, atomically: true, encoding: .utf8)
            return
        }
        #expect(
            parts[1] == ConfigurationKey.markdownTable(),
            "run NMSLITE_TEST_UPDATE=1 swift test --filter theReferenceIsGenerated, and look at the difference"
        )
    }

    @Test func helpNamesEveryFlagAndVariable() {
        let help = ConfigurationKey.helpText()
        for key in ConfigurationKey.table {
            for name in key.flagNames { #expect(help.contains("--\(name)")) }
            for name in key.environmentNames { #expect(help.contains(name)) }
        }
        #expect(help.contains("NMSLITE_CONFIG"))
        #expect(help.contains("NMSLITE_ADMIN_PASSWORD"))
        #expect(!help.contains("--auth.jwt_secret "))
        #expect(help.split(separator: "\n").allSatisfy { $0.count <= 100 })
    }

    @Test func namesAreUnique() {
        let flags = ConfigurationKey.table.flatMap(\.flagNames)
        let variables = ConfigurationKey.table.flatMap(\.environmentNames)
        #expect(Set(flags).count == flags.count)
        #expect(Set(variables).count == variables.count)
    }
}
