package import NMSCore

/// A value that may stand in the audit. There is none that a `Secret` could become.
package enum AuditValue: Sendable, Equatable {
    case text(String)
    case integer(Int)
    case bool(Bool)
    case list([AuditValue])

    static func list(_ texts: [String]) -> AuditValue { .list(texts.map { .text($0) }) }
    static func list(_ numbers: [Int]) -> AuditValue { .list(numbers.map { .integer($0) }) }
}

extension AuditValue: Codable {
    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let value = try? container.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? container.decode(Int.self) {
            self = .integer(value)
        } else if let value = try? container.decode(String.self) {
            self = .text(value)
        } else {
            self = .list(try container.decode([AuditValue].self))
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .text(let value): try container.encode(value)
        case .integer(let value): try container.encode(value)
        case .bool(let value): try container.encode(value)
        case .list(let values): try container.encode(values)
        }
    }
}

/// A row whose fields may be shown in the audit, by the names that the API gives them.
protocol Audited {
    /// Without secrets, and without what polls and clocks change; nil is null.
    var auditedFields: [String: AuditValue?] { get }
}

/// What changed: of each field the value before and after.
package struct AuditChanges: Sendable, Equatable {
    package enum Change: Sendable, Equatable {
        case values(from: AuditValue?, to: AuditValue?)
        /// The value of a secret: that it changed is all there is to say.
        case secret
    }

    package private(set) var fields: [String: Change] = [:]

    package init() {}

    /// What became known, such as the id of a job that was started.
    package init(_ facts: [String: AuditValue]) {
        self.fields = facts.mapValues { .values(from: nil, to: $0) }
    }

    init(created row: some Audited) { self.init(from: [:], to: row.auditedFields) }

    init(deleted row: some Audited) { self.init(from: row.auditedFields, to: [:]) }

    init<Row: Audited>(from old: Row, to new: Row) { self.init(from: old.auditedFields, to: new.auditedFields) }

    private init(from old: [String: AuditValue?], to new: [String: AuditValue?]) {
        for name in Set(old.keys).union(new.keys) {
            let (before, after) = (old[name] ?? nil, new[name] ?? nil)
            if before != after { self.fields[name] = .values(from: before, to: after) }
        }
    }

    func withSecret(_ name: String) -> AuditChanges {
        var copy = self
        copy.fields[name] = .secret
        return copy
    }
}

extension AuditChanges: Codable {
    private struct Name: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }

        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    private enum Part: String, CodingKey { case from, to, changed }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Name.self)
        for name in container.allKeys {
            let parts = try container.nestedContainer(keyedBy: Part.self, forKey: name)
            self.fields[name.stringValue] =
                parts.contains(.changed)
                ? .secret
                : .values(
                    from: try parts.decodeIfPresent(AuditValue.self, forKey: .from),
                    to: try parts.decodeIfPresent(AuditValue.self, forKey: .to)
                )
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Name.self)
        for (name, change) in self.fields {
            var parts = container.nestedContainer(keyedBy: Part.self, forKey: Name(stringValue: name))
            switch change {
            case .values(let from, let to):
                try parts.encode(from, forKey: .from)
                try parts.encode(to, forKey: .to)
            case .secret: try parts.encode(true, forKey: .changed)
            }
        }
    }
}

// MARK: - Rows

extension Device: Audited {
    var auditedFields: [String: AuditValue?] {
        [
            "ip": .text(self.ip),
            "hostname": self.hostname.map(AuditValue.text),
            "os": self.os.map(AuditValue.text),
            "status": .text(self.status.rawValue),
            "polling_interval": .integer(self.pollingInterval),
            "credential_ids": self.credentialIDs.isEmpty ? nil : .list(self.credentialIDs),
        ]
    }
}

extension Credential: Audited {
    var auditedFields: [String: AuditValue?] {
        [
            "name": .text(self.name),
            "credential_type": .text(self.type.rawValue),
            "username": .text(self.username),
            "domain": self.domain.map(AuditValue.text),
            "port": self.port.map(AuditValue.integer),
            "use_ssl": .bool(self.useSSL),
            "tls_verify": .text(self.tlsVerify.rawValue),
            "allow_unencrypted_basic": .bool(self.allowUnencryptedBasic),
            "allowed_targets": .list(self.allowedTargets.map(\.description)),
            "status": .text(self.status.rawValue),
        ]
    }
}

extension User: Audited {
    var auditedFields: [String: AuditValue?] {
        ["username": .text(self.username), "role": .text(self.role.rawValue)]
    }
}
