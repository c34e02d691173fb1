import SSP
import Synchronization

/// What all connections of the fleet share.
final class FleetContext: Sendable {
    let configuration: SimulatorConfiguration
    let hosts: [SimulatedHost]
    let service = WSManService()
    let certificates: CertificateStore?
    /// Plans of queries over DCOM; those of a client hardly vary.
    private let dcomPlans = Mutex<[DCOMQuery: Result<DCOMPlan, WQLError>]>([:])
    let clock: @Sendable () -> FileTime
    private let plan = Mutex(FaultPlan())
    private let dateCache = Mutex((second: Int64.min, text: ""))
    /// Hosts whose logins a fault refuses since it went off.
    private let lockedHosts = Mutex<Set<Int>>([])

    init(
        configuration: SimulatorConfiguration,
        hosts: [SimulatedHost],
        certificates: CertificateStore?,
        clock: @escaping @Sendable () -> FileTime
    ) {
        self.configuration = configuration
        self.hosts = hosts
        self.certificates = certificates
        self.clock = clock
    }

    private let clients = Atomic<UInt64>(0)

    /// A number for a connection over RPC that no other has.
    func nextClient() -> DCOMExporter.ClientID {
        self.clients.wrappingAdd(1, ordering: .relaxed).newValue
    }

    private struct DCOMQuery: Hashable {
        var text: String
        var quirks: DCOMPlan.Quirks
    }

    /// Plans that are kept.
    private static let maximumCachedPlans = 512

    func dcomPlan(for text: String, quirks: DCOMPlan.Quirks) -> Result<DCOMPlan, WQLError> {
        let query = DCOMQuery(text: text, quirks: quirks)
        if let known = self.dcomPlans.withLock({ $0[query] }) { return known }
        let plan = Result { () throws(WQLError) in
            DCOMPlan(try WMIPlan(text), quirks: quirks)
        }
        self.dcomPlans.withLock { plans in
            if plans.count >= Self.maximumCachedPlans { plans.removeAll() }
            plans[query] = plan
        }
        return plan
    }

    var faultPlan: FaultPlan { self.plan.withLock { $0 } }

    func replaceFaults(_ faults: [Fault]) {
        let now = self.clock()
        self.plan.withLock { $0 = $0.replaced(by: faults, at: now) }
        self.lockedHosts.withLock { $0.removeAll() }
    }

    func faults(of host: SimulatedHost, at time: FileTime) -> ActiveFaults {
        self.plan.withLock { $0.active(for: host.index, at: time) }
    }

    func snapshot(of host: SimulatedHost, at time: FileTime) -> HostSnapshot {
        let conditions = self.plan.withLock { $0.conditions(of: host.index, at: time) }
        return HostSnapshot(profile: host.profile, time: time, conditions: conditions)
    }

    func lock(_ host: SimulatedHost) {
        _ = self.lockedHosts.withLock { $0.insert(host.index) }
    }

    func isLocked(_ host: SimulatedHost) -> Bool {
        self.lockedHosts.withLock { $0.contains(host.index) }
    }

    /// The `Date` header, written once a second.
    func httpDate(_ time: FileTime) -> String {
        self.dateCache.withLock { cache in
            let second = time.unixSeconds
            if cache.second != second { cache = (second, TimeText.httpDate(time)) }
            return cache.text
        }
    }

    /// What a host insists on now, for connections of one kind.
    func policy(
        for host: SimulatedHost,
        isTLS: Bool,
        certificate: HostCertificate?,
        faults: ActiveFaults,
        at time: FileTime
    ) -> ConnectionSecurity.Policy {
        var service = self.configuration.service
        if faults.contains(.basicOnly) {
            service.offersNegotiate = false
            service.offersBasic = true
        }
        let profile = host.profile
        let account = Account(
            user: self.configuration.user,
            password: self.configuration.password,
            domains: [
                profile.computerName, profile.dnsHostName, profile.fullyQualifiedName, profile.fleet.domain,
                profile.fleet.dnsDomain,
            ]
        )
        let localTime = self.snapshot(of: host, at: time).localTime.ticks
        let version = profile.release.majorMinor
        let ntlm = NTLMAcceptor.Configuration(
            netbiosComputerName: profile.computerName,
            netbiosDomainName: profile.isDomainMember ? profile.fleet.domain : profile.computerName,
            dnsComputerName: profile.fullyQualifiedName,
            dnsDomainName: profile.isDomainMember ? profile.fleet.dnsDomain : profile.dnsHostName,
            dnsTreeName: profile.isDomainMember ? profile.fleet.dnsDomain : nil,
            version: NTLMVersion(
                major: version.major,
                minor: version.minor,
                build: UInt16(truncatingIfNeeded: profile.release.build)
            ),
            requiredChannelBindings: service.requiresChannelBinding && isTLS ? certificate?.channelBindings : nil,
            environment: NTLMEnvironment(
                now: { UInt64(localTime) },
                randomBytes: NTLMEnvironment.system.randomBytes
            )
        )
        return ConnectionSecurity.Policy(
            isTLS: isTLS,
            service: service,
            refusesLogins: faults.contains(.wrongPassword) || self.refusesAfterFault(host, faults),
            lookup: { user, domain in account.password(user: user, domain: domain) },
            ntlm: ntlm
        )
    }

    private func refusesAfterFault(_ host: SimulatedHost, _ faults: ActiveFaults) -> Bool {
        let refuses = faults.first { if case .unauthorizedAfter(_, true) = $0 { true } else { nil } } ?? false
        return refuses && self.isLocked(host)
    }
}
