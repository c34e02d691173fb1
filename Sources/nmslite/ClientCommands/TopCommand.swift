import ArgumentParser
import Foundation
import NMSClient
import NMSRuntime
import UnixSignals

/// `nmslite top`: the whole fleet, refreshed in place.
struct TopCommand: ConfiguredCommand {
    static let configuration = CommandConfiguration(
        commandName: "top",
        abstract: "Watch the fleet: every machine's status and load, refreshed in place.",
        discussion: """
            Keys: q quits; c, m, d, n and p sort by CPU, memory, disk, network and processes, a by name, i by address, \
            s by status, g by the age of the last poll; r reverses; arrows, Page Up and Page Down, Home and End scroll. \
            Into a file or a pipe it prints the fleet once.

            EXAMPLES
              nmslite top --sort memory
              nmslite top --status unreachable
              nmslite top --once --json | jq -r '.[] | [.hostname, .metrics.cpu.usage_percent] | @tsv'
            """
    )

    @Option(help: "cpu, memory, disk, network, processes, name, address, status or age.")
    var sort: FleetSort = .cpu
    @ArgumentParser.Flag(help: "From the other end.") var reverse = false
    @Option(help: "Only devices with this status.") var status: String?
    @Option(help: "Only devices with this text in address, name or system.") var search: String?
    @Option(help: "Seconds between two looks at the server, 1 to 3600.") var interval = 5
    @ArgumentParser.Flag(help: "Print the fleet once, and end.") var once = false
    @ArgumentParser.Flag(help: "Print the devices with their metrics as JSON, once.") var json = false
    @OptionGroup var client: ClientOptions

    func run(_ configuration: NMSRuntime.Configuration, warnings: [String]) async throws {
        guard (1...3600).contains(self.interval) else {
            throw CommandError("--interval must be 1 to 3600 seconds, not \(self.interval)", status: ExitStatus.usage)
        }
        let query = [("status", self.status), ("search", self.search)].compactMap { pair in
            pair.1.map { "\(pair.0)=\(APIClient.escaped($0))" }
        }
        let terminal = Terminal.standardOutput
        try await self.client.withClient(configuration) { client in
            if self.json {
                let documents = try await client.documents("/devices", query + ["include=metrics"], named: "devices")
                return try Output.json(documents)
            }
            var view = FleetView(title: "nmslite")
            view.sort = self.sort
            view.isReversed = self.reverse
            guard terminal.isInteractive, !self.once else {
                view.devices = try await client.devices(query, metrics: true)
                view.fetchedAt = Date()
                return Output.line(view.text(terminal.style, width: terminal.tableWidth, now: Date()))
            }
            let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm)
            let loop = FleetLoop(client: client, query: query, interval: .seconds(self.interval), terminal: terminal)
            try await loop.run(view, until: signals)
        }
    }
}

extension FleetSort: ExpressibleByArgument {}

/// Draws a fleet until somebody quits.
private struct FleetLoop {
    enum Event: Sendable {
        case devices([DeviceRecord])
        case problem(String)
        case failure(any Error)
        case key(LiveScreen.Key)
        /// Ages grow, and windows change their size.
        case tick
        case quit
    }

    private static let tick: Duration = .milliseconds(500)

    let client: APIClient
    let query: [String]
    let interval: Duration
    let terminal: Terminal

    func run(_ view: FleetView, until signals: UnixSignalsSequence) async throws {
        let screen = LiveScreen(self.terminal)
        defer { screen.close() }
        let (events, continuation) = AsyncStream.makeStream(of: Event.self)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await self.fetch(continuation) }
            group.addTask {
                for await key in screen.keys() { continuation.yield(.key(key)) }
                continuation.yield(.quit)
            }
            group.addTask {
                for await _ in signals { continuation.yield(.quit) }
            }
            group.addTask {
                while !Task.isCancelled {
                    continuation.yield(.tick)
                    try? await Task.sleep(for: Self.tick)
                }
            }
            defer {
                screen.close()
                group.cancelAll()
            }
            var view = view
            for await event in events {
                guard try self.take(event, &view) else { return }
                let size = self.terminal.size
                screen.draw(
                    view.screen(self.terminal.style, width: size.columns, height: size.rows, now: Date())
                )
            }
        }
    }

    /// - Returns: false at the end.
    private func take(_ event: Event, _ view: inout FleetView) throws -> Bool {
        switch event {
        case .devices(let devices):
            view.devices = devices
            view.fetchedAt = Date()
            view.problem = nil
        case .problem(let text): view.problem = text
        case .failure(let error): throw error
        case .tick: break
        case .quit, .key(.character("q")): return false
        case .key(let key): self.press(key, &view)
        }
        return true
    }

    private func press(_ key: LiveScreen.Key, _ view: inout FleetView) {
        let height = self.terminal.size.rows
        let page = FleetView.capacity(height: height)
        switch key {
        case .up, .character("k"): view.scroll(by: -1, height: height)
        case .down, .character("j"): view.scroll(by: 1, height: height)
        case .pageUp: view.scroll(by: -page, height: height)
        case .pageDown: view.scroll(by: page, height: height)
        case .home: view.offset = 0
        case .end: view.scroll(by: view.devices.count, height: height)
        case .character("r"): view.isReversed.toggle()
        case .character(let character):
            guard let sort = FleetSort.allCases.first(where: { $0.key == character }) else { return }
            view.sort = sort
            view.offset = 0
        }
    }

    private func fetch(_ events: AsyncStream<Event>.Continuation) async {
        while !Task.isCancelled {
            do { events.yield(.devices(try await self.client.devices(self.query, metrics: true))) } catch let error
                as CommandError where error.status == ExitStatus.unavailable
            {
                events.yield(.problem(error.message))
            } catch let failure as APIFailure where failure.status >= 500 || failure.status == 429 {
                events.yield(.problem(failure.message))
            } catch is CancellationError {
                return
            } catch {
                events.yield(.failure(error))
                return
            }
            try? await Task.sleep(for: self.interval)
        }
    }
}
