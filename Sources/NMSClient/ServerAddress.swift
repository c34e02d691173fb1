internal import Foundation

/// Where a server's API is.
package struct ServerAddress: Equatable, Sendable {
    package let isTLS: Bool
    package let host: String
    package let port: Int

    /// Addresses at which plain HTTP stays on this machine.
    private static let loopback: Set<String> = ["localhost", "127.0.0.1", "::1"]

    package init(host: String, port: Int, isTLS: Bool = true) {
        self.isTLS = isTLS
        self.host = host
        self.port = port
    }

    /// Reads `https://host[:port]`; passwords never travel in the clear to another machine.
    /// - Throws: ``CommandError``.
    package init(_ text: String) throws {
        let wrong = CommandError(
            "--server must be a URL such as https://nms.example.com:8443, not \(text)",
            status: ExitStatus.usage
        )
        guard let url = URLComponents(string: text), let host = url.host, !host.isEmpty, url.user == nil,
            url.password == nil, ["", "/"].contains(url.path), url.query == nil, url.fragment == nil
        else { throw wrong }
        let name = host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host
        switch url.scheme {
        case "https": self.init(host: name, port: url.port ?? 443)
        case "http":
            guard Self.loopback.contains(name) else {
                throw CommandError(
                    "--server \(text) would send the password in the clear; use https, or http on this machine alone",
                    status: ExitStatus.usage
                )
            }
            self.init(host: name, port: url.port ?? 80, isTLS: false)
        default: throw wrong
        }
        guard (1...65_535).contains(self.port) else { throw wrong }
    }

    /// Whether it is this machine by name.
    package var isLocal: Bool { Self.loopback.contains(self.host) }

    private var bracketedHost: String { self.host.contains(":") ? "[\(self.host)]" : self.host }
    /// The header `Host`.
    package var authority: String { "\(self.bracketedHost):\(self.port)" }
    package var url: String { "\(self.isTLS ? "https" : "http")://\(self.authority)" }
}
