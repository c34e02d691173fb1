internal import Bcrypt
internal import NMSCore
internal import struct Foundation.Date

/// `/auth/…`.
struct AuthController: Sendable {
    let auth: AuthService

    @Sendable func login(_ call: Call<NoQuery, LoginRequest>) async throws -> TokenPairBody {
        let pair = try await self.auth.login(
            username: call.body.username,
            password: call.body.password,
            address: call.context.remoteAddress,
            origin: call.context.auditOrigin
        )
        return TokenPairBody(pair)
    }

    @Sendable func refresh(_ call: Call<NoQuery, RefreshRequest>) async throws -> TokenPairBody {
        TokenPairBody(try await self.auth.refresh(call.body.refreshToken.exposed, origin: call.context.auditOrigin))
    }

    @Sendable func logout(_ call: Call<NoQuery, NoBody>) async throws -> MessageBody {
        try await self.auth.logout(try call.caller(), audit: call.audit())
        return MessageBody(message: "Logged out")
    }
}

/// The body of `POST /auth/login`.
struct LoginRequest: RequestBody {
    static let example: JSONValue = ["username": "admin", "password": "correct horse battery"]

    let username: String
    let password: Secret

    init(_ fields: inout FieldReader) throws(ServiceError) {
        let username = fields.required("username", .text().described("Compared without case."))
        // Whether its bytes are too many as well, the service says.
        let password = fields.required("password", .secret(atMost: PasswordHasher.maximumPasswordBytes))
        try fields.finish()
        guard let username, let password else { throw ServiceError(.validationError, "The request is not valid") }
        self.username = username
        self.password = password
    }
}

/// The body of `POST /auth/refresh`.
struct RefreshRequest: RequestBody {
    static let example: JSONValue = ["refresh_token": "dGhpcyBpcyBhIHJlZnJlc2ggdG9rZW4gb2YgNDMgY2g"]

    let refreshToken: Secret

    init(_ fields: inout FieldReader) throws(ServiceError) {
        let token = fields.required(
            "refresh_token",
            .secret(atMost: 512).described("The one of the last login or refresh; it is good for one use.")
        )
        try fields.finish()
        guard let token else { throw ServiceError(.validationError, "The request is not valid") }
        self.refreshToken = token
    }
}

/// The answer to a login or refresh (specification §9.2).
struct TokenPairBody: ResponseBody {
    static let schema = JSONSchema.object([
        "access_token": JSONSchema.string(pattern: #"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$"#)
            .described("A JWT, for `Authorization: Bearer`."),
        "refresh_token": JSONSchema.string(length: 43...43, pattern: "^[A-Za-z0-9_-]*$")
            .described("For one use at `/auth/refresh`."),
        "expires_at": JSONSchema.time.described("When the access token ends."),
    ])

    static let example: JSONValue = [
        "access_token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "refresh_token": "dGhpcyBpcyBhIHJlZnJlc2ggdG9rZW4gb2YgNDMgY2g",
        "expires_at": "2025-12-03T10:15:00.000Z",
    ]

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
struct MessageBody: ResponseBody {
    static let schema = JSONSchema.object(["message": .string()])
    static let example: JSONValue = ["message": "Device deleted"]

    let message: String
}
