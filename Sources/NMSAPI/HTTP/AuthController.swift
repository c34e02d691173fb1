internal import NMSCore
internal import struct Foundation.Date

/// `/auth/…`.
struct AuthController: Sendable {
    let auth: AuthService

    @Sendable func login(_ call: EndpointCall) async throws -> Answer {
        var fields = try FieldReader(call.body)
        let username = fields.required("username", .text())
        // Longer than bcrypt's 72 bytes is refused by the service, which says so.
        let password = fields.required("password", .secret(atMost: 1024))
        try fields.finish()
        guard let username, let password else { throw ServiceError(.validationError, "The request is not valid") }
        let pair = try await self.auth.login(
            username: username,
            password: password,
            address: call.context.remoteAddress
        )
        return .ok(TokenPairBody(pair))
    }

    @Sendable func refresh(_ call: EndpointCall) async throws -> Answer {
        var fields = try FieldReader(call.body)
        let token = fields.required("refresh_token", .secret(atMost: 512))
        try fields.finish()
        guard let token else { throw ServiceError(.validationError, "The request is not valid") }
        return .ok(TokenPairBody(try await self.auth.refresh(token.exposed)))
    }

    @Sendable func logout(_ call: EndpointCall) async throws -> Answer {
        try await self.auth.logout(try call.caller())
        return .ok(MessageBody(message: "Logged out"))
    }
}

/// The answer to a login or refresh (specification §9.2).
struct TokenPairBody: Encodable, Sendable {
    let accessToken: String
    let refreshToken: String
    let expiresAt: Date

    init(_ pair: TokenPair) {
        self.accessToken = pair.accessToken
        self.refreshToken = pair.refreshToken
        self.expiresAt = pair.expiresAt
    }

    enum CodingKeys: String, CodingKey {
        case accessToken = "access_token"
        case refreshToken = "refresh_token"
        case expiresAt = "expires_at"
    }
}

/// An answer that only says what was done.
struct MessageBody: Encodable, Sendable {
    let message: String
}
