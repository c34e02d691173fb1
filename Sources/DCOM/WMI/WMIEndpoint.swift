import SSP

/// Where a host's object resolver is.
package struct WMIEndpoint: Sendable, Hashable {
    /// An IPv4 or IPv6 address as text; names are not resolved here.
    package var address: String
    package var port: Int

    package init(address: String, port: Int = DCOM.endpointMapperPort) {
        self.address = address
        self.port = port
    }
}

/// Who signs in. Nothing that prints it shows the password.
package struct WMICredential: Sendable {
    let ntlm: NTLMCredential

    /// A user name `DOMAIN\user` is taken apart if the domain is empty.
    package init(username: String, password: String, domain: String = "") {
        self.ntlm = NTLMCredential(username: username, password: password, domain: domain)
    }
}

extension WMICredential: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "NTLM as \(self.ntlm)" }

    package var debugDescription: String { self.description }

    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// How the rows of a query are fetched.
package enum WMIEnumeration: Sendable, Hashable {
    /// `IEnumWbemClassObject`: whole objects at once. Two round trips a query.
    case objects
    /// `IWbemWCOSmartEnum`: the class part of a class only once. Four round trips a query, fewer bytes with many rows.
    case smart
}

/// How much a host may make this client do, and how long what is kept is kept.
package struct WMILimits: Sendable {
    /// Rows asked for at once: all of a poll's queries fit, also on hosts with many interfaces. At about 2 KB a row the
    /// answer stays below ``defaultMaximumResponseBytes``.
    package static let defaultBatchSize = 256
    /// One answer of the host in bytes.
    package static let defaultMaximumResponseBytes = 4 * 1024 * 1024
    /// Rows of one query.
    package static let defaultMaximumRows = 65_536
    /// All answers of one query in bytes.
    package static let defaultMaximumQueryBytes = 32 * 1024 * 1024
    /// Requests of one query; one row each is the worst that a host can do.
    package static let defaultMaximumRequests = 4096
    /// Namespaces that a connection keeps open.
    package static let defaultMaximumNamespaces = 16
    /// Time to connect to WMI's dynamic port: two of TCP's attempts (after 1 s and 3 s, RFC 6298 section 2). The host has
    /// answered on another port a moment before, so what takes longer is a firewall.
    package static let defaultConnectTimeout: Duration = .seconds(3)

    package var batchSize = Self.defaultBatchSize
    package var maximumResponseBytes = Self.defaultMaximumResponseBytes
    package var maximumRows = Self.defaultMaximumRows
    package var maximumQueryBytes = Self.defaultMaximumQueryBytes
    package var maximumRequests = Self.defaultMaximumRequests
    package var maximumNamespaces = Self.defaultMaximumNamespaces
    /// For WMI's dynamic port, all of its addresses together; the deadline bounds it as well.
    package var connectTimeout = Self.defaultConnectTimeout
    package var enumeration = WMIEnumeration.objects
    package var upkeep = WMIUpkeepLimits()
    package var objects = WMIOLimits()
    /// Whether an address that the host names may be tried when the port of its object exporter cannot be reached at
    /// the endpoint's address. Only IP literals are ever asked about: a name would let the host choose what is resolved.
    ///
    /// None by default: a host could otherwise send this client, and with it a sign-in, to any address it likes.
    package var allowsAlternativeAddress: @Sendable (_ address: String) -> Bool = { _ in false }

    package init() {}
}

/// When a connection that lives between polls is looked after.
package struct WMIUpkeepLimits: Sendable, Hashable {
    /// BasePingInterval: objects that nobody pings for three of these are reclaimed ([MS-DCOM] 3.1.1.6.2).
    package var pingInterval: Duration = .seconds(120)
    /// The first ping comes earlier, since it frees the connection to the object resolver.
    package var firstPing: Duration = .seconds(30)
    /// Time for one ping, connecting included.
    package var pingTimeout: Duration = .seconds(10)
    /// What queries have left is released together, when so many interfaces have gathered: those of a poll of four.
    package var releaseBatch = 4
    /// Time for that, as the query waits for it.
    package var releaseTimeout: Duration = .seconds(2)
    /// A connection that nobody used for so long releases everything and closes itself.
    package var idleLimit: Duration = .seconds(600)
    /// How long a cancelled call may still wait for its answer, so that what it brings can be released.
    package var cancellationGrace: Duration = .seconds(2)
    /// Time for the last release when a connection closes by itself.
    package var closeTimeout: Duration = .seconds(5)

    package init() {}
}

/// What a connection has done so far, on all its TCP connections.
package struct WMIStatistics: Sendable, Hashable {
    /// Exchanges with the host: binds, calls, pings. TCP's own are not among them.
    package var roundTrips: Int
    /// Bytes on the sockets.
    package var bytesSent: Int
    /// Bytes on the sockets.
    package var bytesReceived: Int

    package init(roundTrips: Int = 0, bytesSent: Int = 0, bytesReceived: Int = 0) {
        self.roundTrips = roundTrips
        self.bytesSent = bytesSent
        self.bytesReceived = bytesReceived
    }

    static func + (left: Self, right: Self) -> Self {
        Self(
            roundTrips: left.roundTrips + right.roundTrips,
            bytesSent: left.bytesSent + right.bytesSent,
            bytesReceived: left.bytesReceived + right.bytesReceived
        )
    }
}
