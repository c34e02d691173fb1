/// Which statements are prepared on a connection, the least recently used one going first.
struct StatementCache {
    private struct Entry {
        let name: String
        var lastUse: UInt64
    }

    private let capacity: Int
    private var entries: [String: Entry] = [:]
    private var uses: UInt64 = 0

    /// - Parameter capacity: at least 1.
    init(capacity: Int) { self.capacity = capacity }

    var count: Int { self.entries.count }

    /// The name under which the statement is prepared.
    mutating func name(for sql: String) -> String? {
        guard let name = self.entries[sql]?.name else { return nil }
        self.uses += 1
        self.entries[sql]?.lastUse = self.uses
        return name
    }

    /// A name for a new statement, and the name of the one that had to go for it.
    mutating func insert(_ sql: String) -> (name: String, evicted: String?) {
        var evicted: String?
        if self.entries.count >= self.capacity,
            let oldest = self.entries.min(by: { $0.value.lastUse < $1.value.lastUse })
        {
            evicted = oldest.value.name
            self.entries[oldest.key] = nil
        }
        self.uses += 1
        let name = "s\(self.uses)"
        self.entries[sql] = Entry(name: name, lastUse: self.uses)
        return (name, evicted)
    }

    mutating func remove(_ sql: String) { self.entries[sql] = nil }
}
