internal import Foundation
internal import NMSCore
internal import Synchronization

/// How many connections may be kept between polls, by all collectors together: they share the process's descriptors.
package final class IdleConnectionBudget: Sendable {
    private struct State {
        var used = 0
        /// Of those who keep connections: each drops what is closed, and gives back what that took.
        var sweepers: [@Sendable () -> Void] = []
        var lastSweep: ContinuousClock.Instant?
    }

    /// A connection can end between polls; looking for such more often than this is not worth it.
    private static let sweepInterval: Duration = .seconds(10)

    private let limit: Int
    private let state = Mutex(State())

    package init(limit: Int) { self.limit = limit }

    func register(_ sweeper: @escaping @Sendable () -> Void) { self.state.withLock { $0.sweepers.append(sweeper) } }

    /// - Returns: whether there is room for a connection of so many descriptors.
    func take(_ count: Int) -> Bool {
        if self.takeIfFree(count) { return true }
        let sweepers = self.state.withLock { state in
            let now = ContinuousClock.now
            if let last = state.lastSweep, last + Self.sweepInterval > now { return [@Sendable () -> Void]() }
            state.lastSweep = now
            return state.sweepers
        }
        for sweep in sweepers { sweep() }
        return self.takeIfFree(count)
    }

    private func takeIfFree(_ count: Int) -> Bool {
        self.state.withLock { state in
            guard state.used + count <= self.limit else { return false }
            state.used += count
            return true
        }
    }

    func giveBack(_ count: Int) { self.state.withLock { $0.used -= count } }
}

/// What a ``WindowsCollector`` keeps between polls: a connection per device, and the host's name.
package final class WarmSessions<Connection: WindowsConnection>: Sendable {
    private struct Session: Sendable {
        var connection: Connection
        /// With what it was signed in, and where; another password, port or address means another session.
        var credential: DecryptedCredential
        var address: IPAddress
        /// What it took of the budget.
        var descriptors: Int
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

    package init(budget: IdleConnectionBudget) {
        self.budget = budget
        budget.register { [weak self] in self?.dropClosed() }
    }

    /// Connections that wait for their next poll.
    package var count: Int { self.state.withLock { $0.sessions.count } }

    /// Takes the device's connection, when it is still the right one.
    func checkOut(_ target: CollectorTarget) async -> Connection? {
        let session = self.state.withLock { state in
            state.inUse[target.deviceID] = (target.credential.credential.id, false)
            return state.sessions.removeValue(forKey: target.deviceID)
        }
        guard let session else { return nil }
        self.budget.giveBack(session.descriptors)
        guard session.credential == target.credential, session.address == target.address, session.connection.isOpen
        else {
            await session.connection.close()
            return nil
        }
        return session.connection
    }

    /// Keeps the connection for the next poll, or closes it when it was ended meanwhile or there are enough.
    func checkIn(_ connection: Connection?, target: CollectorTarget) async {
        // Taken before the lock, which the budget may need to look for closed connections.
        let descriptors = connection?.descriptors ?? 0
        let hasRoom = connection?.isOpen == true && self.budget.take(descriptors)
        let kept = self.state.withLock { state in
            let use = state.inUse.removeValue(forKey: target.deviceID)
            guard let connection, hasRoom, use?.ended == false, !state.closed else { return false }
            state.sessions[target.deviceID] = Session(
                connection: connection,
                credential: target.credential,
                address: target.address,
                descriptors: descriptors
            )
            return true
        }
        guard !kept else { return }
        if hasRoom { self.budget.giveBack(descriptors) }
        await connection?.close()
    }

    func forget(deviceID: Int) async {
        let session = self.state.withLock { state in
            state.hostnames[deviceID] = nil
            state.inUse[deviceID]?.ended = true
            return state.sessions.removeValue(forKey: deviceID)
        }
        guard let session else { return }
        self.budget.giveBack(session.descriptors)
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

    /// Closed between polls, by the host or because nobody needed it for long.
    private func dropClosed() {
        let descriptors = self.state.withLock { state in
            let closed = state.sessions.filter { !$0.value.connection.isOpen }
            for id in closed.keys { state.sessions[id] = nil }
            return closed.values.reduce(0) { $0 + $1.descriptors }
        }
        self.budget.giveBack(descriptors)
    }

    /// At once: a host that is away keeps its connection closing for a second or two.
    private func close(_ sessions: [Session]) async {
        self.budget.giveBack(sessions.reduce(0) { $0 + $1.descriptors })
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
