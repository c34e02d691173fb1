/// How one field is checked and read.
struct FieldRule<Value> {
    /// Never echo what was given.
    var isSecret = false
    /// The value, or what is wrong with it as a sentence that names the field.
    let read: (_ field: String, _ value: JSONValue) -> Result<Value, RuleViolation>
}

/// What is wrong with a field.
struct RuleViolation: Error {
    let message: String

    init(_ message: String) { self.message = message }
}

/// Reads an object's fields one by one and gathers everything that is wrong.
struct FieldReader {
    private let object: [String: JSONValue]
    private var known: Set<String> = []
    private(set) var errors: [FieldError] = []

    /// - Throws: ``ServiceError`` when the body is no object.
    init(_ body: JSONValue) throws(ServiceError) {
        guard case .object(let object) = body else {
            throw ServiceError(.validationError, "The body must be a JSON object, not \(body.typeName)")
        }
        self.object = object
    }

    /// A field that must be there; nil after an error.
    mutating func required<Value>(_ name: String, _ rule: FieldRule<Value>) -> Value? {
        self.known.insert(name)
        guard let value = self.object[name] else {
            self.errors.append(FieldError(field: name, message: "\(name) is required"))
            return nil
        }
        return self.read(name, value, rule)
    }

    /// A field that may be left out but not be null; nil when it was, or after an error.
    mutating func optional<Value>(_ name: String, _ rule: FieldRule<Value>) -> Value? {
        self.known.insert(name)
        guard let value = self.object[name] else { return nil }
        return self.read(name, value, rule)
    }

    /// A field that may be left out (nil) or cleared (`.some(nil)`).
    mutating func nullable<Value>(_ name: String, _ rule: FieldRule<Value>) -> Value?? {
        self.known.insert(name)
        guard let value = self.object[name] else { return nil }
        if value == .null { return .some(nil) }
        return self.read(name, value, rule).map { .some($0) }
    }

    /// Notes an error that concerns several fields.
    mutating func note(_ field: String, _ message: String) {
        self.errors.append(FieldError(field: field, message: message))
    }

    func has(_ name: String) -> Bool { self.object[name] != nil }

    /// - Throws: ``ServiceError`` with everything that was wrong, fields that no one asked for included.
    func finish() throws(ServiceError) {
        let unknown = self.object.keys.filter { !self.known.contains($0) }.sorted().map { name in
            let shown = EchoedValue.shortened(name)
            return FieldError(field: shown, message: "Unknown field \(shown)")
        }
        guard self.errors.isEmpty, unknown.isEmpty else { throw .invalid(self.errors + unknown) }
    }

    private mutating func read<Value>(_ name: String, _ value: JSONValue, _ rule: FieldRule<Value>) -> Value? {
        switch rule.read(name, value) {
        case .success(let result): return result
        case .failure(let violation):
            let echoed = rule.isSecret ? nil : EchoedValue.of(value)
            self.errors.append(FieldError(field: name, message: violation.message, value: echoed))
            return nil
        }
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
