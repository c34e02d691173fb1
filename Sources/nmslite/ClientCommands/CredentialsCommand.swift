import ArgumentParser
import Foundation
import NMSClient
import NMSCore
import NMSRuntime

struct CredentialsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "credentials",
        abstract: "List, add and remove what the server signs in to Windows machines with.",
        discussion: """
            Passwords of credentials are asked for, or read from standard input when it is not a terminal; never given \
            as arguments. Sign in first (`nmslite login`).

            EXAMPLES
              nmslite credentials add windows --username monitor --domain CORP
              nmslite credentials add dcom --type wmi --username monitor --allowed-target 10.0.0.0/16
              pass show windows/monitor | nmslite credentials add windows --username monitor
            """,
        subcommands: [List.self, Add.self, Password.self, Resume.self, Remove.self]
    )

    struct List: ConfiguredCommand {
        static let configuration = CommandConfiguration(abstract: "List the credentials, without their passwords.")

        @ArgumentParser.Flag(help: "Print them as JSON.") var json = false
        @OptionGroup var client: ClientOptions

        func run(_ configuration: NMSRuntime.Configuration, warnings: [String]) async throws {
            try await self.client.withClient(configuration) { client in
                if self.json {
                    return try Output.json(try await client.documents("/credentials", [], named: "credentials"))
                }
                let credentials = try await client.credentials()
                guard !credentials.isEmpty else { return Output.line("no credentials") }
                Output.table(CredentialReport.table(credentials))
            }
        }
    }

    struct Add: ConfiguredCommand {
        static let configuration = CommandConfiguration(abstract: "Add a credential.")

        @Argument(help: "What it is called in NMSlite.") var name: String
        @Option(help: "winrm_ntlm, winrm_basic or wmi.") var type = "winrm_ntlm"
        // --username is who signs in to the server.
        @Option(name: .customLong("user"), help: "The account on the Windows machines.") var account: String
        @Option(help: "Its domain; without it, an account of each machine.") var domain: String?
        @Option(help: "The port; without it, the default of the type.") var port: Int?
        @ArgumentParser.Flag(help: "WinRM over HTTPS.") var ssl = false
        @Option(help: "What certificates must show: full, chain or none.") var tlsVerify: String?
        @Option(name: .customLong("allowed-target"), help: "A network that it may be sent to; repeatable; all without.")
        var allowedTargets: [String] = []
        @ArgumentParser.Flag(help: "Print the credential as JSON.") var json = false
        @OptionGroup var client: ClientOptions

        func run(_ configuration: NMSRuntime.Configuration, warnings: [String]) async throws {
            try CredentialsCommand.requireRoomForPassword(self.client)
            try await self.client.withClient(configuration) { client in
                let password = try PasswordInput.readNew("Password of \(self.account): ")
                var body: JSONDocument = [
                    "name": self.name, "credential_type": self.type, "username": self.account,
                    "password": password.exposed,
                ]
                if let domain { body["domain"] = domain }
                if let port { body["port"] = port }
                if self.ssl { body["use_ssl"] = true }
                if let tlsVerify { body["tls_verify"] = tlsVerify }
                if !self.allowedTargets.isEmpty { body["allowed_targets"] = self.allowedTargets }
                let data = try await client.post("/credentials", JSONSerialization.data(withJSONObject: body))
                if self.json { return try Output.json(try APIClient.object(data)) }
                let credential = try APIClient.decode(CredentialRecord.self, data)
                Output.line("credential \(credential.id) (\(PrintableText.of(credential.name))) added")
            }
        }
    }

    struct Password: ConfiguredCommand {
        static let configuration = CommandConfiguration(
            abstract: "Change the password of a credential; a suspension ends."
        )

        @Argument(help: "Its name or number.") var credential: String
        @OptionGroup var client: ClientOptions

        func run(_ configuration: NMSRuntime.Configuration, warnings: [String]) async throws {
            try CredentialsCommand.requireRoomForPassword(self.client)
            try await self.client.withClient(configuration) { client in
                let id = try await CredentialsCommand.id(self.credential, client)
                let password = try PasswordInput.readNew("New password of credential \(id): ")
                let body = try JSONSerialization.data(withJSONObject: ["password": password.exposed])
                _ = try await client.put("/credentials/\(id)", body)
                Output.line("credential \(id) has its new password")
            }
        }
    }

    struct Resume: ConfiguredCommand {
        static let configuration = CommandConfiguration(abstract: "End the suspension of a credential.")

        @Argument(help: "Its name or number.") var credential: String
        @OptionGroup var client: ClientOptions

        func run(_ configuration: NMSRuntime.Configuration, warnings: [String]) async throws {
            try await self.client.withClient(configuration) { client in
                let id = try await CredentialsCommand.id(self.credential, client)
                _ = try await client.post("/credentials/\(id)/resume")
                Output.line("credential \(id) is used again")
            }
        }
    }

    struct Remove: ConfiguredCommand {
        static let configuration = CommandConfiguration(abstract: "Remove a credential that no device uses.")

        @Argument(help: "Its name or number.") var credential: String
        @ArgumentParser.Flag(help: "Do not ask.") var yes = false
        @OptionGroup var client: ClientOptions

        func run(_ configuration: NMSRuntime.Configuration, warnings: [String]) async throws {
            try await self.client.withClient(configuration) { client in
                let id = try await CredentialsCommand.id(self.credential, client)
                guard self.yes || PasswordInput.confirms("Remove credential \(id)? [yes/no] ") else {
                    throw CommandError("nothing was removed; --yes removes without asking")
                }
                _ = try await client.delete("/credentials/\(id)")
                Output.line("credential \(id) removed")
            }
        }
    }

    fileprivate static func id(_ reference: String, _ client: APIClient) async throws -> Int {
        try await client.credentialIDs([reference])[0]
    }

    /// Standard input has room for one password.
    private static func requireRoomForPassword(_ options: ClientOptions) throws {
        guard isatty(STDIN_FILENO) != 1, options.passwordFile == nil, try ClientOptions.sessions.load() == nil else {
            return
        }
        throw CommandError(
            "standard input is for the credential's password: sign in first (`nmslite login`), or give --password-file",
            status: ExitStatus.denied
        )
    }
}
