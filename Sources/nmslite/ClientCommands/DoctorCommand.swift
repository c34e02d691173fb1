import ArgumentParser
import Foundation
import NMSClient
import NMSRuntime

/// `nmslite doctor DEVICE|IP`: goes the way of a poll step by step and says what is in the way.
struct DoctorCommand: ConfiguredCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Find out why a machine can't be polled, step by step, with causes and remedies.",
        discussion: """
            The server does the testing, over a connection of its own; it takes ten seconds at most, and at most one \
            login fails on the machine. An address that is no device yet becomes one for the test, and is removed \
            after it. Exit status: 0 polls will work, 1 they will not.

            EXAMPLES
              nmslite doctor 12
              nmslite doctor 10.0.0.5 --credential windows
            """
    )

    @Argument(help: "A device by number, address or name, or the address of a machine that is none yet.")
    var device: String
    @Option(help: "The credential to test with, by name or number; without it, the first of the device.")
    var credential: String?
    @ArgumentParser.Flag(help: "Print the diagnosis as JSON.") var json = false
    @OptionGroup var client: ClientOptions

    func run(_ configuration: NMSRuntime.Configuration, warnings: [String]) async throws {
        try await self.client.withClient(configuration) { client in
            var body: JSONDocument = [:]
            if let credential { body["credential_id"] = try await client.credentialIDs([credential])[0] }
            let (id, isNew) = try await self.target(client)
            let data: Data
            do {
                data = try await client.post("/devices/\(id)/test", JSONSerialization.data(withJSONObject: body))
            } catch {
                if isNew { _ = try? await client.delete("/devices/\(id)") }
                throw error
            }
            if isNew { _ = try await client.delete("/devices/\(id)") }
            let record = try APIClient.decode(DiagnosisRecord.self, data)
            if self.json {
                try Output.json(try APIClient.object(data))
            } else {
                let terminal = Terminal.standardOutput
                Output.line(record.text(terminal.style, width: terminal.tableWidth))
            }
            guard record.ok else { throw ArgumentParser.ExitCode(ExitStatus.failure) }
        }
    }

    private func target(_ client: APIClient) async throws -> (id: Int, isNew: Bool) {
        if Int(self.device) != nil { return (try await client.device(self.device).id, false) }
        let known = try await client.devices(matching: self.device)
        if known.count == 1 { return (known[0].id, false) }
        // Several, or none by this name: said as everywhere.
        guard known.isEmpty, self.credential != nil else { return (try await client.device(self.device).id, false) }
        let body = try JSONSerialization.data(withJSONObject: ["ip": self.device])
        return (try APIClient.decode(DeviceRecord.self, try await client.post("/devices", body)).id, true)
    }
}
