import Foundation
import Testing

@testable import WindowsSimulator

/// The truth endpoint as curl sees it.
@Suite(.serialized)
struct TruthServerTests {
    private static let start = CivilDate(year: 2026, month: 6, day: 1).fileTime

    private static func curl(_ simulator: WindowsSimulator, _ path: String, put: String? = nil) async throws -> (
        Int, Any
    ) {
        struct Outcome: Decodable {
            var status: Int
            var body: String
        }
        struct Job: Encodable {
            var url: String
            var put: String?
        }
        let port = try #require(simulator.truthPort)
        let job = Job(url: "http://127.0.0.1:\(port)\(path)", put: put)
        let outcome: Outcome = try await Python.run("winsim_truth.py", job)
        return (outcome.status, try JSONSerialization.jsonObject(with: Data(outcome.body.utf8)))
    }

    @Test func routes() async throws {
        var configuration = SimulatorConfiguration(
            addresses: FaultFileTests.addresses,
            password: "p",
            fleet: HostProfile.Fleet(seed: 3)
        )
        (configuration.httpPort, configuration.httpsPort, configuration.truthPort) = (nil, nil, 0)
        let simulator = try WindowsSimulator(configuration) { Self.start }
        try await simulator.start()
        let outcome = await Result { try await Self.check(simulator) }
        await simulator.stop()
        try outcome.get()
    }

    private static func check(_ simulator: WindowsSimulator) async throws {
        let (listStatus, list) = try await Self.curl(simulator, "/hosts")
        #expect(listStatus == 200)
        let hosts = try #require((list as? [String: Any])?["hosts"] as? [[String: Any]])
        #expect(hosts.count == 20)
        #expect(hosts[19]["address"] as? String == "127.1.0.20")
        for field in ["held_references", "leaked_references", "excess_releases"] {
            #expect(hosts[19][field] as? Int == 0, "\(field)")
            #expect((list as? [String: Any])?[field] as? Int == 0, "\(field)")
        }

        let (status, body) = try await Self.curl(simulator, "/hosts/127.1.0.3")
        let now = try #require(body as? [String: Any])
        #expect(status == 200)
        let fields: Set = [
            "cpu_usage_percent", "memory_total_bytes", "memory_used_bytes", "disk_total_bytes", "disk_used_bytes",
            "bytes_sent_per_sec", "bytes_recv_per_sec", "packets_sent", "packets_recv", "errors", "dropped",
            "process_count", "hostname", "os", "connections", "authentications", "failed_logins", "requests",
            "leaked_references",
        ]
        #expect(fields.isSubset(of: Set(now.keys)))

        let host = simulator.hosts[2]
        let (from, to) = (Self.start.adding(seconds: -61.5), Self.start.adding(seconds: -1.5))
        let window = "/hosts/127.1.0.3?from=2026-05-31T23:58:58.500Z&to=2026-06-01T01:59:58.500%2B02:00"
        let (_, past) = try await Self.curl(simulator, window)
        let found = try #require(past as? [String: Any])
        let truth = simulator.truth(of: host, from: from, to: to)
        #expect(found["packets_sent"] as? UInt64 == truth.packetsSent)
        #expect(abs((found["bytes_sent_per_sec"] as? Double ?? 0) - truth.bytesSentPerSec) < 1e-6)
        #expect(found["timestamp"] as? String == "2026-05-31T23:59:58.500Z")

        for bad in ["/hosts/127.1.0.99", "/nothing", "/hosts/x"] {
            #expect(try await Self.curl(simulator, bad).0 == 404, "\(bad)")
        }
        for bad in ["?from=yesterday", "?from=2026-06-02T00:00:00Z&to=2026-06-01T00:00:00Z"] {
            #expect(try await Self.curl(simulator, "/hosts/127.1.0.3" + bad).0 == 400, "\(bad)")
        }

        let (putStatus, faults) = try await Self.curl(
            simulator,
            "/faults",
            put: "- {hosts: 127.1.0.1, fault: garbage, for: 5s}"
        )
        #expect(putStatus == 200)
        #expect((faults as? [[String: Any]])?.first?["active"] as? Bool == true)
        #expect(try await Self.curl(simulator, "/faults", put: "- nonsense").0 == 400)
        #expect((try await Self.curl(simulator, "/faults").1 as? [Any])?.count == 1)
        #expect(try await Self.curl(simulator, "/hosts", put: "").0 == 405)
    }
}
