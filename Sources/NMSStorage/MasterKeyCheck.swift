internal import NMSCore
package import Postgres

/// Ties a database to its master key, so that an instance with another key refuses to start.
package enum MasterKeyCheck {
    private static let setting = "master_key_check"
    private static let context = "nmslite master key check"
    private static let constant = Secret("nmslite")

    /// Stores the check value in a new database, else compares it with the key.
    ///
    /// - Throws: ``StorageError/wrongMasterKey``.
    package static func verifyOrStore(_ pool: PostgresPool, cipher: CredentialCipher) async throws {
        let check = try cipher.seal(Self.constant, context: Self.context)
        // Rows that another key encrypted prove the same when the check value is lost.
        let foreign = try await pool.read(
            "SELECT EXISTS (SELECT 1 FROM credentials WHERE key_id <> ALL ($1::text[])) AS found",
            [Array(cipher.keyIDs)]
        )
        if try foreign[0].value("found") { throw StorageError.wrongMasterKey }
        try await pool.query(
            "INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING",
            [Self.setting, check]
        )
        let rows = try await pool.read("SELECT value FROM settings WHERE key = $1", [Self.setting])
        guard let stored: String = try rows.first?.value("value"),
            cipher.open(stored, context: Self.context) == Self.constant
        else { throw StorageError.wrongMasterKey }
    }
}
