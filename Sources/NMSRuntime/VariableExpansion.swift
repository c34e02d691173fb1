/// `${NAME}` inside the configuration file (design: an unset or empty variable is an error; `$${` stands for `${`).
struct VariableExpansion {
    /// What can be wrong; never holds a variable's value.
    enum Failure: Error, Equatable {
        /// `${` without `}`.
        case unclosed
        /// Not a letter or underscore followed by letters, digits and underscores.
        case malformedName(String)
        case unset(String)
        case empty(String)
    }

    let environment: [String: String]

    /// - Returns: the expanded text and the names that it used; none means the text held no variable.
    func expand(_ text: String) throws(Failure) -> (text: String, names: [String]) {
        var result = ""
        var names: [String] = []
        var rest = Substring(text)
        while let dollar = rest.firstIndex(of: "$") {
            result += rest[..<dollar]
            rest = rest[dollar...]
            if rest.hasPrefix("$${") {
                result += "${"
                rest = rest.dropFirst(3)
            } else if rest.hasPrefix("${") {
                let body = rest.dropFirst(2)
                guard let end = body.firstIndex(of: "}") else { throw .unclosed }
                let name = String(body[..<end])
                result += try self.value(of: name)
                names.append(name)
                rest = body[body.index(after: end)...]
            } else {
                result += "$"
                rest = rest.dropFirst()
            }
        }
        return (result + rest, names)
    }

    private func value(of name: String) throws(Failure) -> String {
        let isName =
            name.first.map { $0.isASCII && ($0.isLetter || $0 == "_") } == true
            && name.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") }
        guard isName else { throw .malformedName(name) }
        guard let value = self.environment[name] else { throw .unset(name) }
        guard !value.isEmpty else { throw .empty(name) }
        return value
    }
}
