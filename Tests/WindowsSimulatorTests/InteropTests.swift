import Foundation
import Testing

@testable import WindowsSimulator

/// Third-party clients against a fleet in this process: what they read must be what the model says.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct InteropTests {
    private static let password = "S3cret-of-the-fleet"

    /// One way in.
    struct Way: Sendable, CustomTestStringConvertible {
        var script: String
        var auth: String
        var isTLS: Bool
        var user = "Administrator"
        var encryption = "auto"

        var testDescription: String {
            "\(self.script) \(self.auth) over \(self.isTLS ? "https" : "http") as \(self.user), encryption \(self.encryption)"
        }
    }

    static let ways = [
        Way(script: "winsim_pypsrp.py", auth: "ntlm", isTLS: false),
        Way(script: "winsim_pypsrp.py", auth: "negotiate", isTLS: false, user: "WINSIM\\Administrator"),
        Way(script: "winsim_pypsrp.py", auth: "ntlm", isTLS: true),
        Way(script: "winsim_pypsrp.py", auth: "negotiate", isTLS: true, user: "administrator@winsim.test"),
        Way(script: "winsim_pypsrp.py", auth: "ntlm", isTLS: true, encryption: "always"),
        Way(script: "winsim_pypsrp.py", auth: "basic", isTLS: true),
        Way(script: "winsim_pywinrm.py", auth: "ntlm", isTLS: false),
        Way(script: "winsim_pywinrm.py", auth: "ntlm", isTLS: true),
        Way(script: "winsim_pywinrm.py", auth: "basic", isTLS: true, user: "WINSIM\\Administrator"),
    ]

    private struct Job: Encodable {
        var host: String
        var port: Int
        var ssl: Bool
        var auth: String
        var username: String
        var password: String
        var ca_file: String?
        var encryption: String
        var queries: [String: String]
        var maximum_elements: Int
    }

    private struct Outcome: Decodable {
        var instances: [String: [[String: Text]]]
        var requests: [String: Int]
    }

    /// A property's value as the scripts give it.
    private enum Text: Decodable, Equatable {
        case null
        case one(String)
        case many([String?])

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if container.decodeNil() {
                self = .null
            } else if let text = try? container.decode(String.self) {
                self = .one(text)
            } else {
                self = .many(try container.decode([String?].self))
            }
        }
    }

    @Test(arguments: Self.ways) func everyClassIsReadAsItIs(way: Way) async throws {
        let simulator = try Self.simulator()
        try await simulator.start()
        let outcome = await Result { try await Self.compare(way, with: simulator) }
        await simulator.stop()
        try outcome.get()
    }

    private static func simulator() throws -> WindowsSimulator {
        let base = try #require(IPv4("127.98.0.1"))
        // All at once, one item first, chunked.
        var configuration = SimulatorConfiguration(
            addresses: try #require(AddressRange(base: base, count: 3)),
            password: Self.password,
            fleet: HostProfile.Fleet(seed: 42)
        )
        configuration.httpPort = 0
        configuration.httpsPort = 0
        configuration.truthPort = nil
        configuration.service.offersBasic = true
        configuration.service.requiresChannelBinding = true
        return try WindowsSimulator(configuration)
    }

    private static func compare(_ way: Way, with simulator: WindowsSimulator) async throws {
        let caFile = FileManager.default.temporaryDirectory.appendingPathComponent("winsim-ca-\(UUID()).pem")
        try Data(try #require(simulator.caPEM).utf8).write(to: caFile)
        defer { try? FileManager.default.removeItem(at: caFile) }
        var queries: [String: String] = [:]
        for wmiClass in WMIRepository.classes {
            queries["all " + wmiClass.name] = "SELECT * FROM \(wmiClass.name)"
            let names = wmiClass.properties.filter { !$0.isArray }.map(\.name).joined(separator: ", ")
            queries["some " + wmiClass.name] = "SELECT \(names) FROM \(wmiClass.name)"
        }
        let port = try #require(way.isTLS ? simulator.httpsPort : simulator.httpPort)
        for host in simulator.hosts {
            let before = HostSnapshot(profile: host.profile, time: .now())
            let outcome: Outcome = try await Python.run(
                way.script,
                Job(
                    host: "\(host.address)",
                    port: port,
                    ssl: way.isTLS,
                    auth: way.auth,
                    username: way.user,
                    password: Self.password,
                    ca_file: way.isTLS ? caFile.path : nil,
                    encryption: way.encryption,
                    queries: queries,
                    maximum_elements: 50
                )
            )
            let after = HostSnapshot(profile: host.profile, time: .now())
            for wmiClass in WMIRepository.classes {
                for kind in ["all", "some"] {
                    let found = try #require(outcome.instances["\(kind) \(wmiClass.name)"])
                    Self.compare(found, wmiClass, before, after, isWhole: kind == "all")
                }
            }
            let isReluctant = host.profile.release.answersOneItemFirst
            #expect(outcome.requests["all Win32_LogicalDisk"] == (isReluctant ? 2 : 1))
            #expect(host.activity.authentications == 1)
            #expect(host.activity.failedLogins == 0)
            #expect(host.activity.openEnumerations == 0)
        }
    }

    private static func compare(
        _ found: [[String: Text]],
        _ wmiClass: WMIClass,
        _ before: HostSnapshot,
        _ after: HostSnapshot,
        isWhole: Bool
    ) {
        #expect(found.count == wmiClass.instanceCount(before), "\(wmiClass.name)")
        for (number, instance) in found.enumerated() {
            let properties = wmiClass.properties.filter { isWhole || !$0.isArray }
            #expect(Set(instance.keys) == Set(properties.map(\.name)), "\(wmiClass.name)")
            for property in properties {
                guard let text = instance[property.name] else { continue }
                let (low, high) = (property.value(before, number), property.value(after, number))
                #expect(
                    Self.lies(text, between: low, and: high),
                    "\(wmiClass.name).\(property.name)[\(number)]: \(text), but \(low) to \(high)"
                )
            }
        }
    }

    /// Numbers and times may move while the script runs; everything else must be equal.
    private static func lies(_ text: Text, between low: CIMValue, and high: CIMValue) -> Bool {
        switch (text, low, high) {
        case (.null, .null, .null): true
        case (.one(let text), .string(let expected), _): text == expected
        case (.one(let text), .boolean(let expected), _): text == (expected ? "true" : "false")
        case (.one(let text), .signed(let expected), _): text == String(expected)
        case (.one(let text), .unsigned(let low), .unsigned(let high)):
            // Gauges may fall.
            UInt64(text).map { (min(low, high)...max(low, high)).contains($0) } ?? false
        case (.one(let text), .datetime(let low, _), .datetime(let high, _)):
            // Windows tells microseconds.
            TimeText.parseRFC3339(text).map { ($0.ticks >= low.ticks - 9) && $0 <= high } ?? false
        case (.one(let text), .array(let elements), _): elements == [.string(text)]
        case (.many(let texts), .array(let elements), _):
            elements == texts.map { $0.map { CIMValue.string($0) } ?? .null }
        default: false
        }
    }
}

extension Result where Failure == any Error {
    init(catching body: () async throws -> Success) async {
        do {
            self = .success(try await body())
        } catch {
            self = .failure(error)
        }
    }
}

/// Runs the interoperability scripts.
enum Python {
    struct Failed: Error, CustomStringConvertible {
        let description: String
    }

    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// `NMSLITE_TEST_PYTHON`, else the environment that the bootstrap script makes.
    private static func interpreter() throws -> URL {
        let named = ProcessInfo.processInfo.environment["NMSLITE_TEST_PYTHON"].map { URL(fileURLWithPath: $0) }
        let url = named ?? Self.root.appendingPathComponent(".venv/bin/python")
        guard FileManager.default.isExecutableFile(atPath: url.path) else {
            throw Failed(
                description: "no Python at \(url.path): run scripts/bootstrap, or set NMSLITE_TEST_PYTHON to an "
                    + "interpreter with scripts/requirements.txt installed"
            )
        }
        return url
    }

    /// Runs a script of Tests/Interop. Cancelling ends it.
    static func run<Output: Decodable>(_ script: String, _ input: some Encodable) async throws -> Output {
        let process = Process()
        process.executableURL = try Self.interpreter()
        process.arguments = [Self.root.appendingPathComponent("Tests/Interop/\(script)").path]
        // Proxies of the surroundings must not come between.
        process.environment = ["PATH": ProcessInfo.processInfo.environment["PATH"] ?? "", "NO_PROXY": "*"]
        let (stdin, stdout, stderr) = (Pipe(), Pipe(), Pipe())
        process.standardInput = stdin
        process.standardOutput = stdout
        process.standardError = stderr
        let job = try JSONEncoder().encode(input)
        try process.run()
        try stdin.fileHandleForWriting.write(contentsOf: job)
        try stdin.fileHandleForWriting.close()
        let (data, complaints) = try await withTaskCancellationHandler {
            async let output = Self.readToEnd(stdout.fileHandleForReading)
            async let errors = Self.readToEnd(stderr.fileHandleForReading)
            return try await (output, errors)
        } onCancel: {
            // A time limit only cancels the task; the pipes end with the script. Not SIGTERM, which children may have
            // inherited as blocked.
            if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        }
        process.waitUntilExit()
        try Task.checkCancellation()
        guard process.terminationStatus == 0 else {
            throw Failed(description: "\(script) failed: \(String(decoding: complaints.suffix(2_000), as: UTF8.self))")
        }
        return try JSONDecoder().decode(Output.self, from: data)
    }

    /// Reads on a thread of its own, since reading blocks.
    private static func readToEnd(_ handle: FileHandle) async throws -> Data {
        try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread {
                continuation.resume(with: Result { try handle.readToEnd() ?? Data() })
            }
        }
    }
}
