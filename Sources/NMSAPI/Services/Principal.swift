package import NMSStorage

/// Who is calling, as the session says now.
package struct Principal: Sendable, Equatable {
    package var userID: Int
    package var username: String
    package var role: Role
    package var sessionID: String

    package init(userID: Int, username: String, role: Role, sessionID: String) {
        self.userID = userID
        self.username = username
        self.role = role
        self.sessionID = sessionID
    }
}

extension Role {
    /// `viewer` reads, `operator` also writes devices and credentials, `admin` may do everything.
    private var rank: Int {
        switch self {
        case .viewer: 0
        case .operator: 1
        case .admin: 2
        }
    }

    /// Whether this role may do what `needed` may.
    package func covers(_ needed: Role) -> Bool { self.rank >= needed.rank }
}
