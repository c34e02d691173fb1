import NMSCore
import Testing

@testable import NMSPoller

@Suite struct PartitionShareTests {
    /// The table of leases, and instances that look at it one after another.
    private struct Table {
        var holders = [String?](repeating: nil, count: Partition.count)
        var members: [String] = []
        var moves = 0

        func roster(of run: String) -> PartitionRoster {
            PartitionRoster(
                members: self.members.map { run in
                    PartitionRoster.Member(run: run, held: self.holders.count { $0 == run })
                },
                mine: Set(self.holders.indices.filter { self.holders[$0] == run }),
                free: self.holders.count { $0 == nil }
            )
        }

        mutating func look(_ run: String) {
            let share = PartitionShare(of: run, in: self.roster(of: run))
            for partition in share.give { self.holders[partition] = nil }
            for partition in self.holders.indices.filter({ self.holders[$0] == nil }).prefix(share.claim) {
                self.holders[partition] = run
                self.moves += 1
            }
        }

        mutating func leave(_ run: String) {
            self.members.removeAll { $0 == run }
            self.holders = self.holders.map { $0 == run ? nil : $0 }
        }

        /// Three rounds: enough for everybody to give, and then to take.
        mutating func settle() { for _ in 0..<3 { for run in self.members { self.look(run) } } }
    }

    @Test func oneHoldsAllAtOnce() {
        let roster = PartitionRoster(members: [.init(run: "a", held: 0)], mine: [], free: 64)
        let share = PartitionShare(of: "a", in: roster)
        #expect(share.claim == 64 && share.give.isEmpty)
    }

    @Test func sharesDifferByOneAndLittleMoves() {
        var generator = SystemRandomNumberGenerator()
        var table = Table()
        for step in 0..<300 {
            let before = table.members.count
            let joins = before == 0 || before < 9 && Bool.random(using: &generator)
            table.moves = 0
            let newcomer = "run\(step)"
            var left = 0
            if joins {
                table.members.append(newcomer)
            } else if let run = table.members.randomElement(using: &generator) {
                left = table.holders.count { $0 == run }
                table.leave(run)
            }
            table.members.shuffle(using: &generator)
            table.settle()
            let held = table.members.map { run in table.holders.count { $0 == run } }
            guard !held.isEmpty else { continue }
            #expect(held.reduce(0, +) == Partition.count, "step \(step): \(held)")
            #expect(held.max()! - held.min()! <= 1, "step \(step): \(held)")
            // Only what the newcomer has now, or what was the leaver's.
            let moved = joins ? table.holders.count { $0 == newcomer } : left
            #expect(table.moves == moved, "step \(step): \(held), \(before) members before")
            table.moves = 0
            table.settle()
            #expect(table.moves == 0, "nothing moves when nobody comes or goes")
        }
    }

    @Test func theLargerShareStaysWhereItIs() {
        let held = ["a": 21, "b": 21, "c": 22]
        let members = held.map { PartitionRoster.Member(run: $0.key, held: $0.value) }
        for (run, count) in held {
            let share = PartitionShare(of: run, in: .init(members: members, mine: Set(0..<count), free: 0))
            #expect(share.give.isEmpty)
            #expect(PartitionShare.quota(of: run, in: members) == count)
        }
    }

    @Test func whoLeavesGivesAllAndIsNotCounted() {
        let members = [
            PartitionRoster.Member(run: "a", held: 32, isLeaving: true), PartitionRoster.Member(run: "b", held: 32),
        ]
        let mine = Set(0..<32)
        #expect(PartitionShare(of: "a", in: .init(members: members, mine: mine, free: 0)).give == mine)
        #expect(PartitionShare(of: "b", in: .init(members: members, mine: Set(32..<64), free: 5)).claim == 5)
    }

    @Test func whatIsBeingHandedOverIsChosenFirst() {
        let members = [PartitionRoster.Member(run: "a", held: 64), PartitionRoster.Member(run: "b", held: 0)]
        let giving: Set = [0, 1, 2]
        let share = PartitionShare(of: "a", in: .init(members: members, mine: Set(0..<64), free: 0), giving: giving)
        #expect(share.give.count == 32 && share.give.isSuperset(of: giving))
    }

    @Test func moreInstancesThanPartitions() {
        let members = (0..<70).map { PartitionRoster.Member(run: "run\($0)", held: 0) }
        let quotas = members.map { PartitionShare.quota(of: $0.run, in: members) }
        #expect(quotas.reduce(0, +) == 64 && quotas.allSatisfy { $0 <= 1 })
    }
}

@Suite struct PartitionMachineTests {
    private static let all = Set(0..<64)

    private func holding(_ mine: Set<Int>, others: Int) -> PartitionMachine {
        var machine = PartitionMachine(duration: .seconds(6), margin: .milliseconds(1500))
        let steps = machine.confirmed(mine: mine, give: [], others: others, asked: .zero, now: .zero)
        #expect(steps == .init(begin: mine))
        return machine
    }

    @Test func whatOthersShouldHaveEndsAndIsGivenWhenIdle() {
        var machine = self.holding(Self.all, others: 0)
        let steps = machine.confirmed(mine: Self.all, give: [62, 63], others: 1, asked: .seconds(1), now: .seconds(1))
        #expect(steps == .init(end: [62, 63]))
        #expect(machine.held == Self.all.subtracting([62, 63]))
        #expect(Set(machine.giving.keys) == [62, 63])
        // Again: nothing new.
        let again = machine.confirmed(mine: Self.all, give: [62, 63], others: 1, asked: .seconds(2), now: .seconds(2))
        #expect(again == .init())
        #expect(machine.overdue(at: .milliseconds(3999)).isEmpty)
        #expect(machine.overdue(at: .seconds(4)) == [62, 63])
        machine.released([62])
        let last = machine.confirmed(
            mine: Self.all.subtracting([62]),
            give: [63],
            others: 1,
            asked: .seconds(5),
            now: .seconds(5)
        )
        #expect(last == .init())
        #expect(Set(machine.giving.keys) == [63])
    }

    @Test func whatIsHandedOverStaysWhenTheOtherLeft() {
        var machine = self.holding([1, 2], others: 0)
        _ = machine.confirmed(mine: [1, 2], give: [2], others: 1, asked: .seconds(1), now: .seconds(1))
        let steps = machine.confirmed(mine: [1, 2], give: [], others: 0, asked: .seconds(2), now: .seconds(2))
        #expect(steps == .init(begin: [2]))
        #expect(machine.giving.isEmpty && machine.held == [1, 2])
    }

    @Test func whatAnotherTookIsAbandoned() {
        var machine = self.holding([1, 2, 3], others: 1)
        _ = machine.confirmed(mine: [1, 2, 3], give: [3], others: 1, asked: .seconds(1), now: .seconds(1))
        let steps = machine.confirmed(mine: [1, 4], give: [], others: 1, asked: .seconds(2), now: .seconds(2))
        #expect(steps == .init(begin: [4], abandon: [2, 3]))
        #expect(machine.held == [1, 4] && machine.giving.isEmpty)
    }

    @Test func aLeaseThatIsNotRenewedEndsBeforeAnotherCanHaveIt() {
        var machine = self.holding([1, 2], others: 2)
        #expect(machine.expire(at: .milliseconds(4499)).isEmpty)
        // A renewal counts from when it was asked for, not from when it was answered.
        _ = machine.confirmed(mine: [1, 2], give: [2], others: 2, asked: .seconds(3), now: .seconds(4))
        #expect(machine.expire(at: .milliseconds(7499)).isEmpty)
        #expect(machine.expire(at: .milliseconds(7500)) == [1, 2])
        #expect(machine.held.isEmpty && machine.giving.isEmpty)
        let steps = machine.confirmed(mine: [1], give: [], others: 2, asked: .seconds(9), now: .seconds(9))
        #expect(steps == .init(begin: [1]))
    }

    @Test func whoIsAloneGoesOn() {
        var machine = self.holding(Self.all, others: 0)
        #expect(machine.expire(at: .seconds(3600)).isEmpty)
        #expect(machine.held == Self.all)
    }

    @Test func whileTheStoreIsDownForAllEverybodyGoesOn() {
        var machine = self.holding([1], others: 1)
        for second in 1...100 {
            machine.storeWasDown(asked: .seconds(second))
            #expect(machine.expire(at: .seconds(second + 4)).isEmpty)
        }
        #expect(machine.expire(at: .milliseconds(104_500)) == [1])
    }

    @Test func aStoreThatIsDownAfterTheLeaseEndedRenewsNothing() {
        var machine = self.holding([1], others: 1)
        // Another may have taken it before the store went down.
        machine.storeWasDown(asked: .milliseconds(6001))
        #expect(machine.expire(at: .milliseconds(6002)) == [1])
    }

    @Test func aRenewalWhileStepsArePerformedCountsOnlyWhenNothingWasLost() {
        var machine = self.holding([1, 2], others: 1)
        machine.renewed(mine: [1, 2], asked: .seconds(3))
        #expect(machine.expire(at: .seconds(7)).isEmpty)
        machine.renewed(mine: [1], asked: .seconds(5))
        #expect(machine.expire(at: .milliseconds(7500)) == [1, 2])
    }

    @Test func whatDidNotBeginBeginsNextTime() {
        var machine = self.holding([1, 2], others: 1)
        machine.failedToBegin([2])
        let steps = machine.confirmed(mine: [1, 2], give: [], others: 1, asked: .seconds(1), now: .seconds(1))
        #expect(steps == .init(begin: [2]))
    }
}
