package import NMSCore

/// What an instance should hold, and what follows from it: by count, so that as little as possible changes hands.
///
/// Every instance decides for itself, from the same roster. Shares differ by one at most; the larger ones go to those
/// who hold most already, so that nothing moves but what must.
package struct PartitionShare: Sendable, Equatable {
    /// How many partitions more to take, if there are that many free.
    package var claim = 0
    /// What to hand over to others.
    package var give: Set<Int> = []

    /// - Parameters:
    ///   - run: who asks.
    ///   - giving: what is being handed over already, and is chosen first.
    package init(of run: String, in roster: PartitionRoster, giving: Set<Int> = []) {
        let quota = Self.quota(of: run, in: roster.members)
        let excess = roster.mine.count - quota
        if excess > 0 {
            let order = roster.mine.sorted { a, b in
                let (first, second) = (giving.contains(a), giving.contains(b))
                return first == second ? a > b : first
            }
            self.give = Set(order.prefix(excess))
        } else {
            self.claim = min(-excess, roster.free)
        }
    }

    /// How many partitions `run` should hold.
    static func quota(of run: String, in members: [PartitionRoster.Member], partitions: Int = Partition.count) -> Int {
        let sharers = members.filter { !$0.isLeaving }.sorted { ($1.held, $0.run) < ($0.held, $1.run) }
        guard let rank = sharers.firstIndex(where: { $0.run == run }) else { return 0 }
        return partitions / sharers.count + (rank < partitions % sharers.count ? 1 : 0)
    }
}

/// What an instance polls and what it is handing over, as its leases come and go. Pure: times are passed in.
struct PartitionMachine {
    struct Steps: Equatable {
        /// To be pulled from now on.
        var begin: Set<Int> = []
        /// To be pulled no more; what is under way may end.
        var end: Set<Int> = []
        /// Another may poll them already: to be pulled no more, and what is under way broken off.
        var abandon: Set<Int> = []
    }

    /// How long polls of a partition that is handed over may go on; then they are broken off and their jobs handed back.
    static let handOverLimit: Duration = .seconds(3)

    let duration: Duration
    let margin: Duration
    /// Pulled.
    private(set) var held: Set<Int> = []
    /// Pulled no more, since when; not given back yet.
    private(set) var giving: [Int: Duration] = [:]
    /// Others that poll, as far as is known.
    private(set) var others = 0
    /// The leases last at least ``duration`` from then on.
    private var confirmedAt: Duration?

    init(duration: Duration = LeaseTiming.duration, margin: Duration = LeaseTiming.margin) {
        self.duration = duration
        self.margin = margin
    }

    /// The store has said what is ours.
    ///
    /// - Parameters:
    ///   - mine: ours, without what was given back meanwhile.
    ///   - give: of these, what others should have.
    ///   - asked: when the renewal was sent.
    mutating func confirmed(mine: Set<Int>, give: Set<Int>, others: Int, asked: Duration, now: Duration) -> Steps {
        self.confirmedAt = asked
        self.others = others
        var steps = Steps()
        steps.abandon = self.held.union(self.giving.keys).subtracting(mine)
        for partition in steps.abandon { self.forget(partition) }
        steps.end = self.held.intersection(give)
        for partition in steps.end {
            self.held.remove(partition)
            self.giving[partition] = now
        }
        // What was being handed over stays when another left, and what is new comes.
        steps.begin = mine.subtracting(give).subtracting(self.held)
        for partition in steps.begin { self.giving[partition] = nil }
        self.held.formUnion(steps.begin)
        // Ours by the store, and not pulled: nothing is under way, it can be given back at the next occasion.
        for partition in give where self.giving[partition] == nil && mine.contains(partition) {
            self.giving[partition] = now
        }
        return steps
    }

    /// Renewed, while steps of an earlier confirmation are still performed: nothing else may change.
    mutating func renewed(mine: Set<Int>, asked: Duration) {
        if mine.isSuperset(of: self.held.union(self.giving.keys)) { self.confirmedAt = asked }
    }

    /// What should have begun did not: the next confirmation begins it again.
    mutating func failedToBegin(_ partitions: Set<Int>) {
        self.held.subtract(partitions)
    }

    /// Given back.
    mutating func released(_ partitions: Set<Int>) {
        for partition in partitions { self.giving[partition] = nil }
    }

    /// The store is away for all: no lease can have been taken until now, nor will be for ``duration`` from now on.
    mutating func storeWasDown(asked: Duration) {
        guard let confirmedAt = self.confirmedAt, asked < confirmedAt + self.duration else { return }
        self.confirmedAt = asked
    }

    /// Leases that may be another's soon, since nothing was heard of the store: empty when there is no other.
    ///
    /// Without others everything goes on: whoever comes meanwhile finds each job delivered to one of both.
    mutating func expire(at now: Duration) -> Set<Int> {
        guard self.others > 0, let confirmedAt = self.confirmedAt,
            now >= confirmedAt + self.duration - self.margin
        else { return [] }
        let lost = self.held.union(self.giving.keys)
        self.held = []
        self.giving = [:]
        return lost
    }

    /// Whose polls under way have had their time.
    func overdue(at now: Duration) -> Set<Int> {
        Set(self.giving.filter { $0.value + Self.handOverLimit <= now }.keys)
    }

    private mutating func forget(_ partition: Int) {
        self.held.remove(partition)
        self.giving[partition] = nil
    }
}
