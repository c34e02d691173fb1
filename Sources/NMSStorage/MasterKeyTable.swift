internal import NMSCore
internal import Postgres

/// The master keys that a database knows: its table `master_keys`.
enum MasterKeyTable {
    struct Row {
        let id: String
        let check: String?
        let isCurrent: Bool
    }

    private static let context = "nmslite master key check"
    private static let constant = Secret("nmslite")

    /// What proves to an instance that it has the key.
    static func check(of key: MasterKey, _ cipher: CredentialCipher) throws -> String {
        try cipher.seal(Self.constant, context: Self.context, with: key)
    }

    /// The current one first, then by age.
    static func rows(_ connection: PostgresConnection) async throws -> [Row] {
        try await connection.query(
            "SELECT id, check_value, is_current FROM master_keys ORDER BY is_current DESC, created_at, id"
        ).map {
            Row(id: try $0.value("id"), check: try $0.optional("check_value"), isCurrent: try $0.value("is_current"))
        }
    }

    /// Whether this instance has the key.
    static func isKnown(_ row: Row, _ cipher: CredentialCipher) -> Bool {
        guard cipher.knownKey(row.id) != nil else { return false }
        guard let check = row.check else { return true }
        return cipher.open(check, context: Self.context) == Self.constant
    }

    /// The key to seal with; it does not end before the caller's transaction does.
    ///
    /// - Throws: ``StorageError/masterKeyMissing(id:)``.
    static func current(_ cipher: CredentialCipher, _ connection: PostgresConnection) async throws -> MasterKey {
        let id = try await self.currentID(cipher, connection)
        guard let key = cipher.knownKey(id) else { throw StorageError.masterKeyMissing(id: id) }
        return key
    }

    /// The id of the current key; in a database without any, that of the cipher's, which it becomes.
    static func currentID(_ cipher: CredentialCipher, _ connection: PostgresConnection) async throws -> String {
        // A rotation that begins meanwhile may hide both keys from one statement, not from the one after.
        for _ in 0..<2 {
            if let id = try await self.selectCurrentID(connection) { return id }
        }
        try await connection.query("LOCK TABLE master_keys IN SHARE ROW EXCLUSIVE MODE")
        if let id = try await self.selectCurrentID(connection) { return id }
        try await connection.query(
            """
            INSERT INTO master_keys (id, check_value, is_current) VALUES ($1, $2, TRUE)
            ON CONFLICT (id) DO UPDATE SET check_value = EXCLUDED.check_value, is_current = TRUE
            """,
            [cipher.key.id, try self.check(of: cipher.key, cipher)]
        )
        return cipher.key.id
    }

    private static func selectCurrentID(_ connection: PostgresConnection) async throws -> String? {
        try await connection.query("SELECT id FROM master_keys WHERE is_current FOR KEY SHARE").first?.value("id")
    }

    /// Writes the check value of a key that lost it.
    static func restoreCheck(
        of id: String,
        _ cipher: CredentialCipher,
        _ connection: PostgresConnection
    ) async throws {
        guard let key = cipher.knownKey(id) else { return }
        try await connection.query(
            "UPDATE master_keys SET check_value = $2 WHERE id = $1 AND check_value IS NULL",
            [id, try self.check(of: key, cipher)]
        )
    }

    /// Makes the key the one that is sealed with; those before it still open what they sealed.
    static func makeCurrent(
        _ key: MasterKey,
        _ cipher: CredentialCipher,
        _ connection: PostgresConnection
    ) async throws {
        try await connection.query(
            "INSERT INTO master_keys (id, check_value) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING",
            [key.id, try self.check(of: key, cipher)]
        )
        // One after the other: at no moment may two be current.
        try await connection.query("UPDATE master_keys SET is_current = FALSE WHERE is_current AND id <> $1", [key.id])
        try await connection.query("UPDATE master_keys SET is_current = TRUE WHERE id = $1", [key.id])
    }

    /// Ends every key but the current one; returns their ids.
    ///
    /// - Throws: a `PostgresError` of `foreignKeyViolation` as long as a row is sealed with one of them.
    static func removeOthers(_ connection: PostgresConnection) async throws -> [String] {
        try await connection.query("DELETE FROM master_keys WHERE NOT is_current RETURNING id").map {
            try $0.value("id")
        }
    }
}
