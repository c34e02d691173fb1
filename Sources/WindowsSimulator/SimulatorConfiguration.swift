/// What a fleet is and how its hosts behave.
package struct SimulatorConfiguration: Sendable {
    /// How the hosts' WinRM service is set up; the defaults are Windows' own.
    package struct Service: Sendable, Hashable {
        /// Offers Basic: over HTTPS, and over HTTP if unencrypted traffic is allowed.
        package var offersBasic = false
        /// Offers Negotiate with NTLM.
        package var offersNegotiate = true
        /// Takes requests over HTTP that are not sealed.
        package var allowsUnencrypted = false
        /// Refuses NTLM over HTTPS without the binding to the certificate (`CbtHardeningLevel=Strict`).
        package var requiresChannelBinding = false
        /// HTTP.sys closes a connection that is idle for these seconds.
        package var keepAliveTimeout = 120.0
        /// `MaxEnvelopeSizekb`: larger requests get 413.
        package var maximumRequestBytes = 512_000

        package init() {}
    }

    /// Seconds after which a DCOM object counts as left behind.
    package struct ObjectTimes: Sendable, Hashable {
        /// An object that nobody pinged for so long is reclaimed: three periods of 120 s, [MS-DCOM] 3.1.1.1.
        package var reclaim = 360.0
        /// A finished enumerator must be released after so long, or counts as leaked.
        package var enumerator = 30.0
        /// The connection that activated may end before the one that uses the object begins.
        package var handover = 10.0

        package init() {}
    }

    /// One for each host.
    package var addresses: AddressRange
    package var user = "Administrator"
    package var password: String
    package var fleet: HostProfile.Fleet
    package var service = Service()
    /// Nil for no listener, 0 for any port that is free at every address (``WindowsSimulator/httpPort``).
    package var httpPort: Int? = 5_985
    /// As ``httpPort``.
    package var httpsPort: Int? = 5_986
    /// Port of the DCOM resolver, as ``httpPort``; Windows' own is 135, which needs root. Nil for hosts without DCOM.
    package var resolverPort: Int?
    /// Port of SMB, which only decoys have; nil for none.
    package var smbPort: Int?
    /// Where hosts begin to look for the port of their DCOM objects; IANA's dynamic ports begin at 49,152.
    package var firstDynamicPort = 49_152
    /// What hosts forgive clients that leave objects behind.
    package var objectTimes = ObjectTimes()
    /// Nil for no truth endpoint, 0 for any free port.
    package var truthPort: Int? = 9_099
    /// A fault file's text.
    package var faults: String?
    /// Above so many hosts, one listener on the wildcard address serves all of them.
    package var maximumListeningAddresses = 2_000
    package var threads = 2

    package init(addresses: AddressRange, password: String, fleet: HostProfile.Fleet) {
        self.addresses = addresses
        self.password = password
        self.fleet = fleet
    }
}

/// A simulator that cannot start.
package struct SimulatorError: Error, Sendable, CustomStringConvertible {
    package let description: String

    package init(_ description: String) {
        self.description = description
    }
}
