internal import NMSCore
internal import struct Foundation.Date

/// Reads a query string strictly: unknown, repeated and malformed parameters are errors.
///
/// One made by ``recording()`` notes what is asked for instead, so that the document's parameters are what a query's own
/// initialiser reads.
struct QueryReader {
    /// Longer ones can't mean anything here.
    static let maximumLength = 4096

    private var values: [String: String] = [:]
    private var known: Set<String> = []
    private var record: [QueryParameter]?
    private(set) var errors: [FieldError] = []

    init(_ query: String?) throws(ServiceError) {
        guard let query, !query.isEmpty else { return }
        guard query.utf8.count <= Self.maximumLength else {
            throw ServiceError(.validationError, "The query string has more than \(Self.maximumLength) bytes")
        }
        for pair in query.split(separator: "&", omittingEmptySubsequences: true) {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = PercentEncoding.decode(parts[0], plusIsSpace: true),
                let value = PercentEncoding.decode(parts.count == 2 ? parts[1] : "", plusIsSpace: true)
            else {
                throw ServiceError(.validationError, "The query string has malformed percent-encoding")
            }
            guard !value.unicodeScalars.contains("\0"), !name.unicodeScalars.contains("\0") else {
                throw ServiceError(.validationError, "The query string contains NUL")
            }
            if self.values.updateValue(value, forKey: name) != nil {
                let shown = EchoedValue.shortened(name)
                self.errors.append(FieldError(field: shown, message: "\(shown) is given more than once"))
            }
        }
    }

    private init() { self.record = [] }

    /// A reader that has no parameters.
    static func recording() -> QueryReader { QueryReader() }

    /// What was asked for; empty unless recording.
    var parameters: [QueryParameter] { self.record ?? [] }

    // The descriptions are the document's.

    /// Text of at most `limit` characters.
    mutating func text(_ name: String, _ description: String = "", atMost limit: Int = 255) -> String? {
        self.document(name, description, .string(length: 1...limit, pattern: SchemaPattern.withoutNUL))
        guard let text = self.take(name) else { return nil }
        guard (1...limit).contains(text.unicodeScalars.count) else {
            self.fail(name, "\(name) must have 1 to \(limit) characters", text)
            return nil
        }
        return text
    }

    mutating func integer(
        _ name: String,
        _ description: String = "",
        _ range: ClosedRange<Int>,
        default value: Int
    ) -> Int {
        self.document(name, description, JSONSchema.integer(range).with("default", .integer(value)))
        return self.number(name, range) ?? value
    }

    /// The same without a default.
    mutating func integer(_ name: String, _ description: String, _ range: ClosedRange<Int>) -> Int? {
        self.document(name, description, .integer(range))
        return self.number(name, range)
    }

    mutating func choice<Value: RawRepresentable & CaseIterable>(
        _ name: String,
        _: Value.Type,
        _ description: String = ""
    ) -> Value? where Value.RawValue == String {
        self.document(name, description, .choice(Value.self))
        guard let text = self.take(name) else { return nil }
        guard let value = Value(rawValue: text) else {
            self.fail(name, "\(name) must be one of \(Value.allCases.map(\.rawValue).joined(separator: ", "))", text)
            return nil
        }
        return value
    }

    /// The same with a default.
    mutating func choice<Value: RawRepresentable & CaseIterable>(
        _ name: String,
        _ type: Value.Type,
        _ description: String,
        default value: Value
    ) -> Value where Value.RawValue == String {
        let given = self.choice(name, type, description)
        self.amendLast("default", .string(value.rawValue))
        return given ?? value
    }

    /// Some of an enumeration's values, each once, separated by commas; nil when left out.
    mutating func choices<Value: RawRepresentable & CaseIterable>(
        _ name: String,
        _: Value.Type,
        _ description: String = ""
    ) -> [Value]? where Value.RawValue == String {
        let all = Value.allCases.map(\.rawValue)
        let schema = JSONSchema.array(of: .choice(Value.self), 1...all.count, unique: true)
        self.document(name, description, schema)
        guard let text = self.take(name) else { return nil }
        let names = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        let values = names.compactMap(Value.init(rawValue:))
        guard values.count == names.count, Set(names).count == names.count else {
            self.fail(
                name,
                "\(name) must be some of \(all.joined(separator: ", ")), each once, separated by commas",
                text
            )
            return nil
        }
        return values
    }

    /// RFC 3339, with any offset.
    mutating func time(_ name: String, _ description: String = "") -> Date? {
        self.document(name, description, .string(pattern: SchemaPattern.time, format: "date-time"))
        guard let text = self.take(name) else { return nil }
        // A plus that the client did not encode arrives as a space.
        guard let date = StrictTime.date(from: text.replacing(" ", with: "+")) else {
            self.fail(
                name,
                "\(name) must be an RFC 3339 time such as 2025-12-03T10:05:00Z, of the years "
                    + "\(StrictTime.years.lowerBound) to \(StrictTime.years.upperBound)",
                text
            )
            return nil
        }
        return date
    }

    /// A field to sort by, descending with a leading minus.
    mutating func sort<Field: RawRepresentable & CaseIterable>(
        by _: Field.Type,
        default field: Field,
        descending byDefault: Bool = false
    ) -> (field: Field, descending: Bool) where Field.RawValue == String {
        let name = "sort"
        let fields = Field.allCases.map(\.rawValue)
        self.document(
            name,
            "The field to sort by; a leading `-` sorts in descending order. Equal ones follow by id.",
            JSONSchema.choice(fields.flatMap { [$0, "-\($0)"] })
                .with("default", .string((byDefault ? "-" : "") + field.rawValue))
        )
        guard let text = self.take(name) else { return (field, byDefault) }
        let descending = text.hasPrefix("-")
        guard let chosen = Field(rawValue: descending ? String(text.dropFirst()) : text) else {
            let names = fields.joined(separator: ", ")
            self.fail(name, "\(name) must be one of \(names), with a leading - for descending order", text)
            return (field, byDefault)
        }
        return (chosen, descending)
    }

    /// Which part of a list: `limit` and `offset`.
    mutating func page() -> (limit: Int, offset: Int) {
        let limit = self.integer(
            "limit",
            "How many to answer at most.",
            ListLimits.range,
            default: ListLimits.defaultLimit
        )
        let offset = self.integer("offset", "How many to leave out at the beginning.", ListLimits.offsets, default: 0)
        return (limit, offset)
    }

    /// A parameter as it came; for rules that nothing above has.
    mutating func raw(_ name: String, _ description: String, _ schema: JSONSchema) -> String? {
        self.document(name, description, schema)
        return self.take(name)
    }

    mutating func fail(_ name: String, _ message: String, _ value: String) {
        self.errors.append(FieldError(field: name, message: message, value: EchoedValue.of(.string(value))))
    }

    /// - Throws: ``ServiceError`` with everything that was wrong.
    func finish() throws(ServiceError) {
        let unknown = self.values.keys.filter { !self.known.contains($0) }.sorted().map { name in
            let shown = EchoedValue.shortened(name)
            return FieldError(field: shown, message: "Unknown query parameter \(shown)")
        }
        guard self.errors.isEmpty, unknown.isEmpty else { throw .invalid(self.errors + unknown) }
    }

    private mutating func take(_ name: String) -> String? {
        self.known.insert(name)
        return self.values[name]
    }

    private mutating func number(_ name: String, _ range: ClosedRange<Int>) -> Int? {
        guard let text = self.take(name) else { return nil }
        guard let number = StrictInteger.parse(text), range.contains(number) else {
            self.fail(name, "\(name) must be an integer from \(range.lowerBound) to \(range.upperBound)", text)
            return nil
        }
        return number
    }

    private mutating func amendLast(_ keyword: String, _ value: JSONValue) {
        guard let last = self.record?.popLast() else { return }
        self.document(last.name, last.description, last.schema.with(keyword, value))
    }

    private mutating func document(_ name: String, _ description: String, _ schema: JSONSchema) {
        self.record?.append(QueryParameter(name: name, description: description, schema: schema))
    }
}

/// A parameter of a query as the document tells it.
struct QueryParameter: Sendable {
    let name: String
    let description: String
    let schema: JSONSchema
}

/// Decimal digits without sign or leading zeros: one text for each number.
enum StrictInteger {
    static func parse(_ text: String) -> Int? {
        let isDecimal = text.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        guard isDecimal, text == "0" || !text.hasPrefix("0") else { return nil }
        return Int(text)
    }
}

/// RFC 3986 §2.1.
enum PercentEncoding {
    /// nil for malformed escapes and for what is not UTF-8.
    ///
    /// - Parameter plusIsSpace: as in application/x-www-form-urlencoded.
    static func decode(_ text: Substring, plusIsSpace: Bool) -> String? {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "+") where plusIsSpace: bytes.append(UInt8(ascii: " "))
            case UInt8(ascii: "%"):
                guard let high = rest.popFirst(), let low = rest.popFirst(), high < 0x80, low < 0x80,
                    let first = Character(Unicode.Scalar(high)).hexDigitValue,
                    let second = Character(Unicode.Scalar(low)).hexDigitValue
                else { return nil }
                bytes.append(UInt8(first << 4 | second))
            default: bytes.append(byte)
            }
        }
        return String(validating: bytes, as: UTF8.self)
    }
}
