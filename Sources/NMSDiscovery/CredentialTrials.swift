internal import NMSCollectors
internal import NMSCore
internal import Synchronization

/// Tries credentials on one Windows machine after another, in order, until one works.
struct CredentialTrials: Sendable {
    /// What came of the credentials of a job on one host.
    struct Result: Sendable {
        var trials: [CredentialTrial] = []
        var credentialID: Int?
        var identity: WindowsIdentity?
    }

    /// A device that is not stored yet has no number; only the gate is given one, and it goes by the address.
    private static let noDevice = 0
    /// Messages can quote hosts.
    private static let maximumMessageBytes = 512

    let credentials: [DecryptedCredential]
    let identifiers: [any WindowsIdentifier]
    let gate: any AddressAuthenticationGate
    let timeout: Duration
    let desk = CredentialDesk()

    /// - Parameter ports: what the sweep found; a credential for a port that is not open is not tried.
    /// - Throws: `CancellationError`, or what kept the lockout guard from deciding.
    func run(_ address: IPAddress, ports: [DiscoveryEvidence.Port]) async throws -> Result {
        var result = Result()
        var closedPorts = Set(ports.filter { $0.state != .open }.map(\.port))
        for credential in self.credentials {
            let id = credential.credential.id
            if let refusal = Self.refusal(of: credential.credential, for: address, closedPorts: closedPorts) {
                result.trials.append(Self.trial(id, refusal))
                continue
            }
            do {
                result.identity = try await self.identify(address, with: credential)
                result.trials.append(CredentialTrial(credentialID: id))
                result.credentialID = id
                return result
            } catch let failure as PollFailure {
                result.trials.append(Self.trial(id, failure))
                if case .none = failure.next { return result }
                if case .otherPort = failure.next { closedPorts.insert(credential.credential.effectivePort) }
            }
        }
        return result
    }

    private static func trial(_ id: Int, _ failure: PollFailure) -> CredentialTrial {
        let message = StrangersText.clean(failure.message, limit: self.maximumMessageBytes) ?? ""
        return CredentialTrial(credentialID: id, error: failure.code, message: message)
    }

    /// Why a credential is not even tried.
    static func refusal(of credential: Credential, for address: IPAddress, closedPorts: Set<Int>) -> PollFailure? {
        let port = credential.effectivePort
        if credential.status == .suspended { return self.suspended(credential.id) }
        if !credential.allows(address) {
            let text = "credential \(credential.id) may not be sent to \(address): it is outside its allowed_targets"
            return PollFailure(.accessDenied, text)
        }
        if credential.type == .winrmBasic, !credential.useSSL || credential.tlsVerify == .none {
            return PollFailure(
                .encryptionRequired,
                "credential \(credential.id) would show its password to any host that is found: discovery uses "
                    + "winrm_basic only with use_ssl and tls_verify full or chain"
            )
        }
        if closedPorts.contains(port) { return PollFailure(.connectionRefused, "port \(port) is not open") }
        return nil
    }

    private static func suspended(_ id: Int) -> PollFailure {
        PollFailure(
            .credentialSuspended,
            "credential \(id) is suspended after failed sign-ins on \(LockoutLimits.failedHosts) hosts; correct its "
                + "password (PUT /credentials/\(id)) or resume it (POST /credentials/\(id)/resume)"
        )
    }

    private func identify(
        _ address: IPAddress,
        with credential: DecryptedCredential
    ) async throws -> WindowsIdentity {
        let id = credential.credential.id
        guard let identifier = self.identifiers.first(where: { $0.supports(credential.credential.type) }) else {
            var failure = PollFailure(.protocolError, "no collector supports \(credential.credential.type.rawValue)")
            failure.next = .any
            throw failure
        }
        guard await self.desk.enter(id) else {
            try Task.checkCancellation()
            throw Self.suspended(id)
        }
        let gate = OneFailureGate(address: address, gate: self.gate)
        do {
            if try await self.gate.isSuspended(credentialID: id) {
                await self.desk.suspend(id)
                throw Self.suspended(id)
            }
            let target = CollectorTarget(
                deviceID: Self.noDevice,
                address: address,
                // The host's own word for its name must not decide which certificate is good.
                hostname: nil,
                credential: credential,
                deadline: .now + self.timeout,
                gate: gate
            )
            let identity = try await identifier.identify(target)
            await self.desk.leave(id, gate.result)
            return identity
        } catch {
            await self.desk.leave(id, gate.result)
            throw error
        }
    }
}

/// The gate for one credential on one host: after the first failed login there is no second one.
private final class OneFailureGate: AuthenticationGate {
    private let address: IPAddress
    private let gate: any AddressAuthenticationGate
    private let state = Mutex(CredentialDesk.Result.undecided)

    init(address: IPAddress, gate: any AddressAuthenticationGate) {
        self.address = address
        self.gate = gate
    }

    var result: CredentialDesk.Result { self.state.withLock { $0 } }

    func authenticate<Result: Sendable>(
        deviceID: Int,
        credentialID: Int,
        attempt: @Sendable () async throws -> Result
    ) async throws -> Result {
        if case .failed = self.result {
            throw PollFailure(.credentialSuspended, "credential \(credentialID) has failed on this host already")
        }
        do {
            let result = try await self.gate.authenticate(
                address: self.address,
                credentialID: credentialID,
                attempt: attempt
            )
            self.state.withLock { $0 = .signedIn }
            return result
        } catch let failure as PollFailure where failure.code == .authFailed {
            self.state.withLock { $0 = .failed }
            throw failure
        }
    }
}
