import Foundation
import NMSCore
import Testing

@testable import NMSScheduler

@Suite struct PollScheduleTests {
    let start = Date(timeIntervalSince1970: 1_764_000_000)

    func device(_ id: Int, interval: Int = 60) -> ScheduledDevice {
        ScheduledDevice(deviceID: id, credentialID: 1, interval: interval)
    }

    @Test func everyDeviceIsDueOncePerInterval() {
        var schedule = PollSchedule()
        for id in 1...50 { schedule.set(self.device(id, interval: 10), now: self.start) }
        var counts: [Int: Int] = [:]
        for tick in 1...1200 {  // 120 s in steps of 100 ms
            for poll in schedule.takeDue(now: self.start.addingTimeInterval(Double(tick) / 10)) {
                counts[poll.deviceID, default: 0] += 1
            }
        }
        #expect(counts.count == 50)
        #expect(counts.values.allSatisfy { $0 == 12 })
        #expect(schedule.missedSlots == 0)
    }

    @Test func pollsAreSpreadOverTheInterval() {
        var schedule = PollSchedule()
        for id in 1...1000 { schedule.set(self.device(id, interval: 60), now: self.start) }
        var perSecond = [Int](repeating: 0, count: 60)
        for second in 0..<60 {
            perSecond[second] = schedule.takeDue(now: self.start.addingTimeInterval(Double(second + 1))).count
        }
        #expect(perSecond.reduce(0, +) == 1000)
        #expect(perSecond.max()! <= 3 * 1000 / 60)
    }

    @Test func aRestartKeepsEachDevicesPlace() {
        var first = PollSchedule()
        var second = PollSchedule()
        first.set(self.device(7), now: self.start)
        second.set(self.device(7), now: self.start.addingTimeInterval(3600 * 5 + 17))
        let a = first.nextDue()!.timeIntervalSince1970.truncatingRemainder(dividingBy: 60)
        let b = second.nextDue()!.timeIntervalSince1970.truncatingRemainder(dividingBy: 60)
        #expect(abs(a - b) < 0.001)
    }

    @Test func aLateCallRunsADeviceOnceAndCountsTheRest() {
        var schedule = PollSchedule()
        schedule.set(self.device(1, interval: 10), now: self.start)
        let late = self.start.addingTimeInterval(45)
        let due = schedule.takeDue(now: late)
        #expect(due.count == 1)
        #expect(late.timeIntervalSince(due[0].scheduledAt) < 10)
        #expect(schedule.missedSlots >= 3)
        #expect(schedule.takeDue(now: late).isEmpty)
        #expect(schedule.nextDue()! > late)
    }

    @Test func aChangedIntervalTakesEffectAtOnce() {
        var schedule = PollSchedule()
        schedule.set(self.device(1, interval: 86_400), now: self.start)
        schedule.set(self.device(1, interval: 5), now: self.start)
        #expect(schedule.nextDue()!.timeIntervalSince(self.start) <= 5)
        // The slot of the old interval is dead, not run beside the new one.
        var count = 0
        for second in 1...20 { count += schedule.takeDue(now: self.start.addingTimeInterval(Double(second))).count }
        #expect(count == 4)
    }

    @Test func aNewCredentialDoesNotMoveTheDevice() {
        var schedule = PollSchedule()
        schedule.set(self.device(1, interval: 60), now: self.start)
        let due = schedule.nextDue()!
        schedule.set(ScheduledDevice(deviceID: 1, credentialID: 9, interval: 60), now: self.start)
        #expect(schedule.nextDue() == due)
        #expect(schedule.takeDue(now: due).map(\.credentialID) == [9])
    }

    @Test func removedDevicesAreNotPolled() {
        var schedule = PollSchedule()
        schedule.set(self.device(1), now: self.start)
        schedule.set(self.device(2), now: self.start)
        schedule.replaceAll([self.device(2)], now: self.start)
        let due = schedule.takeDue(now: self.start.addingTimeInterval(60))
        #expect(due.map(\.deviceID) == [2])
        schedule.remove(deviceID: 2)
        #expect(schedule.nextDue() == nil)
    }

    @Test func aClockSetBackDoesNotSilenceTheFleet() {
        var schedule = PollSchedule()
        for id in 1...10 { schedule.set(self.device(id, interval: 60), now: self.start) }
        let back = self.start.addingTimeInterval(-86_400)
        _ = schedule.takeDue(now: back)
        #expect(schedule.takeDue(now: back.addingTimeInterval(60)).count == 10)
    }

    @Test func slotsThatComeAgainAfterTheClockWasSetBackAreOtherJobs() {
        var schedule = PollSchedule()
        schedule.set(self.device(1, interval: 10), now: self.start)
        func ids(from time: Date) -> Set<String> {
            var ids: Set<String> = []
            for second in 1...60 {
                for poll in schedule.takeDue(now: time.addingTimeInterval(Double(second))) {
                    ids.insert(
                        PollJob.scheduledID(deviceID: 1, at: poll.scheduledAt, clockStep: poll.clockStep)
                    )
                }
            }
            return ids
        }
        let first = ids(from: self.start)
        // The clock returns to where it was, after having been an hour ahead.
        _ = schedule.takeDue(now: self.start.addingTimeInterval(3600))
        let again = ids(from: self.start)
        #expect(first.count == 6 && again.count >= 5)
        #expect(first.isDisjoint(with: again))
    }

    /// The first slot is of a device that can bear the jump; the others can't.
    @Test func aClockSetBackSilencesNobodyWhoseIntervalIsShorterThanTheJump() {
        var schedule = PollSchedule()
        for id in 1...10 { schedule.set(self.device(id, interval: 60), now: self.start) }
        schedule.set(self.device(99, interval: 86_400), now: self.start)
        // The daily slot is the next one.
        let daily = (0..<86_400 * 2).lazy.map { self.start.addingTimeInterval(Double($0) / 2) }
            .first { now in
                _ = schedule.takeDue(now: now)
                let next = schedule.nextDue()!
                var copy = schedule
                return next.timeIntervalSince(now) < 1 && copy.takeDue(now: next).map(\.deviceID) == [99]
            }!
        let back = daily.addingTimeInterval(-7_200)
        #expect(schedule.takeDue(now: back).isEmpty)
        var polled: [Int: Int] = [:]
        for second in 1...7_200 {
            for poll in schedule.takeDue(now: back.addingTimeInterval(Double(second))) {
                polled[poll.deviceID, default: 0] += 1
            }
        }
        #expect((1...10).allSatisfy { polled[$0] == 120 }, "\(polled)")
        _ = schedule.takeDue(now: daily.addingTimeInterval(1))
        #expect(schedule.missedSlots == 0)
    }

    @Test func aClockThatIsCorrectedByLittleMovesNobody() {
        var schedule = PollSchedule()
        for id in 1...100 { schedule.set(self.device(id, interval: 5), now: self.start) }
        var ids: [String] = []
        for step in 1...200 {
            // Two steps of 100 ms forward, one of 500 ms back at the 100th.
            let seconds = Double(step) / 10 - (step >= 100 ? 0.5 : 0)
            for poll in schedule.takeDue(now: self.start.addingTimeInterval(seconds)) {
                #expect(poll.clockStep == 0)
                ids.append(PollJob.scheduledID(deviceID: poll.deviceID, at: poll.scheduledAt))
            }
        }
        #expect(Set(ids).count == ids.count && ids.count >= 380)
    }

    @Test func aNewLeaderSeesWhatPassedShortlyBeforeAndNothingOlder() {
        var schedule = PollSchedule()
        let devices = (1...200).map { self.device($0, interval: $0 <= 100 ? 5 : 60) }
        schedule.replaceAll(devices, now: self.start, lookBack: 10)
        let due = schedule.takeDue(now: self.start)
        // Each of those with a short interval once, and a sixth of the others.
        #expect(due.filter { $0.interval == 5 }.count == 100)
        #expect((8...30).contains(due.filter { $0.interval == 60 }.count))
        for poll in due {
            let age = self.start.timeIntervalSince(poll.scheduledAt)
            #expect((0...10).contains(age) && age <= Double(poll.interval))
        }
        #expect(schedule.missedSlots == 0)
    }
}

@Suite struct PendingPollsTests {
    let start = Date(timeIntervalSince1970: 1_764_000_000)

    func poll(_ id: Int, interval: Int, age: Double) -> DuePoll {
        DuePoll(
            deviceID: id,
            credentialID: 1,
            scheduledAt: self.start.addingTimeInterval(-age),
            interval: interval
        )
    }

    @Test func shortIntervalsComeFirstAndWhatIsTooOldIsCounted() {
        var pending = PendingPolls()
        pending.add([
            self.poll(1, interval: 60, age: 0), self.poll(2, interval: 5, age: 0), self.poll(3, interval: 5, age: 3),
            self.poll(4, interval: 5, age: 6), self.poll(5, interval: 86_400, age: 86_390),
        ])
        #expect(pending.take(at: self.start)?.deviceID == 3)
        #expect(pending.takeExpired() == 1)
        #expect(pending.take(at: self.start.addingTimeInterval(5))?.deviceID == 2)
        #expect(pending.take(at: self.start.addingTimeInterval(61)) == nil)
        #expect(pending.takeExpired() == 2)
        #expect(pending.isEmpty)
    }

    @Test func aDeviceWaitsOnceHoweverLongNothingIsPublished() {
        var pending = PendingPolls()
        for round in 0..<1_000 {
            pending.add((1...3).map { self.poll($0, interval: 5, age: Double(-5 * round)) })
        }
        #expect(pending.takeExpired() == 3 * 999)
        let now = self.start.addingTimeInterval(5 * 999)
        let taken = (1...3).compactMap { _ in pending.take(at: now) }
        #expect(taken.map(\.deviceID) == [1, 2, 3] && taken.allSatisfy { $0.scheduledAt == now })
        #expect(pending.isEmpty && pending.take(at: now) == nil)
    }
}
