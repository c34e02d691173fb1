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
        /// Devices that are being polled: with what, and whether their session must end with the poll.
        var inUse: [Int: (credentialID: Int, ended: Bool)] = [:]
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
        let poll = WinRMPoll(collector: self, target: target, warm: await self.checkOut(target))
        do {
            let sample = try await poll.run(groups: groups)
            await self.checkIn(await poll.connection, target: target)
            return sample
        } catch {
            // A connection that is out of step or refused is closed by now; one that only met faults is kept.
            if !(error is PollFailure) { await poll.close() }
            await self.checkIn(await poll.connection, target: target)
            throw error
        }
    }

    package func forget(deviceID: Int) async {
        let session = self.state.withLock { state in
            state.hostnames[deviceID] = nil
            state.inUse[deviceID]?.ended = true
            return state.sessions.removeValue(forKey: deviceID)
        }
        await session?.connection.close()
    }

    package func forget(credentialID: Int) async {
        let sessions = self.state.withLock { state in
            for (device, use) in state.inUse where use.credentialID == credentialID {
                state.inUse[device]?.ended = true
            }
            let ended = state.sessions.filter { $0.value.credential.credential.id == credentialID }
            for id in ended.keys { state.sessions[id] = nil }
            return Array(ended.values)
        }
        await Self.close(sessions)
    }

    package func shutDown() async {
        let sessions = self.state.withLock { state in
            state.closed = true
            defer { state.sessions = [:] }
            return Array(state.sessions.values)
        }
        await Self.close(sessions)
    }

    /// At once: a host that is away keeps its TLS connection closing for a second.
    private static func close(_ sessions: [WarmSession]) async {
        await withDiscardingTaskGroup { group in
            for session in sessions { group.addTask { await session.connection.close() } }
        }
    }

    // MARK: - What is kept between polls

    private func checkOut(_ target: CollectorTarget) async -> WinRMConnection? {
        let session = self.state.withLock { state in
            state.inUse[target.deviceID] = (target.credential.credential.id, false)
            return state.sessions.removeValue(forKey: target.deviceID)
        }
        guard let session else { return nil }
        guard session.credential == target.credential, session.address == target.address, session.connection.isOpen
        else {
            await session.connection.close()
            return nil
        }
        return session.connection
    }

    private func checkIn(_ connection: WinRMConnection?, target: CollectorTarget) async {
        let kept = self.state.withLock { state in
            let use = state.inUse.removeValue(forKey: target.deviceID)
            guard let connection, connection.isOpen, use?.ended == false, !state.closed,
                state.sessions.count < self.configuration.maxIdleConnections
            else { return false }
            state.sessions[target.deviceID] = WarmSession(
                connection: connection,
                credential: target.credential,
                address: target.address
            )
            return true
        }
        if !kept { await connection?.close() }
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
