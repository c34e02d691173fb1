/// Where a value came from.
package enum ConfigurationSource: Sendable, Hashable, CustomStringConvertible {
    /// The flag as written, such as `--server.port`.
    case flag(String)
    /// The variable's name.
    case environment(String)
    /// A place in the configuration file; lines count from 1.
    case file(path: String, line: Int?)

    package var description: String {
        switch self {
        case .flag(let name): "flag \(name)"
        case .environment(let name): "environment \(name)"
        case .file(let path, let line?): "file \(path):\(line)"
        case .file(let path, nil): "file \(path)"
        }
    }
}

/// One thing that is wrong with the configuration: what, where, and what to do.
///
/// Never holds a secret, nor a value that may have come from one.
package struct ConfigurationError: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Kind: String, Sendable {
        /// A key of the file, or a dotted flag, that does not exist.
        case unknownKey
        /// A value that does not parse or is out of range.
        case malformedValue
        /// A value of the file whose YAML type is not the key's.
        case wrongType
        /// A flag or a key without a value.
        case missingValue
        /// The same key twice in one place.
        case duplicateKey
        /// Two names of one key, or a value and its `_file`, that disagree.
        case conflict
        /// `--<secret> VALUE`: would show in the process list.
        case secretOnCommandLine
        /// A file that is not there or cannot be read.
        case unreadableFile
        /// A file that is not YAML.
        case malformedFile
        /// `${NAME}` that is not set, empty, or not a name.
        case undefinedVariable
        /// Values that do not go together.
        case inconsistent
        /// A secret that must be given.
        case missingSecret
    }

    package let kind: Kind
    /// The dotted path; nil when the error belongs to no key.
    package let key: String?
    /// nil for secrets, and where there is none.
    package let value: String?
    package let source: ConfigurationSource?
    /// What is wrong, as a clause: `"abc" is not an integer`.
    package let problem: String
    /// What to do, as a sentence.
    package let remedy: String

    init(
        _ kind: Kind,
        key: String? = nil,
        value: String? = nil,
        source: ConfigurationSource? = nil,
        problem: String,
        remedy: String
    ) {
        self.kind = kind
        self.key = key
        self.value = value.map(Self.shown)
        self.source = source
        self.problem = problem
        self.remedy = remedy
    }

    /// `server.port: "abc" is not an integer from 1 to 65535 (flag --server.port). Give …`
    package var description: String {
        var text = self.key.map { "\($0): " } ?? ""
        if let value = self.value { text += "\"\(value)\" " }
        text += self.problem
        if let source = self.source { text += " (\(source))" }
        return "\(text). \(self.remedy)"
    }

    /// Longest value that an error repeats, in characters.
    private static let longestShownValue = 80

    /// One line, without control characters, bounded.
    private static func shown(_ value: String) -> String {
        let printable = value.unicodeScalars.map { scalar in
            scalar.properties.generalCategory == .control ? "\\u{\(String(scalar.value, radix: 16))}" : String(scalar)
        }
        guard printable.count > self.longestShownValue else { return printable.joined() }
        return printable.prefix(self.longestShownValue).joined() + "…"
    }
}

/// Everything that is wrong with the configuration, in the order file, environment, flags, then what does not go
/// together.
package struct ConfigurationErrors: Error, Sendable, Equatable, CustomStringConvertible {
    /// EX_CONFIG of `sysexits.h`.
    package static let exitStatus: Int32 = 78

    /// Never empty.
    package let errors: [ConfigurationError]

    init(_ errors: [ConfigurationError]) { self.errors = errors }

    /// One error a line.
    package var description: String { self.errors.map(\.description).joined(separator: "\n") }
}
