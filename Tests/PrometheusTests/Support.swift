import Foundation
import Logging

@testable import Prometheus

/// What prometheus_client read out of an exposition.
struct ParsedFamily: Decodable, Equatable {
    struct Sample: Decodable, Equatable {
        var name: String
        var labels: [String: String]
        var value: String

        var number: Double { Double(self.value) ?? .nan }
    }

    var name: String
    var help: String
    var type: String
    var samples: [Sample]
}

/// The parser that no one here wrote.
enum PrometheusClient {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    private static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    static func parse(_ bytes: [UInt8], _ format: ExpositionFormat) throws -> [ParsedFamily] {
        let python =
            ProcessInfo.processInfo.environment["NMSLITE_TEST_PYTHON"]
            ?? self.root.appending(path: ".venv/bin/python").path
        let process = Process()
        process.executableURL = URL(filePath: python)
        process.arguments = [
            self.root.appending(path: "Tests/Interop/prometheus_parse.py").path,
            format == .text ? "text" : "openmetrics",
        ]
        let (input, output, errors) = (Pipe(), Pipe(), Pipe())
        process.standardInput = input
        process.standardOutput = output
        process.standardError = errors
        try process.run()
        try input.fileHandleForWriting.write(contentsOf: Data(bytes))
        try input.fileHandleForWriting.close()
        let data = try output.fileHandleForReading.readToEnd() ?? Data()
        let problem = String(decoding: try errors.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw Failure(description: problem) }
        return try JSONDecoder().decode([ParsedFamily].self, from: data)
    }
}

extension PrometheusRegistry {
    convenience init(test families: [MetricFamily], samplerTimeout: Duration = .seconds(30)) {
        self.init(
            families,
            samplerTimeout: samplerTimeout,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
    }

    func text(_ format: ExpositionFormat = .text) async -> String {
        String(decoding: await self.render(format), as: UTF8.self)
    }

    /// The lines of one metric, without the comments.
    func lines(_ prefix: String) async -> [String] {
        await self.text().split(separator: "\n").map(String.init).filter { $0.hasPrefix(prefix) }
    }
}
