package import NMSCore
internal import Postgres

/// Which credentials a list holds, and in what order.
package struct CredentialFilter: Sendable {
    package enum SortField: String, Sendable, CaseIterable {
        case id, name, username, status
        case type = "credential_type"
        case createdAt = "created_at"
        case updatedAt = "updated_at"
    }
    package var type: CredentialType?
    package var status: CredentialStatus?
    /// Part of name, user name or domain, case-insensitive; LIKE wildcards in it are taken literally.
    package var search: String?
    package var sort: SortField = .id
    package var descending = false
    package var limit = 50
    package var offset = 0

    package init() {}
}

extension CredentialFilter {
    static let condition = """
        ($1::text IS NULL OR credential_type = $1)
        AND ($2::text IS NULL OR status = $2)
        AND ($3::text IS NULL OR name ILIKE $3 OR username ILIKE $3 OR domain ILIKE $3)
        """

    /// What ``condition`` needs.
    var values: [(any PostgresEncodable)?] {
        [self.type?.rawValue, self.status?.rawValue, self.search.map { "%\(DeviceRepository.escapedForLike($0))%" }]
    }

    /// Equal rows follow by id.
    var order: String {
        let direction = self.descending ? "DESC" : "ASC"
        return "\(self.sort.expression) \(direction), id \(direction)"
    }
}

extension CredentialFilter.SortField {
    /// The column to sort by; names without case.
    fileprivate var expression: String {
        switch self {
        case .id: "id"
        case .name: "lower(name)"
        case .username: "lower(username)"
        case .status: "status"
        case .type: "credential_type"
        case .createdAt: "created_at"
        case .updatedAt: "updated_at"
        }
    }
}
