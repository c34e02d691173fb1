import Foundation
import NIOHTTP1
import NMSCore
import Synchronization

/// What the API answered instead of what was asked for.
struct APIFailure: Error {
    var status: Int
    var code: String
    var message: String

    /// As a command ends with it.
    var commandError: CommandError {
        switch self.status {
        case 401, 403: CommandError("\(self.message) (\(self.code))", status: ErrorReport.denied)
        case 503: CommandError("\(self.message) (\(self.code))", status: ErrorReport.unavailable)
        default: CommandError("\(self.message) (\(self.code))")
        }
    }
}

/// A JSON document as it came, so that what a newer server adds is not lost.
typealias JSONDocument = [String: Any]

/// The API of a server, signed in.
final class APIClient: Sendable {
    static let base = "/api/v1"

    private let requester: HTTPRequester
    private let username: String
    private let password: Secret
    private let token = Mutex<String?>(nil)

    init(_ requester: HTTPRequester, username: String, password: Secret) {
        self.requester = requester
        self.username = username
        self.password = password
    }

    /// - Throws: ``CommandError``.
    func login() async throws {
        let body = try JSONSerialization.data(withJSONObject: [
            "username": self.username, "password": self.password.exposed,
        ])
        let data = try await self.commanding { try await self.exchange(.POST, "/auth/login", body: body) }
        guard let token = try Self.object(data)["access_token"] as? String else { throw Self.strange }
        self.token.withLock { $0 = token }
    }

    /// Ends the session; failing to is no reason to complain.
    func logout() async {
        _ = try? await self.exchange(.POST, "/auth/logout")
        self.token.withLock { $0 = nil }
    }

    func get(_ path: String) async throws -> Data { try await self.call(.GET, path) }
    func post(_ path: String, _ body: Data) async throws -> Data { try await self.call(.POST, path, body: body) }
    func delete(_ path: String) async throws -> Data { try await self.call(.DELETE, path) }

    /// The `data` of an answer; an access token that has expired meanwhile is replaced.
    /// - Throws: ``APIFailure``, ``CommandError``.
    private func call(_ method: HTTPMethod, _ path: String, body: Data? = nil) async throws -> Data {
        do { return try await self.exchange(method, path, body: body) } catch let failure as APIFailure {
            guard failure.status == 401 else { throw failure }
            try await self.login()
            return try await self.exchange(method, path, body: body)
        }
    }

    private func exchange(_ method: HTTPMethod, _ path: String, body: Data? = nil) async throws -> Data {
        let token = self.token.withLock { $0 }
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
            message: error["message"] as? String ?? "the server refused"
        )
    }

    private func commanding<Value>(_ body: () async throws -> Value) async throws -> Value {
        do { return try await body() } catch let failure as APIFailure { throw failure.commandError }
    }

    static func object(_ data: Data) throws -> JSONDocument {
        guard let object = try? JSONSerialization.jsonObject(with: data) as? JSONDocument else { throw Self.strange }
        return object
    }

    private static var strange: CommandError {
        CommandError("what answers at --server is not NMSlite", status: ErrorReport.unavailable)
    }
}
