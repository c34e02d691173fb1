/// Why a query was refused, in the terms of WMI.
package enum WQLError: Error, Sendable, Hashable, CustomStringConvertible {
    /// WBEM_E_INVALID_QUERY.
    case invalidQuery(String)
    /// WBEM_E_INVALID_CLASS.
    case invalidClass(String)

    /// The HRESULT of [MS-WMI] 2.2.11.
    package var code: UInt32 {
        switch self {
        case .invalidQuery: 0x8004_1017
        case .invalidClass: 0x8004_1010
        }
    }

    package var description: String {
        switch self {
        case .invalidQuery(let detail): "invalid query: \(detail)"
        case .invalidClass(let name): "invalid class: \(name)"
        }
    }
}

/// `SELECT` list or `*` `FROM` class `WHERE` condition, the part of WQL ([MS-WMI] 2.2.1.1) that reads instances.
package struct WQLQuery: Sendable, Hashable {
    package enum Operator: String, Sendable, Hashable {
        case equal = "="
        case notEqual = "<>"
        case less = "<"
        case lessOrEqual = "<="
        case greater = ">"
        case greaterOrEqual = ">="
        case like = "LIKE"
        case isNull = "IS"
    }

    package enum Literal: Sendable, Hashable {
        case null
        case boolean(Bool)
        case integer(Int128)
        case real(Double)
        case string(String)
    }

    package indirect enum Condition: Sendable, Hashable {
        case comparison(property: String, Operator, Literal)
        case and(Condition, Condition)
        case or(Condition, Condition)
        case not(Condition)
    }

    /// Nil for `*`.
    package var columns: [String]?
    package var className: String
    package var condition: Condition?

    /// Longest query that WMI takes, in bytes.
    static let maximumLength = 16_384

    package init(_ text: String) throws(WQLError) {
        guard text.utf8.count <= Self.maximumLength else {
            throw .invalidQuery("longer than \(Self.maximumLength) bytes")
        }
        var parser = WQLParser(tokens: try WQLToken.tokens(of: text))
        self = try parser.query()
    }

    fileprivate init(columns: [String]?, className: String, condition: Condition?) {
        self.columns = columns
        self.className = className
        self.condition = condition
    }
}

private enum WQLToken: Hashable {
    case word(String)
    case string(String)
    case number(String)
    /// Operators, commas, brackets and the asterisk.
    case symbol(String)

    static func tokens(of text: String) throws(WQLError) -> [WQLToken] {
        let scalars = Array(text.unicodeScalars)
        var tokens: [WQLToken] = []
        var index = 0
        while index < scalars.count {
            let scalar = scalars[index]
            switch scalar {
            case " ", "\t", "\r", "\n":
                index += 1
            case "'", "\"":
                tokens.append(.string(try Self.string(scalars, &index)))
            case "<", ">", "!", "=":
                let pair =
                    index + 1 < scalars.count ? String(String.UnicodeScalarView([scalar, scalars[index + 1]])) : ""
                let symbol = ["<>", "<=", ">=", "!="].contains(pair) ? pair : String(scalar)
                tokens.append(.symbol(symbol == "!=" ? "<>" : symbol))
                index += symbol.count
            case "*", ",", "(", ")":
                tokens.append(.symbol(String(scalar)))
                index += 1
            case "0"..."9", "-", "+", ".":
                tokens.append(.number(Self.run(scalars, &index) { Self.isNumber($0) }))
            case "_", "a"..."z", "A"..."Z":
                tokens.append(.word(Self.run(scalars, &index) { Self.isWord($0) }))
            default:
                throw .invalidQuery("unexpected character at \(index)")
            }
        }
        return tokens
    }

    private static func isNumber(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar {
        case "0"..."9", "a"..."f", "A"..."F", "x", "X", "-", "+", ".": true
        default: false
        }
    }

    private static func isWord(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar {
        case "_", "0"..."9", "a"..."z", "A"..."Z": true
        default: false
        }
    }

    private static func run(
        _ scalars: [Unicode.Scalar],
        _ index: inout Int,
        while predicate: (Unicode.Scalar) -> Bool
    ) -> String {
        var text = String.UnicodeScalarView()
        while index < scalars.count, predicate(scalars[index]) {
            text.append(scalars[index])
            index += 1
        }
        return String(text)
    }

    private static func string(_ scalars: [Unicode.Scalar], _ index: inout Int) throws(WQLError) -> String {
        let quote = scalars[index]
        var text = String.UnicodeScalarView()
        index += 1
        while index < scalars.count {
            let scalar = scalars[index]
            if scalar == quote {
                index += 1
                return String(text)
            }
            if scalar == "\\", index + 1 < scalars.count { index += 1 }
            text.append(scalars[index])
            index += 1
        }
        throw .invalidQuery("a string does not end")
    }
}

private struct WQLParser {
    /// Brackets and NOTs inside one another; a limit of this parser, so that no query exhausts the stack.
    static let maximumDepth = 64

    let tokens: [WQLToken]
    var position = 0
    var depth = 0

    init(tokens: [WQLToken]) {
        self.tokens = tokens
    }

    mutating func query() throws(WQLError) -> WQLQuery {
        try self.expect("SELECT")
        var columns: [String]?
        if !self.take(symbol: "*") {
            var names: [String] = []
            repeat {
                names.append(try self.word("a property"))
            } while self.take(symbol: ",")
            columns = names
        }
        try self.expect("FROM")
        let className = try self.word("a class")
        var condition: WQLQuery.Condition?
        if self.take(keyword: "WHERE") { condition = try self.alternatives() }
        guard self.position == self.tokens.count else { throw .invalidQuery("text after the end of the query") }
        return WQLQuery(columns: columns, className: className, condition: condition)
    }

    private mutating func alternatives() throws(WQLError) -> WQLQuery.Condition {
        var left = try self.conjunction()
        while self.take(keyword: "OR") { left = .or(left, try self.conjunction()) }
        return left
    }

    private mutating func conjunction() throws(WQLError) -> WQLQuery.Condition {
        var left = try self.factor()
        while self.take(keyword: "AND") { left = .and(left, try self.factor()) }
        return left
    }

    private mutating func factor() throws(WQLError) -> WQLQuery.Condition {
        self.depth += 1
        defer { self.depth -= 1 }
        guard self.depth <= Self.maximumDepth else { throw .invalidQuery("nested too deep") }
        if self.take(keyword: "NOT") { return .not(try self.factor()) }
        if self.take(symbol: "(") {
            let inner = try self.alternatives()
            guard self.take(symbol: ")") else { throw .invalidQuery("a bracket is not closed") }
            return inner
        }
        return try self.comparison()
    }

    private mutating func comparison() throws(WQLError) -> WQLQuery.Condition {
        // The literal may stand on either side: 3 = DriveType.
        if let literal = self.literal() {
            guard let comparison = self.comparisonOperator()?.mirrored else { throw .invalidQuery("no operator") }
            return .comparison(property: try self.word("a property"), comparison, literal)
        }
        let property = try self.word("a property")
        if self.take(keyword: "IS") {
            let isNegated = self.take(keyword: "NOT")
            try self.expect("NULL")
            let condition = WQLQuery.Condition.comparison(property: property, .isNull, .null)
            return isNegated ? .not(condition) : condition
        }
        if self.take(keyword: "LIKE") { return .comparison(property: property, .like, try self.pattern()) }
        if self.take(keyword: "NOT") {
            try self.expect("LIKE")
            return .not(.comparison(property: property, .like, try self.pattern()))
        }
        guard let comparison = self.comparisonOperator() else { throw .invalidQuery("no operator after \(property)") }
        guard let literal = self.literal() else { throw .invalidQuery("no constant after \(property)") }
        return .comparison(property: property, comparison, literal)
    }

    private mutating func pattern() throws(WQLError) -> WQLQuery.Literal {
        guard case .string(let text)? = self.peek else { throw .invalidQuery("LIKE wants a string") }
        self.position += 1
        return .string(text)
    }

    private mutating func comparisonOperator() -> WQLQuery.Operator? {
        guard case .symbol(let symbol)? = self.peek, let found = WQLQuery.Operator(rawValue: symbol) else { return nil }
        self.position += 1
        return found
    }

    private mutating func literal() -> WQLQuery.Literal? {
        let literal: WQLQuery.Literal
        switch self.peek {
        case .string(let text)?:
            literal = .string(text)
        case .number(let text)?:
            if let integer = Self.integer(text) {
                literal = .integer(integer)
            } else if let real = Double(text) {
                literal = .real(real)
            } else {
                return nil
            }
        case .word(let word)? where word.lowercased() == "true": literal = .boolean(true)
        case .word(let word)? where word.lowercased() == "false": literal = .boolean(false)
        case .word(let word)? where word.lowercased() == "null": literal = .null
        default: return nil
        }
        self.position += 1
        return literal
    }

    private static func integer(_ text: String) -> Int128? {
        text.lowercased().hasPrefix("0x") ? Int128(text.dropFirst(2), radix: 16) : Int128(text)
    }

    private var peek: WQLToken? {
        self.position < self.tokens.count ? self.tokens[self.position] : nil
    }

    private mutating func take(keyword: String) -> Bool {
        guard case .word(let word)? = self.peek, word.uppercased() == keyword else { return false }
        self.position += 1
        return true
    }

    private mutating func take(symbol: String) -> Bool {
        guard self.peek == .symbol(symbol) else { return false }
        self.position += 1
        return true
    }

    private mutating func expect(_ keyword: String) throws(WQLError) {
        guard self.take(keyword: keyword) else { throw .invalidQuery("\(keyword) is missing") }
    }

    private mutating func word(_ what: String) throws(WQLError) -> String {
        guard case .word(let word)? = self.peek else { throw .invalidQuery("\(what) is missing") }
        self.position += 1
        return word
    }
}

extension WQLQuery.Operator {
    /// The operator with its sides exchanged.
    fileprivate var mirrored: Self {
        switch self {
        case .less: .greater
        case .lessOrEqual: .greaterOrEqual
        case .greater: .less
        case .greaterOrEqual: .lessOrEqual
        default: self
        }
    }
}
