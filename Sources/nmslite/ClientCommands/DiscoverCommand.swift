import ArgumentParser
import Foundation
import NMSClient
import NMSCore
import NMSRuntime
import UnixSignals

/// `nmslite discover 192.168.1.0/24`: starts a discovery on a server, watches it and shows what it found.
struct DiscoverCommand: ConfiguredCommand {
    static let configuration = CommandConfiguration(
        commandName: "discover",
        abstract: "Search a subnet for Windows machines, on a running server.",
        discussion: """
            Found machines become devices of the server, with the status discovered. Ctrl-C cancels the discovery. Exit \
            status: 0 completed, 1 refused or failed, 64 called wrongly, 69 no answer, 76 not the server that is \
            trusted, 77 not permitted, 130 cancelled.
            """
    )

    @Argument(help: "A subnet, an address, a range such as 10.0.0.5-9, or several with commas between.")
    var subnet: String

    @Option(name: .customLong("credential"), help: "A credential to sign in with, by name or number; repeatable.")
    var credentials: [String] = []

    @Option(help: "A subnet, address or range to leave out; repeatable.")
    var exclude: [String] = []

    @Option(name: .customLong("port"), help: "A TCP port to dial instead of 5985, 5986, 135 and 445; repeatable.")
    var ports: [Int] = []

    @ArgumentParser.Flag(help: "Monitor what a credential opened.")
    var autoProvision = false

    @Option(help: "Seconds between polls of new devices.")
    var pollingInterval: Int?

    @ArgumentParser.Flag(help: "Print the discovery with its devices as JSON.")
    var json = false

    @OptionGroup var client: ClientOptions

    func run(_ configuration: NMSRuntime.Configuration, warnings: [String]) async throws {
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm)
        try await self.client.withClient(configuration) { client in
            let discovery = RunningDiscovery(
                id: try await self.start(client),
                client: client,
                progress: ProgressDisplay(Terminal.standardError)
            )
            try await discovery.watch(cancellingOn: signals)
            let document = try await discovery.document()
            if self.json {
                try Output.json(document)
            } else {
                Output.line(DiscoveryReport(document).text(Terminal.standardOutput))
            }
            try Self.judge(document)
        }
    }

    private func start(_ client: APIClient) async throws -> Int {
        var body: JSONDocument = ["subnet": self.subnet]
        let ids = try await client.credentialIDs(self.credentials)
        if !ids.isEmpty { body["credential_ids"] = ids }
        if !self.exclude.isEmpty { body["exclude"] = self.exclude }
        if !self.ports.isEmpty { body["ports"] = self.ports }
        if self.autoProvision { body["auto_provision"] = true }
        if let pollingInterval { body["polling_interval"] = pollingInterval }
        let data = try await client.post("/devices/discover", JSONSerialization.data(withJSONObject: body))
        guard let id = try APIClient.object(data)["discovery_id"] as? Int else {
            throw CommandError("the server did not say which discovery it started")
        }
        return id
    }

    private static func judge(_ document: JSONDocument) throws {
        switch document["status"] as? String {
        case "completed": return
        case "cancelled": throw CommandError("the discovery was cancelled", status: ExitStatus.interrupted)
        default:
            let reason = document["error"] as? String ?? "the server does not say why"
            throw CommandError("the discovery failed: \(reason)")
        }
    }
}

/// A discovery on a server, watched until it is over.
private struct RunningDiscovery {
    /// Between two questions; the server stores progress about once a second.
    private static let interval: Duration = .milliseconds(500)
    /// How long a server that is away is waited for: it may be starting anew.
    private static let patience: Duration = .seconds(60)
    private static let page = 500

    let id: Int
    let client: APIClient
    let progress: ProgressDisplay

    /// - Throws: `APIFailure`, ``CommandError``.
    func watch(cancellingOn signals: UnixSignalsSequence) async throws {
        let isCancelled = try await withThrowingTaskGroup(of: Bool.self) { group in
            group.addTask {
                try await self.watchToTheEnd()
                return false
            }
            group.addTask {
                for await _ in signals { return true }
                return false
            }
            defer { group.cancelAll() }
            return try await group.next() ?? false
        }
        self.progress.end()
        guard isCancelled else { return }
        do {
            _ = try await self.client.delete("/discoveries/\(self.id)")
        } catch let failure as APIFailure where failure.status == 409 {
            // It ended in the same moment.
        }
    }

    private func watchToTheEnd() async throws {
        var lastAnswer = ContinuousClock.now
        while true {
            do {
                let data = try await self.client.get("/discoveries/\(self.id)?limit=1")
                let state = DiscoveryState(try APIClient.object(data))
                lastAnswer = .now
                self.progress.show(state)
                if state.isFinished { return }
            } catch let error as CommandError where error.status == ExitStatus.unavailable {
                guard lastAnswer.duration(to: .now) < Self.patience else { throw error }
            }
            try await Task.sleep(for: Self.interval)
        }
    }

    /// The discovery with all of its devices.
    func document() async throws -> JSONDocument {
        var document: JSONDocument = [:]
        var devices: [Any] = []
        for offset in stride(from: 0, to: Int.max, by: Self.page) {
            let data = try await self.client.get("/discoveries/\(self.id)?limit=\(Self.page)&offset=\(offset)")
            let part = try APIClient.object(data)
            if document.isEmpty { document = part }
            let found = part["devices"] as? [Any] ?? []
            devices += found
            if found.count < Self.page { break }
        }
        document["devices"] = devices
        return document
    }
}
