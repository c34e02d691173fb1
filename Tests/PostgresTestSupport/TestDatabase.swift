package import Postgres
import Synchronization

/// A database of one test's own on the test run's private server; needs an installed PostgreSQL, nothing else.
///
///     let database = try await TestDatabase.make()
///     let rows = try await database.pool.query("SELECT 1 AS one")
///
/// It disappears with the server at the end of the run; ``close()`` only returns its connections early.
package struct TestDatabase: Sendable {
    /// How to connect, for tests that make connections of their own.
    package let configuration: PostgresConfiguration
    /// Ten connections at most.
    package let pool: PostgresPool

    /// Contents that many databases start with: made once, then copied.
    package struct Template: Sendable {
        let name: String
        let fill: @Sendable (PostgresPool) async throws -> Void

        /// - Parameter name: letters, digits and underscores; the same name means the same contents.
        package init(name: String, fill: @escaping @Sendable (PostgresPool) async throws -> Void) {
            self.name = name
            self.fill = fill
        }
    }

    private static let lastNumber = Atomic(0)
    private static let templates = Mutex<[String: Task<Void, any Error>]>([:])

    /// An empty database, or a copy of the template.
    package static func make(_ template: Template? = nil, maxOpen: Int = 10) async throws -> TestDatabase {
        let server = try await PrivateServer.start()
        if let template { try await Self.prepare(template, server) }
        let number = Self.lastNumber.add(1, ordering: .relaxed).newValue
        return try await Self.create("test_\(number)", from: template?.name ?? "template1", server, maxOpen: maxOpen)
    }

    /// Closes the pool.
    package func close() async { await self.pool.close() }

    /// Runs `body` with a database and closes its pool afterwards.
    @discardableResult
    package static func with<Value: Sendable>(
        _ template: Template? = nil,
        isolation: isolated (any Actor)? = #isolation,
        _ body: (TestDatabase) async throws -> Value
    ) async throws -> Value {
        let database = try await Self.make(template)
        do {
            let value = try await body(database)
            await database.close()
            return value
        } catch {
            await database.close()
            throw error
        }
    }

    private static func create(
        _ name: String,
        from template: String,
        _ server: PrivateServer,
        maxOpen: Int
    ) async throws -> TestDatabase {
        let connection = try await PostgresConnection.connect(server.configuration(database: "postgres"))
        try await connection.execute(script: "CREATE DATABASE \(name) TEMPLATE \(template)")
        await connection.close()
        let configuration = server.configuration(database: name)
        let limits = PostgresPoolLimits(maxOpen: maxOpen, maxIdle: min(maxOpen, 5), acquireTimeout: .seconds(20))
        return TestDatabase(configuration: configuration, pool: PostgresPool(configuration, limits: limits))
    }

    private static func prepare(_ template: Template, _ server: PrivateServer) async throws {
        let task = Self.templates.withLock { templates in
            if let task = templates[template.name] { return task }
            let task = Task.detached {
                let database = try await Self.create(template.name, from: "template1", server, maxOpen: 2)
                try await template.fill(database.pool)
                // Nobody may be connected to a database that is copied.
                await database.close()
            }
            templates[template.name] = task
            return task
        }
        try await task.value
    }
}
