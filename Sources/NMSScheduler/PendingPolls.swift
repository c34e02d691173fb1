internal import Foundation
internal import HeapModule

/// Due polls that are not published yet, one of a device. Pure: times are passed in.
///
/// When there are more than can be published, those with short intervals come first: the others can wait. Within an
/// interval, the oldest comes first.
struct PendingPolls: Sendable {
    /// Lazily deleted: it counts only while it is its device's.
    private struct Item: Comparable, Sendable {
        var poll: DuePoll

        /// From then on the poll would be dropped as late.
        var end: Date { self.poll.scheduledAt.addingTimeInterval(TimeInterval(self.poll.interval)) }

        static func < (lhs: Item, rhs: Item) -> Bool {
            (lhs.poll.interval, lhs.end, lhs.poll.deviceID) < (rhs.poll.interval, rhs.end, rhs.poll.deviceID)
        }
    }

    private var polls: [Int: DuePoll] = [:]
    private var order = Heap<Item>()
    private var expired: UInt64 = 0

    init() {}

    var isEmpty: Bool { self.polls.isEmpty }

    /// A device's earlier poll that still waits is given up.
    mutating func add(_ polls: some Sequence<DuePoll>) {
        for poll in polls {
            if self.polls.updateValue(poll, forKey: poll.deviceID) != nil { self.expired += 1 }
            self.order.insert(Item(poll: poll))
        }
        if self.order.count > 2 * self.polls.count { self.order = Heap(self.polls.values.map { Item(poll: $0) }) }
    }

    /// The next one to publish; those that are older than their interval are given up before.
    mutating func take(at now: Date) -> DuePoll? {
        while let item = self.order.popMin() {
            guard self.polls[item.poll.deviceID] == item.poll else { continue }
            self.polls[item.poll.deviceID] = nil
            if now <= item.end { return item.poll }
            self.expired += 1
        }
        return nil
    }

    /// How many were given up since the last call.
    mutating func takeExpired() -> UInt64 {
        defer { self.expired = 0 }
        return self.expired
    }
}
