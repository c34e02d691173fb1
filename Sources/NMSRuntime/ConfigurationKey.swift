/// The one declaration of a setting: flags, environment names, the file's keys, help and reference derive from it.
package struct ConfigurationKey: Sendable {
    /// Dotted path in the file, and the flag's name behind `--`.
    package let path: String
    package let type: ConfigurationValueType
    /// As it would be written in a flag; nil means unset.
    package let defaultText: String?
    /// Stands for the default in help and reference, where it is worked out at run time.
    package let defaultNote: String?
    /// Other names of the flag, without `--`.
    package let flagAliases: [String]
    /// Other names in the environment (specification §10.3).
    package let environmentAliases: [String]
    /// Secrets have no value flag, only `--<path>_file FILE`, and never occur in errors.
    package let isSecret: Bool
    /// One sentence.
    package let doc: String

    init(
        _ path: String,
        _ type: ConfigurationValueType,
        default defaultText: String? = nil,
        defaultNote: String? = nil,
        flagAliases: [String] = [],
        environmentAliases: [String] = [],
        secret: Bool = false,
        _ doc: String
    ) {
        self.path = path
        self.type = type
        self.defaultText = defaultText
        self.defaultNote = defaultNote
        self.flagAliases = flagAliases
        self.environmentAliases = environmentAliases
        self.isSecret = secret
        self.doc = doc
    }

    /// What is put behind path, flag or variable of a secret to name a file that holds it.
    static let fileSuffix = "_file"

    /// `NMSLITE_SERVER_PORT` and the aliases.
    package var environmentNames: [String] {
        ["NMSLITE_" + self.path.uppercased().replacing(".", with: "_")] + self.environmentAliases
    }

    /// `server.port` and the aliases, without `--`; with the suffix for secrets.
    package var flagNames: [String] {
        ([self.path] + self.flagAliases).map { self.isSecret ? $0 + Self.fileSuffix : $0 }
    }

    /// Splits a comma-separated list, or takes the text whole.
    func elements(of text: String) -> [String] {
        guard case .list = self.type.shape else { return [text] }
        return text.split(separator: ",", omittingEmptySubsequences: false).map { element in
            String(element.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed())
        }
    }

    func applyDefault(to configuration: inout Configuration) {
        guard let defaultText else { return }
        do {
            try self.type.apply(self.elements(of: defaultText), &configuration)
        } catch {
            preconditionFailure("the default of \(self.path) is not \(error.expected)")
        }
    }

    /// The key of this path.
    package static func named(_ path: String) -> ConfigurationKey? { self.byPath[path] }

    private static let byPath = Dictionary(uniqueKeysWithValues: Self.table.map { ($0.path, $0) })
}
