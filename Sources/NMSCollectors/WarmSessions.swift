internal import Foundation
internal import NMSCore
internal import Synchronization

/// How many connections may be kept between polls, by all collectors together: they share the process's descriptors.
package final class IdleConnectionBudget: Sendable {
    private let limit: Int
    private let used = Mutex(0)

    package init(limit: Int) { self.limit = limit }

    func take() -> Bool {
        self.used.withLock { used in
            guard used < self.limit else { return false }
            used += 1
            return true
        }
    }

    func giveBack(_ count: Int = 1) { self.used.withLock { $0 -= count } }
}

/// What a ``WindowsCollector`` keeps between polls: a connection per device, and the host's name.
package final class WarmSessions<Connection: WindowsConnection>: Sendable {
    private struct Session: Sendable {
        var connection: Connection
        /// With what it was signed in, and where; another password, port or address means another session.
        var credential: DecryptedCredential
        var address: IPAddress
    }

    private struct State {
        var sessions: [Int: Session] = [:]
        var hostnames: [Int: (boot: Date?, name: String)] = [:]
        /// Devices that are being polled: with what, and whether their session must end with the poll.
        var inUse: [Int: (credentialID: Int, ended: Bool)] = [:]
        var closed = false
    }

    private let budget: IdleConnectionBudget
    private let state = Mutex(State())

    package init(budget: IdleConnectionBudget) { self.budget = budget }

    /// Connections that wait for their next poll.
    package var count: Int { self.state.withLock { $0.sessions.count } }

    /// Takes the device's connection, when it is still the right one.
    func checkOut(_ target: CollectorTarget) async -> Connection? {
        let session = self.state.withLock { state in
            state.inUse[target.deviceID] = (target.credential.credential.id, false)
            return state.sessions.removeValue(forKey: target.deviceID)
        }
        guard let session else { return nil }
        self.budget.giveBack()
        guard session.credential == target.credential, session.address == target.address, session.connection.isOpen
        else {
            await session.connection.close()
            return nil
        }
        return session.connection
    }

    /// Keeps the connection for the next poll, or closes it when it was ended meanwhile or there are enough.
    func checkIn(_ connection: Connection?, target: CollectorTarget) async {
        let kept = self.state.withLock { state in
            let use = state.inUse.removeValue(forKey: target.deviceID)
            guard let connection, connection.isOpen, use?.ended == false, !state.closed,
                self.budget.take()
            else { return false }
            state.sessions[target.deviceID] = Session(
                connection: connection,
                credential: target.credential,
                address: target.address
            )
            return true
        }
        if !kept { await connection?.close() }
    }

    func forget(deviceID: Int) async {
        let session = self.state.withLock { state in
            state.hostnames[deviceID] = nil
            state.inUse[deviceID]?.ended = true
            return state.sessions.removeValue(forKey: deviceID)
        }
        guard let session else { return }
        self.budget.giveBack()
        await session.connection.close()
    }

    func forget(credentialID: Int) async {
        let sessions = self.state.withLock { state in
            for (device, use) in state.inUse where use.credentialID == credentialID {
                state.inUse[device]?.ended = true
            }
            let ended = state.sessions.filter { $0.value.credential.credential.id == credentialID }
            for id in ended.keys { state.sessions[id] = nil }
            return Array(ended.values)
        }
        await self.close(sessions)
    }

    func shutDown() async {
        let sessions = self.state.withLock { state in
            state.closed = true
            defer { state.sessions = [:] }
            return Array(state.sessions.values)
        }
        await self.close(sessions)
    }

    /// At once: a host that is away keeps its connection closing for a second.
    private func close(_ sessions: [Session]) async {
        self.budget.giveBack(sessions.count)
        await withDiscardingTaskGroup { group in
            for session in sessions { group.addTask { await session.connection.close() } }
        }
    }

    // MARK: - Host names

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
