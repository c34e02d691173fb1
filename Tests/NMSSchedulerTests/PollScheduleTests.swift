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
}
