package import Foundation
internal import Glibc
internal import NMSRuntime

/// What `nmslite login` keeps: where the server is, how it is known, and the tokens of one session.
package struct Session: Codable, Sendable, Equatable {
    package var server: String
    package var username: String
    /// SHA-256 of the server's certificate, as ``ServerTrust/fingerprint(_:)`` has it.
    package var fingerprint: String?
    /// PEM certificates of the authority that signed it.
    package var caFile: String?
    package var accessToken: String
    package var accessExpires: Date
    package var refreshToken: String

    /// How long before its end an access token is replaced: a request under way should still be good.
    private static let margin = 30.0

    package init(server: String, username: String, trust: ServerTrust, tokens: TokenPair) {
        self.server = server
        self.username = username
        switch trust {
        case .system: break
        case .authorities(let file): self.caFile = file
        case .fingerprint(let fingerprint): self.fingerprint = fingerprint
        }
        self.accessToken = tokens.accessToken
        self.accessExpires = tokens.expiresAt
        self.refreshToken = tokens.refreshToken
    }

    package var trust: ServerTrust {
        if let fingerprint { return .fingerprint(fingerprint) }
        return self.caFile.map { .authorities(file: $0) } ?? .system
    }

    func isFresh(at now: Date) -> Bool { self.accessExpires.timeIntervalSince(now) > Self.margin }

    mutating func take(_ tokens: TokenPair) {
        self.accessToken = tokens.accessToken
        self.accessExpires = tokens.expiresAt
        self.refreshToken = tokens.refreshToken
    }
}

/// What a login or a refresh answers.
package struct TokenPair: Decodable, Sendable, Equatable {
    package var accessToken: String
    package var refreshToken: String
    package var expiresAt: Date
}

/// The file of the session: 0600, in a folder of its user's alone.
package struct SessionStore: Sendable {
    package let file: String

    /// How long another command may take to renew the tokens.
    private static let patience: Duration = .seconds(20)
    private static let pause: Duration = .milliseconds(50)

    package init(file: String) { self.file = file }

    /// `$XDG_STATE_HOME/nmslite/session.json`, without it `~/.local/state/nmslite/session.json`.
    package static func standard(_ environment: [String: String]) -> SessionStore {
        let base: String
        if let state = environment["XDG_STATE_HOME"], state.hasPrefix("/") {
            base = state
        } else {
            base = (environment["HOME"] ?? NSHomeDirectory()) + "/.local/state"
        }
        return SessionStore(file: base + "/nmslite/session.json")
    }

    /// - Returns: nil when nobody logged in.
    /// - Throws: ``CommandError`` when others can read it, or when it is no session.
    package func load() throws -> Session? {
        let text: String?
        do { text = try PrivateFile.read(self.file) } catch { throw CommandError("the session: \(error.description)") }
        guard let text else { return nil }
        guard let session = try? JSONDecoder().decode(Session.self, from: Data(text.utf8)) else {
            throw CommandError("\(self.file) is no session of nmslite: remove it and log in again")
        }
        return session
    }

    /// Replaces the file as a whole: whoever reads at this moment sees the old or the new. Within ``withLock(_:)``.
    package func save(_ session: Session) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        let text = String(decoding: try encoder.encode(session), as: UTF8.self)
        do { try PrivateFile.write(text + "\n", to: self.file) } catch {
            throw CommandError("the session can't be kept: \(error.description)")
        }
    }

    /// - Returns: whether there was one.
    @discardableResult
    package func remove() -> Bool { unlink(self.file) == 0 }

    /// One command at a time renews tokens: a refresh token is good for one use, and a second one ends the session.
    package func withLock<Value>(_ body: () async throws -> Value) async throws -> Value {
        let folder = (self.file as NSString).deletingLastPathComponent
        do {
            try FileManager.default.createDirectory(
                atPath: folder,
                withIntermediateDirectories: true,
                attributes: [.posixPermissions: 0o700]
            )
        } catch { throw CommandError("\(folder), for the session, can't be made: \(error.localizedDescription)") }
        let descriptor = open(self.file + ".lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw CommandError("\(self.file).lock can't be made: \(String(cString: strerror(errno)))")
        }
        defer { close(descriptor) }
        let deadline = ContinuousClock.now + Self.patience
        while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            guard ContinuousClock.now < deadline else {
                throw CommandError("another nmslite command keeps \(self.file).lock", status: ExitStatus.temporary)
            }
            try await Task.sleep(for: Self.pause)
        }
        return try await body()
    }
}
