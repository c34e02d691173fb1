import Yams

/// Reads the YAML of a configuration file into settings; strict about keys and types (specification §10.2).
struct ConfigurationFile {
    /// As the user named it.
    let path: String
    let expansion: VariableExpansion

    private(set) var settings: [RawSetting] = []
    private(set) var errors: [ConfigurationError] = []
    /// Variables that the file names, so that the environment's check does not call them unknown.
    private(set) var variables: Set<String> = []

    /// Longest file that is read, in bytes: far above any real one.
    static let sizeLimit = 1 << 20

    init(path: String, environment: [String: String]) {
        self.path = path
        self.expansion = VariableExpansion(environment: environment)
    }

    /// Parses `text` and collects ``settings`` and ``errors``.
    mutating func read(_ text: String) {
        guard text.utf8.count <= Self.sizeLimit else {
            return self.fail(
                .malformedFile,
                line: nil,
                "is longer than \(Self.sizeLimit) bytes",
                "Name the right file."
            )
        }
        do {
            guard let root = try Parser(yaml: text).singleRoot() else { return }
            if case .null = YAMLType(root) { return }
            guard case .mapping(let mapping) = root else {
                return self.fail(
                    .malformedFile,
                    line: 1,
                    "is not a mapping of keys",
                    "Write `section:` and keys under it."
                )
            }
            self.read(mapping, prefix: "")
        } catch let error as YamlError {
            self.fail(error)
        } catch {
            self.fail(.malformedFile, line: nil, "is not YAML", "Mend the file.")
        }
    }

    private mutating func read(_ mapping: Node.Mapping, prefix: String) {
        for (keyNode, value) in mapping {
            let line = keyNode.mark?.line
            guard let name = keyNode.scalar?.string else {
                self.fail(.malformedFile, line: line, "has a key that is not a name", "Write `name: value`.")
                continue
            }
            let path = prefix + name
            // `server.port: 1` would be a second way to write a key, and a way around the check for duplicates.
            let isPlain = !name.contains(".")
            if isPlain, let key = ConfigurationKey.named(path) {
                self.read(key, value, line: line)
            } else if isPlain, let key = Self.secretNamedByFile(path) {
                self.readFileName(key, value, line: line)
            } else if isPlain, Self.sections.contains(path) {
                self.readSection(path, value, line: line)
            } else {
                self.errors.append(
                    ConfigurationError(
                        .unknownKey,
                        key: path,
                        source: .file(path: self.path, line: line),
                        problem: isPlain ? "is not a key" : "is not a key: a dot stands for a section",
                        remedy: isPlain
                            ? KeySuggestion.remedy(for: path, among: Self.everyPath, otherwise: "Remove it.")
                            : "Write each section on a line of its own, its keys below it, indented."
                    )
                )
            }
        }
    }

    private mutating func readSection(_ path: String, _ value: Node, line: Int?) {
        if case .mapping(let inner) = value {
            self.read(inner, prefix: path + ".")
        } else if YAMLType(value) != .null {
            let source = ConfigurationSource.file(path: self.path, line: line)
            self.errors.append(
                ConfigurationError(
                    .wrongType,
                    key: path,
                    source: source,
                    problem: "is a section, not \(YAMLType(value).article)",
                    remedy: "Write its keys below it, indented."
                )
            )
        }
    }

    private mutating func read(_ key: ConfigurationKey, _ value: Node, line: Int?) {
        let source = ConfigurationSource.file(path: self.path, line: line)
        let found = YAMLType(value)
        if found == .null {
            self.errors.append(
                ConfigurationError(
                    .missingValue,
                    key: key.path,
                    source: source,
                    problem: "has no value",
                    remedy: "Give it one, or remove the key."
                )
            )
            return
        }
        if case .list = key.type.shape, case .sequence(let sequence) = value {
            var elements: [String] = []
            var anyExpanded = false
            for element in sequence {
                guard let scalar = element.scalar, YAMLType(element).isText else {
                    return self.wrongType(key, YAMLType(element), of: "a list with", source)
                }
                guard let (text, isExpanded) = self.expand(scalar.string, key, source) else { return }
                elements.append(text)
                anyExpanded = anyExpanded || isExpanded
            }
            self.settings.append(RawSetting(key: key, text: elements, source: source, isExpanded: anyExpanded))
            return
        }
        guard let scalar = value.scalar, let (text, isExpanded) = self.expand(scalar.string, key, source) else {
            return value.scalar == nil ? self.wrongType(key, found, of: "", source) : ()
        }
        let fits =
            switch key.type.shape {
            case .text: found.isText
            case .integer: found == .integer || isExpanded
            case .boolean: found == .boolean || isExpanded
            case .list: isExpanded
            }
        guard fits else { return self.wrongType(key, found, of: "", source) }
        let elements = isExpanded ? key.elements(of: text) : [text]
        self.settings.append(RawSetting(key: key, text: elements, source: source, isExpanded: isExpanded))
    }

    /// `auth.jwt_secret_file: PATH`.
    private mutating func readFileName(_ key: ConfigurationKey, _ value: Node, line: Int?) {
        let source = ConfigurationSource.file(path: self.path, line: line)
        guard let scalar = value.scalar, YAMLType(value).isText else {
            return self.wrongType(key, YAMLType(value), of: "", source)
        }
        guard let (text, _) = self.expand(scalar.string, key, source) else { return }
        self.settings.append(RawSetting(key: key, text: [text], source: source, isExpanded: false, isFileName: true))
    }

    private mutating func expand(
        _ text: String,
        _ key: ConfigurationKey,
        _ source: ConfigurationSource
    ) -> (text: String, isExpanded: Bool)? {
        let problem: String
        let remedy: String
        do {
            let (expanded, names) = try self.expansion.expand(text)
            self.variables.formUnion(names)
            return (expanded, !names.isEmpty)
        } catch {
            (problem, remedy) = self.explain(error)
        }
        self.errors.append(
            ConfigurationError(.undefinedVariable, key: key.path, source: source, problem: problem, remedy: remedy)
        )
        return nil
    }

    private mutating func explain(_ failure: VariableExpansion.Failure) -> (problem: String, remedy: String) {
        let syntax = "Write ${NAME}, or $${ for the characters themselves."
        switch failure {
        case .unclosed: return ("holds ${ without }", syntax)
        // Not repeated: it may be part of a secret.
        case .malformedName: return ("holds ${…} with something that is not a variable's name", syntax)
        case .unset(let name), .empty(let name):
            self.variables.insert(name)
            let state = failure == .empty(name) ? "empty" : "not set"
            return ("needs the environment variable \(name), which is \(state)", "Set it, or remove the key.")
        }
    }

    private mutating func wrongType(
        _ key: ConfigurationKey,
        _ found: YAMLType,
        of container: String,
        _ source: ConfigurationSource
    ) {
        let expected =
            switch key.type.shape {
            case .text: "Write text; quote it if it looks like something else."
            case .integer: "Write a number without quotes."
            case .boolean: "Write true or false, without quotes."
            case .list: "Write a list: [a, b]."
            }
        self.errors.append(
            ConfigurationError(
                .wrongType,
                key: key.path,
                source: source,
                problem: "is \(container.isEmpty ? "" : container + " ")\(found.article)",
                remedy: expected
            )
        )
    }

    // YamlError's own description quotes the file, which may hold secrets.
    private mutating func fail(_ error: YamlError) {
        switch error {
        case .duplicatedKeysInMapping(let duplicates, let context):
            self.errors.append(
                ConfigurationError(
                    .duplicateKey,
                    source: .file(path: self.path, line: context.mark.line),
                    problem: "the key \(duplicates.joined(separator: ", ")) stands twice in one section",
                    remedy: "Keep one of them."
                )
            )
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            self.fail(.malformedFile, line: mark.line, "is not YAML: \(problem)", "Mend the line.")
        case .reader(let problem, _, _, _):
            self.fail(.malformedFile, line: nil, "is not YAML: \(problem)", "Save the file as UTF-8 text.")
        default:
            self.fail(.malformedFile, line: nil, "is not YAML", "Mend the file.")
        }
    }

    private mutating func fail(_ kind: ConfigurationError.Kind, line: Int?, _ problem: String, _ remedy: String) {
        let source = ConfigurationSource.file(path: self.path, line: line)
        let error = ConfigurationError(
            kind,
            source: source,
            problem: "the configuration file \(problem)",
            remedy: remedy
        )
        self.errors.append(error)
    }

    private static func secretNamedByFile(_ path: String) -> ConfigurationKey? {
        guard path.hasSuffix(ConfigurationKey.fileSuffix) else { return nil }
        let key = ConfigurationKey.named(String(path.dropLast(ConfigurationKey.fileSuffix.count)))
        return key?.isSecret == true ? key : nil
    }

    /// Every prefix of a path: `server`, `server.tls`.
    private static let sections: Set<String> = Set(
        ConfigurationKey.table.flatMap { key in
            key.path.indices.filter { key.path[$0] == "." }.map { String(key.path[..<$0]) }
        }
    )

    private static let everyPath = ConfigurationKey.table.map(\.path) + Self.sections
}

/// A value before its key has read it.
struct RawSetting {
    let key: ConfigurationKey
    /// One element unless the key is a list.
    let text: [String]
    let source: ConfigurationSource
    /// Whether it holds what variables held, which errors must not repeat.
    var isExpanded = false
    /// Whether the text is the path of a file that holds the value.
    var isFileName = false
}

/// What YAML makes of a node.
enum YAMLType: Equatable {
    case null, boolean, integer, float, string, other, sequence, mapping

    init(_ node: Node) {
        switch node {
        case .mapping: self = .mapping
        case .sequence: self = .sequence
        case .alias: self = .other
        case .scalar:
            switch node.tag.rawValue {
            case Tag.Name.null.rawValue: self = .null
            case Tag.Name.bool.rawValue: self = .boolean
            case Tag.Name.int.rawValue: self = .integer
            case Tag.Name.float.rawValue: self = .float
            case Tag.Name.str.rawValue, Tag.Name.timestamp.rawValue: self = .string
            default: self = .other
            }
        }
    }

    /// Whether a key that takes text takes it as it stands in the file.
    var isText: Bool { [.integer, .float, .string].contains(self) }

    var article: String {
        switch self {
        case .null: "nothing"
        case .boolean: "a boolean"
        case .integer: "an integer"
        case .float: "a number with a fraction"
        case .string: "text"
        case .other: "a value with a tag of its own"
        case .sequence: "a list"
        case .mapping: "a section"
        }
    }
}
