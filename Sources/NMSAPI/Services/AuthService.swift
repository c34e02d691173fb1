package import Bcrypt
internal import Crypto
package import Logging
package import NMSCore
package import NMSStorage
internal import Synchronization
package import struct Foundation.Date

/// What a login or a refresh brings (specification §4.1).
package struct TokenPair: Sendable, Equatable {
    package var accessToken: String
    package var refreshToken: String
    /// When the access token ends.
    package var expiresAt: Date
}

/// Logins and sessions (specification §4.1, §8.1).
///
/// Access tokens are short-lived JWTs that carry their session's id; refresh tokens are 256 random bits of which only
/// the SHA-256 is stored, good for one use. Every request asks whether its session is still alive, through a cache of
/// ``sessionCacheTTL``: logout, removal of the user, a changed password or role count after that time at the latest.
package final class AuthService: Sendable {
    /// How long a session's answer is kept. The contract demands 5 s; the rest is room for a slow database.
    package static let sessionCacheTTL: Duration = .seconds(2)

    private let users: UserRepository
    private let sessions: SessionRepository
    private let audit: AuditRepository
    private let hasher: PasswordHasher
    private let tokens: AccessTokens
    private let refreshLifetime: Duration
    private let throttle: Mutex<LoginThrottle>
    private let auditedFailures = Mutex(AuditedFailures())
    private let alive: TTLCache<String, User>
    private let signIns: SignInMetrics
    private let clocks: APIClocks
    private let logger: Logger
    /// What the password is checked against when the user is unknown, so that both take the same time.
    private let decoyHash: String

    package init(
        users: UserRepository,
        sessions: SessionRepository,
        audit: AuditRepository,
        hasher: PasswordHasher,
        tokens: AccessTokens,
        refreshLifetime: Duration,
        throttleLimits: LoginThrottle.Limits = .init(),
        signIns: SignInMetrics = SignInMetrics(),
        clocks: APIClocks = APIClocks(),
        logger: Logger
    ) async throws {
        self.users = users
        self.sessions = sessions
        self.audit = audit
        self.hasher = hasher
        self.tokens = tokens
        self.refreshLifetime = refreshLifetime
        self.throttle = Mutex(LoginThrottle(limits: throttleLimits))
        self.signIns = signIns
        self.alive = TTLCache(ttl: Self.sessionCacheTTL, now: clocks.monotonic)
        self.clocks = clocks
        self.logger = logger
        self.decoyHash = try await hasher.hash(RefreshToken.random().text)
    }

    /// Checks a password and starts a session.
    ///
    /// - Parameters:
    ///   - address: the client's, for the throttle.
    ///   - origin: where the request comes from.
    /// - Throws: ``ServiceError``: unauthorized (the same for an unknown user and a wrong password), rateLimited,
    ///   validationError for a password that bcrypt can't take.
    package func login(
        username: String,
        password: Secret,
        address: String,
        origin: AuditContext
    ) async throws -> TokenPair {
        if let refusal = PasswordHasher.refusal(of: password.exposed) {
            throw ServiceError.invalid("password", "password can't be used: \(refusal)")
        }
        let key = username.lowercased()
        if let wait = self.throttle.withLock({ $0.begin(user: key, address: address, now: self.clocks.monotonic()) }) {
            self.signIns.login(.throttled)
            throw ServiceError(
                .rateLimited,
                "Too many failed logins; try again later",
                retryAfter: max(1, Int(wait.components.seconds) + 1)
            )
        }
        var succeeded: Bool?
        defer {
            self.throttle.withLock {
                $0.finish(user: key, address: address, succeeded: succeeded, now: self.clocks.monotonic())
            }
        }
        let user = try await self.users.user(username: username)
        do throws(BcryptError) {
            let matches = try await self.hasher.verify(password.exposed, against: user?.passwordHash ?? self.decoyHash)
            succeeded = matches && user != nil
        } catch {
            throw ServiceError(.serviceUnavailable, "Too many logins at once; try again", retryAfter: 1)
        }
        guard let user, succeeded == true else {
            self.signIns.login(.failure)
            self.logger.notice(
                "login failed",
                metadata: ["username": "\(EchoedValue.shortened(username))", "address": "\(address)"]
            )
            try await self.recordFailure(username: key, user: user, address: address, origin: origin)
            throw ServiceError(.unauthorized, "Wrong username or password")
        }
        let refreshToken = RefreshToken.random()
        let sessionID = try await self.sessions.create(
            userID: user.id,
            tokenHash: refreshToken.hash,
            expiresAt: self.refreshExpiry(),
            audit: origin.acting(as: AuditActor(user))
        )
        self.signIns.login(.success)
        self.logger.info(
            "login",
            metadata: ["username": "\(user.username)", "address": "\(address)", "session": "\(sessionID)"]
        )
        return try await self.pair(user: user, sessionID: sessionID, refreshToken: refreshToken)
    }

    /// Exchanges a refresh token for a new pair; presenting a spent one ends its whole session.
    package func refresh(_ text: String, origin: AuditContext) async throws -> TokenPair {
        let refused = ServiceError(.unauthorized, "The refresh token is invalid, expired or used already; log in again")
        guard let token = RefreshToken(text) else {
            self.signIns.refresh(.failure)
            throw refused
        }
        let successor = RefreshToken.random()
        let outcome = try await self.sessions.rotate(
            tokenHash: token.hash,
            successorHash: successor.hash,
            successorExpiresAt: self.refreshExpiry(),
            now: self.clocks.wall(),
            audit: origin
        )
        switch outcome {
        case .rotated(let sessionID, let user):
            self.signIns.refresh(.success)
            return try await self.pair(user: user, sessionID: sessionID, refreshToken: successor)
        case .invalid:
            self.signIns.refresh(.failure)
            throw refused
        case .reused(let sessionID):
            self.signIns.refresh(.reused)
            self.alive.invalidate(sessionID)
            self.logger.warning(
                "a refresh token was used twice; its session is revoked",
                metadata: ["session": "\(sessionID)"]
            )
            throw refused
        }
    }

    /// Ends the caller's session: its refresh token at once, its access tokens here at once and elsewhere within
    /// ``sessionCacheTTL``.
    package func logout(_ principal: Principal, audit: AuditContext) async throws {
        try await self.sessions.revoke(sessionID: principal.sessionID, audit: audit)
        self.alive.invalidate(principal.sessionID)
        self.logger.info(
            "logout",
            metadata: ["username": "\(principal.username)", "session": "\(principal.sessionID)"]
        )
    }

    /// Who presents an access token.
    ///
    /// - Throws: ``ServiceError`` unauthorized when it is not ours, has ended, or its session has.
    package func validate(_ accessToken: String) async throws -> Principal {
        let refused = ServiceError(.unauthorized, "The access token is invalid or expired")
        guard let claims = await self.tokens.verify(accessToken) else { throw refused }
        let user = try await self.alive.value(for: claims.sid) {
            try await self.sessions.user(sessionID: claims.sid, now: self.clocks.wall())
        }
        guard let user, String(user.id) == claims.sub else { throw refused }
        // The role is the user's of now, not the token's of up to fifteen minutes ago.
        return Principal(userID: user.id, username: user.username, role: user.role, sessionID: claims.sid)
    }

    /// Look-ups of sessions answered from memory and not, since the start.
    var cacheStatistics: (hits: UInt64, misses: UInt64) { self.alive.statistics }

    /// Forgets what has expired; called by the background clean-up.
    func removeExpired() {
        self.alive.removeExpired()
        self.throttle.withLock { $0.removeExpired(now: self.clocks.monotonic()) }
    }

    /// Deletes sessions that ended by themselves.
    func removeExpiredSessions() async throws {
        _ = try await self.sessions.removeExpired(now: self.clocks.wall())
    }

    /// Writes the failed logins that were only counted so far, once their time has come.
    func recordCountedFailures() async throws {
        for summary in self.auditedFailures.withLock({ $0.takeEnded(now: self.clocks.monotonic()) }) {
            let context = AuditContext(actor: .anonymous, remoteAddress: summary.address)
            try await self.audit.record(Self.event(summary), context)
        }
    }

    private func recordFailure(username: String, user: User?, address: String, origin: AuditContext) async throws {
        let known = user.map { AuditedFailures.User(id: $0.id, username: $0.username) }
        let due = self.auditedFailures.withLock {
            $0.note(username: username, user: known, address: address, now: self.clocks.monotonic())
        }
        guard let due else { return }
        try await self.audit.record(Self.event(due), origin)
    }

    private static func event(_ failures: AuditedFailures.Summary) -> AuditEvent {
        let target = failures.user.map { AuditTarget.user(id: $0.id, username: $0.username) }
        return AuditEvent(
            .sessionLoginFailed,
            target ?? .unknownUser,
            AuditChanges(["attempts": .integer(failures.attempts)])
        )
    }

    private func refreshExpiry() -> Date {
        self.clocks.wall().addingTimeInterval(Double(self.refreshLifetime.components.seconds))
    }

    private func pair(user: User, sessionID: String, refreshToken: RefreshToken) async throws -> TokenPair {
        let (token, expiresAt) = try await self.tokens.issue(for: user, sessionID: sessionID)
        return TokenPair(accessToken: token, refreshToken: refreshToken.text, expiresAt: expiresAt)
    }
}

/// 256 random bits in base64url.
struct RefreshToken {
    /// 32 bytes in base64url without padding.
    static let length = 43

    let text: String

    /// nil when the text can't be one of ours.
    init?(_ text: String) {
        guard text.utf8.count == Self.length, Base64URL.decode(text)?.count == 32 else { return nil }
        self.text = text
    }

    private init(bytes: [UInt8]) { self.text = Base64URL.encode(bytes) }

    static func random() -> RefreshToken {
        // swift-crypto draws keys from the operating system's generator.
        RefreshToken(bytes: SymmetricKey(size: .bits256).withUnsafeBytes { Array($0) })
    }

    /// What is stored: SHA-256 in hexadecimal. Random 256 bits need neither salt nor slowness.
    var hash: String {
        SHA256.hash(data: Array(self.text.utf8)).map { byte in
            let digits = String(byte, radix: 16)
            return byte < 16 ? "0" + digits : digits
        }.joined()
    }
}
