package import NMSCore

/// Who does something, and from where: goes from the request, the command or the job down to the row that changes.
package struct AuditContext: Sendable, Equatable {
    package var actor: AuditActor
    /// The client's address without port; nil where there is none.
    package var remoteAddress: String?
    /// `X-Request-ID` of the request; nil where there is none.
    package var requestID: String?

    package init(actor: AuditActor, remoteAddress: String? = nil, requestID: String? = nil) {
        self.actor = actor
        self.remoteAddress = remoteAddress
        self.requestID = requestID
    }

    /// What NMSlite does by itself.
    package static let system = AuditContext(actor: .system)

    /// The same request, seen to be somebody's.
    package func acting(as actor: AuditActor) -> AuditContext {
        var copy = self
        copy.actor = actor
        return copy
    }
}

/// Who did it, as he was at the time.
package enum AuditActor: Sendable, Equatable {
    case user(id: Int, username: String, role: Role)
    /// `nmslite user …` or `keys …`, by an account of the operating system.
    case commandLine(account: String)
    /// NMSlite by itself, such as the lockout guard.
    case system
    /// Somebody who has proven nothing.
    case anonymous

    package init(_ user: User) { self = .user(id: user.id, username: user.username, role: user.role) }

    var type: String {
        switch self {
        case .user: "user"
        case .commandLine: "command_line"
        case .system: "system"
        case .anonymous: "anonymous"
        }
    }

    var id: Int? { if case .user(let id, _, _) = self { id } else { nil } }

    var name: String? {
        switch self {
        case .user(_, let username, _): username
        case .commandLine(let account): account
        case .system, .anonymous: nil
        }
    }

    var role: Role? { if case .user(_, _, let role) = self { role } else { nil } }
}

/// What was done.
package enum AuditAction: String, Sendable, CaseIterable {
    case deviceCreated = "device.created"
    case deviceUpdated = "device.updated"
    case deviceDeleted = "device.deleted"
    case deviceProvisioned = "device.provisioned"
    case deviceDeprovisioned = "device.deprovisioned"
    case devicePollRequested = "device.poll_requested"
    case deviceTested = "device.tested"
    case credentialCreated = "credential.created"
    case credentialUpdated = "credential.updated"
    case credentialDeleted = "credential.deleted"
    case credentialResumed = "credential.resumed"
    /// By the lockout guard.
    case credentialSuspended = "credential.suspended"
    case userCreated = "user.created"
    case userRemoved = "user.removed"
    case userPasswordChanged = "user.password_changed"
    case sessionLogin = "session.login"
    case sessionLoginFailed = "session.login_failed"
    case sessionLogout = "session.logout"
    /// A spent refresh token was presented, and its session revoked.
    case sessionReuseDetected = "session.reuse_detected"
    case discoveryStarted = "discovery.started"
    case discoveryCancelled = "discovery.cancelled"
    /// From then on what is written is sealed with the next key.
    case masterKeyRotationStarted = "master_key.rotation_started"
    /// Nothing needs the keys before it any more.
    case masterKeyRotated = "master_key.rotated"
}

/// What it was done to, by the name it had.
package struct AuditTarget: Sendable, Equatable {
    package enum Kind: String, Sendable, CaseIterable {
        case device, credential, user, session, discovery
        case masterKey = "master_key"
    }

    package var kind: Kind
    package var id: String?
    package var name: String?

    package static func device(_ device: Device) -> AuditTarget { .device(id: device.id, ip: device.ip) }

    package static func device(id: Int, ip: String) -> AuditTarget {
        AuditTarget(kind: .device, id: String(id), name: ip)
    }

    package static func credential(_ credential: Credential) -> AuditTarget {
        AuditTarget(kind: .credential, id: String(credential.id), name: credential.name)
    }

    package static func user(id: Int, username: String) -> AuditTarget {
        AuditTarget(kind: .user, id: String(id), name: username)
    }

    /// A user that does not exist. What was given for its name stays out: people type passwords there.
    package static let unknownUser = AuditTarget(kind: .user)

    /// - Parameter username: whose session it is.
    package static func session(id: String, username: String?) -> AuditTarget {
        AuditTarget(kind: .session, id: id, name: username)
    }

    /// - Parameter id: of the key that is rotated to; it says nothing about the key's bytes.
    package static func masterKey(id: String) -> AuditTarget { AuditTarget(kind: .masterKey, id: id) }

    package static func discovery(id: String, subnet: String) -> AuditTarget {
        AuditTarget(kind: .discovery, id: id, name: subnet)
    }
}

/// One thing that was done, before it is known by whom.
package struct AuditEvent: Sendable, Equatable {
    package var action: AuditAction
    package var target: AuditTarget
    package var changes: AuditChanges

    package init(_ action: AuditAction, _ target: AuditTarget, _ changes: AuditChanges = AuditChanges()) {
        self.action = action
        self.target = target
        self.changes = changes
    }
}
