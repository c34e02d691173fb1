import ArgumentParser
import Foundation
import NMSClient
import NMSRuntime

/// `nmslite login`: signs in once, for the commands that follow.
struct LoginCommand: ConfiguredCommand {
    static let configuration = CommandConfiguration(
        commandName: "login",
        abstract: "Sign in to a server, for the commands that follow.",
        discussion: """
            The session is kept in ~/.local/state/nmslite/session.json ($XDG_STATE_HOME), readable by you alone, until \
            `nmslite logout`, or until it was not used for seven days. The password is asked for, or read from \
            standard input or --password-file; it is not kept.

            A server with a certificate of its own is trusted by its fingerprint: compare the one that is shown with \
            the one in the server's log, or give it as --fingerprint. Verification can't be switched off.

            EXAMPLES
              nmslite login                                     the server on this machine
              nmslite login https://nms.example.com:8443 --username anna
              nmslite login --password-file /var/lib/nmslite/initial-admin-password
            """
    )

    @Argument(help: "The server's URL; without it, the one on this machine.")
    var url: String?

    @OptionGroup var client: ClientOptions

    func run(_ configuration: NMSRuntime.Configuration, warnings: [String]) async throws {
        var options = self.client
        if let url {
            guard options.server == nil || options.server == url else {
                throw CommandError("give the server once: as URL or as --server", status: ExitStatus.usage)
            }
            options.server = url
        }
        let address = try options.address(configuration)
        let (requester, trust) = try await self.trusted(address, try options.trust(configuration))
        let tokens: TokenPair
        do {
            tokens = try await APIClient.login(requester, username: options.user, password: try options.password())
        } catch let failure as APIFailure { throw failure.commandError }
        let session = Session(server: address.url, username: options.user, trust: trust, tokens: tokens)
        let store = ClientOptions.sessions
        try await store.withLock { try store.save(session) }
        Output.line("signed in to \(address.url) as \(options.user)")
    }

    /// Speaks with the server once, before any password: a certificate that nobody vouches for is shown.
    private func trusted(
        _ address: ServerAddress,
        _ trust: ServerTrust
    ) async throws -> (HTTPRequester, ServerTrust) {
        let requester = try HTTPRequester(address, trust: trust)
        do { try await requester.greet() } catch let error as CommandError {
            guard error.status == ExitStatus.untrusted, trust == .system,
                let found = await CertificateProbe.fingerprint(of: address)
            else { throw error }
            let written = "sha256:" + found.replacing(":", with: "").lowercased()
            let question = """
                \(address.url) has a certificate that no known authority signed:
                  \(written)
                Is this the fingerprint in the server's log? [yes/no]\u{20}
                """
            guard PasswordInput.confirms(question)
            else {
                throw CommandError(
                    "\(address.url) is not trusted. It shows \(written): if that is what the server logged at its "
                        + "start, give it as --fingerprint",
                    status: ExitStatus.untrusted
                )
            }
            return (try HTTPRequester(address, trust: .fingerprint(found)), .fingerprint(found))
        }
        return (requester, trust)
    }
}

struct LogoutCommand: ConfiguredCommand {
    static let configuration = CommandConfiguration(
        commandName: "logout",
        abstract: "End the session of `nmslite login`, here and on the server."
    )

    func run(_ configuration: NMSRuntime.Configuration, warnings: [String]) async throws {
        let store = ClientOptions.sessions
        guard let session = try store.load() else {
            Output.line("nobody is signed in")
            return
        }
        do {
            let requester = try HTTPRequester(try ServerAddress(session.server), trust: session.trust)
            let client = APIClient(requester, .session(store))
            try await client.begin()
            await client.logout()
        } catch let error as CommandError where error.status != ExitStatus.denied {
            store.remove()
            throw CommandError("signed out here, but \(error.message)", status: error.status)
        } catch {}
        store.remove()
        Output.line("signed out of \(session.server)")
    }
}
