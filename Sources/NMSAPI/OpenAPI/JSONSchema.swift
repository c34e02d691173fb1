internal import NMSCore

/// A schema of JSON Schema 2020-12, the dialect of OpenAPI 3.1.
///
/// Schemas that have a name are written once, under `components/schemas`: a schema that refers to others carries their
/// definitions along.
struct JSONSchema: Sendable, Equatable {
    private(set) var keywords: [String: JSONValue]
    private(set) var definitions: [String: JSONValue] = [:]

    static let referencePrefix = "#/components/schemas/"

    var json: JSONValue { .object(self.keywords) }

    init(_ keywords: [String: JSONValue]) { self.keywords = keywords }

    private init(_ keywords: [String: JSONValue], from parts: some Sequence<JSONSchema>) {
        self.keywords = keywords
        for part in parts { self.definitions.merge(part.definitions) { first, _ in first } }
    }

    // MARK: Scalars

    static let boolean = JSONSchema(["type": "boolean"])

    /// Any value.
    static let any = JSONSchema([:])

    static func integer(_ range: ClosedRange<Int>) -> JSONSchema {
        JSONSchema([
            "type": "integer", "minimum": .integer(range.lowerBound), "maximum": .integer(range.upperBound),
        ])
    }

    static func integer(from minimum: Int) -> JSONSchema {
        JSONSchema(["type": "integer", "minimum": .integer(minimum)])
    }

    static func number(_ range: ClosedRange<Int>? = nil) -> JSONSchema {
        var keywords: [String: JSONValue] = ["type": "number"]
        if let range {
            keywords["minimum"] = .integer(range.lowerBound)
            keywords["maximum"] = .integer(range.upperBound)
        }
        return JSONSchema(keywords)
    }

    /// - Parameter length: in code points.
    static func string(
        length: ClosedRange<Int>? = nil,
        pattern: String? = nil,
        format: String? = nil
    ) -> JSONSchema {
        var keywords: [String: JSONValue] = ["type": "string"]
        if let length {
            if length.lowerBound > 0 { keywords["minLength"] = .integer(length.lowerBound) }
            keywords["maxLength"] = .integer(length.upperBound)
        }
        if let pattern { keywords["pattern"] = .string(pattern) }
        if let format { keywords["format"] = .string(format) }
        return JSONSchema(keywords)
    }

    static func choice(_ names: [String]) -> JSONSchema {
        JSONSchema(["type": "string", "enum": .array(names.map { .string($0) })])
    }

    static func choice<Value: RawRepresentable & CaseIterable>(
        _: Value.Type
    ) -> JSONSchema where Value.RawValue == String {
        .choice(Value.allCases.map(\.rawValue))
    }

    static func constant(_ value: JSONValue) -> JSONSchema { JSONSchema(["const": value]) }

    // MARK: Composites

    static func array(of element: JSONSchema, _ count: ClosedRange<Int>? = nil, unique: Bool = false) -> JSONSchema {
        var keywords: [String: JSONValue] = ["type": "array", "items": element.json]
        if let count {
            if count.lowerBound > 0 { keywords["minItems"] = .integer(count.lowerBound) }
            keywords["maxItems"] = .integer(count.upperBound)
        }
        if unique { keywords["uniqueItems"] = true }
        return JSONSchema(keywords, from: [element])
    }

    /// An object with these properties and no others, all of them there but the optional ones.
    static func object(
        _ properties: KeyValuePairs<String, JSONSchema>,
        optional: Set<String> = []
    ) -> JSONSchema {
        .object(properties.map { ($0.key, $0.value) }, optional: optional)
    }

    static func object(_ properties: [(String, JSONSchema)], optional: Set<String> = []) -> JSONSchema {
        var keywords: [String: JSONValue] = ["type": "object", "additionalProperties": false]
        keywords["properties"] = .object(Dictionary(properties.map { ($0, $1.json) }) { _, last in last })
        let required = properties.map(\.0).filter { !optional.contains($0) }
        if !required.isEmpty { keywords["required"] = .array(required.map { .string($0) }) }
        return JSONSchema(keywords, from: properties.map(\.1))
    }

    /// An object whose members have names that nobody knows beforehand.
    static func map(of element: JSONSchema) -> JSONSchema {
        JSONSchema(["type": "object", "additionalProperties": element.json], from: [element])
    }

    static func anyOf(_ choices: [JSONSchema]) -> JSONSchema {
        choices.count == 1 ? choices[0] : JSONSchema(["anyOf": .array(choices.map(\.json))], from: choices)
    }

    /// The schema of a type of ours, written once under its name.
    static func reference(to type: (some ResponseBody).Type) -> JSONSchema { .named(type.schemaName, type.schema) }

    static func named(_ name: String, _ schema: JSONSchema) -> JSONSchema {
        var reference = JSONSchema(["$ref": .string(Self.referencePrefix + name)], from: [schema])
        reference.definitions[name] = schema.json
        return reference
    }

    // MARK: Variations

    /// The same, or null.
    var orNull: JSONSchema {
        guard case .string(let type) = self.keywords["type"] else {
            return .anyOf([self, JSONSchema(["type": "null"])])
        }
        var copy = self
        copy.keywords["type"] = [.string(type), "null"]
        if case .array(let values) = self.keywords["enum"] { copy.keywords["enum"] = .array(values + [.null]) }
        return copy
    }

    func described(_ text: String) -> JSONSchema { text.isEmpty ? self : self.with("description", .string(text)) }

    func with(_ keyword: String, _ value: JSONValue) -> JSONSchema {
        var copy = self
        copy.keywords[keyword] = value
        return copy
    }

    /// With another one's definitions too.
    func carrying(_ other: JSONSchema) -> JSONSchema { JSONSchema(self.keywords, from: [self, other]) }
}

extension JSONSchema {
    /// A row's id: PostgreSQL's `serial`.
    static let id = JSONSchema.integer(1...Int(Int32.max))

    /// A number of things.
    static let count = JSONSchema.integer(from: 0)

    /// A number of bytes, packets and the like, as BIGINT holds it.
    static let quantity = JSONSchema.integer(from: 0).with("format", "int64")

    /// 0…100.
    static let percentage = JSONSchema.number(0...100)

    /// A moment as answers have it.
    static let time = JSONSchema.string(
        pattern: #"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$"#,
        format: "date-time"
    )

    static let uuid = JSONSchema.string(pattern: SchemaPattern.uuid, format: "uuid")

    /// An IPv4 or IPv6 address.
    static let ip = JSONSchema.string(length: 2...45, pattern: SchemaPattern.address)
        .with("anyOf", [["format": "ipv4"], ["format": "ipv6"]])
}
