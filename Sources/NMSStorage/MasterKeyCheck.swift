package import Postgres

/// Ties a database to its master key, so that an instance with another key refuses to start.
package enum MasterKeyCheck {
    /// Gives a new database the cipher's key, else asks whether the cipher has every key that the database knows: one,
    /// and while it is rotated two.
    ///
    /// - Throws: ``StorageError/wrongMasterKey``, ``StorageError/masterKeyMissing(id:)``.
    package static func verifyOrStore(_ pool: PostgresPool, cipher: CredentialCipher) async throws {
        try await pool.withTransaction { try await self.verifyOrStore($0, cipher: cipher) }
    }

    /// In the caller's transaction, which must end when this throws.
    static func verifyOrStore(_ connection: PostgresConnection, cipher: CredentialCipher) async throws {
        let rows = try await MasterKeyTable.rows(connection)
        let foreign = rows.filter { !MasterKeyTable.isKnown($0, cipher) }
        if let missing = foreign.first {
            throw foreign.count == rows.count ? StorageError.wrongMasterKey : .masterKeyMissing(id: missing.id)
        }
        // Of several instances with different keys that start on a new database at once, one makes it its own.
        let current = try await MasterKeyTable.currentID(cipher, connection)
        guard cipher.knownKey(current) != nil else { throw StorageError.wrongMasterKey }
        for row in rows where row.check == nil { try await MasterKeyTable.restoreCheck(of: row.id, cipher, connection) }
    }
}
