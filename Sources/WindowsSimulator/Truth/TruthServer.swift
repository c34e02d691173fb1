import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// The endpoint on loopback that tells what is true of the hosts and what they have seen, and that changes faults.
final class TruthServer: Sendable {
    private let fleet: FleetContext
    private let startTime: FileTime
    private let channel = Mutex<(any Channel)?>(nil)

    init(fleet: FleetContext, startTime: FileTime) {
        self.fleet = fleet
        self.startTime = startTime
    }

    var port: Int? { self.channel.withLock { $0?.localAddress?.port } }

    func start(port: Int, group: MultiThreadedEventLoopGroup) async throws {
        do {
            let channel = try await ServerBootstrap(group: group)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .childChannelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                        try channel.pipeline.syncOperations.addHandler(TruthHandler(server: self))
                    }
                }
                .bind(host: "127.0.0.1", port: port).get()
            self.channel.withLock { $0 = channel }
        } catch let error as IOError {
            throw SimulatorError(
                "cannot listen on 127.0.0.1:\(port) (truth endpoint): \(FleetListener.advice(error, port: port))"
            )
        }
    }

    func stop() async {
        try? await self.channel.withLock { $0 }?.close().get()
    }

    // MARK: Routes

    /// A status and a JSON document.
    struct Answer: Sendable {
        var status: HTTPResponseStatus
        var body: [UInt8]

        init<Body: Encodable>(_ status: HTTPResponseStatus = .ok, _ body: Body) {
            self.status = status
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            self.body = (try? [UInt8](encoder.encode(body))) ?? []
        }

        static func error(_ status: HTTPResponseStatus, _ message: String) -> Self {
            Self(status, ["error": message])
        }
    }

    /// A host's true state, and what it has seen.
    private struct HostReport: Encodable {
        var address: String
        var truth: HostTruth
        var nature: HostNature
        var activity: SimulatedHost.Activity

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: Key.self)
            try container.encode(self.address, forKey: .address)
            try self.truth.encode(to: encoder)
            try self.nature.encode(to: encoder)
            try self.activity.encode(to: encoder)
        }

        private enum Key: String, CodingKey {
            case address
        }
    }

    /// What discovery must find out.
    private struct HostNature: Encodable {
        var is_windows: Bool
        /// The name of the fault that makes it something else.
        var decoy: String?
        /// Ports that take connections: `winrm`, `winrms`, `dcom`, `smb`.
        var open_ports: [String]
        /// DNS domain, or the workgroup.
        var domain: String
        var build: String
    }

    private func nature(of host: SimulatedHost, at time: FileTime) -> HostNature {
        let decoy = self.fleet.faults(of: host, at: time).decoy
        let configuration = self.fleet.configuration
        let ports: [(HostPort, Int?)] = [
            (.winrm, configuration.httpPort), (.winrms, configuration.httpsPort), (.dcom, configuration.resolverPort),
            (.smb, configuration.smbPort),
        ]
        let plan = self.fleet.faultPlan
        return HostNature(
            is_windows: decoy == nil,
            decoy: decoy?.rawValue,
            open_ports: ports.filter { $1 != nil && plan.mode(of: $0, at: host.index, time) == .open }.map(
                \.0.rawValue
            ),
            domain: host.profile.domain,
            build: "\(host.profile.release.build)"
        )
    }

    private struct FleetReport: Encodable {
        struct Entry: Encodable {
            var address: String
            var is_windows: Bool
            var decoy: String?
            var open_ports: [String]
            var hostname: String
            var os: String
            var connections: Int
            var authentications: Int
            var failed_logins: Int
            var requests: Int
            var held_references: Int
            var leaked_references: Int
            var excess_releases: Int
        }

        var total: Int
        var started: String
        var connections = 0
        var authentications = 0
        var failed_logins = 0
        var requests = 0
        var held_references = 0
        var leaked_references = 0
        var excess_releases = 0
        var hosts: [Entry] = []
    }

    func answer(_ method: HTTPMethod, _ uri: String, body: [UInt8]) -> Answer {
        let parts = uri.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let path = parts[0].split(separator: "/")
        let query = parts.count == 2 ? Self.query(parts[1]) : [:]
        switch (method, path.first.map(String.init), path.count) {
        case (.GET, "hosts", 1): return Answer(.ok, self.report())
        case (.GET, "hosts", 2): return self.host(String(path[1]), query)
        case (.GET, "faults", 1): return Answer(.ok, self.faults())
        case (.PUT, "faults", 1): return self.replaceFaults(body)
        case (_, "hosts", 1...2), (_, "faults", 1):
            return .error(.methodNotAllowed, "\(method.rawValue) is not allowed here")
        default:
            return .error(.notFound, "there are /hosts, /hosts/ADDRESS and /faults")
        }
    }

    private func report() -> FleetReport {
        let now = self.fleet.clock()
        var report = FleetReport(total: self.fleet.hosts.count, started: TimeText.rfc3339(self.startTime))
        for host in self.fleet.hosts {
            let activity = host.activity(at: now)
            report.connections += activity.connections
            report.authentications += activity.authentications
            report.failed_logins += activity.failedLogins
            report.requests += activity.requests
            report.held_references += activity.heldReferences
            report.leaked_references += activity.leakedReferences
            report.excess_releases += activity.excessReleases
            let nature = self.nature(of: host, at: now)
            report.hosts.append(
                FleetReport.Entry(
                    address: "\(host.address)",
                    is_windows: nature.is_windows,
                    decoy: nature.decoy,
                    open_ports: nature.open_ports,
                    hostname: host.profile.fullyQualifiedName,
                    os: host.profile.release.caption,
                    connections: activity.connections,
                    authentications: activity.authentications,
                    failed_logins: activity.failedLogins,
                    requests: activity.requests,
                    held_references: activity.heldReferences,
                    leaked_references: activity.leakedReferences,
                    excess_releases: activity.excessReleases
                )
            )
        }
        return report
    }

    private func host(_ text: String, _ query: [String: String]) -> Answer {
        guard let address = IPv4(text), let index = self.fleet.configuration.addresses.index(of: address) else {
            return .error(.notFound, "\(text) is not in the fleet (\(self.fleet.configuration.addresses))")
        }
        var window: [String: FileTime] = [:]
        for name in ["from", "to"] {
            guard let text = query[name] else { continue }
            guard let time = TimeText.parseRFC3339(text) else {
                return .error(.badRequest, "\(name): \(text) is no RFC 3339 time")
            }
            window[name] = time
        }
        let end = window["to"] ?? self.fleet.clock()
        if let start = window["from"], start > end { return .error(.badRequest, "from is later than to") }
        let host = self.fleet.hosts[index]
        let truth = HostTruth(self.fleet.snapshot(of: host, at: end), ratesSince: window["from"])
        let report = HostReport(
            address: text,
            truth: truth,
            nature: self.nature(of: host, at: end),
            activity: host.activity(at: self.fleet.clock())
        )
        return Answer(.ok, report)
    }

    private struct FaultReport: Encodable {
        var fault: String
        var hosts: [String]
        var start: String
        var end: String?
        var active: Bool
    }

    private func faults() -> [FaultReport] {
        let now = self.fleet.clock()
        return self.fleet.faultPlan.all.map { fault in
            FaultReport(
                fault: fault.kind.name,
                hosts: fault.hosts.map { "\(self.fleet.configuration.addresses[$0])" },
                start: TimeText.rfc3339(fault.start),
                end: fault.end.map { TimeText.rfc3339($0) },
                active: fault.isActive(at: now)
            )
        }
    }

    private func replaceFaults(_ body: [UInt8]) -> Answer {
        // Times in a list that comes at run-time count from its arrival.
        let file = FaultFile(addresses: self.fleet.configuration.addresses, start: self.fleet.clock())
        do {
            self.fleet.replaceFaults(try file.parse(String(decoding: body, as: UTF8.self)))
            return Answer(.ok, self.faults())
        } catch {
            return .error(.badRequest, "\(error)")
        }
    }

    private static func query(_ text: Substring) -> [String: String] {
        var query: [String: String] = [:]
        for pair in text.split(separator: "&") {
            let parts = pair.split(separator: "=", maxSplits: 1)
            query[String(parts[0])] = parts.count == 2 ? String(parts[1]).removingPercentEncoding ?? "" : ""
        }
        return query
    }
}

/// Reads a request of the truth endpoint and writes its answer.
private final class TruthHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    /// A fault file of thousands of entries fits.
    private static let maximumBody = 4 * 1_024 * 1_024

    private let server: TruthServer
    private var head: HTTPRequestHead?
    private var body: [UInt8] = []

    init(server: TruthServer) {
        self.server = server
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.unwrapInboundIn(data) {
        case .head(let head):
            self.head = head
            self.body = []
        case .body(let part):
            guard self.body.count + part.readableBytes <= Self.maximumBody else {
                context.close(promise: nil)
                return
            }
            self.body.append(contentsOf: part.readableBytesView)
        case .end:
            guard let head = self.head else { return }
            self.head = nil
            let answer = self.server.answer(head.method, head.uri, body: self.body)
            let headers: HTTPHeaders = [
                "Content-Type": "application/json", "Content-Length": String(answer.body.count),
            ]
            let response = HTTPResponseHead(version: .http1_1, status: answer.status, headers: headers)
            context.write(self.wrapOutboundOut(.head(response)), promise: nil)
            context.write(self.wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: answer.body)))), promise: nil)
            let loopBound = NIOLoopBound(context, eventLoop: context.eventLoop)
            context.writeAndFlush(self.wrapOutboundOut(.end(nil))).whenComplete { _ in
                if !head.isKeepAlive { loopBound.value.close(promise: nil) }
            }
        }
    }
}
