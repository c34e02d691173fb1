import NIOCore

/// Where to reach an object exporter.
enum ExporterAddresses {
    struct Candidate: Sendable, Hashable {
        var address: String
        var port: Int
    }

    /// More are not tried: each costs a share of the deadline.
    static let maximumCandidates = 4

    /// Ways to the exporter, the best first.
    ///
    /// The host lists its bindings in any order, by names that mean nothing here or by addresses of networks that are
    /// not reachable. So the port comes from the bindings, and the address is the one that the user gave. Only if that
    /// fails, the caller may allow addresses that the host names, and only literals: what a host says decides neither
    /// where this client signs in nor what it asks a name server. `host` without a port is no way to an exporter.
    ///
    /// - Parameters:
    ///   - bindings: as the activation gave them.
    ///   - address: the one that the user gave.
    ///   - isAllowed: asked for IP literals other than `address`.
    static func candidates(
        _ bindings: [StringBinding],
        address: String,
        isAllowed: (String) -> Bool
    ) -> [Candidate] {
        var own: [Candidate] = []
        var others: [Candidate] = []
        for binding in bindings {
            guard let (host, port) = binding.tcpEndpoint, let port else { continue }
            let candidate = Candidate(address: address, port: port)
            if !own.contains(candidate) { own.append(candidate) }
            guard host != address, Self.isAddress(host) else { continue }
            let other = Candidate(address: host, port: port)
            if !others.contains(other), isAllowed(host) { others.append(other) }
        }
        return Array((own + others).prefix(Self.maximumCandidates))
    }

    static func isAddress(_ host: String) -> Bool {
        (try? SocketAddress(ipAddress: host, port: 1)) != nil
    }
}
