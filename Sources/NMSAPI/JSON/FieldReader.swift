/// How one field is checked and read, and what the document says of it: one declaration for both.
struct FieldRule<Value> {
    /// What `read` accepts, as exactly as JSON Schema can say.
    var schema: JSONSchema
    /// Never echo what was given.
    var isSecret = false
    /// The value, or what is wrong with it as a sentence that names the field.
    let read: (_ field: String, _ value: JSONValue) -> Result<Value, RuleViolation>

    init(
        schema: JSONSchema,
        isSecret: Bool = false,
        read: @escaping (_ field: String, _ value: JSONValue) -> Result<Value, RuleViolation>
    ) {
        self.schema = schema
        self.isSecret = isSecret
        self.read = read
    }

    /// The same rule with a text for the document.
    func described(_ text: String) -> Self {
        var copy = self
        copy.schema = self.schema.described(text)
        return copy
    }
}

/// What is wrong with a field.
struct RuleViolation: Error {
    let message: String
    /// The elements of an array that are wrong, by name; empty when it is the field itself.
    let elements: [FieldError]

    init(_ message: String) {
        self.message = message
        self.elements = []
    }

    init(elements: [FieldError]) {
        self.message = elements.first?.message ?? "The request is not valid"
        self.elements = elements
    }
}

/// Reads an object's fields one by one and gathers everything that is wrong.
///
/// One made by ``recording()`` notes what is asked for instead, so that the schema of a body is what its own initialiser
/// reads.
struct FieldReader {
    private let object: [String: JSONValue]
    private var known: Set<String> = []
    private var record: FieldRecord?
    private(set) var errors: [FieldError] = []

    /// - Throws: ``ServiceError`` when the body is no object.
    init(_ body: JSONValue) throws(ServiceError) {
        guard case .object(let object) = body else {
            throw ServiceError(.validationError, "The body must be a JSON object, not \(body.typeName)")
        }
        self.object = object
    }

    private init() {
        self.object = [:]
        self.record = FieldRecord()
    }

    /// A reader that has no fields, and whose ``finish()`` always throws.
    static func recording() -> FieldReader { FieldReader() }

    /// What was asked for; nil unless recording.
    var schema: JSONSchema? { self.record?.schema }

    /// A field that must be there; nil after an error.
    mutating func required<Value>(_ name: String, _ rule: FieldRule<Value>) -> Value? {
        self.record?.add(name, rule.schema, isRequired: true)
        self.known.insert(name)
        guard let value = self.object[name] else {
            self.errors.append(FieldError(field: name, message: "\(name) is required"))
            return nil
        }
        return self.read(name, value, rule)
    }

    /// A field that may be left out but not be null; nil when it was, or after an error.
    mutating func optional<Value>(_ name: String, _ rule: FieldRule<Value>) -> Value? {
        self.record?.add(name, rule.schema)
        return self.given(name, rule)
    }

    /// A field that may be left out, which then has a value of its own, but not be null.
    mutating func optional<Value>(
        _ name: String,
        _ rule: FieldRule<Value>,
        default value: Value,
        shownAs shown: JSONValue
    ) -> Value {
        self.record?.add(name, rule.schema.with("default", shown))
        return self.given(name, rule) ?? value
    }

    mutating func optional(_ name: String, _ rule: FieldRule<Bool>, default value: Bool) -> Bool {
        self.optional(name, rule, default: value, shownAs: .bool(value))
    }

    mutating func optional(_ name: String, _ rule: FieldRule<Int>, default value: Int) -> Int {
        self.optional(name, rule, default: value, shownAs: .integer(value))
    }

    mutating func optional<Value: RawRepresentable>(
        _ name: String,
        _ rule: FieldRule<Value>,
        default value: Value
    ) -> Value where Value.RawValue == String {
        self.optional(name, rule, default: value, shownAs: .string(value.rawValue))
    }

    /// A field that may be left out (nil) or cleared (`.some(nil)`).
    mutating func nullable<Value>(_ name: String, _ rule: FieldRule<Value>) -> Value?? {
        self.record?.add(name, rule.schema.orNull)
        self.known.insert(name)
        guard let value = self.object[name] else { return nil }
        if value == .null { return .some(nil) }
        return self.read(name, value, rule).map { .some($0) }
    }

    /// Demands one of two fields, and not both.
    mutating func exactlyOne(of first: String, or second: String) {
        self.record?.demand("oneOf", [["required": [.string(first)]], ["required": [.string(second)]]])
        switch (self.has(first), self.has(second)) {
        case (false, false): self.note(first, "\(first) (or \(second)) is required")
        case (true, true): self.note(second, "Give either \(first) or \(second), not both")
        default: break
        }
    }

    /// Tells the document of a rule that concerns several fields and that whoever calls checks by himself.
    mutating func declare(_ keyword: String, _ value: JSONValue) { self.record?.demand(keyword, value) }

    /// Notes an error that concerns several fields.
    mutating func note(_ field: String, _ message: String, value: JSONValue? = nil) {
        self.errors.append(FieldError(field: field, message: message, value: value))
    }

    /// Whether the body has no field at all.
    var isEmpty: Bool { self.object.isEmpty }

    func has(_ name: String) -> Bool { self.object[name] != nil }

    /// - Throws: ``ServiceError`` with everything that was wrong, fields that no one asked for included.
    func finish() throws(ServiceError) {
        if self.record != nil { throw ServiceError(.internalError, "Nothing is read while recording") }
        let unknown = self.object.keys.filter { !self.known.contains($0) }.sorted().map { name in
            let shown = EchoedValue.shortened(name)
            return FieldError(field: shown, message: "Unknown field \(shown)")
        }
        guard self.errors.isEmpty, unknown.isEmpty else { throw .invalid(self.errors + unknown) }
    }

    private mutating func given<Value>(_ name: String, _ rule: FieldRule<Value>) -> Value? {
        self.known.insert(name)
        guard let value = self.object[name] else { return nil }
        return self.read(name, value, rule)
    }

    private mutating func read<Value>(_ name: String, _ value: JSONValue, _ rule: FieldRule<Value>) -> Value? {
        switch rule.read(name, value) {
        case .success(let result): return result
        case .failure(let violation) where !violation.elements.isEmpty:
            self.errors.append(contentsOf: violation.elements)
            return nil
        case .failure(let violation):
            let echoed = rule.isSecret ? nil : EchoedValue.of(value)
            self.errors.append(FieldError(field: name, message: violation.message, value: echoed))
            return nil
        }
    }
}

/// What an initialiser asked its reader for.
private struct FieldRecord {
    private var fields: [(name: String, schema: JSONSchema)] = []
    private var required: Set<String> = []
    private var demands: [(keyword: String, value: JSONValue)] = []

    mutating func add(_ name: String, _ schema: JSONSchema, isRequired: Bool = false) {
        self.fields.append((name, schema))
        if isRequired { self.required.insert(name) }
    }

    mutating func demand(_ keyword: String, _ value: JSONValue) { self.demands.append((keyword, value)) }

    var schema: JSONSchema {
        let optional = Set(self.fields.map(\.name)).subtracting(self.required)
        let object = JSONSchema.object(self.fields.map { ($0.name, $0.schema) }, optional: optional)
        return self.demands.reduce(object) { $0.with($1.keyword, $1.value) }
    }
}

/// What may be repeated of a wrong value.
enum EchoedValue {
    static let maximumLength = 100

    /// Scalars only, shortened.
    static func of(_ value: JSONValue) -> JSONValue? {
        switch value {
        case .array, .object: nil
        case .string(let text): .string(self.shortened(text))
        default: value
        }
    }

    static func shortened(_ text: String) -> String {
        text.unicodeScalars.count <= self.maximumLength
            ? text : String(String.UnicodeScalarView(text.unicodeScalars.prefix(self.maximumLength))) + "…"
    }
}
