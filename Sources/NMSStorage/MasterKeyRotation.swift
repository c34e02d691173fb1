internal import NMSCore
package import Postgres

/// Replaces the master key: names the next one current, seals every stored password anew, then ends the keys before it.
///
/// Each step is one transaction and leaves a database that whoever has both keys reads and writes; a rotation that was
/// cut off goes on where it was. What instances write meanwhile is sealed with the key that is current in their own
/// transaction, and the references of `credentials.key_id` keep a key for as long as a row needs it.
package struct MasterKeyRotation: Sendable {
    /// How far a rotation is.
    package struct Progress: Sendable, Equatable {
        package var sealed: Int
        /// Rows that were sealed with an older key when it began.
        package var total: Int
    }

    /// What became of it.
    package struct Outcome: Sendable, Equatable {
        /// Keys that have ended; of one that went on after it was cut off, those that were left.
        package var ended: [String]
        package var key: String
        package var sealed: Int
        /// Credentials that no key opens, so that those before stay; empty when the rotation is complete.
        package var unopened: [Int]
    }

    /// Rows of one transaction: their locks are short, and few are lost to a cut.
    private static let batch = 10
    private static let retryInterval = Duration.milliseconds(100)

    /// Its session holds the lock, and does all the work: without the lock, nothing goes on.
    private let connection: PostgresConnection

    // MARK: One at a time

    /// Runs `body` while no other rotation of this database runs.
    ///
    /// - Parameter patience: how long another may hold the lock; a killed one's session takes a moment to end.
    /// - Throws: ``StorageError/masterKeyRotationRuns``, or what `body` throws.
    package static func exclusively<Value: Sendable>(
        _ configuration: PostgresConfiguration,
        patience: Duration = .seconds(3),
        _ body: (MasterKeyRotation) async throws -> Value
    ) async throws -> Value {
        let connection = try await PostgresConnection.connect(configuration)
        do {
            try await self.lock(connection, patience: patience)
            let value = try await body(MasterKeyRotation(connection: connection))
            await connection.close()
            return value
        } catch {
            await connection.close()
            throw error
        }
    }

    private static func lock(_ connection: PostgresConnection, patience: Duration) async throws {
        let deadline = ContinuousClock.now + patience
        while true {
            let rows = try await connection.query(
                "SELECT pg_try_advisory_lock($1) AS granted",
                [AdvisoryLockKey.masterKeyRotation.rawValue]
            )
            if try rows[0].value("granted") { return }
            guard ContinuousClock.now < deadline else { throw StorageError.masterKeyRotationRuns }
            try await Task.sleep(for: self.retryInterval)
        }
    }

    // MARK: Rotation

    /// The keys of the database, the current one first, once the cipher is known to have them all.
    ///
    /// - Throws: ``StorageError/wrongMasterKey``, ``StorageError/masterKeyMissing(id:)``.
    package func keys(_ cipher: CredentialCipher) async throws -> [MasterKey] {
        try await PostgresConnection.transaction(on: self.connection) { connection in
            try await MasterKeyCheck.verifyOrStore(connection, cipher: cipher)
            return try await MasterKeyTable.rows(connection).map { row in
                guard let key = cipher.knownKey(row.id) else { throw StorageError.masterKeyMissing(id: row.id) }
                return key
            }
        }
    }

    /// Rotates to the key, or goes on doing so.
    ///
    /// - Parameters:
    ///   - cipher: has every key of the database.
    ///   - key: kept where a crash does not take it, and known to every instance.
    package func run(
        to key: MasterKey,
        _ cipher: CredentialCipher,
        audit: AuditContext,
        progress: (Progress) -> Void = { _ in }
    ) async throws -> Outcome {
        let cipher = CredentialCipher(key: cipher.key, ring: cipher.ring.adding(key))
        var outcome = Outcome(ended: [], key: key.id, sealed: 0, unopened: [])
        try await self.makeCurrent(key, cipher, audit)
        while true {
            try await self.sealAll(key, cipher, &outcome, progress)
            if !outcome.unopened.isEmpty { return outcome }
            do {
                outcome.ended = try await self.endOthers(key, sealed: outcome.sealed, audit)
                return outcome
            } catch let error as PostgresError where error.sqlState == .foreignKeyViolation {
                // Written by an instance that had asked for the current key before this rotation named its own.
                continue
            }
        }
    }

    private func makeCurrent(_ key: MasterKey, _ cipher: CredentialCipher, _ audit: AuditContext) async throws {
        try await PostgresConnection.transaction(on: self.connection) { connection in
            guard try await MasterKeyTable.currentID(cipher, connection) != key.id else { return }
            try await MasterKeyTable.makeCurrent(key, cipher, connection)
            let event = AuditEvent(.masterKeyRotationStarted, .masterKey(id: key.id))
            try await AuditRepository.record(event, audit, connection)
        }
    }

    /// One pass over the rows of other keys, in the order of their ids.
    private func sealAll(
        _ key: MasterKey,
        _ cipher: CredentialCipher,
        _ outcome: inout Outcome,
        _ progress: (Progress) -> Void
    ) async throws {
        let rows = try await self.connection.query(
            "SELECT count(*) AS total FROM credentials WHERE key_id <> $1",
            [key.id]
        )
        var state = Progress(sealed: outcome.sealed, total: outcome.sealed + (try rows[0].value("total")))
        outcome.unopened = []
        var last = 0
        while let batch = try await self.sealBatch(after: last, key, cipher) {
            last = batch.last
            outcome.unopened += batch.unopened
            outcome.sealed += batch.sealed
            state.sealed = outcome.sealed
            progress(state)
        }
    }

    /// nil when no row is left after this id.
    private func sealBatch(
        after last: Int,
        _ key: MasterKey,
        _ cipher: CredentialCipher
    ) async throws -> (last: Int, sealed: Int, unopened: [Int])? {
        try await PostgresConnection.transaction(on: self.connection) { connection in
            // A row that somebody changes meanwhile is waited for, and read as it is then.
            let rows = try await connection.query(
                """
                SELECT id, encrypted_password FROM credentials WHERE key_id <> $1 AND id > $2
                ORDER BY id LIMIT $3 FOR NO KEY UPDATE
                """,
                [key.id, last, Self.batch]
            )
            var (ids, texts, unopened): ([Int], [String], [Int]) = ([], [], [])
            for row in rows {
                let id: Int = try row.value("id")
                do {
                    let password = try cipher.open(try row.value("encrypted_password"), credentialID: id)
                    texts.append(try cipher.seal(password, credentialID: id, with: key))
                    ids.append(id)
                } catch StorageError.undecryptable {
                    unopened.append(id)
                }
            }
            // Not a change of the credential: "updated_at" stays.
            try await connection.query(
                """
                UPDATE credentials SET encrypted_password = sealed.password
                FROM unnest($1::integer[], $2::text[]) AS sealed (id, password) WHERE credentials.id = sealed.id
                """,
                [ids, texts]
            )
            return try rows.last.map { (try $0.value("id"), ids.count, unopened) }
        }
    }

    /// - Returns: the keys that ended.
    private func endOthers(_ key: MasterKey, sealed: Int, _ audit: AuditContext) async throws -> [String] {
        try await PostgresConnection.transaction(on: self.connection) { connection in
            let ended = try await MasterKeyTable.removeOthers(connection)
            guard !ended.isEmpty else { return [] }
            let changes = AuditChanges(["ended": .list(ended), "sealed": .integer(sealed)])
            let event = AuditEvent(.masterKeyRotated, .masterKey(id: key.id), changes)
            try await AuditRepository.record(event, audit, connection)
            return ended
        }
    }
}
