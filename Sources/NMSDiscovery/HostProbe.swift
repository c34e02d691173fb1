internal import DCOM
internal import Foundation
internal import NIOCore
internal import NMSCore
internal import SSP
internal import WinRM

/// What a port is taken for.
package enum DiscoveryService: Sendable, Hashable {
    case http
    case https
    /// The resolver of DCOM objects.
    case resolver
    /// SMB: whether it is open is all that is asked.
    case hint

    /// By port number, and by the credentials that are to be used at the port; anything else may be WinRM over HTTP.
    static func services(ports: [Int], credentials: [DecryptedCredential]) -> [Int: DiscoveryService] {
        var services: [Int: DiscoveryService] = [:]
        for port in ports {
            let user = credentials.first { $0.credential.effectivePort == port }?.credential
            services[port] =
                switch (port, user?.type) {
                case (445, _), (139, _): .hint
                case (135, _), (_, .wmi): .resolver
                case (5986, _): .https
                default: user?.useSSL == true ? .https : .http
                }
        }
        return services
    }
}

/// Asks hosts what they are, without a login: in bounded time, for bounded bytes, and without believing any of it.
struct HostProbe: Sendable {
    /// Bytes of any one answer: those of real hosts have less than 2 KB.
    private static let maximumAnswerBytes = 64 * 1024

    private let group: any EventLoopGroup
    private let configuration: DiscoveryConfiguration
    private let winrm: WinRMConnector
    private let wmi: WMIConnector
    private let now: @Sendable () -> Date

    init(
        group: any EventLoopGroup,
        configuration: DiscoveryConfiguration,
        now: @escaping @Sendable () -> Date = { Date() }
    ) {
        self.group = group
        self.configuration = configuration
        self.now = now
        var winrm = WinRMLimits()
        winrm.maximumResponseBytes = Self.maximumAnswerBytes
        self.winrm = WinRMConnector(group: group, limits: winrm)
        var wmi = WMILimits()
        wmi.maximumResponseBytes = Self.maximumAnswerBytes
        self.wmi = WMIConnector(group: group, limits: wmi)
    }

    /// What one port said.
    private struct Finding: Sendable {
        var port: Int
        var wsman: DiscoveryEvidence.WSMan?
        var ntlm: DiscoveryEvidence.NTLM?
        var resolver: DiscoveryEvidence.ObjectResolver?
        var certificate: DiscoveryEvidence.Certificate?

        init(port: Int) { self.port = port }

        var isEmpty: Bool {
            self.wsman == nil && self.ntlm == nil && self.resolver == nil && self.certificate == nil
        }
    }

    /// Asks all open ports at once.
    func evidence(
        of address: IPAddress,
        ports: [DiscoveryEvidence.Port],
        services: [Int: DiscoveryService]
    ) async -> DiscoveryEvidence {
        var evidence = DiscoveryEvidence(ports: ports)
        let open = ports.filter { $0.state == .open && services[$0.port] != .hint }.map(\.port)
        let findings = await withTaskGroup(of: Finding.self) { group in
            for port in open {
                group.addTask { await self.ask(address, port, services[port] ?? .http) }
            }
            var findings: [Int: Finding] = [:]
            for await finding in group { findings[finding.port] = finding }
            return open.compactMap { findings[$0] }
        }
        // Of several answers to the same question, that of the first port: the order is the caller's.
        for finding in findings {
            if let wsman = finding.wsman { evidence.wsman.append(wsman) }
            evidence.ntlm = evidence.ntlm ?? finding.ntlm
            evidence.resolver = evidence.resolver ?? finding.resolver
            evidence.certificate = evidence.certificate ?? finding.certificate
        }
        if evidence.ntlm == nil, evidence.resolver == nil, evidence.wsman.allSatisfy({ $0.vendor == nil }),
            let mute = findings.first(where: \.isEmpty)
        {
            evidence.banner = await self.banner(address, port: mute.port)
        }
        return evidence
    }

    private func ask(_ address: IPAddress, _ port: Int, _ service: DiscoveryService) async -> Finding {
        switch service {
        case .http: await self.askWinRM(address, port, tls: nil)
        case .https:
            // Looked at, not trusted: nothing secret is sent here.
            await self.askWinRM(address, port, tls: TLSSettings(verification: .none, expectedNames: []))
        case .resolver: await self.askResolver(address, port)
        case .hint: Finding(port: port)
        }
    }

    private var deadline: ContinuousClock.Instant { .now + self.configuration.probeTimeout }

    // MARK: - WS-Management

    private func askWinRM(_ address: IPAddress, _ port: Int, tls: TLSSettings?) async -> Finding {
        let deadline = self.deadline
        let endpoint = WinRMEndpoint(address: address.description, port: port, tls: tls)
        var finding = Finding(port: port)
        guard let connection = try? await self.winrm.connect(to: endpoint, deadline: deadline) else { return finding }
        finding.certificate = (await connection.peerCertificate()).map {
            DiscoveryEvidence.Certificate($0, port: port)
        }
        if let probe = try? await connection.identifyUnauthenticated(deadline: deadline) {
            finding.wsman = DiscoveryEvidence.WSMan(probe, port: port)
            finding.ntlm = await self.challenge(connection, endpoint, deadline: deadline)
        }
        connection.closeSoon()
        return finding
    }

    /// Asks for the NTLM challenge, on a new connection if the host has closed the first one with its answer.
    private func challenge(
        _ first: WinRMConnection,
        _ endpoint: WinRMEndpoint,
        deadline: ContinuousClock.Instant
    ) async -> DiscoveryEvidence.NTLM? {
        var connection = first
        if !first.isOpen {
            guard let second = try? await self.winrm.connect(to: endpoint, deadline: deadline) else { return nil }
            connection = second
        }
        defer { connection.closeSoon() }
        // Nobody's name: the message that would carry it is never sent.
        let nobody = WinRMAuthentication.ntlm(username: "", password: "", domain: "")
        try? await connection.requestChallenge(for: nobody, deadline: deadline)
        return await connection.challengeInfo.map {
            DiscoveryEvidence.NTLM($0, port: endpoint.port, now: self.now())
        }
    }

    // MARK: - DCOM

    private func askResolver(_ address: IPAddress, _ port: Int) async -> Finding {
        var finding = Finding(port: port)
        let endpoint = WMIEndpoint(address: address.description, port: port)
        guard let identity = try? await self.wmi.identify(endpoint, deadline: self.deadline) else { return finding }
        finding.ntlm = identity.challenge.map { DiscoveryEvidence.NTLM($0, port: port, now: self.now()) }
        finding.resolver = identity.version.map {
            DiscoveryEvidence.ObjectResolver($0, identity.stringBindings, port: port)
        }
        return finding
    }

    // MARK: - Others

    private func banner(_ address: IPAddress, port: Int) async -> DiscoveryEvidence.Banner? {
        let bytes = await BannerReader.read(
            address,
            port: port,
            group: self.group,
            timeout: self.configuration.bannerTimeout
        )
        let line = bytes.prefix { $0 != 0x0A }
        return StrangersText.clean(String(decoding: line, as: UTF8.self)).map {
            DiscoveryEvidence.Banner(port: port, text: $0)
        }
    }
}
