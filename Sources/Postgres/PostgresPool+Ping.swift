extension PostgresPool {
    /// Returns when the server answers.
    package func ping() async throws {
        _ = try await self.read("SELECT 1")
    }
}
