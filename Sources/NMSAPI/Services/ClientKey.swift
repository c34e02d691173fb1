internal import NMSCore

/// Whom limits count as one client: the same for requests and for failed logins.
struct ClientKey: Sendable, Hashable {
    /// IPv6 clients choose among the addresses of their /64 (RFC 4291 §2.5.4): it counts as one.
    static let ipv6PrefixLength = 64

    private let text: String
    /// Whether the peer is on this machine: in 127.0.0.0/8, or ::1.
    let isLoopback: Bool

    /// - Parameter address: of the peer, without port; whatever is no address is a client by itself.
    init(_ address: String) {
        // Folds IPv4-mapped addresses, which a listener on [::] sees, to IPv4.
        guard let parsed = IPAddress(address) else {
            self.text = address
            self.isLoopback = false
            return
        }
        self.isLoopback = parsed.isIPv4 ? parsed.bytes[0] == 127 : parsed.bytes == Self.ipv6Loopback
        let network = parsed.isIPv4 ? nil : CIDRBlock(parsed, prefixLength: Self.ipv6PrefixLength)
        self.text = network?.description ?? parsed.description
    }

    private static let ipv6Loopback: [UInt8] = Array(repeating: 0, count: 15) + [1]
}
