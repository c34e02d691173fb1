import Testing

@testable import Supervision

@Suite struct SupervisorStateMachineTests {
    private static let backOff = BackOff(
        initial: .seconds(1),
        multiplier: 2,
        maximum: .seconds(10),
        stableAfter: .seconds(60),
        firstStarts: 2
    )

    @Test func pausesGrowUpToTheMaximum() {
        let pauses = (1...6).map { Self.backOff.pause(failures: $0) }
        #expect(pauses == [.seconds(1), .seconds(2), .seconds(4), .seconds(8), .seconds(10), .seconds(10)])
    }

    @Test func failsWhenTheFirstStartsNeverBecomeReady() {
        var machine = SupervisorStateMachine(backOff: Self.backOff)
        #expect(machine.begin() == .start)
        #expect(machine.childEnded(at: .seconds(1)) == .pause(.seconds(1)))
        #expect(machine.pauseEnded() == .start)
        #expect(machine.childEnded(at: .seconds(2)) == .fail)
    }

    @Test func onceReadyItIsRestartedForEver() {
        var machine = SupervisorStateMachine(backOff: Self.backOff)
        #expect(machine.begin() == .start)
        machine.becameReady(at: .seconds(1))
        for failure in 1...20 {
            #expect(machine.childEnded(at: .seconds(2)) == .pause(Self.backOff.pause(failures: failure)))
            #expect(machine.pauseEnded() == .start)
        }
        #expect(machine.restarts == 20)
    }

    @Test func aStableTimeForgetsEarlierFailures() {
        var machine = SupervisorStateMachine(backOff: Self.backOff)
        _ = machine.begin()
        machine.becameReady(at: .zero)
        #expect(machine.childEnded(at: .seconds(59)) == .pause(.seconds(1)))
        _ = machine.pauseEnded()
        machine.becameReady(at: .seconds(60))
        #expect(machine.childEnded(at: .seconds(119)) == .pause(.seconds(2)))
        _ = machine.pauseEnded()
        machine.becameReady(at: .seconds(120))
        #expect(machine.childEnded(at: .seconds(180)) == .pause(.seconds(1)))
    }

    @Test func stoppedItDoesNotStartAgain() {
        var machine = SupervisorStateMachine(backOff: Self.backOff)
        _ = machine.begin()
        machine.becameReady(at: .zero)
        machine.stopRequested()
        #expect(machine.childEnded(at: .seconds(1)) == .finish)
        #expect(machine.begin() == .finish)

        var pausing = SupervisorStateMachine(backOff: Self.backOff)
        _ = pausing.begin()
        _ = pausing.childEnded(at: .seconds(1))
        pausing.stopRequested()
        #expect(pausing.pauseEnded() == .finish)
        #expect(pausing.restarts == 0)
    }
}

@Suite struct LineSplitterTests {
    @Test func cutsLinesHoweverTheyArrive() {
        var splitter = LineSplitter()
        var lines: [String] = []
        for byte in "one\r\n\ntwo\nthr".utf8 { lines += splitter.feed([byte], second: 0) }
        lines += splitter.finish(second: 0)
        #expect(lines == ["one", "two", "thr"])
    }

    @Test func boundsTheLength() {
        var splitter = LineSplitter()
        let long = [UInt8](repeating: UInt8(ascii: "x"), count: LineSplitter.lineLimit + 100)
        let lines = splitter.feed(long + Array("\nshort\n".utf8), second: 0)
        #expect(lines == [String(repeating: "x", count: LineSplitter.lineLimit) + "…", "short"])
    }

    @Test func boundsTheRateAndSaysSo() {
        var splitter = LineSplitter()
        let flood = Array(String(repeating: "x\n", count: LineSplitter.rateLimit + 7).utf8)
        #expect(splitter.feed(flood, second: 1).count == LineSplitter.rateLimit)
        #expect(splitter.feed("y\n".utf8, second: 2) == ["(7 lines left out)", "y"])
    }
}
