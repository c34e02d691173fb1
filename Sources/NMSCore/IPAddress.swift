#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// An IPv4 or IPv6 address in canonical form; IPv4-mapped IPv6 addresses are folded to IPv4.
package struct IPAddress: Sendable, Hashable, CustomStringConvertible, Comparable {
    /// 4 or 16 bytes, network byte order.
    package let bytes: [UInt8]

    /// Parses a numeric address as `inet_pton` does; nil for anything else, scoped addresses (`fe80::1%eth0`) included.
    package init?(_ text: String) {
        guard !text.utf8.contains(0) else { return nil }
        var v4 = in_addr()
        if inet_pton(AF_INET, text, &v4) == 1 {
            self.init(bytes: withUnsafeBytes(of: &v4) { Array($0) })
            return
        }
        var v6 = in6_addr()
        guard inet_pton(AF_INET6, text, &v6) == 1 else { return nil }
        self.init(bytes: withUnsafeBytes(of: &v6) { Array($0) })
    }

    /// - Parameter bytes: 4 or 16 bytes in network byte order; nil for another count.
    package init?(bytes: [UInt8]) {
        switch bytes.count {
        case 4: self.bytes = bytes
        case 16:
            // RFC 4291 §2.5.5.2: ::ffff:a.b.c.d
            let mapped = bytes[0..<10].allSatisfy { $0 == 0 } && bytes[10] == 0xFF && bytes[11] == 0xFF
            self.bytes = mapped ? Array(bytes[12...]) : bytes
        default: return nil
        }
    }

    package var isIPv4: Bool { self.bytes.count == 4 }

    /// 0.0.0.0 or ::
    package var isUnspecified: Bool { self.bytes.allSatisfy { $0 == 0 } }

    /// 224.0.0.0/4, the limited broadcast address, or ff00::/8.
    package var isMulticastOrBroadcast: Bool {
        self.isIPv4
            ? self.bytes[0] & 0xF0 == 0xE0 || self.bytes.allSatisfy { $0 == 0xFF }
            : self.bytes[0] == 0xFF
    }

    /// Dotted quad, or RFC 5952 text.
    package var description: String {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        let family = self.isIPv4 ? AF_INET : AF_INET6
        _ = self.bytes.withUnsafeBytes { inet_ntop(family, $0.baseAddress!, &text, socklen_t(text.count)) }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    package static func < (lhs: IPAddress, rhs: IPAddress) -> Bool {
        lhs.bytes.count == rhs.bytes.count
            ? lhs.bytes.lexicographicallyPrecedes(rhs.bytes) : lhs.bytes.count < rhs.bytes.count
    }
}

/// A network in CIDR notation, such as `192.168.1.0/24`; host bits are cleared.
package struct CIDRBlock: Sendable, Hashable, CustomStringConvertible {
    package let network: IPAddress
    package let prefixLength: Int

    /// Parses `address/length`, or a bare address as a block of one; nil when either part is malformed.
    package init?(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = IPAddress(String(parts[0])) else { return nil }
        let width = address.bytes.count * 8
        guard parts.count == 2 else {
            self.init(address, prefixLength: width)
            return
        }
        let digits = parts[1]
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let length = Int(digits)
        else { return nil }
        // A mapped prefix such as ::ffff:10.0.0.0/104 was folded to IPv4 with its address.
        let mapped = address.isIPv4 && parts[0].utf8.contains(UInt8(ascii: ":"))
        self.init(address, prefixLength: mapped ? length - 96 : length)
    }

    /// nil when `prefixLength` is outside 0…32 or 0…128.
    package init?(_ address: IPAddress, prefixLength: Int) {
        guard (0...address.bytes.count * 8).contains(prefixLength) else { return nil }
        var bytes = address.bytes
        for index in bytes.indices {
            let kept = min(max(prefixLength - index * 8, 0), 8)
            bytes[index] &= kept == 0 ? 0 : 0xFF << UInt8(8 - kept)
        }
        // Clearing host bits never changes the family: 4 bytes stay 4, and 16 can't turn into a mapped address
        // that the unmasked one was not.
        guard let network = IPAddress(bytes: bytes), network.bytes.count == address.bytes.count else { return nil }
        self.network = network
        self.prefixLength = prefixLength
    }

    package func contains(_ address: IPAddress) -> Bool {
        guard address.bytes.count == self.network.bytes.count else { return false }
        var left = self.prefixLength
        for (a, b) in zip(address.bytes, self.network.bytes) {
            guard left > 0 else { return true }
            let mask: UInt8 = left >= 8 ? 0xFF : 0xFF << UInt8(8 - left)
            guard a & mask == b & mask else { return false }
            left -= 8
        }
        return true
    }

    package var description: String { "\(self.network)/\(self.prefixLength)" }
}

/// Which addresses may be polled and discovered: the `targets.allow` setting.
package struct TargetPolicy: Sendable, Equatable {
    /// Empty means everything but multicast, broadcast and the unspecified address.
    package var allowed: [CIDRBlock]

    package init(allowed: [CIDRBlock] = []) { self.allowed = allowed }

    package func permits(_ address: IPAddress) -> Bool {
        guard !address.isUnspecified, !address.isMulticastOrBroadcast else { return false }
        return self.allowed.isEmpty || self.allowed.contains { $0.contains(address) }
    }
}
