internal import Foundation
package import NIOCore
package import NMSCore
internal import Synchronization
internal import WinRM

/// Reads Windows machines over WS-Management: `winrm_basic` and `winrm_ntlm`.
///
/// One connection and one sign-in per device, kept between polls.
package final class WinRMCollector: Collector {
    package struct Configuration: Sendable {
        /// PEM file of authorities to trust beside the system's; `winrm.ca_file`.
        package var caFile: String?
        /// Connections kept between polls; `winrm.max_idle_connections`.
        package var maxIdleConnections = 12_000
        /// For TCP: a host that does not answer within it is away, and must be cheap.
        package var connectTimeout: Duration = .seconds(3)
        /// For one sign-in, during which others with the same credential may wait.
        package var signInTimeout: Duration = .seconds(10)
        /// For one query. Raw counters were seen to stall for 21 to 24 s while a service of the host restarts.
        package var queryTimeout: Duration = .seconds(25)

        package init() {}
    }

    /// A signed-in connection between two polls.
    struct WarmSession: Sendable {
        var connection: WinRMConnection
        /// With what it was signed in, and where; another password, port or address means another session.
        var credential: DecryptedCredential
        var address: IPAddress
    }

    private struct State {
        var sessions: [Int: WarmSession] = [:]
        var hostnames: [Int: (boot: Date?, name: String)] = [:]
        /// Counts the events that end a credential's sessions, so that one that is in use is not kept after it.
        var generations: [Int: Int] = [:]
        var closed = false
    }

    package let name = "winrm"
    let configuration: Configuration
    let connector: WinRMConnector
    private let state = Mutex(State())

    package init(configuration: Configuration, eventLoopGroup: any EventLoopGroup) {
        self.configuration = configuration
        self.connector = WinRMConnector(group: eventLoopGroup)
    }

    package func supports(_ type: CredentialType) -> Bool {
        switch type {
        case .winrmBasic, .winrmNTLM: true
        case .wmi: false
        }
    }

    /// Connections that are kept open at this moment.
    package var idleConnections: Int { self.state.withLock { $0.sessions.count } }

    package func sample(_ target: CollectorTarget, groups: Set<CounterGroup>) async throws -> RawSample {
        let generation = self.state.withLock { $0.generations[target.credential.credential.id, default: 0] }
        let poll = WinRMPoll(collector: self, target: target, warm: await self.checkOut(target))
        do {
            let sample = try await poll.run(groups: groups)
            await self.checkIn(await poll.connection, target: target, generation: generation)
            return sample
        } catch {
            // A connection that is out of step or refused is never kept; one that only met faults is.
            if error is PollFailure {
                await self.checkIn(await poll.connection, target: target, generation: generation)
            } else {
                await poll.close()
            }
            throw error
        }
    }

    package func forget(deviceID: Int) async {
        let session = self.state.withLock { state in
            state.hostnames[deviceID] = nil
            return state.sessions.removeValue(forKey: deviceID)
        }
        await session?.connection.close()
    }

    package func forget(credentialID: Int) async {
        let sessions = self.state.withLock { state in
            state.generations[credentialID, default: 0] += 1
            let ended = state.sessions.filter { $0.value.credential.credential.id == credentialID }
            for id in ended.keys { state.sessions[id] = nil }
            return Array(ended.values)
        }
        for session in sessions { await session.connection.close() }
    }

    package func shutDown() async {
        let sessions = self.state.withLock { state in
            state.closed = true
            defer { state.sessions = [:] }
            return Array(state.sessions.values)
        }
        for session in sessions { await session.connection.close() }
    }

    // MARK: - What is kept between polls

    private func checkOut(_ target: CollectorTarget) async -> WinRMConnection? {
        guard let session = self.state.withLock({ $0.sessions.removeValue(forKey: target.deviceID) }) else {
            return nil
        }
        guard session.credential == target.credential, session.address == target.address, session.connection.isOpen
        else {
            await session.connection.close()
            return nil
        }
        return session.connection
    }

    private func checkIn(_ connection: WinRMConnection?, target: CollectorTarget, generation: Int) async {
        guard let connection, connection.isOpen else { return }
        let kept = self.state.withLock { state in
            guard !state.closed, state.sessions.count < self.configuration.maxIdleConnections,
                state.generations[target.credential.credential.id, default: 0] == generation
            else { return false }
            state.sessions[target.deviceID] = WarmSession(
                connection: connection,
                credential: target.credential,
                address: target.address
            )
            return true
        }
        if !kept { await connection.close() }
    }

    func hostname(of deviceID: Int, boot: Date?) -> String? {
        self.state.withLock { state in
            guard let known = state.hostnames[deviceID], CounterArithmetic.isSameBoot(known.boot, boot) else {
                return nil
            }
            return known.name
        }
    }

    func remember(hostname: String, of deviceID: Int, boot: Date?) {
        self.state.withLock { $0.hostnames[deviceID] = (boot, hostname) }
    }
}
