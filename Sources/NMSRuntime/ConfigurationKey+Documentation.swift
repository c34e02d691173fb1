extension ConfigurationKey {
    /// The part of `--help` that lists the settings.
    package static func helpText() -> String {
        var lines = [
            "SETTINGS: flags override the environment, which overrides the file.",
            "  --\(ConfigurationArguments.configFlag) FILE",
            "      Configuration file (\(ConfigurationEnvironment.configName); default "
                + "\(ConfigurationLoader.defaultPath), if it exists).",
        ]
        for key in Self.table {
            let names = key.flagNames.map { "--\($0)" }.joined(separator: ", ")
            lines.append("  \(names) \(key.isSecret ? "FILE" : key.type.name.uppercased())")
            var notes = [key.type.constraint, key.helpDefault].filter { !$0.isEmpty }
            notes.append(key.environmentNames.joined(separator: ", "))
            lines += Self.wrapped("\(key.doc) (\(notes.joined(separator: "; ")))", indent: "      ")
        }
        lines.append("ENVIRONMENT ONLY:")
        lines.append("  \(ConfigurationEnvironment.adminPasswordName)")
        lines.append("      Password of the first user, admin; generated when it is not set.")
        return lines.joined(separator: "\n") + "\n"
    }

    /// Widest line of the help, in characters.
    private static let helpWidth = 100

    private static func wrapped(_ text: String, indent: String) -> [String] {
        var lines: [String] = []
        var line = indent
        for word in text.split(separator: " ") {
            if line.count + word.count + 1 > self.helpWidth, line != indent {
                lines.append(line)
                line = indent
            }
            line += (line == indent ? "" : " ") + word
        }
        return lines + [line]
    }

    private var helpDefault: String {
        if let defaultText { return "default \(defaultText)" }
        guard let defaultNote else { return "" }
        return "default: " + defaultNote.replacing("`", with: "")
    }

    /// The reference in `docs/configuration.md`, as a Markdown table.
    package static func markdownTable() -> String {
        var lines = ["| Key and flag | Type | Default | Environment | Meaning |", "|---|---|---|---|---|"]
        for key in Self.table {
            let aliases = key.flagAliases.map { "<br>alias `--\($0)`" }.joined()
            let flag = key.isSecret ? "<br>flag `--\(key.path)\(Self.fileSuffix)`" : ""
            let type = key.type.constraint.isEmpty ? key.type.name : "\(key.type.name): \(key.type.constraint)"
            let standard = key.defaultText.map { "`\($0)`" } ?? key.defaultNote ?? "none"
            let names = key.environmentNames.map { "`\($0)`" }.joined(separator: "<br>")
            lines.append("| `\(key.path)`\(aliases)\(flag) | \(type) | \(standard) | \(names) | \(key.doc) |")
        }
        return lines.joined(separator: "\n") + "\n"
    }
}
