/// What speaks for and against a host being a Windows machine, in the host's own words.
///
/// None of it is authenticated. It comes from strangers: whoever makes one bounds every text and list (NMSDiscovery does),
/// so that its JSON stays below ``maximumEncodedBytes``.
package struct DiscoveryEvidence: Codable, Sendable, Equatable {
    /// What an encoded evidence never exceeds.
    package static let maximumEncodedBytes = 64 * 1024

    /// What dialling a port came to.
    package enum PortState: String, Codable, Sendable, CaseIterable {
        case open
        /// Refused with RST.
        case closed
        /// No answer.
        case silent
        case unreachable
        /// This machine could not dial.
        case failed
    }

    package struct Port: Codable, Sendable, Equatable {
        package var port: Int
        package var state: PortState

        package init(port: Int, state: PortState) {
            self.port = port
            self.state = state
        }
    }

    /// The answer to WS-Management's Identify without a login.
    package struct WSMan: Codable, Sendable, Equatable {
        package var port: Int
        /// HTTP status; nil if what came was no HTTP.
        package var status: Int?
        /// The header `Server`.
        package var server: String?
        /// Authentication schemes on offer.
        package var schemes: [String]
        package var vendor: String?
        package var version: String?

        package init(
            port: Int,
            status: Int? = nil,
            server: String? = nil,
            schemes: [String] = [],
            vendor: String? = nil,
            version: String? = nil
        ) {
            self.port = port
            self.status = status
            self.server = server
            self.schemes = schemes
            self.vendor = vendor
            self.version = version
        }
    }

    /// What an NTLM challenge tells.
    package struct NTLM: Codable, Sendable, Equatable {
        /// Where it came from.
        package var port: Int
        package var netbiosComputer: String?
        package var netbiosDomain: String?
        package var dnsComputer: String?
        package var dnsDomain: String?
        package var forest: String?
        /// Such as `10.0.20348`.
        package var version: String?
        /// The host's clock less ours, in seconds.
        package var clockOffset: Double?

        package init(port: Int) { self.port = port }

        enum CodingKeys: String, CodingKey {
            case port, forest, version
            case netbiosComputer = "netbios_computer"
            case netbiosDomain = "netbios_domain"
            case dnsComputer = "dns_computer"
            case dnsDomain = "dns_domain"
            case clockOffset = "clock_offset"
        }
    }

    /// The answer to ServerAlive2.
    package struct ObjectResolver: Codable, Sendable, Equatable {
        package var port: Int
        /// Version of the object protocol, such as `5.7`.
        package var version: String
        /// Names and addresses that the host has.
        package var bindings: [String]

        package init(port: Int, version: String, bindings: [String]) {
            self.port = port
            self.version = version
            self.bindings = bindings
        }
    }

    package struct Certificate: Codable, Sendable, Equatable {
        package var port: Int
        package var subject: String?
        package var issuer: String?
        /// DNS names and addresses.
        package var names: [String]
        /// RFC 3339.
        package var notAfter: String?

        package init(
            port: Int,
            subject: String? = nil,
            issuer: String? = nil,
            names: [String] = [],
            notAfter: String? = nil
        ) {
            self.port = port
            self.subject = subject
            self.issuer = issuer
            self.names = names
            self.notAfter = notAfter
        }

        enum CodingKeys: String, CodingKey {
            case port, subject, issuer, names
            case notAfter = "not_after"
        }
    }

    /// What a port says unasked, such as `SSH-2.0-OpenSSH_9.6`.
    package struct Banner: Codable, Sendable, Equatable {
        package var port: Int
        package var text: String

        package init(port: Int, text: String) {
            self.port = port
            self.text = text
        }
    }

    package var ports: [Port]
    package var wsman: [WSMan]
    package var ntlm: NTLM?
    package var resolver: ObjectResolver?
    package var certificate: Certificate?
    package var banner: Banner?
    /// Why the host is taken for what it is, in sentences for users.
    package var reasons: [String]

    package init(ports: [Port] = []) {
        self.ports = ports
        self.wsman = []
        self.reasons = []
    }
}
