package import Postgres
package import Foundation

/// An entry of the audit as it was written, perhaps by a newer instance: names are text.
package struct AuditEntry: Sendable, Equatable {
    package struct Actor: Sendable, Equatable {
        package var type: String
        package var userID: Int?
        package var username: String?
        package var role: String?
    }

    package struct Target: Sendable, Equatable {
        package var type: String
        package var id: String?
        package var name: String?
    }

    package var id: Int
    package var at: Date
    package var actor: Actor
    package var action: String
    package var target: Target
    package var changes: AuditChanges
    package var remoteAddress: String?
    package var requestID: String?
}

/// Which entries are wanted; nil is every one.
package struct AuditFilter: Sendable {
    /// Name of the actor, compared without case.
    package var user: String?
    package var action: AuditAction?
    package var targetType: AuditTarget.Kind?
    package var targetID: String?
    /// The first moment.
    package var from: Date?
    /// The first moment that is not meant any more.
    package var to: Date?
    package var limit = 50
    package var offset = 0

    package init() {}
}

/// The audit: who changed what and when. Entries are added and read, never changed.
///
/// Repositories write an entry in the transaction of their change, with ``record(_:_:_:)``: there is no change without
/// its entry, and no entry without its change.
package struct AuditRepository: Sendable {
    let pool: PostgresPool

    package init(pool: PostgresPool) { self.pool = pool }

    /// Adds an entry in the caller's transaction. When this throws, the transaction must, too.
    package static func record(
        _ event: AuditEvent,
        _ context: AuditContext,
        _ connection: PostgresConnection
    ) async throws {
        let changes = try JSONEncoder().encode(event.changes)
        try await connection.query(
            """
            INSERT INTO audit_log (action, actor_type, actor_id, actor_name, actor_role, target_type, target_id,
                target_name, changes, remote_address, request_id)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb, $10, $11)
            """,
            [
                event.action.rawValue, context.actor.type, context.actor.id, context.actor.name,
                context.actor.role?.rawValue, event.target.kind.rawValue, event.target.id, event.target.name,
                String(decoding: changes, as: UTF8.self), context.remoteAddress, context.requestID,
            ]
        )
    }

    /// Adds an entry about something that changes no row.
    package func record(_ event: AuditEvent, _ context: AuditContext) async throws {
        try await self.pool.withConnection { try await Self.record(event, context, $0) }
    }

    /// Newest first. Pages that begin at the same `to` of the past never shift.
    package func list(_ filter: AuditFilter) async throws -> Page<AuditEntry> {
        let condition = """
            ($1::text IS NULL OR lower(actor_name) = lower($1)) AND ($2::text IS NULL OR action = $2)
            AND ($3::text IS NULL OR target_type = $3) AND ($4::text IS NULL OR target_id = $4)
            AND ($5::timestamptz IS NULL OR at >= $5) AND ($6::timestamptz IS NULL OR at < $6)
            """
        let values: [(any PostgresEncodable)?] = [
            filter.user, filter.action?.rawValue, filter.targetType?.rawValue, filter.targetID, filter.from, filter.to,
        ]
        let total = try await self.pool.read("SELECT count(*) AS total FROM audit_log WHERE \(condition)", values)
        let rows = try await self.pool.read(
            """
            SELECT id, at, action, actor_type, actor_id, actor_name, actor_role, target_type, target_id, target_name,
                changes::text AS changes, remote_address, request_id
            FROM audit_log WHERE \(condition) ORDER BY at DESC, id DESC LIMIT $7 OFFSET $8
            """,
            values + [max(0, filter.limit), max(0, filter.offset)]
        )
        return Page(
            items: try rows.map(Self.entry),
            total: try total[0].value("total"),
            limit: filter.limit,
            offset: filter.offset
        )
    }

    private static func entry(_ row: PostgresRow) throws -> AuditEntry {
        let changes: String = try row.value("changes")
        return AuditEntry(
            id: try row.value("id"),
            at: try row.value("at"),
            actor: AuditEntry.Actor(
                type: try row.value("actor_type"),
                userID: try row.optional("actor_id"),
                username: try row.optional("actor_name"),
                role: try row.optional("actor_role")
            ),
            action: try row.value("action"),
            target: AuditEntry.Target(
                type: try row.value("target_type"),
                id: try row.optional("target_id"),
                name: try row.optional("target_name")
            ),
            changes: try JSONDecoder().decode(AuditChanges.self, from: Data(changes.utf8)),
            remoteAddress: try row.optional("remote_address"),
            requestID: try row.optional("request_id")
        )
    }
}
