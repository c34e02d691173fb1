/// The open connections of a server and which of them may be given up when there are too many; pure.
///
/// Whoever is new is let in as long as anyone is idle: the client with the most connections loses the one that it has
/// not used for the longest time. So a client that hoards connections shuts out itself, and `/health` stays reachable.
struct ConnectionTable<ID: Hashable & Sendable>: Sendable {
    enum Admission: Equatable, Sendable {
        case admitted
        /// Let in; this one, which is out of the table already, is to be closed at once.
        case insteadOf(ID)
        /// Every connection has a request under way.
        case refused
    }

    private struct Entry {
        var client: ClientKey
        /// Under way: begun and not answered.
        var requests = 0
        /// Larger is later.
        var usedAt: UInt64
    }

    private let limit: Int
    private var entries: [ID: Entry] = [:]
    private var counts: [ClientKey: Int] = [:]
    private var clock: UInt64 = 0

    /// - Parameter limit: how many there may be at once, at least 1.
    init(limit: Int) { self.limit = max(1, limit) }

    var count: Int { self.entries.count }

    mutating func open(_ id: ID, client: ClientKey) -> Admission {
        var admission = Admission.admitted
        if self.entries.count >= self.limit {
            guard let victim = self.victim(newcomer: client) else { return .refused }
            self.close(victim)
            admission = .insteadOf(victim)
        }
        self.clock += 1
        self.entries[id] = Entry(client: client, usedAt: self.clock)
        self.counts[client, default: 0] += 1
        return admission
    }

    mutating func requestBegan(_ id: ID) { self.entries[id]?.requests += 1 }

    mutating func requestEnded(_ id: ID) {
        self.clock += 1
        self.entries[id]?.requests -= 1
        self.entries[id]?.usedAt = self.clock
    }

    /// Idempotent.
    mutating func close(_ id: ID) {
        guard let entry = self.entries.removeValue(forKey: id) else { return }
        let count = self.counts[entry.client, default: 1] - 1
        self.counts[entry.client] = count > 0 ? count : nil
    }

    private func victim(newcomer: ClientKey) -> ID? {
        // The newcomer counts as if he were in: of two clients with equally many, he loses one of his own.
        func weight(_ client: ClientKey) -> Int { (self.counts[client] ?? 0) + (client == newcomer ? 1 : 0) }
        return self.entries.filter { $0.value.requests <= 0 }
            .max { (weight($0.value.client), $1.value.usedAt) < (weight($1.value.client), $0.value.usedAt) }?.key
    }
}
