import ArgumentParser
import Foundation
import NMSCore
import NMSRuntime

/// Which server, who asks, and how both are known: the same for every command that calls a server.
struct ClientOptions: ParsableArguments {
    @Option(help: "The server's URL. Without it, the one on this machine.")
    var server: String?

    @Option(help: "The user to sign in as.")
    var username = "admin"

    @Option(help: "A file with the password; without it, it is asked for, or read from standard input.")
    var passwordFile: String?

    @Option(help: "PEM certificates of the authority that signed the server's certificate.")
    var caFile: String?

    @Option(help: "The fingerprint of the server's certificate, sha256:…, as it logs at its start.")
    var fingerprint: String?

    /// Runs `body` signed in, and signs out.
    func withClient(
        _ configuration: Configuration,
        _ body: (APIClient) async throws -> Void
    ) async throws {
        let requester = try HTTPRequester(try self.address(configuration), trust: try self.trust(configuration))
        let client = APIClient(requester, username: self.username, password: try self.password())
        try await client.login()
        do { try await body(client) } catch {
            await client.logout()
            guard let failure = error as? APIFailure else { throw error }
            throw failure.commandError
        }
        await client.logout()
    }

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
        if let fingerprint {
            guard self.caFile == nil else {
                throw CommandError("give either --fingerprint or --ca-file, not both", status: ErrorReport.usage)
            }
            return try ServerTrust.fingerprint(from: fingerprint)
        }
        if let caFile { return try .authorities(inFile: caFile) }
        guard self.server.map({ (try? ServerAddress($0))?.isLocal == true }) ?? true else { return .system }
        let file = configuration.server.tls.certFile ?? DataDirectory(configuration).certificateFile
        return ServerTrust.local(certificateFile: file) ?? .system
    }

    private func password() throws -> Secret {
        guard let file = self.passwordFile else { return try PasswordInput.readExisting(of: self.username) }
        let text: String?
        do { text = try TextFile.read(file) } catch {
            throw CommandError("--password-file \(file) can't be read", status: ErrorReport.usage)
        }
        guard let line = text?.split(separator: "\n", omittingEmptySubsequences: false).first, !line.isEmpty else {
            throw CommandError(
                "--password-file \(file) does not exist, or its first line is empty",
                status: ErrorReport.usage
            )
        }
        return Secret(String(line))
    }
}
