import ArgumentParser
import Foundation
import NMSClient
import NMSRuntime

struct DevicesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "devices",
        abstract: "List, add and remove devices, and start and end their monitoring.",
        discussion: """
            A device is meant by its number, its address or its name.

            EXAMPLES
              nmslite devices list --status unreachable
              nmslite devices add 10.0.0.5 --credential windows
              nmslite devices show WIN-SRV01
              nmslite devices list --json | jq -r '.[].ip'
            """,
        subcommands: [
            List.self, Show.self, Add.self, Provision.self, Deprovision.self, Poll.self, Remove.self,
        ]
    )

    struct List: ConfiguredCommand {
        static let configuration = CommandConfiguration(abstract: "List the devices.")

        @Option(help: "Only those with this status: discovered, provisioned, monitoring or unreachable.")
        var status: String?

        @Option(help: "Only those with this text in address, name or system.")
        var search: String?

        @Option(help: "id, ip, hostname, status, last_seen or created_at; descending as in --sort=-last_seen.")
        var sort: String?

        @ArgumentParser.Flag(help: "Print them as JSON.")
        var json = false

        @OptionGroup var client: ClientOptions

        func run(_ configuration: NMSRuntime.Configuration, warnings: [String]) async throws {
            let query = [("status", self.status), ("search", self.search), ("sort", self.sort)].compactMap { pair in
                pair.1.map { "\(pair.0)=\(APIClient.escaped($0))" }
            }
            try await self.client.withClient(configuration) { client in
                if self.json {
                    return try Output.json(try await client.documents("/devices", query, named: "devices"))
                }
                let devices = try await client.devices(query)
                guard !devices.isEmpty else { return Output.line("no devices") }
                Output.table(DeviceReport.table(devices, now: Date()))
            }
        }
    }

    struct Show: ConfiguredCommand {
        static let configuration = CommandConfiguration(abstract: "Show one device.")

        @Argument(help: "Its number, address or name.") var device: String
        @ArgumentParser.Flag(help: "Print it as JSON.") var json = false
        @OptionGroup var client: ClientOptions

        func run(_ configuration: NMSRuntime.Configuration, warnings: [String]) async throws {
            try await self.client.withClient(configuration) { client in
                let device = try await client.device(self.device)
                if self.json {
                    return try Output.json(try APIClient.object(try await client.get("/devices/\(device.id)")))
                }
                let credentials = try await client.credentials()
                let style = Terminal.standardOutput.style
                Output.line(DeviceReport.text(device, credentials: credentials, now: Date(), style))
            }
        }
    }

    struct Add: ConfiguredCommand {
        static let configuration = CommandConfiguration(
            abstract: "Add a device, and monitor it if a credential is given."
        )

        @Argument(help: "Its IPv4 or IPv6 address.") var ip: String
        @Option(help: "Its name; polls set it as well.") var hostname: String?
        @Option(name: .customLong("credential"), help: "A credential by name or number; repeatable, tried in order.")
        var credentials: [String] = []
        @Option(help: "Seconds between polls, 5 to 86400.") var interval: Int?
        @ArgumentParser.Flag(help: "Print the device as JSON.") var json = false
        @OptionGroup var client: ClientOptions

        func run(_ configuration: NMSRuntime.Configuration, warnings: [String]) async throws {
            try await self.client.withClient(configuration) { client in
                // Names are looked up first: a device must not stay behind when one of them is wrong.
                let ids = try await client.credentialIDs(self.credentials)
                var body: JSONDocument = ["ip": self.ip]
                if let hostname { body["hostname"] = hostname }
                if let interval { body["polling_interval"] = interval }
                let data = try await client.post("/devices", JSONSerialization.data(withJSONObject: body))
                let device = try APIClient.decode(DeviceRecord.self, data)
                if !ids.isEmpty {
                    do {
                        try await DevicesCommand.provision(device, ids, nil, client)
                    } catch let failure as APIFailure {
                        throw CommandError(
                            "device \(device.id) was added, but is not monitored: \(failure.message) (\(failure.code))"
                        )
                    }
                }
                if self.json {
                    return try Output.json(try APIClient.object(try await client.get("/devices/\(device.id)")))
                }
                let state = ids.isEmpty ? "; `nmslite devices provision \(device.id) …` monitors it" : " and monitored"
                Output.line("device \(device.id) (\(device.ip)) added\(state)")
            }
        }
    }

    struct Provision: ConfiguredCommand {
        static let configuration = CommandConfiguration(abstract: "Monitor a device; the first poll starts at once.")

        @Argument(help: "Its number, address or name.") var device: String
        @Option(name: .customLong("credential"), help: "A credential by name or number; repeatable, tried in order.")
        var credentials: [String]
        @Option(help: "Seconds between polls, 5 to 86400.") var interval: Int?
        @OptionGroup var client: ClientOptions

        func run(_ configuration: NMSRuntime.Configuration, warnings: [String]) async throws {
            try await self.client.withClient(configuration) { client in
                let ids = try await client.credentialIDs(self.credentials)
                let device = try await client.device(self.device)
                try await DevicesCommand.provision(device, ids, self.interval, client)
                Output.line("device \(device.id) (\(device.name)) is monitored")
            }
        }
    }

    struct Deprovision: ConfiguredCommand {
        static let configuration = CommandConfiguration(abstract: "End the monitoring of a device; its metrics stay.")

        @Argument(help: "Its number, address or name.") var device: String
        @OptionGroup var client: ClientOptions

        func run(_ configuration: NMSRuntime.Configuration, warnings: [String]) async throws {
            try await self.client.withClient(configuration) { client in
                let device = try await client.device(self.device)
                _ = try await client.post("/devices/\(device.id)/deprovision")
                Output.line("device \(device.id) (\(device.name)) is no longer monitored")
            }
        }
    }

    struct Poll: ConfiguredCommand {
        static let configuration = CommandConfiguration(abstract: "Poll a device now, outside of its schedule.")

        @Argument(help: "Its number, address or name.") var device: String
        @OptionGroup var client: ClientOptions

        func run(_ configuration: NMSRuntime.Configuration, warnings: [String]) async throws {
            try await self.client.withClient(configuration) { client in
                let device = try await client.device(self.device)
                let answer = try APIClient.object(try await client.post("/devices/\(device.id)/poll"))
                Output.line("poll \(answer["job_id"] as? String ?? "") of device \(device.id) is queued")
            }
        }
    }

    struct Remove: ConfiguredCommand {
        static let configuration = CommandConfiguration(abstract: "Remove a device and its metrics, for good.")

        @Argument(help: "Its number, address or name.") var device: String
        @ArgumentParser.Flag(help: "Do not ask.") var yes = false
        @OptionGroup var client: ClientOptions

        func run(_ configuration: NMSRuntime.Configuration, warnings: [String]) async throws {
            try await self.client.withClient(configuration) { client in
                let device = try await client.device(self.device)
                let question = "Remove device \(device.id), \(device.name) (\(device.ip)), with its metrics? [yes/no] "
                guard self.yes || PasswordInput.confirms(question) else {
                    throw CommandError("nothing was removed; --yes removes without asking")
                }
                _ = try await client.delete("/devices/\(device.id)")
                Output.line("device \(device.id) (\(device.name)) removed")
            }
        }
    }

    fileprivate static func provision(
        _ device: DeviceRecord,
        _ credentials: [Int],
        _ interval: Int?,
        _ client: APIClient
    ) async throws {
        var body: JSONDocument = ["credential_ids": credentials]
        if let interval { body["polling_interval"] = interval }
        _ = try await client.post("/devices/\(device.id)/provision", JSONSerialization.data(withJSONObject: body))
    }
}
