internal import NMSCore
internal import NMSStorage
internal import struct Foundation.Date

/// `/audit`: who changed what and when, for admins.
struct AuditController: Sendable {
    /// Longer than any id of a target.
    static let targetIDLength = 64

    let audit: AuditService

    @Sendable func list(_ call: Call<AuditQuery, NoBody>) async throws -> AuditListBody {
        let page = try await self.audit.list(call.query.filter)
        return AuditListBody(
            entries: page.items.map(AuditEntryBody.init),
            total: page.total,
            limit: page.limit,
            offset: page.offset
        )
    }
}

/// The query of `GET /audit`.
struct AuditQuery: RequestQuery {
    let filter: AuditFilter

    init(_ query: inout QueryReader) throws(ServiceError) {
        var filter = AuditFilter()
        filter.user = query.text("user", "Only what this user did, compared without case.")
        filter.action = query.choice("action", AuditAction.self, "Only this action.")
        filter.targetType = query.choice(
            "target_type",
            AuditTarget.Kind.self,
            "Only what was done to things of this kind."
        )
        filter.targetID = query.text(
            "target_id",
            "Only what was done to the thing with this id.",
            atMost: AuditController.targetIDLength
        )
        filter.from = query.time("from", "Not before this moment.")
        filter.to = query.time("to", "Before this moment.")
        (filter.limit, filter.offset) = query.page()
        if query.errors.isEmpty, let from = filter.from, let to = filter.to, from >= to {
            query.fail("from", "from must be before to", RFC3339.string(from: from))
        }
        self.filter = filter
    }
}

extension Call {
    /// The caller and where the call comes from, for the audit; only where the table asks for a role.
    func audit() throws(ServiceError) -> AuditContext {
        self.context.auditOrigin.acting(as: AuditActor(try self.caller()))
    }
}

extension APIContext {
    /// Where a request comes from, by somebody who has proven nothing yet.
    var auditOrigin: AuditContext {
        AuditContext(
            actor: .anonymous,
            remoteAddress: IPAddress(self.remoteAddress)?.description,
            requestID: self.state.requestID
        )
    }
}

/// An entry as clients see it.
struct AuditEntryBody: ResponseBody {
    static let schema = JSONSchema.object([
        "id": .integer(from: 1),
        "at": .time,
        "actor": .object([
            "type": .choice(["user", "command_line", "system", "anonymous"]),
            "user_id": JSONSchema.id.orNull,
            "username": JSONSchema.string().orNull.described("As it was; of `command_line` an account of the host."),
            "role": JSONSchema.choice(Role.self).orNull,
        ]),
        "action": .choice(AuditAction.self),
        "target": .object([
            "type": .choice(AuditTarget.Kind.self), "id": .string().orNull, "name": .string().orNull,
        ]),
        "changes": JSONSchema.map(
            of: .anyOf([
                .object(["from": .any, "to": .any]), .object(["changed": .constant(true)]),
            ])
        ).described("By field, the values before and after; of a secret only that it changed."),
        "remote_address": JSONSchema.string().orNull,
        "request_id": JSONSchema.string().orNull,
    ])

    static let example: JSONValue = [
        "id": 7, "at": "2025-12-03T10:05:00.000Z",
        "actor": ["type": "user", "user_id": 1, "username": "admin", "role": "admin"],
        "action": "device.updated", "target": ["type": "device", "id": "1", "name": "192.168.1.10"],
        "changes": ["polling_interval": ["from": 60, "to": 300]],
        "remote_address": "192.168.1.2", "request_id": "4c8f1c6e-6f0e-4c39-9b0e-1f3c5a7d9b11",
    ]

    struct Actor: Encodable, Sendable {
        let type: String
        @OrNull var userID: Int?
        @OrNull var username: String?
        @OrNull var role: String?

        enum CodingKeys: String, CodingKey {
            case type
            case userID = "user_id"
            case username, role
        }
    }

    struct Target: Encodable, Sendable {
        let type: String
        @OrNull var id: String?
        @OrNull var name: String?
    }

    let id: Int
    let at: Date
    let actor: Actor
    let action: String
    let target: Target
    /// By field `{"from","to"}`; of a secret `{"changed":true}`.
    let changes: AuditChanges
    @OrNull var remoteAddress: String?
    @OrNull var requestID: String?

    init(_ entry: AuditEntry) {
        self.id = entry.id
        self.at = entry.at
        self.actor = Actor(
            type: entry.actor.type,
            userID: entry.actor.userID,
            username: entry.actor.username,
            role: entry.actor.role
        )
        self.action = entry.action
        self.target = Target(
            type: entry.target.type,
            id: entry.target.id,
            name: entry.target.name
        )
        self.changes = entry.changes
        self._remoteAddress = OrNull(wrappedValue: entry.remoteAddress)
        self._requestID = OrNull(wrappedValue: entry.requestID)
    }

    enum CodingKeys: String, CodingKey {
        case id, at, actor, action, target, changes
        case remoteAddress = "remote_address"
        case requestID = "request_id"
    }
}

struct AuditListBody: ResponseBody {
    static let schema = JSONSchema.page("entries", of: .reference(to: AuditEntryBody.self))
    static let example: JSONValue = ["entries": [AuditEntryBody.example], "total": 1, "limit": 50, "offset": 0]

    let entries: [AuditEntryBody]
    let total: Int
    let limit: Int
    let offset: Int
}
