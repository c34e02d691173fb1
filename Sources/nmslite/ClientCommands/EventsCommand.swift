import ArgumentParser
import Foundation
import NMSClient
import NMSRuntime
import UnixSignals

/// `nmslite events`: what changes in the fleet, as it changes.
struct EventsCommand: ConfiguredCommand {
    static let configuration = CommandConfiguration(
        commandName: "events",
        abstract: "Follow the fleet: a line for every device that changes its status, fails or works again.",
        discussion: """
            It looks at the server every few seconds; what comes and goes between two looks is not seen. Ctrl-C ends it.

            EXAMPLES
              nmslite events
              nmslite events --json | jq -c 'select(.to == "unreachable")'
            """
    )

    @Option(help: "Seconds between two looks at the server, 1 to 3600.") var interval = 5
    @ArgumentParser.Flag(help: "Print a JSON document in a line for every event.") var json = false
    @OptionGroup var client: ClientOptions

    func run(_ configuration: NMSRuntime.Configuration, warnings: [String]) async throws {
        guard (1...3600).contains(self.interval) else {
            throw CommandError("--interval must be 1 to 3600 seconds, not \(self.interval)", status: ExitStatus.usage)
        }
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm)
        try await self.client.withClient(configuration) { client in
            try await Interruption.run(until: signals) { try await self.follow(client) }
        }
    }

    private func follow(_ client: APIClient) async throws {
        var known = Self.byID(try await client.devices())
        let warn = Terminal.standardError
        warn.write("watching \(known.count) devices; Ctrl-C ends\n")
        var isAway = false
        while true {
            try await Task.sleep(for: .seconds(self.interval))
            let present: [DeviceRecord]
            do { present = try await client.devices() } catch let error as CommandError
                where error.status == ExitStatus.unavailable
            {
                // A server that starts anew is followed on; what happened meanwhile shows at the next look.
                if !isAway { warn.write("nmslite: \(error.message)\n") }
                isAway = true
                continue
            }
            if isAway { warn.write("nmslite: the server answers again\n") }
            isAway = false
            for event in FleetEvent.between(known, present, at: Date()) {
                try self.json
                    ? Output.jsonLine(event.document) : Output.line(event.line(Terminal.standardOutput.style))
            }
            known = Self.byID(present)
        }
    }

    private static func byID(_ devices: [DeviceRecord]) -> [Int: DeviceRecord] {
        Dictionary(devices.map { ($0.id, $0) }, uniquingKeysWith: { $1 })
    }
}
