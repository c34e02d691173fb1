internal import Foundation
internal import NMSCore
internal import SSP
package import WinRM

extension WinRMCollector: DiagnosableCollector {
    package func openInspection(
        of target: CollectorTarget,
        deadline: ContinuousClock.Instant
    ) async throws(WinRMError) -> TLSInspection? {
        let endpoint = self.endpoint(target)
        guard endpoint.tls != nil else { return nil }
        return try await TLSInspection.open(endpoint, group: self.eventLoopGroup, deadline: deadline)
    }

    package func certificate(
        over inspection: TLSInspection,
        deadline: ContinuousClock.Instant
    ) async throws(WinRMError) -> CertificateFacts {
        let summary = try await inspection.certificate(deadline: deadline)
        return CertificateFacts(
            subject: summary.subject,
            issuer: summary.issuer,
            names: summary.names,
            notBefore: summary.notBefore,
            notAfter: summary.notAfter,
            isSelfSigned: summary.isSelfSigned,
            fingerprint: summary.fingerprint
        )
    }

    package func close(_ inspection: TLSInspection) async { await inspection.close() }

    package func identify(
        _ target: CollectorTarget,
        over connection: WinRMConnection,
        deadline: ContinuousClock.Instant
    ) async throws(WinRMError) -> HostIdentification {
        let probe = try await connection.identifyUnauthenticated(deadline: deadline)
        var facts: [DiagnosisFact] = []
        func note(_ name: String, _ value: String?) { if let value { facts.append(DiagnosisFact(name, value)) } }
        note("product_vendor", probe.identity?.productVendor)
        note("product_version", probe.identity?.productVersion)
        note("protocol_version", probe.identity?.protocolVersion)
        note("server", probe.server)
        note("authentication_schemes", probe.schemes.isEmpty ? nil : probe.schemes.joined(separator: ", "))
        guard probe.identity == nil else { return HostIdentification(facts: facts) }
        note("http_status", String(probe.status))
        let what = "the host answered the question who it is with HTTP status \(probe.status)"
        let code: PollErrorCode = [401, 403].contains(probe.status) ? .accessDenied : .protocolError
        return HostIdentification(
            facts: facts,
            refusal: PollFailure(code, "\(self.endpointSummary(target)): \(what)")
        )
    }

    package func challenge(over connection: WinRMConnection) async -> HostIdentification {
        HostIdentification(await connection.challengeInfo)
    }

    /// WS-Management opens no namespace by itself: the cheapest query shows whether it lets this user in. What is wrong
    /// with the class alone is not its fault.
    package func openNamespace(
        over connection: WinRMConnection,
        deadline: ContinuousClock.Instant
    ) async throws(WinRMError) {
        do throws(WinRMError) {
            _ = try await connection.enumerate(
                wql: WindowsQueries.computerSystem,
                namespace: WindowsQueries.namespace,
                deadline: deadline
            )
        } catch {
            guard case .fault(let fault) = error, fault.kind != .accessDenied,
                !fault.windowsCodes.contains(.wmiInvalidNamespace)
            else { throw error }
        }
    }

    package func reason(of error: WinRMError) -> DiagnosisReason? {
        switch error {
        case .noCommonScheme(let offered): .schemes(offered: offered)
        case .unencryptedBasicRefused: .passwordWithheld
        case .httpStatus(let status): .httpStatus(status)
        case .tlsFailed(let failure):
            switch failure {
            case .expired: .certificateExpired
            case .notYetValid: .certificateNotYetValid
            case .untrusted: .certificateUntrusted
            case .nameMismatch(let expected, let presented):
                .certificateNames(expected: expected, presented: presented)
            case .unreadableCertificate: .certificateUnreadable
            case .invalidCAFile(let path): .authorityFile(path)
            case .handshake: .handshake
            }
        default: nil
        }
    }
}

extension HostIdentification {
    /// From what an NTLM challenge tells.
    init(_ challenge: NTLMChallengeInfo?) {
        self.init(facts: [])
        guard let challenge else { return }
        func note(_ name: String, _ value: String?) {
            guard let value, !value.isEmpty else { return }
            self.facts.append(DiagnosisFact(name, value))
        }
        note("computer", challenge.dnsComputerName ?? challenge.netbiosComputerName)
        note("domain", challenge.dnsDomainName ?? challenge.netbiosDomainName ?? challenge.targetName)
        note("windows_version", challenge.version.map { "\($0.major).\($0.minor).\($0.build)" })
        self.clock = challenge.timestamp.map { ticks in
            Date(timeIntervalSince1970: Double(ticks) / 1e7 - Self.secondsFrom1601To1970)
        }
    }

    /// FILETIME counts from 1601.
    private static let secondsFrom1601To1970 = 11_644_473_600.0
}
