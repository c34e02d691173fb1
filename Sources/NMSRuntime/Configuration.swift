package import NMSCore

/// Every setting of a running NMSlite, with flags, environment and file already merged (specification §10).
///
/// ``ConfigurationLoader`` makes it; ``defaults`` is what no configuration at all gives. The values written here are
/// place holders: the defaults stand once, in ``ConfigurationKey/table``.
package struct Configuration: Sendable, Equatable {
    /// The base directory of everything embedded; nil means ``DataDirectory/defaultPath(isRoot:)``.
    package internal(set) var dataDir: String?
    /// What this instance does.
    package internal(set) var roles: Set<Role> = []
    package internal(set) var server = Server()
    package internal(set) var database = Database()
    package internal(set) var auth = Auth()
    package internal(set) var queue = Queue()
    package internal(set) var cache = Cache()
    package internal(set) var polling = Polling()
    package internal(set) var encryption = Encryption()
    package internal(set) var logs = Logs()
    package internal(set) var targets = Targets()
    package internal(set) var discovery = Discovery()
    package internal(set) var winrm = WinRM()
    package internal(set) var retention = Retention()
    package internal(set) var rateLimit = RateLimit()
    package internal(set) var metrics = Metrics()
    /// `NMSLITE_ADMIN_PASSWORD`, for the first start; never in a file's key.
    package internal(set) var adminPassword: Secret?
    /// Where each key that is not at its default was set, by dotted path; for messages.
    package internal(set) var sources: [String: ConfigurationSource] = [:]

    init() {}

    /// The settings of an instance without flags, environment and file.
    package static let defaults: Configuration = {
        var configuration = Configuration()
        for key in ConfigurationKey.table { key.applyDefault(to: &configuration) }
        return configuration
    }()

    /// A part of the work that an instance can take.
    package enum Role: String, Sendable, CaseIterable {
        case api, scheduler, poller, discovery, writer
    }
}

extension Configuration {
    /// The HTTPS listener.
    package struct Server: Sendable, Equatable {
        package internal(set) var host = ""
        package internal(set) var port = 0
        /// For one request, head and body.
        package internal(set) var readTimeout: Duration = .zero
        /// For one answer.
        package internal(set) var writeTimeout: Duration = .zero
        /// Of clients, at once.
        package internal(set) var maxConnections = 0
        package internal(set) var tls = TLS()
    }

    /// Transport security of the listener (specification §8.4).
    package struct TLS: Sendable, Equatable {
        package internal(set) var enabled = false
        /// PEM chain; nil, like ``keyFile``, means the self-signed certificate in the data directory.
        package internal(set) var certFile: String?
        /// PEM private key.
        package internal(set) var keyFile: String?
        package internal(set) var minVersion = TLSVersion.v12
    }

    /// The lowest version that is accepted.
    package enum TLSVersion: String, Sendable, CaseIterable {
        case v12 = "1.2"
        case v13 = "1.3"
    }

    /// PostgreSQL.
    package struct Database: Sendable, Equatable {
        /// Name, address or socket directory of an external server; nil means the embedded one.
        package internal(set) var host: String?
        package internal(set) var port = 0
        package internal(set) var name = ""
        package internal(set) var user = ""
        package internal(set) var password: Secret?
        /// Encryption towards an external server, in libpq's words.
        package internal(set) var sslMode = SSLMode.prefer
        package internal(set) var maxOpenConns = 0
        package internal(set) var maxIdleConns = 0
        package internal(set) var connMaxLifetime: Duration = .zero
        package internal(set) var statementTimeout: Duration = .zero

        /// Whether NMSlite supervises a private server.
        package var isEmbedded: Bool { self.host == nil }
    }

    /// libpq's `sslmode`.
    package enum SSLMode: String, Sendable, CaseIterable {
        case disable, allow, prefer, require
        case verifyCA = "verify-ca"
        case verifyFull = "verify-full"
    }

    /// Sign-in.
    package struct Auth: Sendable, Equatable {
        /// At least 32 bytes. nil: generated, see ``Secrets``.
        package internal(set) var jwtSecret: Secret?
        package internal(set) var accessTokenTTL: Duration = .zero
        package internal(set) var refreshTokenTTL: Duration = .zero
        package internal(set) var bcryptCost = 0
    }

    /// NATS.
    package struct Queue: Sendable, Equatable {
        package internal(set) var type = QueueType.nats
        /// Used when ``embedded`` is false.
        package internal(set) var url = ServiceURL()
        /// Whether NMSlite supervises a private server.
        package internal(set) var embedded = false
        /// Copies of each stream.
        package internal(set) var replicas = 0
    }

    /// The only message queue there is (specification §6.1).
    package enum QueueType: String, Sendable, CaseIterable {
        case nats
    }

    /// Lifetimes of cached entries (specification §7).
    package struct Cache: Sendable, Equatable {
        package internal(set) var deviceTTL: Duration = .zero
        package internal(set) var credentialTTL: Duration = .zero
        package internal(set) var metricsTTL: Duration = .zero
        package internal(set) var cleanupInterval: Duration = .zero
    }

    /// Polling of devices.
    package struct Polling: Sendable, Equatable {
        /// For devices that name none; whole seconds.
        package internal(set) var defaultInterval: Duration = .zero
        /// Polls in flight at once.
        package internal(set) var workerCount = 0
        /// For one poll.
        package internal(set) var timeout: Duration = .zero
        /// Failed polls in a row that make a device `unreachable`.
        package internal(set) var unreachableAfter = 0
    }

    /// Encryption of stored credentials (specification §8.3).
    package struct Encryption: Sendable, Equatable {
        /// 32 bytes as base64 or 64 hexadecimal digits. nil: generated, see ``Secrets``.
        package internal(set) var masterKey: Secret?
        /// As above: the key that a rotation replaces it by. nil: generated with the embedded database.
        package internal(set) var masterKeyNext: Secret?
    }

    /// Logging.
    package struct Logs: Sendable, Equatable {
        package internal(set) var level = LogLevel.info
        package internal(set) var format = LogFormat.json
        package internal(set) var output = LogOutput.standardOutput
    }

    /// What may be polled and discovered.
    package struct Targets: Sendable, Equatable {
        /// Never empty.
        package internal(set) var allow: [CIDRBlock] = []

        package var policy: TargetPolicy { TargetPolicy(allowed: self.allow) }
    }

    /// Searches of subnets.
    package struct Discovery: Sendable, Equatable {
        /// Of one discovery.
        package internal(set) var maxAddresses = 0
        /// Connections that are being made at once.
        package internal(set) var concurrency = 0
        /// Connections that are begun per second.
        package internal(set) var rate = 0
    }

    /// The WinRM client.
    package struct WinRM: Sendable, Equatable {
        /// Warm connections kept between polls.
        package internal(set) var maxIdleConnections = 0
        /// PEM certificates of the authorities that sign the hosts' certificates.
        package internal(set) var caFile: String?
    }

    /// How long metrics are kept.
    package struct Retention: Sendable, Equatable {
        /// Whole months are dropped: 90 days keep 90 to 121.
        package internal(set) var days = 0
        /// Hourly values outlive the metrics that they were made of.
        package internal(set) var hourlyDays = 0
    }

    /// Who may read `GET /metrics`.
    package struct Metrics: Sendable, Equatable {
        /// Opens it on the API's port; nil: it is not there.
        package internal(set) var scrapeToken: Secret?
        /// A plain listener of its own, without a token; nil: none.
        package internal(set) var listen: ListenAddress?
    }

    /// Limits per API client.
    package struct RateLimit: Sendable, Equatable {
        package internal(set) var requestsPerSecond = 0
    }
}

/// The address of a service, which may carry a password: descriptions leave out what stands before the `@`.
package struct ServiceURL: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable
{
    /// As configured, with whatever secret it carries: for the connection alone.
    package let exposed: String

    package init(_ text: String = "") { self.exposed = text }

    package var description: String {
        self.exposed.split(separator: ",", omittingEmptySubsequences: false).map { part in
            guard let at = part.lastIndex(of: "@") else { return String(part) }
            let scheme = part.firstRange(of: "://").map { String(part[..<$0.upperBound]) } ?? ""
            return "\(scheme)***\(part[at...])"
        }.joined(separator: ",")
    }

    package var debugDescription: String { self.description }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// The four levels of the specification (§12.4).
package enum LogLevel: String, Sendable, CaseIterable, Comparable {
    case debug, info, warn, error

    package static func < (lhs: LogLevel, rhs: LogLevel) -> Bool { lhs.rank < rhs.rank }

    private var rank: Int { LogLevel.allCases.firstIndex(of: self) ?? 0 }
}

/// How a log line looks.
package enum LogFormat: String, Sendable, CaseIterable {
    /// One JSON object per line.
    case json
    /// `time LEVEL logger: message key=value …`
    case text
}

/// Where log lines go.
package enum LogOutput: Sendable, Equatable {
    case standardOutput
    case standardError
    /// Appended to; made with mode 0600.
    case file(String)
}
