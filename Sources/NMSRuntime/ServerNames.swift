import Foundation
#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif
package import NMSCore

/// The names and addresses by which clients reach this machine.
package struct ServerNames: Sendable, Equatable {
    package let hosts: [String]
    package let addresses: [IPAddress]

    package init(hosts: [String], addresses: [IPAddress]) {
        self.hosts = hosts
        self.addresses = addresses
    }

    /// Most addresses that are taken, so that a machine with thousands still gets a certificate of sensible size.
    static let addressLimit = 64

    /// `localhost`, the machine's name, both loopback addresses, and every other address but link-local ones.
    package static func current() -> ServerNames {
        var hosts = ["localhost"]
        var buffer = [CChar](repeating: 0, count: 256)
        if unsafe gethostname(&buffer, buffer.count - 1) == 0 {
            let name = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            let isName = !name.isEmpty && name.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }
            if isName, !hosts.contains(name), IPAddress(name) == nil { hosts.append(name) }
        }
        let loopback = ["127.0.0.1", "::1"].compactMap { IPAddress($0) }
        let others = self.interfaceAddresses().filter { !loopback.contains($0) && !self.isLocal($0) }
        return ServerNames(hosts: hosts, addresses: loopback + others.prefix(self.addressLimit))
    }

    /// 127.0.0.0/8, 169.254.0.0/16, fe80::/10: of no use to clients elsewhere.
    private static func isLocal(_ address: IPAddress) -> Bool {
        ["127.0.0.0/8", "169.254.0.0/16", "fe80::/10", "::1"].compactMap { CIDRBlock($0) }.contains {
            $0.contains(address)
        }
    }

    private static func interfaceAddresses() -> [IPAddress] {
        var list: UnsafeMutablePointer<ifaddrs>?
        guard unsafe getifaddrs(&list) == 0 else { return [] }
        defer { unsafe freeifaddrs(list) }
        var found: Set<IPAddress> = []
        var next = unsafe list
        while let interface = unsafe next {
            unsafe next = interface.pointee.ifa_next
            guard let address = unsafe interface.pointee.ifa_addr else { continue }
            let bytes: [UInt8]
            switch unsafe Int32(address.pointee.sa_family) {
            case AF_INET:
                bytes = unsafe address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { socket in
                    unsafe withUnsafeBytes(of: socket.pointee.sin_addr) { unsafe Array($0) }
                }
            case AF_INET6:
                bytes = unsafe address.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { socket in
                    unsafe withUnsafeBytes(of: socket.pointee.sin6_addr) { unsafe Array($0) }
                }
            default: continue
            }
            if let address = IPAddress(bytes: bytes), !address.isUnspecified { found.insert(address) }
        }
        return found.sorted()
    }
}
