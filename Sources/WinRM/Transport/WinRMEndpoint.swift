/// Where a host's WS-Management service is, and how TLS is to be checked.
package struct WinRMEndpoint: Sendable, Hashable {
    /// Windows' port for HTTP.
    package static let httpPort = 5985
    /// Windows' port for HTTPS.
    package static let httpsPort = 5986

    /// An IPv4 or IPv6 address as text; names are not resolved here.
    package var address: String
    package var port: Int
    /// nil for plain HTTP.
    package var tls: TLSSettings?
    package var path: String

    package init(address: String, port: Int, tls: TLSSettings? = nil, path: String = "/wsman") {
        self.address = address
        self.port = port
        self.tls = tls
        self.path = path
    }

    /// The value of the header `Host`.
    var hostHeader: String {
        self.address.contains(":") ? "[\(self.address)]:\(self.port)" : "\(self.address):\(self.port)"
    }

    /// The URL, as WS-Addressing wants it.
    var url: String {
        "\(self.tls == nil ? "http" : "https")://\(self.hostHeader)\(self.path)"
    }
}

/// How a host's certificate is checked.
package struct TLSSettings: Sendable, Hashable {
    package enum Verification: String, Sendable, Hashable {
        /// A trusted chain, and one of the expected names or addresses in the certificate.
        case full
        /// A trusted chain only.
        case chain
        /// Nothing. Whoever sits in between can read everything.
        case none
    }

    package var verification: Verification
    /// DNS names and IP addresses of which the certificate must name one; used by ``Verification/full`` only.
    package var expectedNames: [String]
    /// Path of a PEM file with authorities that are trusted in addition to the system's.
    package var caFile: String?

    package init(verification: Verification = .full, expectedNames: [String], caFile: String? = nil) {
        self.verification = verification
        self.expectedNames = expectedNames
        self.caFile = caFile
    }
}

/// User name and password, and what to do with them. Nothing that prints it shows the password.
package enum WinRMAuthentication: Sendable {
    /// HTTP Basic (RFC 7617). Over plain HTTP only with `allowUnencrypted`.
    case basic(username: String, password: String, allowUnencrypted: Bool)
    /// NTLM within `Negotiate`; over plain HTTP every message is sealed. A user name `DOMAIN\user` is taken apart if
    /// the domain is empty.
    case ntlm(username: String, password: String, domain: String)
}

extension WinRMAuthentication: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String {
        switch self {
        case .basic(let username, _, _): "Basic as \(username)"
        case .ntlm(let username, _, let domain): "NTLM as \(domain.isEmpty ? "" : domain + "\\")\(username)"
        }
    }

    package var debugDescription: String { self.description }

    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// How much a host may make this client do.
package struct WinRMLimits: Sendable, Hashable {
    /// One HTTP body in bytes. Real answers reached 77 KB, and are asked to stay within the envelope size.
    package static let defaultMaximumResponseBytes = 4 * 1024 * 1024
    /// What is asked of hosts as the largest envelope; 500 KB is the default of Windows since 2012 (MaxEnvelopeSizekb).
    package static let defaultMaximumEnvelopeSize = 512_000
    /// Items per answer that are asked for; Windows' default for MaxBatchItems.
    package static let defaultMaximumElements = 32_000
    /// Instances of one enumeration.
    package static let defaultMaximumInstances = 65_536
    /// All bodies of one enumeration in bytes.
    package static let defaultMaximumEnumerationBytes = 32 * 1024 * 1024
    /// Requests of one enumeration; one item each is the worst that was seen.
    package static let defaultMaximumPulls = 4096

    package var maximumResponseBytes = Self.defaultMaximumResponseBytes
    package var maximumEnvelopeSize = Self.defaultMaximumEnvelopeSize
    package var maximumElements = Self.defaultMaximumElements
    package var maximumInstances = Self.defaultMaximumInstances
    package var maximumEnumerationBytes = Self.defaultMaximumEnumerationBytes
    package var maximumPulls = Self.defaultMaximumPulls
    package var xml = XMLLimits()

    package init() {}
}

/// What a connection has done so far.
package struct WinRMStatistics: Sendable, Hashable {
    /// HTTP requests, those of signing in included.
    package var requests: Int
    /// Bytes on the socket, TLS included.
    package var bytesSent: Int
    /// Bytes on the socket, TLS included.
    package var bytesReceived: Int
}
