import Foundation
import Testing

/// A run of `Tests/Interop/dcom_server.py`: a WMI host made of third-party parts.
struct PythonHost {
    static let account = (domain: "FABRIKAM", user: "poller", password: "Pässw0rd")

    /// One thing that is to go wrong, once; see `Options.faults` in the script.
    struct Fault: Encodable {
        var at: String
        var `do`: String
        var value: UInt32?
        var what: String?
        var skip: Int?
        var always: Bool?
    }

    /// What differs from the script's defaults.
    struct Options: Encodable {
        var account =
            "\(PythonHost.account.domain):\(PythonHost.account.user):\(PythonHost.account.password)"
        var max_frag: Int?
        var fragment_body: Int?
        var padding: Int?
        var header_sign: Bool?
        var authn_hint: Int?
        var anonymous_pings: Bool?
        var late_interfaces: Bool?
        var smart: Bool?
        var refuse_in_results: Bool?
        var names_only: Bool?
        var batch: Int?
        var early_end: Bool?
        var faults: [Fault]?
    }

    /// What the host has seen, at its end.
    struct Summary: Decodable {
        struct Activation: Decodable {
            var properties: [String]
            var class_id: String
            var interface_ids: [String]
            var impersonation_level: Int
            var protocol_sequences: [Int]
            var client_context: Bool
            var machine_name: String?
        }

        struct Leak: Decodable {
            var interface: String
            var references: Int
        }

        var counts: [String: Int]
        var calls: [String]
        /// The authentication level of the last call of each method.
        var levels: [String: Int]
        var queries: [String]
        var query_flags: [UInt32]
        var namespaces: [String]
        var batches: [UInt32]
        var activations: [Activation]
        /// What a careful client would not do.
        var oddities: [String]
        var refusals: [String]
        var leaked: [Leak]
        /// The rows of each class.
        var truth: [String: [[String: PrintedValue]]]
    }

    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    let port: Int
    private let process: Process
    private let input: Pipe
    private let output: Pipe

    private init(_ options: Options) throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        let python =
            ProcessInfo.processInfo.environment["NMSLITE_TEST_PYTHON"]
            ?? root.appending(path: ".venv/bin/python").path
        guard FileManager.default.isExecutableFile(atPath: python) else {
            throw Failure(
                description: "no Python at \(python): run scripts/bootstrap --test, "
                    + "or set NMSLITE_TEST_PYTHON to a Python with the packages of scripts/requirements.txt"
            )
        }
        (self.process, self.input, self.output) = (Process(), Pipe(), Pipe())
        let json = String(decoding: try JSONEncoder().encode(options), as: UTF8.self)
        self.process.executableURL = URL(filePath: python)
        self.process.arguments = [root.appending(path: "Tests/Interop/dcom_server.py").path, json]
        self.process.standardInput = self.input
        self.process.standardOutput = self.output
        try self.process.run()
        var line: [UInt8] = []
        while !line.contains(UInt8(ascii: "\n")) {
            let more = self.output.fileHandleForReading.availableData
            guard !more.isEmpty else { throw Failure(description: "dcom_server.py ended; its error is above") }
            line += more
        }
        self.port = try JSONDecoder().decode([String: Int].self, from: Data(line))["port"] ?? 0
    }

    /// Runs the host while `body` works with it; then it says what it has seen.
    static func run(_ options: Options = Options(), body: (PythonHost) async throws -> Void) async throws -> Summary {
        let host = try PythonHost(options)
        do {
            try await body(host)
        } catch {
            // Whatever the host has to say tells what went wrong.
            if let summary = try? host.end() {
                Issue.record("\(error); the host saw \(summary.calls), \(summary.oddities)")
            }
            throw error
        }
        return try host.end()
    }

    private func end() throws -> Summary {
        try self.input.fileHandleForWriting.close()
        let data = try self.output.fileHandleForReading.readToEnd() ?? Data()
        self.process.waitUntilExit()
        return try JSONDecoder().decode(Summary.self, from: data)
    }
}
