package import Foundation
internal import NIOHTTP1
package import NMSCore
internal import Synchronization

/// What the API answered instead of what was asked for.
package struct APIFailure: Error {
    package var status: Int
    package var code: String
    package var message: String

    /// As a command ends with it.
    package var commandError: CommandError {
        switch self.status {
        case 401, 403: CommandError("\(self.message) (\(self.code))", status: ExitStatus.denied)
        case 503: CommandError("\(self.message) (\(self.code))", status: ExitStatus.unavailable)
        default: CommandError("\(self.message) (\(self.code))")
        }
    }
}

/// A JSON document as it came, so that what a newer server adds is not lost.
package typealias JSONDocument = [String: Any]

/// Who calls the API.
package enum SignIn: Sendable {
    /// For one command, which signs out at its end.
    case password(username: String, password: Secret)
    /// The session that `nmslite login` keeps.
    case session(SessionStore)
}

/// The API of a server, signed in.
package final class APIClient: Sendable {
    package static let base = "/api/v1"

    private let requester: HTTPRequester
    private let signIn: SignIn
    private let token = Mutex<String?>(nil)

    package init(_ requester: HTTPRequester, _ signIn: SignIn) {
        self.requester = requester
        self.signIn = signIn
    }

    /// Signs in if need be.
    /// - Throws: ``CommandError``.
    package func begin() async throws { _ = try await self.commanding { try await self.accessToken(after: nil) } }

    /// Ends what ``begin()`` began; failing to is no reason to complain.
    package func end() async {
        guard case .password = self.signIn else { return }
        await self.logout()
    }

    /// Ends the session on the server.
    package func logout() async {
        let token = self.token.withLock { $0 }
        _ = try? await self.exchange(.POST, "/auth/logout", token: token)
        self.token.withLock { $0 = nil }
    }

    package func get(_ path: String) async throws -> Data { try await self.call(.GET, path) }
    package func post(_ path: String, _ body: Data? = nil) async throws -> Data {
        try await self.call(.POST, path, body: body)
    }
    package func put(_ path: String, _ body: Data) async throws -> Data { try await self.call(.PUT, path, body: body) }
    package func delete(_ path: String) async throws -> Data { try await self.call(.DELETE, path) }

    /// Signs in with a name and a password.
    /// - Throws: ``APIFailure``, ``CommandError``.
    package static func login(
        _ requester: HTTPRequester,
        username: String,
        password: Secret
    ) async throws -> TokenPair {
        let body = try JSONSerialization.data(withJSONObject: ["username": username, "password": password.exposed])
        let client = APIClient(requester, .password(username: username, password: password))
        return try await client.tokens("/auth/login", body)
    }

    /// The `data` of an answer; an access token that has ended meanwhile is replaced.
    /// - Throws: ``APIFailure``, ``CommandError``.
    private func call(_ method: HTTPMethod, _ path: String, body: Data? = nil) async throws -> Data {
        let token = try await self.accessToken(after: nil)
        do { return try await self.exchange(method, path, token: token, body: body) } catch let failure as APIFailure {
            guard failure.status == 401 else { throw failure }
            let next = try await self.accessToken(after: token)
            return try await self.exchange(method, path, token: next, body: body)
        }
    }

    /// - Parameter stale: a token that the server does not take any more.
    private func accessToken(after stale: String?) async throws -> String {
        switch self.signIn {
        case .password(let username, let password):
            if let token = self.token.withLock({ $0 }), token != stale { return token }
            let tokens = try await Self.login(self.requester, username: username, password: password)
            self.token.withLock { $0 = tokens.accessToken }
            return tokens.accessToken
        case .session(let store):
            let session = try Self.required(store)
            if session.accessToken != stale, session.isFresh(at: Date()) {
                self.token.withLock { $0 = session.accessToken }
                return session.accessToken
            }
            return try await store.withLock { try await self.renewed(store, after: stale) }
        }
    }

    private func renewed(_ store: SessionStore, after stale: String?) async throws -> String {
        // Another command may have renewed them while this one waited for the lock.
        var session = try Self.required(store)
        if session.accessToken == stale || !session.isFresh(at: Date()) {
            let body = try JSONSerialization.data(withJSONObject: ["refresh_token": session.refreshToken])
            do { session.take(try await self.tokens("/auth/refresh", body)) } catch let failure as APIFailure {
                guard failure.status == 401 else { throw failure }
                throw Self.isOver
            }
            try store.save(session)
        }
        let token = session.accessToken
        self.token.withLock { $0 = token }
        return token
    }

    private func tokens(_ path: String, _ body: Data) async throws -> TokenPair {
        let data = try await self.exchange(.POST, path, token: nil, body: body)
        guard let tokens = try? JSONDecoder.api.decode(TokenPair.self, from: data) else { throw Self.strange }
        return tokens
    }

    private func exchange(
        _ method: HTTPMethod,
        _ path: String,
        token: String?,
        body: Data? = nil
    ) async throws -> Data {
        let answer = try await self.requester.send(
            method,
            Self.base + path,
            headers: token.map { [("Authorization", "Bearer \($0)")] } ?? [],
            body: body
        )
        let document = try Self.object(Data(answer.body))
        if (200..<300).contains(answer.status) {
            guard let data = document["data"] else { throw Self.strange }
            return try JSONSerialization.data(withJSONObject: data, options: [.fragmentsAllowed])
        }
        let error = document["error"] as? JSONDocument ?? [:]
        throw APIFailure(
            status: answer.status,
            code: error["code"] as? String ?? "HTTP \(answer.status)",
            message: Self.message(error)
        )
    }

    /// What is wrong, with every field that is, and what was given (secrets are not repeated by the server).
    private static func message(_ error: JSONDocument) -> String {
        let message = error["message"] as? String ?? "the server refused"
        let details = error["details"] as? JSONDocument
        let fields = (details?["errors"] as? [JSONDocument] ?? []).map { field in
            let name = field["field"] as? String ?? "?"
            let given = field["value"].map { $0 is NSNull ? "" : " (given: \($0))" } ?? ""
            return "\(name): \(field["message"] as? String ?? "not valid")\(given)"
        }
        return PrintableText.of(fields.isEmpty ? message : fields.joined(separator: "; "))
    }

    private func commanding<Value>(_ body: () async throws -> Value) async throws -> Value {
        do { return try await body() } catch let failure as APIFailure { throw failure.commandError }
    }

    private static func required(_ store: SessionStore) throws -> Session {
        guard let session = try store.load() else { throw Self.isOver }
        return session
    }

    package static func object(_ data: Data) throws -> JSONDocument {
        guard let object = try? JSONSerialization.jsonObject(with: data) as? JSONDocument else { throw Self.strange }
        return object
    }

    package static func decode<Value: Decodable>(_ type: Value.Type, _ data: Data) throws -> Value {
        do { return try JSONDecoder.api.decode(type, from: data) } catch {
            throw CommandError("the server answered something unknown (\(error)); is it another version?")
        }
    }

    private static var isOver: CommandError {
        CommandError("the session is over; log in again with `nmslite login`", status: ExitStatus.denied)
    }

    private static var strange: CommandError {
        CommandError("what answers at --server is not NMSlite", status: ExitStatus.unavailable)
    }
}

extension JSONDecoder {
    /// As the API writes: snake_case, times in RFC 3339.
    static var api: JSONDecoder {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        decoder.dateDecodingStrategy = .custom { decoder in
            let container = try decoder.singleValueContainer()
            let text = try container.decode(String.self)
            guard let date = RFC3339.date(from: text) else {
                throw DecodingError.dataCorruptedError(in: container, debugDescription: "\(text) is no time")
            }
            return date
        }
        return decoder
    }
}
