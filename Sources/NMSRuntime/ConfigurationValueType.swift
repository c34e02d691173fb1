import NMSCore

/// What a key holds: how it is called in messages, how it is read, and where it goes.
package struct ConfigurationValueType: Sendable {
    /// A field of ``Configuration``.
    typealias Field<Value> = any WritableKeyPath<Configuration, Value> & Sendable

    /// The scalars of YAML that the key takes unquoted.
    enum Shape: Sendable {
        /// Text, numbers included.
        case text
        case integer
        case boolean
        /// A YAML list; comma-separated in flags and environment.
        case list
    }

    /// Thrown by ``apply``: what was expected, as in `is not ‹expected›`.
    struct Malformed: Error {
        let expected: String
    }

    /// For help and documentation: `integer`, `duration`, `true or false`.
    package let name: String
    /// `1 to 65535`, `debug, info, warn, error`; empty when there is none.
    package let constraint: String
    let shape: Shape
    /// Whether errors may repeat the value.
    var showsValue = true
    /// Reads the text (one element unless the shape is a list) and stores the value.
    let apply: @Sendable (_ text: [String], _ configuration: inout Configuration) throws(Malformed) -> Void

    private init(
        _ name: String,
        constraint: String = "",
        shape: Shape = .text,
        showsValue: Bool = true,
        apply: @escaping @Sendable ([String], inout Configuration) throws(Malformed) -> Void
    ) {
        self.name = name
        self.constraint = constraint
        self.shape = shape
        self.showsValue = showsValue
        self.apply = apply
    }
}

extension ConfigurationValueType {
    static func integer(_ range: ClosedRange<Int>, _ field: Field<Int>) -> Self {
        let constraint = "\(range.lowerBound) to \(range.upperBound)"
        return Self("integer", constraint: constraint, shape: .integer) { text, configuration throws(Malformed) in
            guard let number = Int(text[0]), range.contains(number) else {
                throw Malformed(expected: "an integer from \(constraint)")
            }
            configuration[keyPath: field] = number
        }
    }

    static func boolean(_ field: Field<Bool>) -> Self {
        Self("boolean", constraint: "true or false", shape: .boolean) { text, configuration throws(Malformed) in
            guard let value = Bool(text[0]) else { throw Malformed(expected: "true or false") }
            configuration[keyPath: field] = value
        }
    }

    /// - Parameter wholeSeconds: refuses fractions of a second.
    static func duration(_ range: ClosedRange<Duration>, wholeSeconds: Bool = false, _ field: Field<Duration>) -> Self {
        let constraint =
            "\(DurationText.string(from: range.lowerBound)) to \(DurationText.string(from: range.upperBound))"
            + (wholeSeconds ? ", whole seconds" : "")
        return Self("duration", constraint: constraint) { text, configuration throws(Malformed) in
            guard let value = DurationText.parse(text[0]), range.contains(value),
                !wholeSeconds || value.components.attoseconds == 0
            else { throw Malformed(expected: "a duration such as 30s, 5m or 1m30s, from \(constraint)") }
            configuration[keyPath: field] = value
        }
    }

    static func text(_ field: Field<String>) -> Self {
        Self("text") { text, configuration throws(Malformed) in
            configuration[keyPath: field] = try self.checked(text[0])
        }
    }

    static func text(_ field: Field<String?>) -> Self {
        Self("text") { text, configuration throws(Malformed) in
            configuration[keyPath: field] = try self.checked(text[0])
        }
    }

    /// A path, relative to the working directory.
    static func path(_ field: Field<String?>) -> Self {
        Self("path") { text, configuration throws(Malformed) in
            configuration[keyPath: field] = try self.checked(text[0])
        }
    }

    static func choice<Value>(_ field: Field<Value>) -> Self
    where Value: CaseIterable & RawRepresentable<String> & Sendable {
        let names = Value.allCases.map(\.rawValue)
        return Self("choice", constraint: names.joined(separator: ", ")) { text, configuration throws(Malformed) in
            guard let value = Value(rawValue: text[0]) else {
                throw Malformed(expected: "one of \(names.joined(separator: ", "))")
            }
            configuration[keyPath: field] = value
        }
    }

    static func choices<Value>(_ field: Field<Set<Value>>) -> Self
    where Value: CaseIterable & RawRepresentable<String> & Sendable & Hashable {
        let names = Value.allCases.map(\.rawValue).joined(separator: ", ")
        return Self("list", constraint: "of \(names)", shape: .list) { text, configuration throws(Malformed) in
            var values: Set<Value> = []
            for element in text {
                guard let value = Value(rawValue: element) else { throw Malformed(expected: "a list of \(names)") }
                values.insert(value)
            }
            configuration[keyPath: field] = values
        }
    }

    static func networks(_ field: Field<[CIDRBlock]>) -> Self {
        let expected = "a list of networks such as 192.168.0.0/16, 10.1.2.3 or fd00::/8"
        return Self("list", constraint: "of networks (CIDR)", shape: .list) { text, configuration throws(Malformed) in
            var blocks: [CIDRBlock] = []
            for element in text {
                guard let block = CIDRBlock(element) else { throw Malformed(expected: expected) }
                blocks.append(block)
            }
            configuration[keyPath: field] = blocks
        }
    }

    static func logOutput(_ field: Field<LogOutput>) -> Self {
        Self("text", constraint: "stdout, stderr or a path") { text, configuration throws(Malformed) in
            configuration[keyPath: field] =
                switch text[0] {
                case "stdout": .standardOutput
                case "stderr": .standardError
                default: .file(try self.checked(text[0]))
                }
        }
    }

    /// One or several (comma-separated) addresses of a NATS cluster. May carry a password, so errors never repeat it.
    static func natsURL(_ field: Field<ServiceURL>) -> Self {
        Self("url", constraint: "nats:// or tls://, comma-separated", showsValue: false) {
            text,
            configuration throws(Malformed) in
            for part in text[0].split(separator: ",", omittingEmptySubsequences: false) {
                let scheme = ["nats://", "tls://"].first { part.hasPrefix($0) }
                let authority = part.dropFirst(scheme?.count ?? part.count)
                let host = authority.lastIndex(of: "@").map { authority[authority.index(after: $0)...] } ?? authority
                guard !host.isEmpty, host.first != ":", !part.contains(where: \.isWhitespace) else {
                    throw Malformed(expected: "an address such as nats://host:4222, or several separated by commas")
                }
            }
            configuration[keyPath: field] = ServiceURL(text[0])
        }
    }

    /// A secret of any form but empty.
    static func secret(_ field: Field<Secret?>) -> Self {
        Self("secret", showsValue: false) { text, configuration throws(Malformed) in
            _ = try self.checked(text[0])
            configuration[keyPath: field] = Secret(text[0])
        }
    }

    /// A secret of at least `bytes` bytes.
    static func secret(atLeast bytes: Int, _ field: Field<Secret?>) -> Self {
        Self("secret", constraint: "at least \(bytes) bytes", showsValue: false) {
            text,
            configuration throws(Malformed) in
            guard text[0].utf8.count >= bytes else { throw Malformed(expected: "at least \(bytes) bytes long") }
            configuration[keyPath: field] = Secret(text[0])
        }
    }

    /// A secret that a header can carry as a bearer token (RFC 6750 §2.1).
    static func bearerToken(atLeast bytes: Int, _ field: Field<Secret?>) -> Self {
        let expected = "at least \(bytes) of the characters A-Z a-z 0-9 - . _ ~ + /"
        return Self("secret", constraint: expected, showsValue: false) { text, configuration throws(Malformed) in
            let body = text[0].utf8.prefix { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                    UInt8(ascii: "~"), UInt8(ascii: "+"), UInt8(ascii: "/"):
                    true
                default: false
                }
            }
            // Base64 may end in equals signs.
            guard body.count >= bytes, text[0].utf8.dropFirst(body.count).allSatisfy({ $0 == UInt8(ascii: "=") }) else {
                throw Malformed(expected: expected)
            }
            configuration[keyPath: field] = Secret(text[0])
        }
    }

    /// An address of this machine alone, with a port.
    static func loopback(_ field: Field<ListenAddress?>) -> Self {
        Self("address", constraint: "loopback, with a port") { text, configuration throws(Malformed) in
            guard let address = ListenAddress(loopback: text[0]) else {
                throw Malformed(
                    expected:
                        "a loopback address with a port, such as 127.0.0.1:9464 or [::1]:9464; for scrapers on other "
                        + "machines, set metrics.scrape_token and use the API's port"
                )
            }
            configuration[keyPath: field] = address
        }
    }

    /// A key of 32 bytes.
    static func key256(_ field: Field<Secret?>) -> Self {
        Self("secret", constraint: "32 bytes as base64 or 64 hexadecimal digits", showsValue: false) {
            text,
            configuration throws(Malformed) in
            guard KeyText.bytes(of: text[0]) != nil else {
                throw Malformed(expected: "32 bytes as base64 or 64 hexadecimal digits")
            }
            configuration[keyPath: field] = Secret(text[0])
        }
    }

    /// Refuses what no name, path or password holds: NUL would end a C string early.
    private static func checked(_ text: String) throws(Malformed) -> String {
        guard !text.utf8.contains(0) else { throw Malformed(expected: "text without NUL bytes") }
        return text
    }
}
