import Testing

@testable import NMSQueue

@Suite struct PullPlannerTests {
    @Test func aSingleConsumerIsAskedForHalfTheRoomAndThenForTheRest() {
        var planner = PullPlanner(keys: [0], capacity: 100)
        let first = planner.plan(at: .zero)
        #expect(first == [.init(key: 0, number: 1, batch: 50, expires: PullPlanner.longPoll)])
        #expect(planner.plan(at: .zero).isEmpty)
        for left in (0..<50).reversed() { planner.delivered(key: 0, pending: left + 1_000) }
        // 50 are unsettled: 50 more fit.
        #expect(planner.plan(at: .zero).map(\.batch) == [50])
    }

    @Test func neverMoreOnTheWayAndUnsettledThanAllowed() {
        var generator = SplitMix(state: 7)
        for capacity in [1, 3, 10, 64, 128, 1_000] {
            var planner = PullPlanner(keys: 0..<64, capacity: capacity)
            var open: [PullPlanner.Request] = []
            var unsettled = 0
            var now: Duration = .zero
            // Two seconds at most, in which no request is taken for lost.
            for _ in 0..<2_000 {
                open += planner.plan(at: now)
                #expect(open.reduce(0) { $0 + $1.batch } + unsettled <= capacity)
                switch generator.next(below: 3) {
                case 0 where !open.isEmpty:
                    let index = generator.next(below: open.count)
                    planner.delivered(key: open[index].key, pending: generator.next(below: 20))
                    unsettled += 1
                    open[index].batch -= 1
                    if open[index].batch == 0 { open.remove(at: index) }
                case 1 where !open.isEmpty:
                    let request = open.remove(at: generator.next(below: open.count))
                    planner.ended(key: request.key, number: request.number, .empty, at: now)
                default:
                    if unsettled > 0 {
                        planner.settled()
                        unsettled -= 1
                    }
                }
                now += .milliseconds(generator.next(below: 2))
            }
        }
    }

    @Test func withRoomEveryConsumerHasARequestWaiting() {
        var planner = PullPlanner(keys: 0..<64, capacity: 128)
        let requests = planner.plan(at: .zero)
        #expect(Set(requests.map(\.key)) == Set(0..<64))
        #expect(requests.allSatisfy { $0.batch == 1 && $0.expires == PullPlanner.longPoll })
    }

    @Test func withoutRoomConsumersTakeTurns() {
        var planner = PullPlanner(keys: 0..<64, capacity: 10)
        var asked: [Int] = []
        for _ in 0..<7 {
            let requests = planner.plan(at: .zero)
            #expect(requests.count <= 10 && requests.allSatisfy { $0.expires == nil })
            asked += requests.map(\.key)
            for request in requests { planner.ended(key: request.key, number: request.number, .empty, at: .zero) }
        }
        #expect(asked.sorted() == Array(0..<64))
        #expect(planner.plan(at: .zero).isEmpty)
        #expect(planner.nextWake == PullPlanner.probePause)
        #expect(!planner.plan(at: PullPlanner.probePause).isEmpty)
    }

    @Test func aFullConsumerGetsNothingUntilSomethingIsSettled() {
        var planner = PullPlanner(keys: [0], capacity: 2)
        #expect(planner.plan(at: .zero).map(\.batch) == [1])
        planner.delivered(key: 0, pending: 9)
        #expect(planner.plan(at: .zero).map(\.batch) == [1])
        planner.delivered(key: 0, pending: 8)
        #expect(planner.plan(at: .zero).isEmpty)
        planner.settled()
        #expect(planner.plan(at: .zero).map(\.batch) == [1])
    }

    @Test func aRequestIsRenewedBeforeItExpires() {
        var planner = PullPlanner(keys: [0], capacity: 10)
        let first = planner.plan(at: .zero)
        let renewal = PullPlanner.longPoll - PullPlanner.renewAhead
        #expect(planner.nextWake == renewal)
        #expect(planner.plan(at: renewal - .milliseconds(1)).isEmpty)
        let second = planner.plan(at: renewal)
        #expect(second.count == 1 && second[0].number > first[0].number)

        // The old one's end changes nothing, and makes no room twice.
        planner.ended(key: 0, number: first[0].number, .empty, at: PullPlanner.longPoll)
        #expect(planner.plan(at: PullPlanner.longPoll).isEmpty)
        #expect(planner.nextWake == renewal + renewal)
    }

    @Test func aProbeWithoutAnswerIsRepeated() {
        var planner = PullPlanner(keys: 0..<4, capacity: 1)
        #expect(planner.plan(at: .zero).count == 1)
        #expect(planner.nextWake == PullPlanner.answerGrace)
        #expect(planner.plan(at: PullPlanner.answerGrace - .milliseconds(1)).isEmpty)
        #expect(planner.plan(at: PullPlanner.answerGrace).count == 1)
    }

    @Test func aLostConnectionFreesWhatWasOnTheWay() {
        var planner = PullPlanner(keys: 0..<4, capacity: 8)
        #expect(planner.plan(at: .zero).count == 4)
        planner.delivered(key: 0, pending: 0)
        planner.reset()
        #expect(planner.unsettled == 1)
        #expect(planner.plan(at: .zero).count == 4)
    }

    @Test func consumersComeAndGo() {
        var planner = PullPlanner(keys: [], most: 4, capacity: 8)
        #expect(planner.plan(at: .zero).isEmpty)
        planner.add([1, 2])
        // One each: the others' turn may come.
        #expect(planner.plan(at: .zero).map(\.batch) == [1, 1])
        planner.delivered(key: 1, pending: 0)
        planner.remove([1])
        #expect(planner.unsettled == 1)
        planner.add([2, 3, 4, 5])
        #expect(planner.plan(at: .zero).map(\.key) == [3, 4, 5])
        // What was on its way when its consumer was removed counts until it is settled.
        planner.delivered(key: 1, pending: 0)
        #expect(planner.unsettled == 2)
        planner.settled()
        planner.settled()
        planner.remove([2, 3, 4, 5])
        #expect(planner.unsettled == 0 && planner.nextWake == nil)
        planner.add([0])
        planner.reset()
        #expect(planner.plan(at: .zero).map(\.key) == [0])
    }

    @Test func whoHoldsLittleLeavesRoomForWhatMayCome() {
        var planner = PullPlanner(keys: [], most: 64, capacity: 1034)
        planner.add([0])
        #expect(planner.plan(at: .zero).map(\.batch) == [8])
        planner.add(1..<64)
        #expect(planner.plan(at: .zero).count == 63)
    }

    @Test func aRefusalIsFollowedByAPause() {
        var planner = PullPlanner(keys: [0], capacity: 10)
        let request = planner.plan(at: .zero)[0]
        planner.ended(key: 0, number: request.number, .failed, at: .zero)
        #expect(planner.plan(at: .milliseconds(999)).isEmpty)
        #expect(planner.plan(at: .seconds(1)).count == 1)
        // The end of an old request doesn't end the new one.
        planner.ended(key: 0, number: request.number, .empty, at: .seconds(1))
        #expect(planner.plan(at: .seconds(1)).isEmpty)
    }
}

private struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var z = self.state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func next(below limit: Int) -> Int { Int.random(in: 0..<limit, using: &self) }
}
