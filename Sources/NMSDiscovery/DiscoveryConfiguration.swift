package import NMSCore

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// How hard discoveries work.
package struct DiscoveryConfiguration: Sendable, Hashable {
    /// WinRM over HTTP and HTTPS, the resolver of DCOM objects, and SMB as a hint.
    package static let defaultPorts = [5985, 5986, 135, 445]
    /// Ports of one discovery.
    package static let maximumPorts = 16

    /// Connects under way at once; `discovery.concurrency`. The limit of descriptors bounds it, too.
    package var concurrency: Int
    /// Connects begun per second; `discovery.rate`.
    package var rate: Int
    /// For one connect. A little more than what TCP waits before it repeats a lost SYN (1 s, RFC 6298, section 2.1).
    package var connectTimeout: Duration
    /// Hosts that are identified at once.
    package var identificationConcurrency: Int
    /// For asking one port of a host what it is, connecting and TLS included.
    package var probeTimeout: Duration
    /// For waiting whether a host speaks first.
    package var bannerTimeout: Duration
    /// For signing in to a host with one credential and asking its name.
    package var credentialTimeout: Duration
    /// Between two reports to the sink.
    package var reportInterval: Duration
    /// What listens at ports whose number and credentials do not tell.
    package var services: [Int: DiscoveryService] = [:]

    package init(
        concurrency: Int = 2048,
        rate: Int = 10_000,
        connectTimeout: Duration = .milliseconds(1200),
        identificationConcurrency: Int = 128,
        probeTimeout: Duration = .seconds(3),
        bannerTimeout: Duration = .seconds(1),
        credentialTimeout: Duration = .seconds(15),
        reportInterval: Duration = .seconds(1)
    ) {
        self.concurrency = concurrency
        self.rate = rate
        self.connectTimeout = connectTimeout
        self.identificationConcurrency = identificationConcurrency
        self.probeTimeout = probeTimeout
        self.bannerTimeout = bannerTimeout
        self.credentialTimeout = credentialTimeout
        self.reportInterval = reportInterval
    }

    /// Connects at once that `descriptors` allow: a sixteenth of them, since polls, PostgreSQL and clients need theirs.
    func concurrency(descriptors: Int) -> Int { max(1, min(self.concurrency, max(8, descriptors / 16))) }

    /// Hosts identified at once that `descriptors` allow: a sixteenth of them at four for each host.
    func identificationConcurrency(descriptors: Int) -> Int {
        max(1, min(self.identificationConcurrency, max(2, descriptors / 64)))
    }

    /// Descriptors that this process may have.
    static var descriptorLimit: Int {
        var limit = rlimit()
        #if canImport(Glibc)
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        #else
        let resource = RLIMIT_NOFILE
        #endif
        guard getrlimit(resource, &limit) == 0 else { return 1024 }
        return Int(clamping: limit.rlim_cur)
    }
}

/// What one discovery is to do.
package struct DiscoveryJob: Sendable {
    package var targets: DiscoveryTargets
    /// In the order in which they are dialled.
    package var ports: [Int]
    /// Tried in this order on each Windows machine, until one works.
    package var credentials: [DecryptedCredential]
    /// What was stored last of an earlier run with the same targets.
    package var resume: DiscoveryCheckpoint
    /// ``DiscoveryProgress/scanned`` as stored last: it is never told less.
    package var scanned: Int

    package init(
        targets: DiscoveryTargets,
        ports: [Int] = DiscoveryConfiguration.defaultPorts,
        credentials: [DecryptedCredential] = [],
        resume: DiscoveryCheckpoint = DiscoveryCheckpoint(),
        scanned: Int = 0
    ) {
        self.targets = targets
        self.ports = ports
        self.credentials = credentials
        self.resume = resume
        self.scanned = scanned
    }

    /// Ports as given, each once; nil if there is none, more than ``DiscoveryConfiguration/maximumPorts``, or one outside
    /// 1…65535.
    package static func ports(_ given: [Int]) -> [Int]? {
        var ports: [Int] = []
        for port in given where !ports.contains(port) {
            guard (1...65_535).contains(port), ports.count < DiscoveryConfiguration.maximumPorts else { return nil }
            ports.append(port)
        }
        return ports.isEmpty ? nil : ports
    }
}
