/// A way in which a simulated host misbehaves. `docs/simulator.md` has the table with the error that each must cause.
package enum FaultKind: Sendable, Hashable {
    /// The host's clock is wrong by seconds.
    case wrongClock(offset: Double)
    /// Answers to queries come late by seconds; of one class only, if one is named.
    case slowQuery(delay: Double, wmiClass: String?)
    /// Connections are accepted, then nothing happens: at once, or from the first query on.
    case stalledConnection(atQuery: Bool)
    /// The connection is reset in the middle of an answer.
    case dropMidAnswer
    /// After so many answers a connection is unauthorized again; logins may be refused from then on, too.
    case unauthorizedAfter(requests: Int, refuseLogins: Bool)
    case accessDenied
    /// The user's operations are used up: always, or beyond a number of open enumerations.
    case quota(limit: Int)
    /// A class does not exist.
    case missingClass(String)
    /// The WMI provider of a class, or of all, fails.
    case providerFailure(wmiClass: String?)
    /// Performance counters start at zero again. It stays so after the fault's end.
    case counterReset
    /// The host is down for seconds and comes back with a new boot time. It stays so after the fault's end.
    case reboot(down: Double)
    /// Network counters have 32 bits and wrap.
    case narrowCounters
    /// Bytes that are no HTTP come back.
    case garbage
    /// Answers have many more bytes than anyone wants.
    case oversizedAnswer(bytes: Int)
    /// Nobody listens.
    case refused
    /// Every login is refused.
    case wrongPassword
    /// Requests that are not sealed are refused over HTTP with a status, as hosts with `AllowUnencrypted=false` do.
    case plainRefused(status: Int)
    /// The host offers nothing but Basic.
    case basicOnly
    case expiredCertificate
    case wrongNameCertificate
    /// The certificate is signed by an authority that nobody knows.
    case untrustedCertificate
    /// DCOM activation and calls are refused below packet privacy.
    case privacyRequired
    /// DCOM activation answers E_ACCESSDENIED.
    case activationDenied
    /// An activation's answer names the host, not its address.
    case hostnameBindings
    /// An activation's answer names another address than the host's.
    case foreignBindings
    /// An activation's answer names a port that a firewall closes: nobody listens, or everything is swallowed.
    case dynamicPortClosed(silently: Bool)
    /// RPC fragments have at most so many bytes, both ways.
    case smallFragments(bytes: Int)
    /// RPC answers are cut into fragments with so many bytes of content.
    case splitAnswers(bytes: Int)
    /// The user may not enter the namespace.
    case namespaceDenied
    /// An enumeration ends with an error after some rows.
    case enumerationError(code: UInt32, rows: Int, wmiClass: String?)
    /// Enumerators have no smart interface.
    case plainEnumerators
    /// Answers to queries are signed wrongly.
    case badSignature
    /// Objects vanish so many seconds after they were made or pinged.
    case objectsReclaimed(age: Double)
    /// Each answer of an enumeration has one row.
    case singleRows
    /// An enumeration's first answer is that nothing is there yet.
    case timedOutFirst
    /// Pings of objects must be signed.
    case pingsDenied
    /// A bind accepts the first interface that it offers, and leaves the others to alter_context.
    case singleInterface
    /// Nobody listens at some ports.
    case portsClosed(Set<HostPort>)
    /// Nothing comes back from some ports, not even a refusal.
    case portsSilent(Set<HostPort>)
    /// The host is no Windows machine.
    case decoy(Decoy)

    /// The name in a fault file.
    package var name: String {
        switch self {
        case .wrongClock: "wrong_clock"
        case .slowQuery: "slow_query"
        case .stalledConnection: "stalled_connection"
        case .dropMidAnswer: "drop_mid_answer"
        case .unauthorizedAfter: "unauthorized_after"
        case .accessDenied: "access_denied"
        case .quota: "quota"
        case .missingClass: "missing_class"
        case .providerFailure: "provider_failure"
        case .counterReset: "counter_reset"
        case .reboot: "reboot"
        case .narrowCounters: "counters_32bit"
        case .garbage: "garbage"
        case .oversizedAnswer: "oversized_answer"
        case .refused: "refused"
        case .wrongPassword: "wrong_password"
        case .plainRefused: "plain_refused"
        case .basicOnly: "basic_only"
        case .expiredCertificate: "tls_expired_certificate"
        case .wrongNameCertificate: "tls_wrong_name"
        case .untrustedCertificate: "tls_untrusted"
        case .privacyRequired: "dcom_privacy_required"
        case .activationDenied: "activation_denied"
        case .hostnameBindings: "hostname_bindings"
        case .foreignBindings: "foreign_bindings"
        case .dynamicPortClosed: "dynamic_port_closed"
        case .smallFragments: "small_fragments"
        case .splitAnswers: "split_answers"
        case .namespaceDenied: "namespace_denied"
        case .enumerationError: "enumeration_error"
        case .plainEnumerators: "smart_enumerator_refused"
        case .badSignature: "bad_signature"
        case .objectsReclaimed: "objects_reclaimed"
        case .singleRows: "single_rows"
        case .timedOutFirst: "timed_out_first"
        case .pingsDenied: "pings_denied"
        case .singleInterface: "single_interface"
        case .portsClosed: "ports_closed"
        case .portsSilent: "ports_silent"
        case .decoy(let decoy): decoy.rawValue
        }
    }

    /// Whether the listener must be closed or connections cut when the fault starts.
    var concernsListener: Bool {
        switch self {
        case .refused, .reboot, .portsClosed, .portsSilent, .decoy: true
        default: false
        }
    }
}

/// One entry of a fault file.
package struct Fault: Sendable, Hashable {
    package var kind: FaultKind
    /// Indices of the hosts concerned.
    package var hosts: [Int]
    /// When it starts.
    package var start: FileTime
    /// When it ends; nil for never.
    package var end: FileTime?

    package init(kind: FaultKind, hosts: [Int], start: FileTime, end: FileTime? = nil) {
        self.kind = kind
        self.hosts = hosts
        self.start = start
        self.end = end
    }

    package func isActive(at time: FileTime) -> Bool {
        time >= self.start && self.end.map { time < $0 } ?? true
    }
}

/// The faults of one host at one instant.
struct ActiveFaults: Sendable {
    private(set) var kinds: [FaultKind] = []

    static let none = ActiveFaults(kinds: [])

    init(kinds: [FaultKind]) {
        self.kinds = kinds
    }

    func first<Value>(_ pick: (FaultKind) -> Value?) -> Value? {
        for kind in self.kinds {
            if let value = pick(kind) { return value }
        }
        return nil
    }

    func contains(_ kind: FaultKind) -> Bool { self.kinds.contains(kind) }

    /// What the host is instead of a Windows machine.
    var decoy: Decoy? { self.first { if case .decoy(let decoy) = $0 { decoy } else { nil } } }

    /// Seconds by which an answer about a class comes late.
    func delay(for wmiClass: String?) -> Double {
        self.first { kind in
            guard case .slowQuery(let delay, let only) = kind else { return nil }
            guard let only else { return delay }
            return wmiClass?.lowercased() == only.lowercased() ? delay : nil
        } ?? 0
    }

    func isMissing(_ wmiClass: String) -> Bool {
        self.kinds.contains {
            if case .missingClass(let name) = $0 { name.lowercased() == wmiClass.lowercased() } else { false }
        }
    }

    /// The error in the middle of an enumeration of a class.
    func enumerationFailure(of wmiClass: String) -> DCOMEnumeration.Failure? {
        self.first { kind in
            guard case .enumerationError(let code, let rows, let only) = kind,
                only.map({ $0.lowercased() == wmiClass.lowercased() }) ?? true
            else { return nil }
            return DCOMEnumeration.Failure(rows: rows, code: code)
        }
    }

    func providerFails(_ wmiClass: String) -> Bool {
        self.kinds.contains {
            guard case .providerFailure(let only) = $0 else { return false }
            return only.map { $0.lowercased() == wmiClass.lowercased() } ?? true
        }
    }
}
