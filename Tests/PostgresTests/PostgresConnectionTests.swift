import Foundation
import Postgres
import PostgresTestSupport
import Testing

@Suite struct PostgresConnectionTests {
    @Test func simple() async throws {
        try await TestDatabase.with { database in
            let rows = try await database.pool.query("SELECT 1 AS one")
            #expect(try rows[0].value("one") == 1)
        }
    }
}
