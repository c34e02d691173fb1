internal import Foundation
internal import NMSCore
internal import WinRM

/// One poll of one host: its queries in order over one connection, which is opened, or opened anew, where needed.
actor WinRMPoll {
    /// New connections in the course of one poll: one, and another for an answer that broke the first. More would be
    /// hammering.
    private static let connectionsPerPoll = 2
    private static let hostnameTimeout: Duration = .seconds(5)

    /// No connection could be had: what follows would fail the same way.
    private struct ConnectionFailure: Error {
        var failure: PollFailure
    }

    private let collector: WinRMCollector
    private let target: CollectorTarget
    private var opened = 0
    private(set) var connection: WinRMConnection?

    init(collector: WinRMCollector, target: CollectorTarget, warm: WinRMConnection?) {
        self.collector = collector
        self.target = target
        self.connection = warm
    }

    /// - Throws: ``PollFailure`` when no group could be read, or `CancellationError`.
    func run(groups: Set<CounterGroup>) async throws -> RawSample {
        var sample = RawSample()
        var succeeded = false
        var broken: PollFailure?
        for group in WindowsQueries.order where groups.contains(group) {
            if let broken {
                WindowsQueries.fail(group, broken, in: &sample)
                continue
            }
            do {
                let rows = try await self.enumerate(WindowsQueries.wql(group))
                WindowsQueries.decode(group, rows: rows, into: &sample)
                succeeded = true
            } catch let failure as ConnectionFailure {
                // What was read before is kept; of several failures the first says most.
                guard succeeded else { throw sample.failures.first?.failure ?? failure.failure }
                broken = failure.failure
                WindowsQueries.fail(group, failure.failure, in: &sample)
            } catch let failure as PollFailure {
                WindowsQueries.fail(group, failure, in: &sample)
            }
        }
        if !succeeded, let first = sample.failures.first { throw first.failure }
        if broken == nil, groups.contains(.system) { await self.addHostname(to: &sample) }
        return sample
    }

    func close() async {
        await self.connection?.close()
        self.connection = nil
    }

    /// The host's name costs a query, so it is asked once per boot, last and briefly; without it the poll is complete.
    private func addHostname(to sample: inout RawSample) async {
        let boot = (try? sample.system?.get())?.bootTime
        let device = self.target.deviceID
        if let known = self.collector.hostname(of: device, boot: boot) {
            sample.identity.hostname = known
        } else if let rows = try? await self.enumerate(WindowsQueries.computerSystem, timeout: Self.hostnameTimeout),
            let name = WindowsQueries.hostname(rows)
        {
            self.collector.remember(hostname: name, of: device, boot: boot)
            sample.identity.hostname = name
        }
    }

    // MARK: - Queries

    private func enumerate(_ wql: String, timeout: Duration? = nil) async throws -> [CIMInstance] {
        let timeout = timeout ?? self.collector.configuration.queryTimeout
        do {
            return try await self.ask(wql, timeout: timeout)
        } catch let error as WinRMError where error.suggestsReconnect && self.opened < Self.connectionsPerPoll {
            // The host had closed a kept connection, or wants a new sign-in: once more on a new one.
            await self.close()
            do { return try await self.ask(wql, timeout: timeout) } catch let error as WinRMError {
                throw try await self.failure(of: error)
            }
        } catch let error as WinRMError {
            throw try await self.failure(of: error)
        }
    }

    private func ask(_ wql: String, timeout: Duration) async throws -> [CIMInstance] {
        let connection = try await self.openConnection()
        let deadline = min(.now + timeout, self.target.deadline)
        return try await connection.enumerate(wql: wql, namespace: WindowsQueries.namespace, deadline: deadline)
    }

    private func failure(of error: WinRMError) async throws -> any Error {
        if case .cancelled = error { throw CancellationError() }
        if let connection = self.connection, !connection.isOpen { await self.close() }
        let failure = PollFailure(error, at: self.endpoint)
        guard error.countsAsFailedLogin else { return failure }
        // A login that failed outside a sign-in, as with Basic, counts all the same, and is not tried again.
        let credential = self.target.credential.credential.id
        do {
            try await self.target.gate.authenticate(deviceID: self.target.deviceID, credentialID: credential) {
                throw failure
            }
        } catch is PollFailure {}
        return ConnectionFailure(failure: failure)
    }

    // MARK: - Connection

    private var endpoint: WinRMEndpoint {
        let credential = self.target.credential.credential
        let tls = TLSSettings(
            verification: TLSSettings.Verification(credential.tlsVerify),
            expectedNames: [self.target.hostname, self.target.address.description].compactMap(\.self),
            caFile: self.collector.configuration.caFile
        )
        return WinRMEndpoint(
            address: self.target.address.description,
            port: credential.effectivePort,
            tls: credential.useSSL ? tls : nil
        )
    }

    private func openConnection() async throws -> WinRMConnection {
        if let connection = self.connection { return connection }
        let endpoint = self.endpoint
        guard self.opened < Self.connectionsPerPoll else {
            throw ConnectionFailure(
                failure: PollFailure(
                    .connectionReset,
                    "\(endpoint.summary): the connection broke repeatedly in one poll"
                )
            )
        }
        self.opened += 1
        do {
            let connection = try await self.collector.connector.connect(
                to: endpoint,
                deadline: min(.now + self.collector.configuration.connectTimeout, self.target.deadline)
            )
            self.connection = connection
            try await self.signIn(connection, endpoint: endpoint)
            return connection
        } catch let error as WinRMError {
            await self.close()
            if case .cancelled = error { throw CancellationError() }
            throw ConnectionFailure(failure: PollFailure(error, at: endpoint))
        } catch let failure as PollFailure {
            await self.close()
            throw ConnectionFailure(failure: failure)
        }
    }

    private func signIn(_ connection: WinRMConnection, endpoint: WinRMEndpoint) async throws {
        let authentication = WinRMAuthentication(self.target.credential)
        let deadline = min(.now + self.collector.configuration.signInTimeout, self.target.deadline)
        // Outside the gate: a host that stalls here must not keep others with this credential waiting.
        try await connection.requestChallenge(for: authentication, deadline: deadline)
        try await self.target.gate.authenticate(
            deviceID: self.target.deviceID,
            credentialID: self.target.credential.credential.id
        ) {
            do throws(WinRMError) {
                try await connection.authenticate(authentication, deadline: deadline)
            } catch {
                if case .cancelled = error { throw CancellationError() }
                throw PollFailure(error, at: endpoint)
            }
        }
    }
}

extension WinRMEndpoint {
    /// Where, for messages.
    var summary: String { "WinRM \(self.tls == nil ? "HTTP" : "HTTPS") port \(self.port)" }
}

extension TLSSettings.Verification {
    init(_ verification: TLSVerification) {
        self =
            switch verification {
            case .full: .full
            case .chain: .chain
            case .none: .none
            }
    }
}

extension WinRMAuthentication {
    init(_ decrypted: DecryptedCredential) {
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

extension PollFailure {
    init(_ error: WinRMError, at endpoint: WinRMEndpoint) {
        let code: PollErrorCode =
            switch error.category {
            case .timeout: .timeout
            case .connectionRefused: .connectionRefused
            case .connectionReset: .connectionReset
            case .hostUnreachable: .hostUnreachable
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
        self.init(code, message)
    }
}

extension CIMInstance: WMIInstance {
    func string(_ property: String) -> String? { self[property]?.string }
    func unsigned(_ property: String) -> UInt64? { self[property]?.uint64 }
    func boolean(_ property: String) -> Bool? { self[property]?.bool }
    func dateTime(_ property: String) -> Date? {
        self[property]?.date.map { Date(timeIntervalSince1970: $0.secondsSince1970) }
    }
}
