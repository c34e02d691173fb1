internal import NMSCore

// Lengths are those of the specification's columns (§5.2: VARCHAR(255)), counted in code points as PostgreSQL does.

extension FieldRule where Value == Bool {
    static var bool: Self {
        FieldRule(schema: .boolean) { field, value in
            guard case .bool(let flag) = value else { return .failure(.init("\(field) must be true or false")) }
            return .success(flag)
        }
    }
}

extension FieldRule where Value == Int {
    static func integer(_ range: ClosedRange<Int>) -> Self {
        FieldRule(schema: .integer(range)) { field, value in
            guard case .integer(let number) = value, range.contains(number) else {
                return .failure(
                    .init("\(field) must be an integer from \(range.lowerBound) to \(range.upperBound)")
                )
            }
            return .success(number)
        }
    }

    static var port: Self { .integer(1...65_535) }
    static var pollingInterval: Self { .integer(Device.pollingIntervalRange) }
    static var id: Self { .integer(1...Int(Int32.max)) }
}

extension FieldRule {
    /// An array of things that all follow one rule; each wrong one is named, as in `ports[3]`.
    ///
    /// - Parameter unique: whether one that occurs twice is an error.
    static func array<Element: Equatable>(
        of element: FieldRule<Element>,
        _ count: ClosedRange<Int>,
        unique: Bool = false
    ) -> Self where Value == [Element] {
        FieldRule(schema: .array(of: element.schema, count, unique: unique), isSecret: element.isSecret) {
            field,
            value in
            guard case .array(let elements) = value else { return .failure(.init("\(field) must be an array")) }
            guard count.contains(elements.count) else {
                return .failure(.init("\(field) must have \(count.lowerBound) to \(count.upperBound) elements"))
            }
            var (values, errors) = ([Element](), [FieldError]())
            for (index, given) in elements.enumerated() {
                let name = "\(field)[\(index)]"
                let echoed = element.isSecret ? nil : EchoedValue.of(given)
                switch element.read(name, given) {
                case .success(let value):
                    if unique, values.contains(value) {
                        errors.append(FieldError(field: name, message: "\(name) occurs twice", value: echoed))
                    }
                    values.append(value)
                case .failure(let violation) where !violation.elements.isEmpty:
                    errors.append(contentsOf: violation.elements)
                case .failure(let violation):
                    errors.append(FieldError(field: name, message: violation.message, value: echoed))
                }
            }
            return errors.isEmpty ? .success(values) : .failure(RuleViolation(elements: errors))
        }
    }
}

extension FieldRule where Value == [Int] {
    /// One or more different ids, in order.
    static func ids(atMost limit: Int) -> Self { .array(of: .id, 1...limit, unique: true) }
}

extension FieldRule where Value == String {
    /// Text in one line: no control characters, not blank.
    static func text(atMost limit: Int = 255) -> Self {
        FieldRule(schema: .string(length: 1...limit, pattern: SchemaPattern.text)) { field, value in
            guard case .string(let text) = value else { return .failure(.init("\(field) must be a string")) }
            let scalars = text.unicodeScalars
            guard (1...limit).contains(scalars.count) else {
                return .failure(.init("\(field) must have 1 to \(limit) characters"))
            }
            guard !scalars.contains(where: { $0.properties.generalCategory == .control }) else {
                return .failure(.init("\(field) must not contain control characters"))
            }
            guard scalars.contains(where: { !$0.properties.isWhitespace }) else {
                return .failure(.init("\(field) must not be blank"))
            }
            return .success(text)
        }
    }

    /// A NetBIOS or DNS domain, or an empty text; the characters that Windows forbids in either are refused.
    static var domainOrEmpty: Self {
        FieldRule(schema: .string(length: 0...255, pattern: SchemaPattern.domainOrEmpty)) { field, value in
            if value == .string("") { return .success("") }
            return FieldRule.text().read(field, value).flatMap { text in
                let forbidden = Set("\\/:*?\"<>|@,".unicodeScalars)
                guard !text.unicodeScalars.contains(where: { forbidden.contains($0) || $0.properties.isWhitespace })
                else {
                    return .failure(
                        .init(
                            "\(field) must be a domain name such as CORP or corp.example.com, without spaces or \\ / @ :"
                        )
                    )
                }
                return .success(text)
            }
        }
    }

    /// RFC 1123 §2.1, with the underscore that NetBIOS names may have.
    static var hostname: Self {
        FieldRule(schema: .string(length: 1...253, pattern: SchemaPattern.hostname)) { field, value in
            guard case .string(let text) = value else { return .failure(.init("\(field) must be a string")) }
            let labels = text.split(separator: ".", omittingEmptySubsequences: false)
            let isName =
                (1...253).contains(text.utf8.count)
                && labels.allSatisfy { label in
                    (1...63).contains(label.utf8.count) && label.first != "-" && label.last != "-"
                        && label.utf8.allSatisfy { byte in
                            switch byte {
                            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                                true
                            default: false
                            }
                        }
                }
            guard isName else {
                return .failure(
                    .init("\(field) must be a host name: labels of 1 to 63 letters, digits, - or _, joined by dots")
                )
            }
            return .success(text)
        }
    }
}

extension FieldRule where Value == Secret {
    /// A password or token, never echoed.
    static func secret(atMost limit: Int) -> Self {
        let schema = JSONSchema.string(length: 1...limit, pattern: SchemaPattern.withoutNUL, format: "password")
        return FieldRule(schema: schema.with("writeOnly", true), isSecret: true) { field, value in
            guard case .string(let text) = value else { return .failure(.init("\(field) must be a string")) }
            guard (1...limit).contains(text.unicodeScalars.count) else {
                return .failure(.init("\(field) must have 1 to \(limit) characters"))
            }
            guard !text.unicodeScalars.contains("\0") else {
                return .failure(.init("\(field) must not contain NUL"))
            }
            return .success(Secret(text))
        }
    }
}

extension FieldRule where Value == IPAddress {
    static var ip: Self {
        FieldRule(schema: .ip) { _, value in
            guard case .string(let text) = value, let address = IPAddress(text) else {
                return .failure(.init("Invalid IP address format"))
            }
            return .success(address)
        }
    }
}

extension FieldRule where Value == CIDRBlock {
    /// A network in CIDR notation, or a bare address as a network of one. Bits after the prefix are dropped.
    static var network: Self {
        FieldRule(schema: .string(length: 2...49, pattern: SchemaPattern.network)) { field, value in
            let wrong = RuleViolation(
                "\(field) must be a network in CIDR notation, such as 192.168.1.0/24 or 2001:db8::/32"
            )
            guard case .string(let text) = value else { return .failure(wrong) }
            let length = text.split(separator: "/", maxSplits: 1).dropFirst().first
            // A zero in front may mean octal to others.
            guard length.map({ $0 == "0" || !$0.hasPrefix("0") }) ?? true, let block = CIDRBlock(text) else {
                return .failure(wrong)
            }
            return .success(block)
        }
    }
}

extension FieldRule where Value == [CIDRBlock] {
    /// Networks, each once in the result; an empty array means every network.
    static func networks(atMost limit: Int) -> Self {
        let all = Self.array(of: .network, 0...limit)
        return FieldRule(schema: all.schema) { field, value in
            all.read(field, value).map { $0.reduce(into: []) { if !$0.contains($1) { $0.append($1) } } }
        }
    }
}

extension FieldRule where Value: RawRepresentable & CaseIterable, Value.RawValue == String {
    /// One of the raw values of an enumeration.
    static var choice: Self {
        FieldRule(schema: .choice(Value.self)) { field, value in
            guard case .string(let text) = value, let choice = Value(rawValue: text) else {
                let names = Value.allCases.map(\.rawValue).joined(separator: ", ")
                return .failure(.init("\(field) must be one of \(names)"))
            }
            return .success(choice)
        }
    }
}
