extension WQLQuery.Operator {
    /// Whether a property's value stands in this relation to a constant.
    ///
    /// As in WMI, text compares without case, numbers compare with text that reads as a number, and nothing but
    /// `IS NULL` and `= NULL` holds for null.
    func holds(_ value: CIMValue, _ literal: WQLQuery.Literal) -> Bool {
        if literal == .null {
            switch self {
            case .isNull, .equal: return value == .null
            case .notEqual: return value != .null
            default: return false
            }
        }
        switch value {
        case .null, .array:
            return false
        case .boolean(let flag):
            return Self.number(literal).map { self.compare(Int128(flag ? 1 : 0), $0) } ?? false
        case .signed(let number):
            return self.compare(Int128(number), literal)
        case .unsigned(let number):
            return self.compare(Int128(number), literal)
        case .string(let text):
            return self.compare(text, literal)
        case .datetime(let time, let offset):
            return self.compare(TimeText.cimDateTime(time, offsetMinutes: offset), literal)
        }
    }

    private static func number(_ literal: WQLQuery.Literal) -> Int128? {
        switch literal {
        case .integer(let number): number
        case .boolean(let flag): flag ? 1 : 0
        case .string(let text):
            switch text.lowercased() {
            case "true": 1
            case "false": 0
            default: Int128(text)
            }
        case .null, .real: nil
        }
    }

    private func compare(_ number: Int128, _ literal: WQLQuery.Literal) -> Bool {
        if case .real(let real) = literal { return self.compare(Double(number), real) }
        guard let other = Self.number(literal) else { return false }
        return self.compare(number, other)
    }

    private func compare(_ text: String, _ literal: WQLQuery.Literal) -> Bool {
        let other: String
        switch literal {
        case .string(let string): other = string
        case .integer(let number): other = String(number)
        case .real(let number): other = String(number)
        case .boolean(let flag): other = flag ? "TRUE" : "FALSE"
        case .null: return false
        }
        if self == .like { return LikePattern(other).matches(text) }
        return self.compare(text.lowercased(), other.lowercased())
    }

    private func compare<Value: Comparable>(_ left: Value, _ right: Value) -> Bool {
        switch self {
        case .equal: left == right
        case .notEqual: left != right
        case .less: left < right
        case .lessOrEqual: left <= right
        case .greater: left > right
        case .greaterOrEqual: left >= right
        case .like, .isNull: false
        }
    }
}

/// A `LIKE` pattern: `%` any text, `_` one character, `[a-f]` and `[^a-f]` one of a set.
struct LikePattern {
    private enum Element {
        case anyText
        case anyCharacter
        case character(Character)
        case set([ClosedRange<Character>], isNegated: Bool)
    }

    private let elements: [Element]

    init(_ pattern: String) {
        let characters = Array(pattern.lowercased())
        var elements: [Element] = []
        var index = 0
        while index < characters.count {
            switch characters[index] {
            case "%": elements.append(.anyText)
            case "_": elements.append(.anyCharacter)
            case "[":
                guard let end = characters[index...].firstIndex(of: "]") else {
                    elements.append(.character("["))
                    break
                }
                elements.append(Self.set(Array(characters[(index + 1)..<end])))
                index = end
            default: elements.append(.character(characters[index]))
            }
            index += 1
        }
        self.elements = elements
    }

    private static func set(_ content: [Character]) -> Element {
        let isNegated = content.first == "^"
        let members = isNegated ? Array(content.dropFirst()) : content
        var ranges: [ClosedRange<Character>] = []
        var index = 0
        while index < members.count {
            if index + 2 < members.count, members[index + 1] == "-" || members[index + 1] == "=" {
                let (first, last) = (members[index], members[index + 2])
                if first <= last { ranges.append(first...last) }
                index += 3
            } else {
                ranges.append(members[index]...members[index])
                index += 1
            }
        }
        return .set(ranges, isNegated: isNegated)
    }

    /// Greedy with one point to come back to, so that the time is at most the product of both lengths.
    func matches(_ text: String) -> Bool {
        let characters = Array(text.lowercased())
        var (position, element) = (0, 0)
        var resume: (position: Int, element: Int)?
        while position < characters.count {
            if element < self.elements.count, case .anyText = self.elements[element] {
                element += 1
                resume = (position, element)
            } else if element < self.elements.count, Self.matches(self.elements[element], characters[position]) {
                position += 1
                element += 1
            } else if let point = resume {
                resume = (point.position + 1, point.element)
                (position, element) = (point.position + 1, point.element)
            } else {
                return false
            }
        }
        return self.elements[element...].allSatisfy { if case .anyText = $0 { true } else { false } }
    }

    private static func matches(_ element: Element, _ character: Character) -> Bool {
        switch element {
        case .anyText, .anyCharacter: true
        case .character(let expected): expected == character
        case .set(let ranges, let isNegated): ranges.contains { $0.contains(character) } != isNegated
        }
    }
}
