import Foundation

@testable import NMSAPI

/// Judges values by JSON Schema 2020-12, as far as our document uses it; what it does not know is a violation.
///
/// `format` is an annotation, as the standard has it: patterns must say it all, except which days a month has.
struct OpenAPISchemaCheck {
    let document: JSONValue

    /// What is wrong, by place; empty when all is well.
    func violations(of value: JSONValue, by schema: JSONValue, at place: String = "$") -> [String] {
        guard case .object(let keywords) = schema else { return ["\(place): the schema is no object"] }
        var found: [String] = []
        for (keyword, argument) in keywords.sorted(by: { $0.key < $1.key }) {
            found += self.violations(of: value, keyword, argument, keywords, at: place)
        }
        return found
    }

    private func violations(
        of value: JSONValue,
        _ keyword: String,
        _ argument: JSONValue,
        _ schema: [String: JSONValue],
        at place: String
    ) -> [String] {
        let wrong = ["\(place): \(keyword) \(argument) does not allow \(value)"]
        switch (keyword, argument, value) {
        case ("description", _, _), ("default", _, _), ("format", _, _), ("writeOnly", _, _): return []
        case ("$ref", .string(let reference), _):
            guard let target = self.resolve(reference) else { return ["\(place): nothing is at \(reference)"] }
            return self.violations(of: value, by: target, at: place)
        case ("type", .string(let type), _): return Self.isOf(type, value) ? [] : wrong
        case ("type", .array(let types), _):
            return types.contains { if case .string(let type) = $0 { Self.isOf(type, value) } else { false } }
                ? [] : wrong
        case ("enum", .array(let values), _): return values.contains(value) ? [] : wrong
        case ("const", _, _): return argument == value ? [] : wrong
        case ("anyOf", .array(let choices), _):
            return choices.contains { self.violations(of: value, by: $0, at: place).isEmpty } ? [] : wrong
        case ("oneOf", .array(let choices), _):
            return choices.count { self.violations(of: value, by: $0, at: place).isEmpty } == 1 ? [] : wrong
        case ("minimum", .integer(let bound), .integer(let number)): return number >= bound ? [] : wrong
        case ("minimum", .integer(let bound), .number(let number)): return number >= Double(bound) ? [] : wrong
        case ("maximum", .integer(let bound), .integer(let number)): return number <= bound ? [] : wrong
        case ("maximum", .integer(let bound), .number(let number)): return number <= Double(bound) ? [] : wrong
        case ("minLength", .integer(let bound), .string(let text)):
            return text.unicodeScalars.count >= bound ? [] : wrong
        case ("maxLength", .integer(let bound), .string(let text)):
            return text.unicodeScalars.count <= bound ? [] : wrong
        case ("pattern", .string(let pattern), .string(let text)): return Self.matches(text, pattern) ? [] : wrong
        case ("minItems", .integer(let bound), .array(let elements)): return elements.count >= bound ? [] : wrong
        case ("maxItems", .integer(let bound), .array(let elements)): return elements.count <= bound ? [] : wrong
        case ("uniqueItems", .bool(true), .array(let elements)):
            return elements.indices.allSatisfy { !elements[..<$0].contains(elements[$0]) } ? [] : wrong
        case ("items", _, .array(let elements)):
            return elements.enumerated().flatMap { self.violations(of: $1, by: argument, at: "\(place)[\($0)]") }
        case ("required", .array(let names), .object(let members)):
            return names.allSatisfy { if case .string(let name) = $0 { members[name] != nil } else { false } }
                ? [] : wrong
        case ("properties", .object(let properties), .object(let members)):
            return properties.flatMap { name, schema in
                members[name].map { self.violations(of: $0, by: schema, at: "\(place).\(name)") } ?? []
            }
        case ("additionalProperties", _, .object(let members)):
            let known = schema["properties"]?.names ?? []
            let rest = members.filter { !known.contains($0.key) }
            if argument == .bool(false) {
                return rest.isEmpty ? [] : ["\(place): unknown members \(rest.keys.sorted())"]
            }
            return rest.flatMap { self.violations(of: $0.value, by: argument, at: "\(place).\($0.key)") }
        case ("minimum", _, _), ("maximum", _, _), ("minLength", _, _), ("maxLength", _, _), ("pattern", _, _),
            ("minItems", _, _), ("maxItems", _, _), ("uniqueItems", _, _), ("items", _, _), ("required", _, _),
            ("properties", _, _), ("additionalProperties", _, _):
            // About values of another type.
            return []
        default: return ["\(place): the keyword \(keyword) is unknown here"]
        }
    }

    func resolve(_ reference: String) -> JSONValue? {
        guard reference.hasPrefix("#/") else { return nil }
        let found = reference.dropFirst(2).split(separator: "/").reduce(self.document) { $0[String($1)] }
        return found == .null ? nil : found
    }

    private static func isOf(_ type: String, _ value: JSONValue) -> Bool {
        switch (type, value) {
        case ("null", .null), ("boolean", .bool), ("integer", .integer), ("number", .integer), ("number", .number),
            ("string", .string), ("array", .array), ("object", .object):
            true
        default: false
        }
    }

    /// As ECMA-262 reads it: by code points, and `$` is the very end.
    private static func matches(_ text: String, _ pattern: String) -> Bool {
        let exact = pattern.hasSuffix("$") ? pattern.dropLast() + "\\z" : pattern[...]
        // Not Swift's own: that compares characters by canonical equivalence, in the bounds of ranges as well.
        guard let regex = try? NSRegularExpression(pattern: String(exact)) else { return false }
        return regex.firstMatch(in: text, range: NSRange(text.startIndex..., in: text)) != nil
    }
}
