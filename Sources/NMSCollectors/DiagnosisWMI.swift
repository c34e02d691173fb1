package import DCOM
package import NMSCore

extension WMICollector: DiagnosableCollector {
    package typealias Inspection = Never

    package var hasExporter: Bool { true }

    package func identify(
        _ target: CollectorTarget,
        over connection: WMIConnection,
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) -> HostIdentification {
        do throws(WMIError) {
            let host = try await self.connector.identify(self.endpoint(target), deadline: deadline)
            var identification = HostIdentification(host.challenge)
            if let version = host.version {
                identification.facts.append(DiagnosisFact("com_version", "\(version.major).\(version.minor)"))
            }
            if let bindings = Self.text(host.stringBindings) {
                identification.facts.append(DiagnosisFact("addresses", bindings))
            }
            return identification
        } catch {
            guard Self.isRefusal(error) else { throw error }
            return HostIdentification(facts: [], refusal: self.transportFailure(error, at: target).failure)
        }
    }

    package func challenge(over connection: WMIConnection) async -> HostIdentification {
        // The stage before has shown it.
        HostIdentification(facts: [])
    }

    package func exporter(over connection: WMIConnection) async -> (target: String?, facts: [DiagnosisFact]) {
        let bindings = await connection.exporterBindings
        let port = bindings.lazy.compactMap { $0.tcpEndpoint?.port }.first
        return (port.map(String.init), Self.text(bindings).map { [DiagnosisFact("bindings", $0)] } ?? [])
    }

    package func openNamespace(
        over connection: WMIConnection,
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) {
        try await connection.open(namespace: WindowsQueries.namespace, deadline: deadline)
    }

    package func reason(of error: WMIError) -> DiagnosisReason? {
        if error.status == .result(.remoteDisabled) { return .dcomDisabled }
        return error.isWayClosed && error.step == .challenging ? .dcomDisabled : nil
    }

    /// The host has answered, and tells strangers nothing.
    private static func isRefusal(_ error: WMIError) -> Bool {
        switch error.category {
        case .accessDenied, .authenticationUnavailable: true
        default: false
        }
    }

    /// A host can name any number of them.
    private static let maximumBindings = 8

    private static func text(_ bindings: [StringBinding]) -> String? {
        let shown = bindings.prefix(Self.maximumBindings).map { String($0.address.prefix(64)) }
        return shown.isEmpty ? nil : shown.joined(separator: ", ")
    }
}
