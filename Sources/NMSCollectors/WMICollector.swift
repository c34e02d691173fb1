package import DCOM
package import Foundation
package import NIOCore
package import NMSCore
internal import WinRM

/// Reads Windows machines over DCOM: `wmi`, the way in to hosts without WinRM.
///
/// One activation and one open namespace per device, kept between polls. What a poll obtained at the host is given back
/// at its end, all the rest when the connection closes.
package final class WMICollector: WindowsCollector {
    /// For giving references back. A host that does not answer within it collects them by itself minutes later.
    static let releaseTimeout: Duration = .seconds(2)

    package let name = "wmi"
    package let limits: WindowsCollectorLimits
    package let sessions: WarmSessions<WMIConnection>
    let connector: WMIConnector

    package init(limits: WindowsCollectorLimits, eventLoopGroup: any EventLoopGroup) {
        self.limits = limits
        self.sessions = WarmSessions(budget: limits.idleConnections)
        self.connector = WMIConnector(group: eventLoopGroup)
    }

    package func supports(_ type: CredentialType) -> Bool { type == .wmi }

    package func endpointSummary(_ target: CollectorTarget) -> String {
        "WMI over DCOM port \(target.credential.credential.effectivePort)"
    }

    package func connect(
        to target: CollectorTarget,
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) -> WMIConnection {
        try await self.connector.connect(to: self.endpoint(target), deadline: deadline)
    }

    func endpoint(_ target: CollectorTarget) -> WMIEndpoint {
        WMIEndpoint(address: target.address.description, port: target.credential.credential.effectivePort)
    }

    package func prepareSignIn(
        over connection: WMIConnection,
        to target: CollectorTarget,
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) {
        try await connection.requestChallenge(for: WMICredential(target.credential), deadline: deadline)
    }

    package func signIn(
        over connection: WMIConnection,
        to target: CollectorTarget,
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) {
        try await connection.authenticate(WMICredential(target.credential), deadline: deadline)
    }

    package func finishSignIn(
        over connection: WMIConnection,
        to target: CollectorTarget,
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) {
        try await connection.openExporter(for: WMICredential(target.credential), deadline: deadline)
    }

    package func rows(
        of wql: String,
        over connection: WMIConnection,
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) -> [WMIObject] {
        try await connection.query(wql, namespace: WindowsQueries.namespace, deadline: deadline)
    }

    package func transportFailure(_ error: WMIError, at target: CollectorTarget) -> TransportFailure {
        TransportFailure(error, at: self.endpointSummary(target))
    }

    package func endPoll(over connection: WMIConnection, deadline: ContinuousClock.Instant) async {
        await connection.releaseUnused(deadline: deadline)
    }
}

extension WMIConnection: WindowsConnection {
    /// The resolver's connection is kept until it is known how the host wants to be pinged.
    package nonisolated var descriptors: Int { max(1, self.openChannels) }

    package func close() async { await self.close(deadline: .now + WMICollector.releaseTimeout) }
}

extension WMICredential {
    fileprivate init(_ decrypted: DecryptedCredential) {
        let credential = decrypted.credential
        self.init(
            username: credential.username,
            password: decrypted.password.exposed,
            domain: credential.domain ?? ""
        )
    }
}

extension TransportFailure {
    fileprivate init(_ error: WMIError, at endpoint: String) {
        let code: PollErrorCode =
            switch error.category {
            case .timeout: .timeout
            case .connectionRefused: .connectionRefused
            case .connectionReset: .connectionReset
            case .hostUnreachable, .localShortage: .hostUnreachable
            case .authenticationFailed: error.countsAsFailedLogin ? .authFailed : .protocolError
            case .authenticationUnavailable: .protocolError
            case .accessDenied: .accessDenied
            case .quotaExceeded: .quotaExceeded
            case .missingClass: .countersMissing
            case .queryFailed: .wmiError
            case .responseTooLarge: .responseTooLarge
            case .protocolError, .cancelled: .protocolError
            }
        var failure = PollFailure(code, "\(endpoint): \(error)")
        // The host said which ways in it has, and this credential's is none of them.
        if error.category == .authenticationUnavailable { failure.next = .any }
        if error.isWayClosed { failure.next = .otherPort }
        self.init(
            failure,
            countsAsFailedLogin: error.countsAsFailedLogin,
            suggestsReconnect: error.suggestsReconnect,
            isCancellation: error.category == .cancelled,
            isLocalShortage: error.category == .localShortage
        )
    }
}

extension WMIObject: WMIInstance {
    package func string(_ property: String) -> String? { self[property]?.string }
    package func unsigned(_ property: String) -> UInt64? { self[property]?.uint64 }
    package func boolean(_ property: String) -> Bool? { self[property]?.bool }
    package func dateTime(_ property: String) -> Date? {
        self[property]?.string.flatMap { CIMDateTime($0) }.map { Date(timeIntervalSince1970: $0.secondsSince1970) }
    }
}
