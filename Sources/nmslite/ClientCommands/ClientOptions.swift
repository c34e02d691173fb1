import ArgumentParser
import Foundation
import NMSClient
import NMSCore
import NMSRuntime

/// Which server, who asks, and how both are known: the same for every command that calls a server.
struct ClientOptions: ParsableArguments {
    @Option(help: "The server's URL. Without it, the one of `nmslite login`, else the one on this machine.")
    var server: String?

    @Option(help: "The user to sign in as for this command, instead of the session of `nmslite login`.")
    var username: String?

    @Option(help: "A file with that user's password; without it, it is asked for, or read from standard input.")
    var passwordFile: String?

    @Option(help: "PEM certificates of the authority that signed the server's certificate.")
    var caFile: String?

    @Option(help: "The fingerprint of the server's certificate, sha256:…, as it logs at its start.")
    var fingerprint: String?

    static let defaultUser = "admin"

    /// Where a session is kept.
    static var sessions: SessionStore { .standard(ProcessInfo.processInfo.environment) }

    /// Runs `body` with the session of `nmslite login`; without one, signed in for the moment.
    func withClient<Value>(
        _ configuration: Configuration,
        _ body: (APIClient) async throws -> Value
    ) async throws -> Value {
        let client = try self.client(configuration)
        try await client.begin()
        let result: Value
        do { result = try await body(client) } catch {
            await client.end()
            guard let failure = error as? APIFailure else { throw error }
            throw failure.commandError
        }
        await client.end()
        return result
    }

    private func client(_ configuration: Configuration) throws -> APIClient {
        if let session = try self.session() {
            let trust = try self.explicitTrust() ?? session.trust
            let requester = try HTTPRequester(try ServerAddress(session.server), trust: trust)
            return APIClient(requester, .session(Self.sessions))
        }
        let requester = try HTTPRequester(try self.address(configuration), trust: try self.trust(configuration))
        return APIClient(requester, .password(username: self.user, password: try self.password()))
    }

    /// The session that fits these options: none of another server, and none when a user is given.
    private func session() throws -> Session? {
        guard self.username == nil, self.passwordFile == nil, let session = try Self.sessions.load() else { return nil }
        guard let server else { return session }
        return try ServerAddress(server) == ServerAddress(session.server) ? session : nil
    }

    var user: String { self.username ?? Self.defaultUser }

    func address(_ configuration: Configuration) throws -> ServerAddress {
        if let server { return try ServerAddress(server) }
        return ServerAddress(
            host: "localhost",
            port: configuration.server.port,
            isTLS: configuration.server.tls.enabled
        )
    }

    /// By default the system's authorities, or the certificate in the data directory of the server on this machine.
    func trust(_ configuration: Configuration) throws -> ServerTrust {
        if let trust = try self.explicitTrust() { return trust }
        guard self.server.map({ (try? ServerAddress($0))?.isLocal == true }) ?? true else { return .system }
        let file = configuration.server.tls.certFile ?? DataDirectory(configuration).certificateFile
        return ServerTrust.local(certificateFile: file) ?? .system
    }

    private func explicitTrust() throws -> ServerTrust? {
        if let fingerprint {
            guard self.caFile == nil else {
                throw CommandError("give either --fingerprint or --ca-file, not both", status: ExitStatus.usage)
            }
            return try ServerTrust.fingerprint(from: fingerprint)
        }
        return try self.caFile.map { try .authorities(inFile: $0) }
    }

    func password() throws -> Secret {
        guard let file = self.passwordFile else { return try PasswordInput.readExisting(of: self.user) }
        let text: String?
        do { text = try TextFile.read(file) } catch {
            throw CommandError("--password-file \(file) can't be read", status: ExitStatus.usage)
        }
        guard let line = text?.split(separator: "\n", omittingEmptySubsequences: false).first, !line.isEmpty else {
            throw CommandError(
                "--password-file \(file) does not exist, or its first line is empty",
                status: ExitStatus.usage
            )
        }
        return Secret(String(line))
    }
}

/// What commands print.
enum Output {
    static func json(_ value: Any) throws {
        let data = try JSONSerialization.data(
            withJSONObject: value,
            options: [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        )
        self.line(String(decoding: data, as: UTF8.self))
    }

    /// One document in one line.
    static func jsonLine(_ value: Any) throws {
        let data = try JSONSerialization.data(withJSONObject: value, options: [.sortedKeys, .withoutEscapingSlashes])
        self.line(String(decoding: data, as: UTF8.self))
    }

    /// At once, also into a pipe.
    static func line(_ text: String) {
        print(text)
        fflush(nil)
    }

    static func table(_ table: TextTable) {
        let terminal = Terminal.standardOutput
        self.line(table.lines(terminal.style, width: terminal.tableWidth).joined(separator: "\n"))
    }
}
