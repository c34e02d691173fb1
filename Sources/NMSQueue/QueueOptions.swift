internal import Foundation

/// How to reach NATS.
package struct QueueOptions: Sendable {
    /// `nats://` or `tls://` URLs; user, password or token may stand in them.
    package var servers: [String]
    /// Signs in with a token, as the embedded server wants.
    package var token: String?
    /// A `.creds` file with JWT and seed.
    package var credentialsFile: String?
    /// PEM certificates to trust for `tls://`, in place of the system's.
    package var caFile: String?
    /// Copies of each stream; 3 in a cluster.
    package var replicas: Int
    /// `polling.timeout`, on which the ack wait of poll jobs depends.
    package var pollTimeout: Duration
    /// How long connecting may take.
    package var connectTimeout: Duration
    /// How long a result may go unsettled before it is delivered again.
    var resultAckWait: Duration = QueueLimits.resultAckWait

    package init(
        servers: [String],
        token: String? = nil,
        credentialsFile: String? = nil,
        caFile: String? = nil,
        replicas: Int = 1,
        pollTimeout: Duration = .seconds(30),
        connectTimeout: Duration = .seconds(5)
    ) {
        self.servers = servers
        self.token = token
        self.credentialsFile = credentialsFile
        self.caFile = caFile
        self.replicas = replicas
        self.pollTimeout = pollTimeout
        self.connectTimeout = connectTimeout
    }

    /// The servers of `queue.url`: one URL, or several with commas between.
    /// - Throws: ``QueueError/configuration(_:)``.
    package static func servers(inURL text: String) throws -> [String] {
        let servers = text.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
            .filter { !$0.isEmpty }
        guard !servers.isEmpty else { throw QueueError.configuration("queue.url names no server") }
        for server in servers {
            guard let scheme = server.range(of: "://").map({ server[..<$0.lowerBound] }) else { continue }
            guard ["nats", "tls"].contains(scheme) else {
                throw QueueError.configuration("queue.url: the scheme must be nats or tls, not \(scheme)")
            }
        }
        return servers
    }

    /// The servers without user information, for logs.
    package var safeServers: String {
        self.servers.map { server in
            guard let at = server.lastIndex(of: "@") else { return server }
            let scheme = server.range(of: "://").map { String(server[..<$0.upperBound]) } ?? ""
            return scheme + server[server.index(after: at)...]
        }.joined(separator: ",")
    }

    /// How long a poll job may go unsettled before it is delivered again.
    var pollAckWait: Duration { self.pollTimeout + QueueLimits.pollAckMargin }
}
