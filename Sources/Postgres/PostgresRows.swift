internal import CLibpq

/// Owner of one `PGresult`.
///
/// Sendable without a check by the compiler: libpq documents that a `PGresult` is read-only after its creation and may
/// be read by several threads; nothing here writes to it.
final class LibpqResult: @unchecked Sendable {
    let pointer: OpaquePointer
    let rowCount: Int
    let columns: [String: Int]

    init(_ pointer: OpaquePointer) {
        self.pointer = pointer
        self.rowCount = Int(PQntuples(pointer))
        var columns: [String: Int] = [:]
        for index in 0..<PQnfields(pointer) {
            if let name = PQfname(pointer, index) { columns[String(cString: name)] = Int(index) }
        }
        self.columns = columns
    }

    deinit { PQclear(self.pointer) }

    var status: ExecStatusType { PQresultStatus(self.pointer) }

    /// `INSERT 0 5`.
    var commandTag: String { PQcmdStatus(self.pointer).map { String(cString: $0) } ?? "" }
}

/// What a statement brought: rows, and how many it touched.
package struct PostgresRows: Sendable, RandomAccessCollection {
    let result: LibpqResult

    package var startIndex: Int { 0 }
    package var endIndex: Int { self.result.rowCount }

    package subscript(position: Int) -> PostgresRow {
        precondition(self.indices.contains(position), "no such row")
        return PostgresRow(result: self.result, index: position)
    }

    /// How many rows INSERT, UPDATE, DELETE, SELECT or COPY touched.
    package var affectedRows: Int {
        PQcmdTuples(self.result.pointer).flatMap { Int(String(cString: $0)) } ?? 0
    }
}

/// One row; values are decoded on demand, by column name.
package struct PostgresRow: Sendable {
    let result: LibpqResult
    let index: Int

    /// The value of a column that is never NULL here.
    /// - Throws: ``PostgresError/decoding(column:expected:found:)`` naming column and type, also for NULL.
    package func value<Value: PostgresDecodable>(_ column: String, as type: Value.Type = Value.self) throws -> Value {
        guard let value = try self.optional(column, as: type) else {
            throw PostgresError.decoding(column: column, expected: "\(type)", found: "NULL")
        }
        return value
    }

    /// The value of a column; nil for NULL.
    package func optional<Value: PostgresDecodable>(
        _ column: String,
        as type: Value.Type = Value.self
    ) throws -> Value? {
        guard let position = self.result.columns[column] else {
            throw PostgresError.decoding(column: column, expected: "\(type)", found: "no such column")
        }
        let (row, field) = (Int32(self.index), Int32(position))
        if PQgetisnull(self.result.pointer, row, field) == 1 { return nil }
        let type = PostgresTypeID(rawValue: PQftype(self.result.pointer, field))
        let bytes = UnsafeRawBufferPointer(
            start: PQgetvalue(self.result.pointer, row, field),
            count: Int(PQgetlength(self.result.pointer, row, field))
        )
        var reader = PostgresCell(bytes: Array(bytes), type: type)
        guard let value = Value(postgres: &reader) else {
            throw PostgresError.decoding(column: column, expected: "\(Value.self)", found: type.description)
        }
        return value
    }
}
