import ArgumentParser
import Foundation
import NMSClient
import NMSCore
import NMSRuntime
import UnixSignals

/// `nmslite metrics DEVICE`: the latest numbers of one device, with their course.
struct MetricsCommand: ConfiguredCommand {
    static let configuration = CommandConfiguration(
        commandName: "metrics",
        abstract: "Show the metrics of a device.",
        discussion: """
            EXAMPLES
              nmslite metrics 12
              nmslite metrics WIN-SRV01 --history 24h
              nmslite metrics 10.0.0.5 --watch
              nmslite metrics 12 --history 7d --json | jq '.history.points[].cpu.usage_percent.avg'
            """
    )

    @Argument(help: "Its number, address or name.") var device: String
    @Option(help: "How far back to look, such as 30m, 24h or 30d; 0 for the latest numbers alone.")
    var history = "1h"
    @ArgumentParser.Flag(help: "Go on until Ctrl-C: drawn in place, or a line for every poll into files and pipes.")
    var watch = false
    @ArgumentParser.Flag(help: "Print JSON; with --watch a document in a line for every poll.") var json = false
    @OptionGroup var client: ClientOptions

    private static let watchInterval: Duration = .seconds(2)

    func run(_ configuration: NMSRuntime.Configuration, warnings: [String]) async throws {
        let span = self.history == "0" ? nil : Quantities.seconds(self.history)
        guard span != nil || self.history == "0" else {
            throw CommandError(
                "--history must be a length of time such as 30m, 24h or 30d, not \(self.history)",
                status: ExitStatus.usage
            )
        }
        try await self.client.withClient(configuration) { client in
            let device = try await client.device(self.device)
            if self.watch {
                let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm)
                try await Interruption.run(until: signals) { try await self.watch(device.id, span, client) }
            } else {
                try await self.show(device, span, client)
            }
        }
    }

    private func show(_ device: DeviceRecord, _ span: Double?, _ client: APIClient) async throws {
        let latest = try await client.get("/devices/\(device.id)/metrics")
        let history = try await self.history(device.id, span, client)
        if self.json {
            var document: JSONDocument = ["latest": try APIClient.object(latest)]
            if let history { document["history"] = try APIClient.object(history) }
            return try Output.json(document)
        }
        let report = try Self.report(device, latest, history)
        let terminal = Terminal.standardOutput
        Output.line(report.lines(terminal.style, width: terminal.width, now: Date()).joined(separator: "\n"))
    }

    private func watch(_ id: Int, _ span: Double?, _ client: APIClient) async throws {
        let terminal = Terminal.standardOutput
        let screen = terminal.isInteractive && !self.json ? LiveScreen(terminal) : nil
        defer { screen?.close() }
        var last: Date?
        var shown: [String] = []
        while true {
            do {
                let device = try APIClient.decode(DeviceRecord.self, try await client.get("/devices/\(id)"))
                let latest = try await client.get("/devices/\(id)/metrics")
                let history = screen == nil ? nil : try await self.history(id, span, client)
                let report = try Self.report(device, latest, history)
                if let screen {
                    let size = terminal.size
                    shown = report.lines(terminal.style, width: size.columns, now: Date())
                    screen.draw(Array(shown.prefix(size.rows)))
                } else if report.timestamp != last {
                    try self.json ? Output.jsonLine(try APIClient.object(latest)) : Output.line(report.line)
                }
                last = report.timestamp
            } catch let failure as APIFailure where failure.status == 404 && last == nil {
                screen?.draw(["device \(id) has not been measured yet"])
            } catch let error as CommandError where error.status == ExitStatus.unavailable && screen != nil {
                screen?.draw(shown + ["", terminal.style.apply(.red, to: error.message)])
            }
            try await Task.sleep(for: Self.watchInterval)
        }
    }

    private func history(_ id: Int, _ span: Double?, _ client: APIClient) async throws -> Data? {
        guard let span else { return nil }
        let now = Date()
        let from = APIClient.escaped(RFC3339.string(from: now.addingTimeInterval(-span)))
        let to = APIClient.escaped(RFC3339.string(from: now))
        return try await client.get("/devices/\(id)/metrics/history?from=\(from)&to=\(to)&interval=auto")
    }

    private static func report(_ device: DeviceRecord, _ latest: Data, _ history: Data?) throws -> MetricsReport {
        MetricsReport(
            device: device,
            metrics: try APIClient.decode(MetricsRecord.self, latest),
            history: try history.map { try HistoryRecord($0) }
        )
    }
}

/// Commands that go on until Ctrl-C, which is their normal end.
enum Interruption {
    static func run(
        until signals: UnixSignalsSequence,
        _ body: @escaping () async throws -> Void
    ) async throws {
        try await withoutActuallyEscaping(body) { body in
            let work = UncheckedWork(body: body)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await work.body() }
                group.addTask { for await _ in signals { return } }
                defer { group.cancelAll() }
                do { try await group.next() } catch is CancellationError {}
                group.cancelAll()
                // What was cancelled here is no failure; the screen is given back before the command ends.
                while let result = await group.nextResult() {
                    if case .failure(let error) = result, !(error is CancellationError) { throw error }
                }
            }
        }
    }

    /// The group ends before the closure's frame does.
    private struct UncheckedWork: @unchecked Sendable { let body: () async throws -> Void }
}
