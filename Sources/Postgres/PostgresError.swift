/// The five characters by which PostgreSQL names an error (its Appendix A).
package struct SQLState: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
    package let rawValue: String

    package init(rawValue: String) { self.rawValue = rawValue }

    /// The first two characters.
    package var errorClass: String { String(self.rawValue.prefix(2)) }
    package var description: String { self.rawValue }

    package static let foreignKeyViolation = SQLState(rawValue: "23503")
    package static let uniqueViolation = SQLState(rawValue: "23505")
    package static let checkViolation = SQLState(rawValue: "23514")
    package static let serializationFailure = SQLState(rawValue: "40001")
    package static let deadlockDetected = SQLState(rawValue: "40P01")
    package static let lockNotAvailable = SQLState(rawValue: "55P03")
    package static let queryCanceled = SQLState(rawValue: "57014")
}

/// What the server said about a statement that failed.
///
/// It holds neither parameters nor DETAIL, HINT or CONTEXT, which quote values; in messages of class 22 (data
/// exceptions) quoted values are replaced by an ellipsis.
package struct PostgresServerError: Sendable, Equatable {
    package var sqlState: SQLState
    /// `ERROR`, `FATAL` or `PANIC`.
    package var severity: String
    package var message: String
    package var constraint: String?
    package var table: String?
    package var column: String?
    /// The statement's text with its placeholders.
    package var sql: String

    package init(
        sqlState: SQLState,
        severity: String = "ERROR",
        message: String,
        constraint: String? = nil,
        table: String? = nil,
        column: String? = nil,
        sql: String = ""
    ) {
        self.sqlState = sqlState
        self.severity = severity
        self.message = sqlState.errorClass == "22" ? Self.withoutQuotedValues(message) : message
        self.constraint = constraint
        self.table = table
        self.column = column
        self.sql = sql
    }

    /// `invalid input syntax for type integer: "abc"` becomes `invalid input syntax for type integer: "…"`.
    static func withoutQuotedValues(_ message: String) -> String {
        guard let first = message.firstIndex(of: "\""), let last = message.lastIndex(of: "\""), first < last
        else { return message }
        return message[...first] + "…" + message[last...]
    }
}

/// Anything that can go wrong between here and a PostgreSQL server.
package enum PostgresError: Error, Sendable, Equatable {
    /// The server refused a statement; the connection lives on.
    case server(PostgresServerError)
    /// No connection could be made.
    case connectionFailed(String)
    /// The connection ended; whether the statement under way took effect is unknown.
    case connectionLost(String)
    /// Every connection of the pool stayed taken until the deadline.
    case poolExhausted(maxOpen: Int, waited: Duration)
    case poolClosed
    /// A parameter (counted from 1) can't be sent to any server.
    case invalidParameter(position: Int, reason: String)
    /// A column is missing, null or of another type than asked for.
    case decoding(column: String, expected: String, found: String)
    /// A statement gave another kind of result than its method is for.
    case unexpectedResult(expected: String, sql: String)

    /// The server's error code, when the server refused.
    package var sqlState: SQLState? { self.serverError?.sqlState }
    /// The violated constraint's name, when there is one.
    package var constraint: String? { self.serverError?.constraint }

    package var serverError: PostgresServerError? {
        guard case .server(let error) = self else { return nil }
        return error
    }
}

extension PostgresServerError: CustomStringConvertible {
    package var description: String {
        var text = "\(self.severity) \(self.sqlState): \(self.message)"
        for (name, value) in [("constraint", self.constraint), ("table", self.table), ("column", self.column)] {
            if let value { text += " [\(name) \(value)]" }
        }
        return self.sql.isEmpty ? text : text + " in: " + self.sql
    }
}

extension PostgresError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .server(let error): "PostgreSQL: \(error)"
        case .connectionFailed(let reason): "PostgreSQL can't be reached: \(reason)"
        case .connectionLost(let reason): "the connection to PostgreSQL was lost: \(reason)"
        case .poolExhausted(let maxOpen, let waited):
            "all \(maxOpen) database connections stayed in use for \(waited); try later or allow more"
        case .poolClosed: "the database pool is closed"
        case .invalidParameter(let position, let reason): "SQL parameter $\(position) can't be sent: \(reason)"
        case .decoding(let column, let expected, let found): "column \(column): expected \(expected), found \(found)"
        case .unexpectedResult(let expected, let sql): "expected \(expected) from: \(sql)"
        }
    }
}
