internal import NMSCore
internal import struct Foundation.Date

/// Reads a query string strictly: unknown, repeated and malformed parameters are errors.
struct QueryReader {
    /// Longer ones can't mean anything here.
    static let maximumLength = 4096

    private var values: [String: String] = [:]
    private var known: Set<String> = []
    private(set) var errors: [FieldError] = []

    init(_ query: String?) throws(ServiceError) {
        guard let query, !query.isEmpty else { return }
        guard query.utf8.count <= Self.maximumLength else {
            throw ServiceError(.validationError, "The query string has more than \(Self.maximumLength) bytes")
        }
        for pair in query.split(separator: "&", omittingEmptySubsequences: true) {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = Self.decode(parts[0]), let value = Self.decode(parts.count == 2 ? parts[1] : "") else {
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

    /// Text of at most `limit` characters.
    mutating func text(_ name: String, atMost limit: Int = 255) -> String? {
        guard let text = self.take(name) else { return nil }
        guard (1...limit).contains(text.unicodeScalars.count) else {
            self.fail(name, "\(name) must have 1 to \(limit) characters", text)
            return nil
        }
        return text
    }

    mutating func integer(_ name: String, _ range: ClosedRange<Int>, default value: Int) -> Int {
        guard let text = self.take(name) else { return value }
        let digits = !text.isEmpty && text.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        guard digits, let number = Int(text), range.contains(number) else {
            self.fail(name, "\(name) must be an integer from \(range.lowerBound) to \(range.upperBound)", text)
            return value
        }
        return number
    }

    mutating func choice<Value: RawRepresentable & CaseIterable>(
        _ name: String,
        _: Value.Type
    ) -> Value? where Value.RawValue == String {
        guard let text = self.take(name) else { return nil }
        guard let value = Value(rawValue: text) else {
            self.fail(name, "\(name) must be one of \(Value.allCases.map(\.rawValue).joined(separator: ", "))", text)
            return nil
        }
        return value
    }

    /// RFC 3339, with any offset.
    mutating func time(_ name: String, in range: Range<Date>) -> Date? {
        guard let text = self.take(name) else { return nil }
        // A plus that the client did not encode arrives as a space.
        guard let date = RFC3339.date(from: text.replacing(" ", with: "+")) else {
            self.fail(name, "\(name) must be an RFC 3339 time such as 2025-12-03T10:05:00Z", text)
            return nil
        }
        guard range.contains(date) else {
            let bounds = (RFC3339.string(from: range.lowerBound), RFC3339.string(from: range.upperBound))
            self.fail(name, "\(name) must not be before \(bounds.0), and be before \(bounds.1)", text)
            return nil
        }
        return date
    }

    mutating func take(_ name: String) -> String? {
        self.known.insert(name)
        return self.values[name]
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

    /// application/x-www-form-urlencoded; nil for malformed escapes and for what is not UTF-8.
    private static func decode(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "+"): bytes.append(UInt8(ascii: " "))
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
