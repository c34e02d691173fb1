package import Foundation
package import NIOCore
package import NMSCore
package import WinRM

/// Reads Windows machines over WS-Management: `winrm_basic` and `winrm_ntlm`.
///
/// One connection and one sign-in per device, kept between polls.
package final class WinRMCollector: WindowsCollector {
    package let name = "winrm"
    package let limits: WindowsCollectorLimits
    package let sessions: WarmSessions<WinRMConnection>
    private let caFile: String?
    private let connector: WinRMConnector
    let eventLoopGroup: any EventLoopGroup

    /// - Parameter caFile: PEM file of authorities to trust beside the system's; `winrm.ca_file`.
    package init(caFile: String? = nil, limits: WindowsCollectorLimits, eventLoopGroup: any EventLoopGroup) {
        self.limits = limits
        self.sessions = WarmSessions(budget: limits.idleConnections)
        self.caFile = caFile
        self.connector = WinRMConnector(group: eventLoopGroup)
        self.eventLoopGroup = eventLoopGroup
    }

    package func supports(_ type: CredentialType) -> Bool {
        switch type {
        case .winrmBasic, .winrmNTLM: true
        case .wmi: false
        }
    }

    package func endpointSummary(_ target: CollectorTarget) -> String { self.endpoint(target).summary }

    package func connect(
        to target: CollectorTarget,
        deadline: ContinuousClock.Instant
    ) async throws(WinRMError) -> WinRMConnection {
        let endpoint = self.endpoint(target)
        return try await self.connector.connect(to: endpoint, deadline: deadline)
    }

    package func prepareSignIn(
        over connection: WinRMConnection,
        to target: CollectorTarget,
        deadline: ContinuousClock.Instant
    ) async throws(WinRMError) {
        try await connection.requestChallenge(for: WinRMAuthentication(target.credential), deadline: deadline)
    }

    package func signIn(
        over connection: WinRMConnection,
        to target: CollectorTarget,
        deadline: ContinuousClock.Instant
    ) async throws(WinRMError) {
        try await connection.authenticate(WinRMAuthentication(target.credential), deadline: deadline)
    }

    package func rows(
        of wql: String,
        over connection: WinRMConnection,
        deadline: ContinuousClock.Instant
    ) async throws(WinRMError) -> [CIMInstance] {
        try await connection.enumerate(wql: wql, namespace: WindowsQueries.namespace, deadline: deadline)
    }

    package func transportFailure(_ error: WinRMError, at target: CollectorTarget) -> TransportFailure {
        TransportFailure(error, at: self.endpoint(target))
    }

    func endpoint(_ target: CollectorTarget) -> WinRMEndpoint {
        let credential = target.credential.credential
        let tls = TLSSettings(
            verification: TLSSettings.Verification(credential.tlsVerify),
            expectedNames: [target.hostname, target.address.description].compactMap(\.self),
            caFile: self.caFile
        )
        return WinRMEndpoint(
            address: target.address.description,
            port: credential.effectivePort,
            tls: credential.useSSL ? tls : nil
        )
    }
}

extension WinRMConnection: WindowsConnection {
    package nonisolated var taskExecutor: (any TaskExecutor)? { self.executor }
}

extension WinRMEndpoint {
    /// Where, for messages.
    fileprivate var summary: String { "WinRM \(self.tls == nil ? "HTTP" : "HTTPS") port \(self.port)" }
}

extension TLSSettings.Verification {
    fileprivate init(_ verification: TLSVerification) {
        self =
            switch verification {
            case .full: .full
            case .chain: .chain
            case .none: .none
            }
    }
}

extension WinRMAuthentication {
    fileprivate init(_ decrypted: DecryptedCredential) {
        let credential = decrypted.credential
        let password = decrypted.password.exposed
        if credential.type == .winrmBasic {
            let username = credential.domain.map { "\($0)\\\(credential.username)" } ?? credential.username
            self = .basic(
                username: username,
                password: password,
                allowUnencrypted: credential.allowUnencryptedBasic
            )
        } else {
            self = .ntlm(username: credential.username, password: password, domain: credential.domain ?? "")
        }
    }
}

extension TransportFailure {
    fileprivate init(_ error: WinRMError, at endpoint: WinRMEndpoint) {
        let code: PollErrorCode =
            switch error.category {
            case .timeout: .timeout
            case .connectionRefused: .connectionRefused
            case .connectionReset: .connectionReset
            case .hostUnreachable, .localShortage: .hostUnreachable
            case .tlsFailed: .tlsFailed
            case .authenticationFailed: error.countsAsFailedLogin ? .authFailed : .protocolError
            case .authenticationUnavailable: .protocolError
            case .accessDenied: .accessDenied
            case .encryptionRequired: .encryptionRequired
            case .quotaExceeded: .quotaExceeded
            case .missingClass: .countersMissing
            case .queryFailed: .wmiError
            case .responseTooLarge: .responseTooLarge
            case .protocolError, .cancelled: .protocolError
            }
        var message = "\(endpoint.summary): \(error)"
        if code == .tlsFailed { message += " (settings: winrm.ca_file, and the credential's tls_verify)" }
        var failure = PollFailure(code, message)
        // The host said which ways in it has, and this credential's is none of them.
        if error.category == .authenticationUnavailable { failure.next = .any }
        self.init(
            failure,
            countsAsFailedLogin: error.countsAsFailedLogin,
            suggestsReconnect: error.suggestsReconnect,
            isCancellation: error.category == .cancelled,
            isLocalShortage: error.category == .localShortage
        )
    }
}

extension CIMInstance: WMIInstance {
    package func string(_ property: String) -> String? { self[property]?.string }
    package func unsigned(_ property: String) -> UInt64? { self[property]?.uint64 }
    package func boolean(_ property: String) -> Bool? { self[property]?.bool }
    package func dateTime(_ property: String) -> Date? {
        self[property]?.date.map { Date(timeIntervalSince1970: $0.secondsSince1970) }
    }
}
