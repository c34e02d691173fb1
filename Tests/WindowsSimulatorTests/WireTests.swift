import Foundation
import Glibc
import Testing

@testable import WindowsSimulator

/// HTTP as a plain socket sees it, with and without faults.
@Suite(.serialized)
struct WireTests {
    /// The fleet that a test talks to. Its ports are any free ones: a process that another suite is just starting may
    /// hold a copy of the last test's sockets, and another run of the tests may go on at the same time.
    @TaskLocal private static var simulator: WindowsSimulator?

    struct Step: Encodable, Sendable {
        var send: String?
        var connect: Bool?
        var idle: Double?
        var wait: Double?

        static let connect = Step(connect: true)
    }

    struct Seen: Decodable, Sendable {
        var head: String?
        var body: String?
        var body_length: Int?
        var chunked: Bool?
        var state: String

        var status: String? { self.head?.split(separator: "\r\n").first.map(String.init) }

        func has(_ line: String) -> Bool { self.head?.split(separator: "\r\n").contains { $0 == line } ?? false }
    }

    private struct Job: Encodable {
        var host: String
        var port: Int
        var steps: [Step]
    }

    private static func configuration() throws -> SimulatorConfiguration {
        let base = try #require(IPv4("127.97.0.1"))
        var configuration = SimulatorConfiguration(
            addresses: try #require(AddressRange(base: base, count: 4)),
            password: "Secret-1",
            fleet: HostProfile.Fleet(seed: 9)
        )
        configuration.httpPort = 0
        configuration.httpsPort = nil
        configuration.truthPort = nil
        // So that plain sockets can ask.
        configuration.service.offersBasic = true
        configuration.service.allowsUnencrypted = true
        return configuration
    }

    private static func withFleet(
        _ configuration: SimulatorConfiguration? = nil,
        _ body: (WindowsSimulator) async throws -> Void
    ) async throws {
        let simulator = try WindowsSimulator(try configuration ?? Self.configuration())
        try await simulator.start()
        let outcome = await Result { try await Self.$simulator.withValue(simulator) { try await body(simulator) } }
        await simulator.stop()
        try outcome.get()
    }

    private static func run(_ steps: [Step], host: Int = 0) async throws -> [Seen] {
        let port = try #require(Self.simulator?.httpPort)
        return try await Python.run(
            "winsim_wire.py",
            Job(host: "127.97.0.\(host + 1)", port: port, steps: steps)
        )
    }

    private static let login = Data("Administrator:Secret-1".utf8).base64EncodedString()

    private static func post(
        _ body: String,
        _ headers: [String] = ["Authorization: Basic \(Self.login)"],
        path: String = "/wsman"
    )
        -> Step
    {
        let lines = ["POST \(path) HTTP/1.1", "Host: x", "Content-Length: \(body.utf8.count)"] + headers
        return Step(send: lines.joined(separator: "\r\n") + "\r\n\r\n" + body)
    }

    private static func query(_ wql: String = "SELECT Caption FROM Win32_OperatingSystem", timeout: String = "PT20S")
        -> Step
    {
        Self.post(
            """
            <s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" \
            xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" \
            xmlns:n="http://schemas.xmlsoap.org/ws/2004/09/enumeration" \
            xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"><s:Header>\
            <a:Action>http://schemas.xmlsoap.org/ws/2004/09/enumeration/Enumerate</a:Action>\
            <a:MessageID>uuid:7</a:MessageID><w:OperationTimeout>\(timeout)</w:OperationTimeout>\
            <w:ResourceURI>http://schemas.microsoft.com/wbem/wsman/1/wmi/root/cimv2/*</w:ResourceURI></s:Header>\
            <s:Body><n:Enumerate><w:OptimizeEnumeration/><w:MaxElements>50</w:MaxElements>\
            <w:Filter Dialect="http://schemas.microsoft.com/wbem/wsman/1/WQL">\(wql)</w:Filter></n:Enumerate></s:Body>\
            </s:Envelope>
            """
        )
    }

    private static let identify = """
        <s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" \
        xmlns:i="http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"><s:Header/><s:Body><i:Identify/>\
        </s:Body></s:Envelope>
        """

    // MARK: HTTP.sys

    @Test func statusesAndHeaders() async throws {
        try await Self.withFleet { _ in
            let seen = try await Self.run([
                Self.post("", []), .connect, Step(send: "GET /wsman HTTP/1.1\r\nHost: x\r\n\r\n"),
                Self.post("", path: "/elsewhere"), Self.post("", path: "/WSMAN?PSVersion=5.1"), Self.query(),
                .connect, Step(send: "NONSENSE\r\n\r\n"),
            ])
            #expect(seen[0].status == "HTTP/1.1 401 ")
            #expect(seen[0].has("WWW-Authenticate: Negotiate"))
            #expect(seen[0].has(#"WWW-Authenticate: Basic realm="WSMAN""#))
            #expect(seen[0].has("Server: Microsoft-HTTPAPI/2.0"))
            #expect(seen[0].has("Connection: close"))
            #expect(seen[0].has("Content-Length: 0"))
            #expect(seen[0].state == "closed")
            #expect(seen[2].status == "HTTP/1.1 405 ")
            #expect(seen[3].status == "HTTP/1.1 404 Not Found")
            #expect(seen[4].status == "HTTP/1.1 200 ")
            #expect(seen[4].body_length == 0)
            #expect(seen[5].status == "HTTP/1.1 200 ")
            #expect(seen[5].has("Content-Type: application/soap+xml;charset=UTF-8"))
            #expect(seen[5].body?.contains("<Caption>Microsoft Windows Server 2022 Standard</Caption>") == true)
            #expect(seen[5].state == "open")
            #expect(seen[7].status == "HTTP/1.1 400 Bad Request")
            #expect(seen[7].state == "closed")
        }
    }

    @Test func someHostsAnswerInChunks() async throws {
        try await Self.withFleet { simulator in
            for host in 0..<3 {
                let seen = try await Self.run([Self.query("SELECT * FROM Win32_OperatingSystem")], host: host)
                #expect(seen[0].chunked == simulator.hosts[host].quirks.chunksAnswers)
                #expect(seen[0].state == "open")
            }
            #expect(simulator.hosts[2].quirks.chunksAnswers)
        }
    }

    @Test func identifyNeedsALoginUnlessItAsksForNone() async throws {
        try await Self.withFleet { simulator in
            let seen = try await Self.run([
                Self.post(Self.identify, ["WSMANIDENTIFY: unauthenticated"]), Self.post(Self.identify),
                Self.post(Self.identify, []),
            ])
            #expect(seen[0].body?.contains("OS: 0.0.0 SP: 0.0 Stack: 3.0") == true)
            #expect(seen[1].body?.contains("OS: 10.0.20348 SP: 0.0 Stack: 3.0") == true)
            #expect(seen[2].status == "HTTP/1.1 401 ")
            #expect(simulator.hosts[0].activity.authentications == 1)
        }
    }

    @Test func largeRequestsAreRefused() async throws {
        var configuration = try Self.configuration()
        configuration.service.maximumRequestBytes = 1_000
        try await Self.withFleet(configuration) { _ in
            let seen = try await Self.run([Self.post(String(repeating: "x", count: 1_001))])
            #expect(seen[0].status == "HTTP/1.1 413 Request Entity Too Large")
            #expect(seen[0].state == "closed")
        }
    }

    @Test func plainBodiesAreRefusedByDefault() async throws {
        var configuration = try Self.configuration()
        configuration.service.allowsUnencrypted = false
        try await Self.withFleet(configuration) { simulator in
            let seen = try await Self.run([Self.query()])
            #expect(seen[0].status == "HTTP/1.1 401 ")
            #expect(seen[0].has("WWW-Authenticate: Negotiate"))
            #expect(seen[0].head?.contains("Basic") == false)
            // Not a wrong password.
            #expect(simulator.hosts[0].activity.failedLogins == 0)
        }
    }

    @Test func idleConnectionsAreClosed() async throws {
        var configuration = try Self.configuration()
        configuration.service.keepAliveTimeout = 2
        try await Self.withFleet(configuration) { _ in
            let seen = try await Self.run([Self.query(), Step(idle: 0.1), Self.query(), Step(idle: 3)])
            #expect(seen[1].state == "open")
            #expect(seen[2].status == "HTTP/1.1 200 ")
            #expect(seen[3].state == "closed")
        }
    }

    @Test func theWildcardListenerTellsHostsApart() async throws {
        var configuration = try Self.configuration()
        configuration.maximumListeningAddresses = 3
        try await Self.withFleet(configuration) { simulator in
            let seen = try await Self.run([Self.query("SELECT DNSHostName FROM Win32_ComputerSystem")], host: 3)
            #expect(seen[0].body?.contains(simulator.hosts[3].profile.dnsHostName) == true)
            // Outside the fleet.
            let outside = try await Self.run([Self.query()], host: 4)
            #expect(["reset", "closed"].contains(outside[0].state))
            #expect(outside[0].status == nil)
        }
    }

    // MARK: Faults

    @Test func faultsOfTheConnection() async throws {
        try await Self.withFleet { simulator in
            func under(_ fault: String, _ steps: [Step]) async throws -> [Seen] {
                try simulator.setFaults("- {hosts: 127.97.0.1, fault: \(fault)}")
                return try await Self.run(steps)
            }
            let stalled = Step(send: Self.query().send, wait: 0.5)
            #expect(try await under("stalled_connection", [stalled])[0].state == "silent")
            #expect(
                try await under("stalled_connection, at: query", [Self.post(""), stalled]).map(\.state) == [
                    "open", "silent",
                ]
            )

            let dropped = try await under("drop_mid_answer", [Self.query()])
            #expect(["reset", "closed"].contains(dropped[0].state))
            #expect(dropped[0].status == "HTTP/1.1 200 ")

            let garbage = try await under("garbage", [Step(send: Self.query().send, wait: 0.5)])
            #expect(garbage[0].status?.hasPrefix("HTTP/") == false)
            #expect((garbage[0].head?.utf8.count ?? 0) > 0)

            let oversized = try await under("oversized_answer, bytes: 3000000", [Self.query()])
            #expect(oversized[0].body_length == 3_000_000)

            let unauthorized = try await under(
                "unauthorized_after, requests: 2",
                [
                    Self.query(), Self.query(), Self.query(),
                ]
            )
            // Basic brings its login along with each request.
            #expect(unauthorized.allSatisfy { $0.status == "HTTP/1.1 200 " })

            let password = try await under("wrong_password", [Self.query()])
            #expect(password[0].status == "HTTP/1.1 401 ")
            #expect(simulator.hosts[0].activity.failedLogins == 1)

            #expect(try await under("plain_refused", [Self.query()])[0].status == "HTTP/1.1 500 ")
            let basicOnly = try await under("basic_only", [Self.post("", [])])
            #expect(basicOnly[0].head?.contains("Negotiate") == false)
            #expect(try await under("access_denied", [Self.query()])[0].body?.contains(#"Code="5""#) == true)

            try simulator.setFaults("[]")
            #expect(try await Self.run([Self.query()])[0].status == "HTTP/1.1 200 ")
        }
    }

    @Test func slowQueriesGiveUpAtTheClientsTimeout() async throws {
        try await Self.withFleet { simulator in
            try simulator.setFaults(
                "- {hosts: 127.97.0.1, fault: slow_query, delay: 700ms, class: Win32_OperatingSystem}"
            )
            let clock = ContinuousClock()
            var seen: [Seen] = []
            let slow = try await clock.measure { seen = try await Self.run([Self.query()]) }
            #expect(slow >= .milliseconds(700))
            #expect(seen[0].status == "HTTP/1.1 200 ")
            let other = try await Self.run([Self.query("SELECT Name FROM Win32_ComputerSystem")])
            #expect(other[0].status == "HTTP/1.1 200 ")
            let impatient = try await Self.run([Self.query(timeout: "PT0.2S")])
            #expect(impatient[0].status == "HTTP/1.1 500 ")
            #expect(impatient[0].body?.contains(#"Code="2150858793""#) == true)
        }
    }

    @Test func listenersGoAwayAndComeBack() async throws {
        try await Self.withFleet { simulator in
            try simulator.setFaults("- {hosts: 127.97.0.1, fault: refused}")
            try await Self.eventually { try await Self.run([.connect])[0].state == "refused" }
            #expect(try await Self.run([Self.query()], host: 1)[0].status == "HTTP/1.1 200 ")
            try simulator.setFaults("")
            try await Self.eventually { try await Self.run([.connect])[0].state == "open" }
        }
    }

    @Test func hostsThatAreDownAtTheStartWereNeverOpen() async throws {
        var configuration = try Self.configuration()
        configuration.faults = """
            - {hosts: 127.97.0.1, fault: refused, for: 1h}
            - {hosts: 127.97.0.2, fault: reboot, down: 1h}
            """
        let simulator = try WindowsSimulator(configuration)
        try await simulator.start()
        let outcome = await Result {
            let port = try #require(simulator.httpPort)
            #expect(simulator.hosts.map { Self.connects(to: $0, port) } == [ECONNREFUSED, ECONNREFUSED, 0, 0])
            try simulator.setFaults("")
            try await Self.eventually { simulator.hosts.allSatisfy { Self.connects(to: $0, port) == 0 } }
        }
        await simulator.stop()
        try outcome.get()
    }

    @Test func aPortIsChosenForAllHostsAlike() async throws {
        var configuration = try Self.configuration()
        configuration.httpsPort = 0
        try await Self.withFleet(configuration) { simulator in
            let ports = [try #require(simulator.httpPort), try #require(simulator.httpsPort)]
            #expect(ports[0] != ports[1] && !ports.contains(0))
            for port in ports { #expect(simulator.hosts.allSatisfy { Self.connects(to: $0, port) == 0 }) }
            // A port that is named and taken is an error that says so.
            configuration.httpPort = ports[0]
            let second = try WindowsSimulator(configuration)
            let error = await #expect(throws: SimulatorError.self) { try await second.start() }
            #expect(error?.description.contains("127.97.0.1:\(ports[0]): the port is in use") == true)
        }
    }

    /// The `errno` of a connection to a host without any detour, 0 if it was had.
    private static func connects(to host: SimulatedHost, _ port: Int) -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        guard inet_pton(AF_INET, "\(host.address)", &address.sin_addr) == 1 else { return EINVAL }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0 ? 0 : errno
            }
        }
    }

    @Test func aRebootCutsConnectionsAndChangesTheBootTime() async throws {
        try await Self.withFleet { simulator in
            let before = simulator.truth(of: simulator.hosts[0]).bootTime
            async let connection = Self.run([Self.query(), Step(idle: 3)])
            // Only once the connection is there is there something to cut.
            try await Self.eventually { simulator.hosts[0].activity.requests == 1 }
            try simulator.setFaults("- {hosts: 127.97.0.1, fault: reboot}")
            #expect(try await connection.contains { $0.state == "reset" })
            #expect(simulator.truth(of: simulator.hosts[0]).bootTime != before)
            #expect(try await Self.run([Self.query()])[0].status == "HTTP/1.1 200 ")
        }
    }

    @Test func certificatesAndTheirFaults() async throws {
        var configuration = try Self.configuration()
        configuration.httpsPort = 0
        try await Self.withFleet(configuration) { simulator in
            let caFile = FileManager.default.temporaryDirectory.appendingPathComponent("winsim-ca-\(UUID()).pem")
            try Data(try #require(simulator.caPEM).utf8).write(to: caFile)
            defer { try? FileManager.default.removeItem(at: caFile) }
            let host = simulator.hosts[0]
            let names = ["127.97.0.1", host.profile.fullyQualifiedName, "127.97.0.2"]
            struct TLSJob: Encodable {
                var host: String
                var port: Int
                var ca_file: String
                var names: [String]
            }
            let port = try #require(simulator.httpsPort)
            func handshakes(_ fault: String?) async throws -> [String] {
                try simulator.setFaults(fault.map { "- {hosts: 127.97.0.1, fault: \($0)}" } ?? "")
                let job = TLSJob(host: "127.97.0.1", port: port, ca_file: caFile.path, names: names)
                let results: [String: String] = try await Python.run("winsim_tls.py", job)
                return names.map { results[$0] ?? "" }
            }
            let good = try await handshakes(nil)
            #expect(good[0] == "ok TLSv1.3")
            #expect(good[1] == "ok TLSv1.3")
            #expect(good[2].contains("mismatch"))
            #expect(try await handshakes("tls_expired_certificate")[0].contains("expired"))
            #expect(try await handshakes("tls_wrong_name")[0].contains("mismatch"))
            #expect(try await handshakes("tls_untrusted")[0].contains("unable to get local issuer"))
        }
    }

    /// Asks again and again, at most ten seconds.
    private static func eventually(_ condition: () async throws -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(10)
        while ContinuousClock.now < deadline {
            if try await condition() { return }
            try await Task.sleep(for: .milliseconds(20))
        }
        Issue.record("it never happened")
    }
}
