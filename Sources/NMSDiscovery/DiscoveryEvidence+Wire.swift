internal import DCOM
internal import Foundation
internal import NMSCore
internal import SSP
internal import WinRM

/// Takes what hosts say, cleaned and cut.
extension DiscoveryEvidence {
    /// Names of a certificate, bindings of a resolver, schemes of a server.
    static let maximumListCount = 16
}

extension DiscoveryEvidence.WSMan {
    init(_ probe: WinRMProbe, port: Int) {
        self.init(
            port: port,
            status: probe.status,
            server: StrangersText.clean(probe.server),
            schemes: StrangersText.clean(probe.schemes, count: DiscoveryEvidence.maximumListCount),
            vendor: StrangersText.clean(probe.identity?.productVendor),
            version: StrangersText.clean(probe.identity?.productVersion)
        )
    }
}

extension DiscoveryEvidence.NTLM {
    /// Seconds from the FILETIME epoch to the UNIX epoch, and FILETIME's units in a second.
    private static let epoch = 11_644_473_600.0
    private static let ticksPerSecond = 10_000_000.0

    init(_ info: NTLMChallengeInfo, port: Int, now: Date) {
        self.init(port: port)
        self.netbiosComputer = StrangersText.clean(info.netbiosComputerName)
        self.netbiosDomain = StrangersText.clean(info.netbiosDomainName)
        self.dnsComputer = StrangersText.clean(info.dnsComputerName)
        self.dnsDomain = StrangersText.clean(info.dnsDomainName)
        self.forest = StrangersText.clean(info.dnsTreeName)
        self.version = info.version.map { "\($0.major).\($0.minor).\($0.build)" }
        self.clockOffset = info.timestamp.map { ticks in
            let offset = Double(ticks) / Self.ticksPerSecond - Self.epoch - now.timeIntervalSince1970
            return (offset * 10).rounded() / 10
        }
    }
}

extension DiscoveryEvidence.ObjectResolver {
    init(_ version: COMVersion, _ bindings: [StringBinding], port: Int) {
        let texts = bindings.lazy.compactMap { $0.tcpEndpoint?.host }
        self.init(
            port: port,
            version: "\(version.major).\(version.minor)",
            bindings: StrangersText.clean(texts, count: DiscoveryEvidence.maximumListCount)
        )
    }
}

extension DiscoveryEvidence.Certificate {
    init(_ summary: CertificateSummary, port: Int) {
        self.init(
            port: port,
            subject: StrangersText.clean(summary.subject),
            issuer: StrangersText.clean(summary.issuer),
            names: StrangersText.clean(summary.names, count: DiscoveryEvidence.maximumListCount),
            notAfter: RFC3339.string(from: summary.notAfter)
        )
    }
}
