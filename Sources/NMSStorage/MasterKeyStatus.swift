package import Postgres

/// How a database's stored passwords stand to the keys that this instance has.
package struct MasterKeyStatus: Sendable, Equatable {
    package struct Key: Sendable, Equatable {
        package var id: String
        /// What is written is sealed with it.
        package var isCurrent: Bool
        /// Whether this instance has it.
        package var isKnown: Bool
        /// Credentials that are sealed with it.
        package var credentials: Int
    }

    /// The current one first; more than one while a rotation has not ended.
    package var keys: [Key]
    package var credentials: Int
    /// Credentials that this instance can't open.
    package var unopened: [Int]

    /// Opens every stored password once, at one moment of the database.
    package static func read(_ pool: PostgresPool, _ cipher: CredentialCipher) async throws -> MasterKeyStatus {
        try await pool.withTransaction { connection in
            try await connection.query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            var counts: [String: Int] = [:]
            var unopened: [Int] = []
            let rows = try await connection.query("SELECT id, key_id, encrypted_password FROM credentials ORDER BY id")
            for row in rows {
                counts[try row.value("key_id"), default: 0] += 1
                let id: Int = try row.value("id")
                do { _ = try cipher.open(try row.value("encrypted_password"), credentialID: id) } catch {
                    unopened.append(id)
                }
            }
            let keys = try await MasterKeyTable.rows(connection).map { row in
                Key(
                    id: row.id,
                    isCurrent: row.isCurrent,
                    isKnown: MasterKeyTable.isKnown(row, cipher),
                    credentials: counts[row.id] ?? 0
                )
            }
            return MasterKeyStatus(keys: keys, credentials: rows.count, unopened: unopened)
        }
    }
}
