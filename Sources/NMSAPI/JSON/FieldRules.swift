internal import NMSCore

// Lengths are those of the specification's columns (§5.2: VARCHAR(255)), counted in code points as PostgreSQL does.

extension FieldRule where Value == Bool {
    static var bool: Self {
        FieldRule { field, value in
            guard case .bool(let flag) = value else { return .failure(.init("\(field) must be true or false")) }
            return .success(flag)
        }
    }
}

extension FieldRule where Value == Int {
    static func integer(_ range: ClosedRange<Int>) -> Self {
        FieldRule { field, value in
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

extension FieldRule where Value == [Int] {
    /// One or more different ids, in order.
    static func ids(atMost limit: Int) -> Self {
        FieldRule { field, value in
            let wrong = RuleViolation("\(field) must be an array of 1 to \(limit) different positive integers")
            guard case .array(let elements) = value, (1...limit).contains(elements.count) else {
                return .failure(wrong)
            }
            var ids: [Int] = []
            for element in elements {
                guard case .integer(let id) = element, (1...Int(Int32.max)).contains(id), !ids.contains(id) else {
                    return .failure(wrong)
                }
                ids.append(id)
            }
            return .success(ids)
        }
    }
}

extension FieldRule where Value == String {
    /// Text in one line: no control characters, not blank.
    static func text(atMost limit: Int = 255) -> Self {
        FieldRule { field, value in
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

    /// A NetBIOS or DNS domain; the characters that Windows forbids in either are refused.
    static var domain: Self {
        FieldRule { field, value in
            FieldRule.text().read(field, value).flatMap { text in
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
        FieldRule { field, value in
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
        FieldRule(isSecret: true) { field, value in
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
        FieldRule { _, value in
            guard case .string(let text) = value, let address = IPAddress(text) else {
                return .failure(.init("Invalid IP address format"))
            }
            return .success(address)
        }
    }
}

extension FieldRule where Value == [CIDRBlock] {
    /// Networks; an empty array means every network.
    static func networks(atMost limit: Int) -> Self {
        FieldRule { field, value in
            let wrong = RuleViolation(
                "\(field) must be an array of at most \(limit) networks such as 192.168.1.0/24 or 2001:db8::/32"
            )
            guard case .array(let elements) = value, elements.count <= limit else { return .failure(wrong) }
            var blocks: [CIDRBlock] = []
            for element in elements {
                guard case .string(let text) = element, let block = CIDRBlock(text) else {
                    if case .string(let text) = element {
                        let shown = EchoedValue.shortened(text)
                        return .failure(.init("\(field) holds \"\(shown)\", which is not a network in CIDR notation"))
                    }
                    return .failure(wrong)
                }
                if !blocks.contains(block) { blocks.append(block) }
            }
            return .success(blocks)
        }
    }
}

extension FieldRule where Value: RawRepresentable & CaseIterable, Value.RawValue == String {
    /// One of the raw values of an enumeration.
    static var choice: Self {
        FieldRule { field, value in
            guard case .string(let text) = value, let choice = Value(rawValue: text) else {
                let names = Value.allCases.map(\.rawValue).joined(separator: ", ")
                return .failure(.init("\(field) must be one of \(names)"))
            }
            return .success(choice)
        }
    }
}
