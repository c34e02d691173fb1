/// What a TCP connection to a port of a host came to.
package enum ReachAnswer: Sendable, Equatable {
    /// It was accepted, and closed again.
    case open
    /// The host is there and nothing listens.
    case refused
    /// Nothing came back in time.
    case silent
    /// There is no way to the host; the text names the system's error.
    case unreachable(String)
    /// This machine lacks descriptors, ports or memory; nothing is known about the host.
    case localShortage(String)
}

/// Asks cheaply whether a host's port is open: no TLS, no sign-in, not a byte sent.
package protocol ReachProbe: Sendable {
    /// - Parameter limit: the answer is `silent` after it.
    func probe(_ address: IPAddress, port: Int, limit: Duration) async -> ReachAnswer
}
