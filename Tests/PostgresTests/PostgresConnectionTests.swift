import Foundation
import Postgres
import PostgresTestSupport
import Testing

@Suite struct PostgresConnectionTests {
    @Test func valuesSurviveTheRoundTrip() async throws {
        try await TestDatabase.with { database in
            let time = Date(timeIntervalSince1970: 1_764_756_300.123)
            let text = "quote ' \" backslash \\ tab \t line \n é 日本 {} NULL"
            let row = try await database.pool.query(
                """
                SELECT $1::bigint AS int, $2::float8 AS double, $3::text AS text, $4::boolean AS bool,
                    $5::timestamptz AS time, $6::bytea AS bytes, $7::text AS nothing, $8::smallint AS small,
                    $9::text[] AS texts, $10::bigint[] AS ints, $11::float8[] AS doubles, $12::timestamptz[] AS times,
                    $13::boolean[] AS bools, $14::uuid AS uuid, $15::text[] AS empty, $16::bytea AS no_bytes
                """,
                [
                    Int64.min, 0.1 + 0.2, text, true, time, [0, 1, 255] as [UInt8], nil, -7, [text, "", "NULL", "a,b"],
                    [1, -2], [1.5, -.infinity], [time], [true, false], "0123ABCD-0123-4567-89ab-0123456789ab",
                    [] as [String], [] as [UInt8],
                ]
            )[0]
            #expect(try row.value("int") == Int64.min)
            #expect(try row.value("double") == 0.1 + 0.2)
            #expect(try row.value("text") == text)
            #expect(try row.value("bool") == true)
            #expect(try row.value("time") == time)
            #expect(try row.value("bytes", as: [UInt8].self) == [0, 1, 255])
            #expect(try row.optional("nothing", as: String.self) == nil)
            #expect(try row.value("small") == -7)
            #expect(try row.value("texts", as: [String].self) == [text, "", "NULL", "a,b"])
            #expect(try row.value("ints", as: [Int].self) == [1, -2])
            #expect(try row.value("doubles", as: [Double].self) == [1.5, -.infinity])
            #expect(try row.value("times", as: [Date].self) == [time])
            #expect(try row.value("bools", as: [Bool].self) == [true, false])
            #expect(try row.value("uuid") == "0123abcd-0123-4567-89ab-0123456789ab")
            #expect(try row.value("empty", as: [String].self) == [])
            #expect(try row.value("no_bytes", as: [UInt8].self) == [])
        }
    }

    @Test func nullsInArrays() async throws {
        try await TestDatabase.with { database in
            let rows = try await database.pool.query(
                "SELECT a, b FROM unnest($1::bigint[], $2::text[]) AS t (a, b)",
                [[1, nil, 3] as [Int?], [nil, "x", nil] as [String?]]
            )
            #expect(try rows.map { try $0.optional("a", as: Int.self) } == [1, nil, 3])
            #expect(try rows.map { try $0.optional("b", as: String.self) } == [nil, "x", nil])
        }
    }

    @Test(arguments: ["0", "1", "-1", "12.35", "100", "99.99", "0.01", "-0.5", "123456789.123456789", "1e20", "1e-20"])
    func numericsReadAsDoubles(_ text: String) async throws {
        try await TestDatabase.with { database in
            let row = try await database.pool.query("SELECT $1::numeric AS n", [text])[0]
            #expect(try row.value("n") == Double(text)!)
        }
    }

    @Test func timesMatchTheServers() async throws {
        try await TestDatabase.with { database in
            for text in [
                "0001-01-01 00:00:00+00", "1970-01-01 00:00:00.000001+00", "1999-12-31 23:59:59.999999+00",
                "2000-02-29 12:00:00+00", "2024-02-29 00:00:00+00", "2100-03-01 00:00:00+00", "9999-12-31 23:59:59+00",
            ] {
                let time: Date = try await database.pool.query("SELECT $1::timestamptz AS t", [text])[0].value("t")
                let same = try await database.pool.query(
                    "SELECT $1::timestamptz = $2::timestamptz AS binary, ($3::timestamptz[])[1] = $2 AS textual",
                    [time, text, [time]]
                )
                #expect(try same[0].value("binary"), "\(text)")
                #expect(try same[0].value("textual"), "\(text)")
            }
            await #expect(throws: PostgresError.self) {
                try await database.pool.query("SELECT $1::timestamptz", [Date.distantFuture.addingTimeInterval(1e15)])
            }
            await #expect(
                throws: PostgresError.decoding(
                    column: "t",
                    expected: "Date",
                    found: "timestamp with time zone"
                )
            ) {
                let row = try await database.pool.query("SELECT 'infinity'::timestamptz AS t")[0]
                _ = try row.value("t", as: Date.self)
            }
        }
    }

    @Test func decodingErrorsNameColumnAndType() async throws {
        try await TestDatabase.with { database in
            let row = try await database.pool.query("SELECT 'x'::text AS a, NULL::int AS b, 70000 AS c")[0]
            #expect(throws: PostgresError.decoding(column: "a", expected: "Int", found: "text")) {
                try row.value("a", as: Int.self)
            }
            #expect(throws: PostgresError.decoding(column: "b", expected: "Int", found: "NULL")) {
                try row.value("b", as: Int.self)
            }
            #expect(throws: PostgresError.decoding(column: "d", expected: "Int", found: "no such column")) {
                try row.optional("d", as: Int.self)
            }
        }
    }

    @Test func errorsTellEverythingButValues() async throws {
        try await TestDatabase.with { database in
            try await database.pool.query("CREATE TABLE t (name TEXT CONSTRAINT t_name UNIQUE)")
            try await database.pool.query("INSERT INTO t VALUES ($1)", ["top secret"])
            let duplicate = await #expect(throws: PostgresError.self) {
                try await database.pool.query("INSERT INTO t VALUES ($1)", ["top secret"])
            }
            #expect(duplicate?.sqlState == .uniqueViolation)
            #expect(duplicate?.constraint == "t_name")
            #expect(duplicate?.serverError?.table == "t")
            #expect(duplicate?.description.contains("INSERT INTO t VALUES ($1)") == true)
            #expect(duplicate?.description.contains("top secret") == false)
            let malformed = await #expect(throws: PostgresError.self) {
                try await database.pool.query("SELECT $1::int", ["top \"secret\""])
            }
            #expect(malformed?.serverError?.message == "invalid input syntax for type integer: \"…\"")
            #expect(String(reflecting: malformed).contains("secret") == false)
        }
    }

    @Test func aNULIsRefusedBeforeItIsLost() async throws {
        try await TestDatabase.with { database in
            await #expect(throws: PostgresError.invalidParameter(position: 2, reason: "text holds a NUL character")) {
                try await database.pool.query("SELECT $1::text, $2::text", ["a", "b\u{0}c"])
            }
        }
    }

    @Test func aFailedTransactionLeavesNothing() async throws {
        struct Failure: Error {}
        try await TestDatabase.with { database in
            try await database.pool.query("CREATE TABLE t (a INT)")
            await #expect(throws: Failure.self) {
                try await database.pool.withTransaction { connection in
                    try await connection.query("INSERT INTO t VALUES (1)")
                    throw Failure()
                }
            }
            #expect(try await database.pool.query("SELECT * FROM t").isEmpty)
            // An error that the body hides: COMMIT would be a ROLLBACK.
            await #expect(throws: PostgresError.self) {
                try await database.pool.withTransaction { connection in
                    try await connection.query("INSERT INTO t VALUES (1)")
                    _ = try? await connection.query("SELECT 1 / 0")
                }
            }
            #expect(try await database.pool.query("SELECT * FROM t").isEmpty)
            #expect(
                try await database.pool.withTransaction { try await $0.query("INSERT INTO t VALUES (2)").affectedRows }
                    == 1
            )
            #expect(try await database.pool.query("SELECT * FROM t").count == 1)
        }
    }

    @Test(.timeLimit(.minutes(1))) func aDeadlockIsTriedAgain() async throws {
        try await TestDatabase.with { database in
            try await database.pool.query("CREATE TABLE t AS SELECT generate_series(1, 2) AS id, 0 AS n")
            let (ready, signal) = AsyncStream<Void>.makeStream()
            let (go, start) = AsyncStream<Void>.makeStream()
            @Sendable func increment(_ first: Int, _ second: Int, wait: Bool) async throws {
                try await database.pool.withTransaction { connection in
                    try await connection.query("SET LOCAL deadlock_timeout = '50ms'")
                    try await connection.query("UPDATE t SET n = n + 1 WHERE id = $1", [first])
                    signal.yield()
                    if wait { for await _ in go { break } }
                    try await connection.query("UPDATE t SET n = n + 1 WHERE id = $1", [second])
                }
            }
            try await withThrowingTaskGroup { group in
                group.addTask { try await increment(1, 2, wait: true) }
                for await _ in ready { break }
                group.addTask { try await increment(2, 1, wait: false) }
                for await _ in ready { break }
                start.yield()
                start.finish()
                try await group.waitForAll()
            }
            let rows = try await database.pool.query("SELECT n FROM t")
            #expect(try rows.map { try $0.value("n", as: Int.self) } == [2, 2])
        }
    }

    @Test(.timeLimit(.minutes(1))) func cancellingTheTaskCancelsTheStatement() async throws {
        try await TestDatabase.with { database in
            let connection = try await PostgresConnection.connect(database.configuration)
            for _ in 0..<5 {
                let task = Task { try await connection.query("SELECT pg_sleep(20)") }
                // The statement runs once it shows.
                while try await database.pool.query(
                    "SELECT 1 AS one FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
                ).isEmpty {}
                task.cancel()
                await #expect(throws: CancellationError.self) { try await task.value }
                // The connection lives, and the request hits nothing later.
                #expect(try await connection.query("SELECT 1 AS one")[0].value("one") == 1)
            }
            await connection.close()
        }
    }

    /// Neither the server's timeout nor a cancel request helps when the server itself stands still.
    @Test(.timeLimit(.minutes(1))) func aServerThatStandsStillIsLost() async throws {
        try await TestDatabase.with { database in
            var configuration = database.configuration
            configuration.statementTimeout = .milliseconds(200)
            let connection = try await PostgresConnection.connect(configuration)
            let pid: Int32 = try await connection.query("SELECT pg_backend_pid() AS pid")[0].value("pid")
            kill(pid, SIGSTOP)
            defer { kill(pid, SIGCONT) }
            await #expect(throws: PostgresError.connectionLost("the server did not answer in time")) {
                try await connection.query("SELECT 1")
            }
            #expect(!connection.isUsable)
        }
    }

    @Test func theStatementTimeoutIsTheServers() async throws {
        try await TestDatabase.with { database in
            var configuration = database.configuration
            configuration.statementTimeout = .milliseconds(50)
            let connection = try await PostgresConnection.connect(configuration)
            let error = await #expect(throws: PostgresError.self) { try await connection.query("SELECT pg_sleep(20)") }
            #expect(error?.sqlState == .queryCanceled)
            #expect(try await connection.query("SELECT 1 AS one").count == 1)
            await connection.close()
        }
    }

    @Test func aConnectionThatTheServerEndsIsLost() async throws {
        try await TestDatabase.with { database in
            let connection = try await PostgresConnection.connect(database.configuration)
            let error = await #expect(throws: PostgresError.self) {
                try await connection.query("SELECT pg_terminate_backend(pg_backend_pid())")
            }
            guard case .connectionLost = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(!connection.isUsable)
            await #expect(throws: PostgresError.connectionLost("it is closed")) {
                try await connection.query("SELECT 1")
            }
        }
    }

    @Test func copyStoresWhatItIsGiven() async throws {
        try await TestDatabase.with { database in
            try await database.pool.query("CREATE TABLE t (id INT, name TEXT, at TIMESTAMPTZ, share NUMERIC(5,2))")
            let text = "tab \t line \n return \r backslash \\ \\N é"
            var buffer = PostgresCopyBuffer()
            let count = 20_000
            for id in 0..<count {
                try buffer.append(id)
                try buffer.append(id % 2 == 0 ? text : nil)
                try buffer.append(Date(timeIntervalSince1970: Double(id)))
                try buffer.append(12.345)
                buffer.endRow()
            }
            let rows = buffer
            let stored = try await database.pool.withConnection {
                try await $0.copy("COPY t (id, name, at, share) FROM STDIN", from: rows)
            }
            #expect(stored == count)
            let row = try await database.pool.query(
                """
                SELECT count(*) AS n, count(*) FILTER (WHERE name = $1) AS same, sum(id)::bigint AS sum,
                    bool_and(extract(epoch FROM at) = id) AS times, min(share) AS share FROM t
                """,
                [text]
            )[0]
            #expect(try row.value("n") == count)
            #expect(try row.value("same") == count / 2)
            #expect(try row.value("sum") == count * (count - 1) / 2)
            #expect(try row.value("times"))
            #expect(try row.value("share") == 12.35)
        }
    }

    @Test func aFailedCopyStoresNothingAndLeavesTheConnectionUsable() async throws {
        try await TestDatabase.with { database in
            try await database.pool.query("CREATE TABLE t (id INT CHECK (id <> 3))")
            var buffer = PostgresCopyBuffer()
            for id in 0..<5 {
                try buffer.append(id)
                buffer.endRow()
            }
            let rows = buffer
            let connection = try await PostgresConnection.connect(database.configuration)
            let error = await #expect(throws: PostgresError.self) {
                try await connection.copy("COPY t FROM STDIN", from: rows)
            }
            #expect(error?.sqlState == .checkViolation)
            #expect(try await connection.query("SELECT * FROM t").isEmpty)
            await #expect(throws: PostgresError.self) { try await connection.copy("SELECT 1", from: rows) }
            #expect(try await connection.query("SELECT 1 AS one").count == 1)
            await connection.close()
        }
    }

    @Test func preparedStatementsAreBounded() async throws {
        try await TestDatabase.with { database in
            let connection = try await PostgresConnection.connect(database.configuration)
            for number in 0..<200 {
                #expect(try await connection.query("SELECT \(number) AS n")[0].value("n") == number)
            }
            let rows = try await connection.query("SELECT count(*) AS n FROM pg_prepared_statements")
            #expect(try rows[0].value("n") == 128)
            // A plan that went stale is forgotten.
            try await connection.query("CREATE TABLE t AS SELECT 1 AS a")
            _ = try await connection.query("SELECT * FROM t")
            try await connection.query("ALTER TABLE t ADD COLUMN b INT DEFAULT 2")
            _ = try? await connection.query("SELECT * FROM t")
            #expect(try await connection.query("SELECT * FROM t")[0].value("b") == 2)
            await connection.close()
        }
    }

    @Test(.timeLimit(.minutes(1))) func failuresToConnectNameTheServerButNoPassword() async throws {
        try await TestDatabase.with { database in
            var configuration = database.configuration
            configuration.password = "pass phrase"
            #expect(!"\(configuration)".contains("pass phrase"))
            #expect(!String(reflecting: configuration).contains("pass phrase"))
            configuration.database = "no such database"
            let error = await #expect(throws: PostgresError.self) {
                _ = try await PostgresConnection.connect(configuration)
            }
            #expect(error?.description.contains("no such database") == true)
            #expect(error?.description.contains("pass phrase") == false)
            configuration.host = "/nonexistent"
            await #expect(throws: PostgresError.self) { _ = try await PostgresConnection.connect(configuration) }
            // A database name never is a connection string.
            configuration = database.configuration
            configuration.database = "host=/elsewhere dbname=postgres"
            let refused = await #expect(throws: PostgresError.self) {
                _ = try await PostgresConnection.connect(configuration)
            }
            #expect(refused?.description.contains("does not exist") == true)
        }
    }
}
