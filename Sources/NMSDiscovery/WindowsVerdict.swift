internal import NMSCore

/// Whether a host is a Windows machine, by what it says without a login.
///
/// Everything that a host says can be a lie, and other systems speak Windows' protocols; so it takes something that only
/// Windows says by itself:
/// - Identify answered as Windows does, with Microsoft as vendor and a version of its form (OMI on Linux has another);
/// - an NTLM challenge with a Windows build from a WS-Management port that HTTP.sys or IIS serves;
/// - port 135 with the resolver of DCOM objects, or an NTLM challenge with a Windows build. Samba, which serves port 135
///   as a domain controller, has no resolver and says build 0.
struct WindowsVerdict: Sendable, Hashable {
    var outcome: AddressOutcome
    /// In sentences, for users.
    var reasons: [String]

    init(_ evidence: DiscoveryEvidence) {
        var signs: [String] = []
        var objections: [String] = []
        for answer in evidence.wsman { Self.judge(answer, &signs, &objections) }
        if let ntlm = evidence.ntlm { Self.judge(ntlm, evidence, &signs, &objections) }
        if let resolver = evidence.resolver { Self.judge(resolver, evidence, &signs, &objections) }
        if let banner = evidence.banner {
            objections.append("port \(banner.port) speaks first: \(banner.text)")
        }
        let open = evidence.ports.filter { $0.state == .open }
        if !signs.isEmpty {
            self.outcome = .windows
            self.reasons = signs
        } else if !objections.isEmpty {
            self.outcome = .notWindows
            self.reasons = objections
        } else if !open.isEmpty {
            self.outcome = .unidentified
            let ports = open.map { "\($0.port)" }.joined(separator: ", ")
            self.reasons = ["open (\(ports)), but nothing there tells what it is"]
        } else {
            self.outcome = Self.outcome(withoutOpenPorts: evidence.ports.map(\.state))
            self.reasons = []
        }
    }

    /// One port that answers says that the host is there; of the others the most definite counts.
    static func outcome(withoutOpenPorts states: [DiscoveryEvidence.PortState]) -> AddressOutcome {
        if states.contains(.closed) { return .closed }
        if states.contains(.failed) { return .failed }
        if states.contains(.unreachable) { return .unreachable }
        return .silent
    }

    // MARK: -

    /// Windows 2000, the first with DCOM and this kind of version.
    private static let firstBuild = 2195

    private static func judge(
        _ answer: DiscoveryEvidence.WSMan,
        _ signs: inout [String],
        _ objections: inout [String]
    ) {
        if let vendor = answer.vendor {
            if self.isMicrosoft(vendor), self.isWindowsStack(answer.version) {
                signs.append("Identify on port \(answer.port): \(vendor), \(answer.version ?? "")")
            } else {
                let product = [vendor, answer.version].compactMap(\.self).joined(separator: ", ")
                objections.append("Identify on port \(answer.port): \(product)")
            }
        } else if !self.isMicrosoftServer(answer.server) {
            let server = answer.server.map { " by \($0)" } ?? ""
            let status = answer.status.map { "status \($0)" } ?? "no status"
            objections.append("HTTP on port \(answer.port)\(server), which does not answer Identify (\(status))")
        }
    }

    private static func judge(
        _ ntlm: DiscoveryEvidence.NTLM,
        _ evidence: DiscoveryEvidence,
        _ signs: inout [String],
        _ objections: inout [String]
    ) {
        guard self.isWindowsBuild(ntlm.version) else {
            objections.append("NTLM on port \(ntlm.port) without a Windows build (\(ntlm.version ?? "no version"))")
            return
        }
        if let http = evidence.wsman.first(where: { $0.port == ntlm.port }) {
            // Servers on other systems pass NTLM on, or are told what to say.
            guard self.isMicrosoftServer(http.server), http.vendor.map(self.isMicrosoft) ?? true else { return }
        }
        signs.append("NTLM on port \(ntlm.port): Windows \(ntlm.version ?? "")")
    }

    private static func judge(
        _ resolver: DiscoveryEvidence.ObjectResolver,
        _ evidence: DiscoveryEvidence,
        _ signs: inout [String],
        _ objections: inout [String]
    ) {
        if let ntlm = evidence.ntlm, ntlm.port == resolver.port, !self.isWindowsBuild(ntlm.version) { return }
        guard resolver.version.hasPrefix("5."), !resolver.bindings.isEmpty else { return }
        signs.append("ServerAlive2 on port \(resolver.port): object protocol \(resolver.version)")
    }

    private static func isMicrosoft(_ vendor: String) -> Bool { vendor.lowercased().hasPrefix("microsoft") }

    /// `OS: 10.0.17763 SP: 0.0 Stack: 3.0`, with zeros for strangers.
    private static func isWindowsStack(_ version: String?) -> Bool {
        guard let version, version.hasPrefix("OS: ") else { return false }
        return version.contains(" SP: ") && version.contains(" Stack: ")
    }

    private static func isMicrosoftServer(_ server: String?) -> Bool {
        guard let server = server?.lowercased() else { return false }
        return server.hasPrefix("microsoft-httpapi/") || server.hasPrefix("microsoft-iis/")
    }

    private static func isWindowsBuild(_ version: String?) -> Bool {
        let parts = (version ?? "").split(separator: ".").compactMap { Int($0) }
        return parts.count == 3 && parts[0] >= 5 && parts[2] >= self.firstBuild
    }
}
