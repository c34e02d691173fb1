import Testing

@testable import NMSPoller

@Suite struct PollPaceTests {
    private let start = ContinuousClock.now

    /// Records `polled` and `late` jobs within a minute, then one more a minute after it began.
    private func minute(_ pace: inout PollPace, _ number: Int, polled: Int, late: Int) -> PollPace.News? {
        let begin = self.start + PollPace.window * number
        for index in 0..<(polled + late) {
            let said = pace.record(late: index >= polled, interval: 60, at: begin + .seconds(1))
            #expect(said == nil)
        }
        return pace.record(late: false, interval: 60, at: begin + .seconds(1) + PollPace.window)?.news
    }

    @Test func itSaysSoOnceAMinuteWhileBehindAndOnceWhenItHasCaughtUp() {
        var pace = PollPace()
        let said = [(9, 0), (5, 5), (0, 9), (9, 0), (9, 0)].enumerated().map { number, jobs in
            self.minute(&pace, number, polled: jobs.0, late: jobs.1)
        }
        #expect(said[0] == nil)
        guard case .behind(let half) = said[1], case .behind(let most) = said[2] else {
            Issue.record("not behind: \(said)")
            return
        }
        #expect(half.late == 5 && half.wanted == 60 && half.achieved == 60 * 11 / 6)
        #expect(most.ratio == 10)
        #expect(said[3] == .caughtUp && said[4] == nil)
    }

    @Test func theWantedIntervalIsTheMean() {
        var pace = PollPace()
        _ = pace.record(late: false, interval: 30, at: self.start)
        let said = pace.record(late: true, interval: 90, at: self.start + .seconds(60))
        #expect(said?.report == PollPace.Report(polled: 1, late: 1, wanted: 60))
        #expect(said?.report.achieved == 120)
    }

    @Test func nothingPolledAtAllIsNoDivisionByZero() {
        var pace = PollPace()
        _ = pace.record(late: true, interval: 10, at: self.start)
        let said = pace.record(late: true, interval: 10, at: self.start + .seconds(61))
        #expect(said?.report.ratio == 2 && said?.news != nil)
    }
}
