internal import CLibpq
internal import Glibc
internal import Synchronization

/// One connection to a PostgreSQL server; statements run one after another on a thread of its own.
///
/// Cancelling the task that waits for a statement cancels the statement on the server. After
/// ``PostgresError/connectionLost(_:)`` the connection is of no more use.
package actor PostgresConnection {
    /// How many prepared statements a connection keeps on the server.
    static let statementCacheSize = 128
    /// Beyond the server's own statement timeout (at most as much again): then the server itself has stopped.
    private static let deadlineMargin = Duration.seconds(5)
    /// How many bytes of COPY data are handed to libpq at a time.
    private static let copyChunk = 1 << 16

    package nonisolated let configuration: PostgresConfiguration
    private nonisolated let executor: BlockingExecutor
    package nonisolated var unownedExecutor: UnownedSerialExecutor { self.executor.asUnownedSerialExecutor() }

    /// The socket while nothing is under way and no transaction is open, else -1. Who holds the only lease on a
    /// connection asks for it twice a statement, and each turn on the connection's thread would take longer than that.
    private nonisolated let idleSocket = Atomic<CInt>(-1)

    private var libpq: LibpqConnection?
    private var canceller: QueryCanceller?
    private var statements = StatementCache(capacity: PostgresConnection.statementCacheSize)

    private init(_ configuration: PostgresConfiguration) {
        self.configuration = configuration
        self.executor = BlockingExecutor(label: "nmslite.postgres")
    }

    /// Connects, signs in and sets up the session.
    ///
    /// - Throws: ``PostgresError/connectionFailed(_:)``, `CancellationError`.
    package static func connect(_ configuration: PostgresConfiguration) async throws -> PostgresConnection {
        let connection = PostgresConnection(configuration)
        try await connection.open()
        return connection
    }

    private func open() async throws {
        let cancelled = Atomic(false)
        let libpq = try await withTaskCancellationHandler {
            try LibpqConnection.open(self.configuration) { cancelled.load(ordering: .relaxed) }
        } onCancel: {
            cancelled.store(true, ordering: .relaxed)
        }
        self.canceller = QueryCanceller(connection: libpq.pointer)
        self.libpq = libpq
        let milliseconds = self.configuration.statementTimeout.map { timeout in
            max(1, timeout.components.seconds * 1000 + timeout.components.attoseconds / 1_000_000_000_000_000)
        }
        do {
            _ = try await self.query(
                "SELECT set_config('statement_timeout', $1, false), set_config('TimeZone', 'UTC', false)",
                [String(milliseconds ?? 0)]
            )
        } catch let error as PostgresError {
            throw PostgresError.connectionFailed("\(error)")
        }
    }

    /// Whether somebody else may use it: neither lost, closed nor ended by the server, and outside any transaction.
    /// Never blocks. For whoever uses the connection alone.
    ///
    /// What an idle server says is nearly always its farewell; a connection given up for a mere notice costs little.
    package nonisolated var isUsable: Bool {
        let socket = self.idleSocket.load(ordering: .acquiring)
        guard socket >= 0 else { return false }
        var descriptor = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
        return poll(&descriptor, 1, 0) == 0
    }

    private func noteIdle() {
        self.idleSocket.store(self.libpq?.idleSocket ?? -1, ordering: .releasing)
    }

    /// Ends the connection. Idempotent.
    package func close() {
        // Before the socket's number goes to somebody else.
        self.idleSocket.store(-1, ordering: .releasing)
        self.libpq = nil
        self.canceller = nil
    }

    // MARK: Statements

    /// Runs one statement, prepared on first use, and returns its rows.
    ///
    /// - Throws: ``PostgresError``, or `CancellationError` when the task was cancelled.
    @discardableResult
    package func query(_ sql: String, _ parameters: [(any PostgresEncodable)?] = []) async throws -> PostgresRows {
        let encoded = try Self.encode(parameters)
        return try await self.cancellable { libpq, deadline in
            let name = try self.prepare(sql, libpq, deadline)
            let result: LibpqResult
            do {
                result = try self.run(libpq, sql: sql, deadline) { pointer in
                    encoded.withLibpqArrays { values, lengths, formats in
                        PQsendQueryPrepared(pointer, name, Int32(encoded.count), values, lengths, formats, 1)
                    }
                }
            } catch let error as PostgresError where error.sqlState?.forgetsStatement == true {
                // The plan went stale; the next use prepares anew.
                self.statements.remove(sql)
                throw error
            }
            guard result.status == PGRES_TUPLES_OK || result.status == PGRES_COMMAND_OK else {
                throw PostgresError.unexpectedResult(expected: "rows", sql: sql)
            }
            return PostgresRows(result: result)
        }
    }

    /// Runs any number of statements without parameters, such as a migration; rows are dropped.
    package func execute(script: String) async throws {
        try await self.cancellable { libpq, deadline in
            _ = try self.run(libpq, sql: script, deadline) { PQsendQuery($0, script) }
        }
    }

    /// Runs `COPY … FROM STDIN` with the buffer's rows; returns how many were stored.
    @discardableResult
    package func copy(_ sql: String, from buffer: PostgresCopyBuffer) async throws -> Int {
        try await self.cancellable { libpq, deadline in
            let started = try self.run(libpq, sql: sql, deadline) { PQsendQuery($0, sql) }
            guard started.status == PGRES_COPY_IN else {
                throw PostgresError.unexpectedResult(expected: "COPY FROM STDIN", sql: sql)
            }
            try buffer.bytes.withUnsafeBytes { bytes in
                var offset = 0
                while offset < bytes.count {
                    let chunk = UnsafeRawBufferPointer(rebasing: bytes[offset...].prefix(Self.copyChunk))
                    let start = chunk.baseAddress?.assumingMemoryBound(to: CChar.self)
                    switch PQputCopyData(libpq.pointer, start, Int32(chunk.count)) {
                    case 1: offset += chunk.count
                    case 0: try libpq.flush(until: deadline)
                    default: throw libpq.lost
                    }
                    try libpq.flush(until: deadline)
                }
            }
            while true {
                switch PQputCopyEnd(libpq.pointer, nil) {
                case 1:
                    let result = try self.finish(libpq, sql: sql, deadline)
                    return PostgresRows(result: result).affectedRows
                case 0: try libpq.flush(until: deadline)
                default: throw libpq.lost
                }
            }
        }
    }

    /// Runs a statement to its end even in a cancelled task: for COMMIT and ROLLBACK.
    func executeUncancelled(_ sql: String) throws {
        guard let libpq = self.libpq else { throw PostgresError.connectionLost("it is closed") }
        self.idleSocket.store(-1, ordering: .releasing)
        defer { self.noteIdle() }
        let deadline = LibpqConnection.Deadline(instant: self.deadline, canceller: nil)
        let result = try self.closingWhenLost { try self.run(libpq, sql: sql, deadline) { PQsendQuery($0, sql) } }
        // COMMIT of a transaction that had failed succeeds as a ROLLBACK.
        if sql == "COMMIT", result.commandTag != "COMMIT" {
            throw PostgresError.unexpectedResult(expected: "COMMIT, found \(result.commandTag)", sql: sql)
        }
    }

    // MARK: Machinery

    private var deadline: ContinuousClock.Instant? {
        self.configuration.statementTimeout.map { .now + $0 + min($0, Self.deadlineMargin) }
    }

    /// Runs `body` so that cancelling the task cancels the statement on the server.
    private func cancellable<Value: Sendable>(
        _ body: (LibpqConnection, LibpqConnection.Deadline) throws -> Value
    ) async throws -> Value {
        try Task.checkCancellation()
        guard let libpq = self.libpq, let canceller = self.canceller else {
            throw PostgresError.connectionLost("it is closed")
        }
        self.idleSocket.store(-1, ordering: .releasing)
        defer { self.noteIdle() }
        let deadline = LibpqConnection.Deadline(instant: self.deadline, canceller: canceller)
        let id = canceller.begin()
        do {
            let value = try await withTaskCancellationHandler {
                try self.closingWhenLost { try body(libpq, deadline) }
            } onCancel: {
                canceller.cancel(id)
            }
            self.end(id, canceller)
            return value
        } catch {
            self.end(id, canceller)
            guard canceller.isCancelled else { throw error }
            throw CancellationError()
        }
    }

    private func end(_ id: UInt64, _ canceller: QueryCanceller) {
        if !canceller.finish(id) { self.close() }
    }

    private func closingWhenLost<Value>(_ body: () throws -> Value) throws -> Value {
        do {
            return try body()
        } catch let error as PostgresError {
            if case .connectionLost = error { self.close() }
            throw error
        }
    }

    /// Sends a statement and returns its last result, or the one that starts a COPY.
    private func run(
        _ libpq: LibpqConnection,
        sql: String,
        _ deadline: LibpqConnection.Deadline,
        send: (OpaquePointer) -> Int32
    ) throws -> LibpqResult {
        if deadline.canceller?.isCancelled == true { throw CancellationError() }
        guard send(libpq.pointer) == 1 else { throw libpq.lost }
        return try self.finish(libpq, sql: sql, deadline)
    }

    private func finish(
        _ libpq: LibpqConnection,
        sql: String,
        _ deadline: LibpqConnection.Deadline
    ) throws -> LibpqResult {
        try libpq.flush(until: deadline)
        var last: LibpqResult?
        var failure: PostgresServerError?
        while let result = try libpq.nextResult(until: deadline) {
            switch result.status {
            case PGRES_COPY_IN: return result
            case PGRES_FATAL_ERROR: failure = failure ?? PostgresServerError(result, sql: sql)
            default: last = result
            }
        }
        guard libpq.isAlive else { throw PostgresError.connectionLost(failure?.message ?? libpq.message) }
        if let failure { throw PostgresError.server(failure) }
        guard let last else { throw PostgresError.unexpectedResult(expected: "a result", sql: sql) }
        return last
    }

    private func prepare(
        _ sql: String,
        _ libpq: LibpqConnection,
        _ deadline: LibpqConnection.Deadline
    ) throws -> String {
        if let name = self.statements.name(for: sql) { return name }
        let (name, evicted) = self.statements.insert(sql)
        do {
            if let evicted {
                _ = try self.run(libpq, sql: "DEALLOCATE", deadline) { PQsendQuery($0, "DEALLOCATE \(evicted)") }
            }
            _ = try self.run(libpq, sql: sql, deadline) { PQsendPrepare($0, name, sql, 0, nil) }
        } catch {
            self.statements.remove(sql)
            throw error
        }
        return name
    }

    private static func encode(_ parameters: [(any PostgresEncodable)?]) throws -> [PostgresParameter?] {
        try parameters.enumerated().map { index, parameter in
            do {
                return try parameter?.encodedParameter()
            } catch let error as PostgresEncodingError {
                throw PostgresError.invalidParameter(position: index + 1, reason: error.reason)
            }
        }
    }
}

extension PostgresConnection {
    /// Runs `body` between BEGIN and COMMIT; whatever it throws rolls back.
    ///
    /// Once `body` has returned, COMMIT runs even when the task is cancelled, so that its outcome is known.
    package static func transaction<Value: Sendable>(
        on connection: PostgresConnection,
        isolation: isolated (any Actor)? = #isolation,
        _ body: (PostgresConnection) async throws -> Value
    ) async throws -> Value {
        try Task.checkCancellation()
        try await connection.executeUncancelled("BEGIN")
        let value: Value
        do {
            value = try await body(connection)
        } catch {
            do {
                try await connection.executeUncancelled("ROLLBACK")
            } catch {
                // The first error is the one to tell; a connection with an open transaction must not be used again.
                await connection.close()
            }
            throw error
        }
        try await connection.executeUncancelled("COMMIT")
        return value
    }
}

extension SQLState {
    /// "Cached plan must not change result type", and "no such prepared statement".
    var forgetsStatement: Bool { self.rawValue == "0A000" || self.rawValue == "26000" }
}

extension PostgresServerError {
    init(_ result: LibpqResult, sql: String) {
        func field(_ code: Int32) -> String? {
            PQresultErrorField(result.pointer, code).map { String(cString: $0) }
        }
        // The codes are characters in libpq's header (postgres_ext.h), which Swift does not import as such.
        func code(_ character: Unicode.Scalar) -> Int32 { Int32(character.value) }
        self.init(
            sqlState: SQLState(rawValue: field(code("C")) ?? "XX000"),
            severity: field(code("V")) ?? "ERROR",
            message: field(code("M")) ?? "no message",
            constraint: field(code("n")),
            table: field(code("t")),
            column: field(code("c")),
            sql: sql
        )
    }
}

extension [PostgresParameter?] {
    /// Calls `body` with the arrays that libpq's query functions take.
    func withLibpqArrays<Result>(
        _ body: (UnsafePointer<UnsafePointer<CChar>?>?, UnsafePointer<Int32>?, UnsafePointer<Int32>?) -> Result
    ) -> Result {
        var storage: [UInt8] = []
        var offsets: [Int?] = []
        var lengths: [Int32] = []
        var formats: [Int32] = []
        for parameter in self {
            offsets.append(parameter == nil ? nil : storage.count)
            switch parameter?.form {
            case .text(let text):
                storage.append(contentsOf: text.utf8)
                lengths.append(0)
                formats.append(0)
            case .binary(let bytes):
                storage.append(contentsOf: bytes)
                lengths.append(Int32(bytes.count))
                formats.append(1)
            case nil:
                lengths.append(0)
                formats.append(0)
            }
            storage.append(0)
        }
        return storage.withUnsafeBytes { bytes in
            let start = bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
            return offsets.map { offset in offset.flatMap { start?.advanced(by: $0) } }.withUnsafeBufferPointer {
                body($0.baseAddress, lengths, formats)
            }
        }
    }
}
