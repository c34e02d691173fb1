import Foundation
import Logging
import MetricsTestKit
import NMSCore
import Synchronization
import Testing

@testable import NMSScheduler

/// Devices, jobs and events in memory, with a clock that moves when someone sleeps.
private final class World: ScheduleSource, PollJobPublisher, DeviceEventSource, Sendable {
    struct State {
        var now = Date(timeIntervalSince1970: 1_764_000_000)
        var devices: [Int: ScheduledDevice] = [:]
        var jobs: [PollJob] = []
        var failing = false
        /// What the queue does instead of answering, in seconds until the publisher gives up.
        var hanging: Double = 0
        /// Jobs that were handed to the queue, with the time.
        var attempts: [(job: PollJob, at: Date)] = []
        var sleeps = 0
        var finish: Date
        /// One for each subscription; the first is there before it is asked for.
        var streams = [AsyncStream<DeviceEvent>.makeStream()]
        var subscriptions = 0
        var refusedSubscriptions = 0
    }
    struct Refused: Error {}

    let state: Mutex<State>
    init(devices: [ScheduledDevice], seconds: Double) {
        var state = State(finish: Date(timeIntervalSince1970: 1_764_000_000 + seconds))
        for device in devices { state.devices[device.deviceID] = device }
        self.state = Mutex(state)
    }

    /// The events of the latest subscription, or of the first to come.
    var events: AsyncStream<DeviceEvent>.Continuation { self.state.withLock { $0.streams.last!.continuation } }

    func schedule() async throws -> [ScheduledDevice] { self.state.withLock { Array($0.devices.values) } }
    func scheduledDevice(id: Int) async throws -> ScheduledDevice? { self.state.withLock { $0.devices[id] } }
    func deviceEvents() async throws -> AsyncStream<DeviceEvent> {
        try self.state.withLock { state in
            if state.subscriptions > 0, state.refusedSubscriptions > 0 {
                state.refusedSubscriptions -= 1
                throw Refused()
            }
            if state.subscriptions > 0 { state.streams.append(AsyncStream.makeStream()) }
            state.subscriptions += 1
            return state.streams.last!.stream
        }
    }
    func publish(_ job: PollJob) async throws {
        try self.state.withLock { state in
            state.attempts.append((job, state.now))
            if state.hanging > 0 {
                state.now.addTimeInterval(state.hanging)
                throw Refused()
            }
            if state.failing { throw Refused() }
            state.jobs.append(job)
        }
    }

    /// Only the short sleeps of the publishing loop move the clock; the reconciliation's never ends.
    func sleep(_ duration: Duration) async throws {
        guard duration < .seconds(10) else { return try await Task.sleep(for: .seconds(3600)) }
        await Task.yield()
        try self.state.withLock { state in
            state.now.addTimeInterval(
                Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
            )
            if state.now >= state.finish { throw CancellationError() }
        }
    }

    /// Until the test's time limit cancels it.
    func wait(until condition: (State) -> Bool) async throws {
        while !self.state.withLock({ condition($0) }) {
            try Task.checkCancellation()
            await Task.yield()
        }
    }

    func scheduler(
        configuration: Scheduler.Configuration = Scheduler.Configuration(),
        metrics: TestMetrics = TestMetrics()
    ) -> Scheduler {
        Scheduler(
            configuration: configuration,
            source: self,
            publisher: self,
            events: self,
            logger: Logger(label: "test"),
            metrics: metrics,
            now: { self.state.withLock { $0.now } },
            sleep: { try await self.sleep($0) }
        )
    }

    func run() async throws -> Scheduler {
        let scheduler = self.scheduler()
        try await scheduler.run()
        return scheduler
    }
}

@Suite(.timeLimit(.minutes(1))) struct SchedulerTests {
    @Test func publishesEachDeviceOncePerIntervalWithDistinctJobs() async throws {
        let devices = (1...20).map { ScheduledDevice(deviceID: $0, credentialID: $0 + 100, interval: 10) }
        let world = World(devices: devices, seconds: 60)
        let scheduler = try await world.run()
        let jobs = world.state.withLock { $0.jobs }
        #expect(Set(jobs.map(\.jobID)).count == jobs.count)
        for device in devices {
            let own = jobs.filter { $0.deviceID == device.deviceID }
            // And once what had passed when it began.
            #expect((6...7).contains(own.count))
            #expect(own.allSatisfy { $0.credentialID == device.credentialID && $0.interval == 10 && !$0.manual })
        }
        #expect(scheduler.statistics.published == UInt64(jobs.count))
    }

    /// The lag is that of the slot: what the scheduler slept too long, and what the queue took.
    @Test func theLagOfEveryJobIsObserved() async throws {
        let world = World(devices: [ScheduledDevice(deviceID: 1, credentialID: 1, interval: 10)], seconds: 60)
        let metrics = TestMetrics()
        try await world.scheduler(metrics: metrics).run()
        let lags = try metrics.expectTimer("nmslite_schedule_lag_seconds").values
        #expect(lags.count == world.state.withLock { $0.jobs.count })
        // It looks every 250 ms, and rounds to the millisecond.
        // The first slot had passed when it began.
        #expect(lags.dropFirst().allSatisfy { (0...300_000_000).contains($0) })
        #expect(lags.contains { $0 > 0 })
    }

    @Test func aQueueThatRefusesIsCountedAndDoesNotStopTheSchedule() async throws {
        let world = World(devices: [ScheduledDevice(deviceID: 1, credentialID: 1, interval: 5)], seconds: 30)
        world.state.withLock { $0.failing = true }
        let scheduler = try await world.run()
        #expect(scheduler.statistics.published == 0)
        #expect((6...7).contains(scheduler.statistics.failed))
    }

    @Test func anEventBringsANewDeviceAndTakesADeletedOneAway() async throws {
        let world = World(devices: [ScheduledDevice(deviceID: 1, credentialID: 1, interval: 5)], seconds: 600)
        let scheduler = world.scheduler()
        world.state.withLock { state in
            state.devices[1] = nil
            state.devices[2] = ScheduledDevice(deviceID: 2, credentialID: 1, interval: 5)
        }
        world.events.yield(DeviceEvent(.deviceDeleted, deviceID: 1))
        world.events.yield(DeviceEvent(.deviceUpdated, deviceID: 2))
        try await scheduler.run()
        let last = world.state.withLock { $0.jobs.suffix(20) }
        #expect(!last.isEmpty)
        #expect(last.allSatisfy { $0.deviceID == 2 })
    }

    @Test func anEndOfTheEventsLeadsToANewSubscriptionAndReconciliation() async throws {
        let world = World(devices: [ScheduledDevice(deviceID: 1, credentialID: 1, interval: 5)], seconds: 600)
        let scheduler = world.scheduler()
        let first = world.events
        async let run: Void = scheduler.run()
        try await world.wait { !$0.jobs.isEmpty }
        // Changed while nobody could hear of it, and two attempts to subscribe fail.
        world.state.withLock { state in
            state.devices = [2: ScheduledDevice(deviceID: 2, credentialID: 1, interval: 5)]
            state.refusedSubscriptions = 2
        }
        first.finish()
        try await world.wait { $0.subscriptions == 2 }
        world.state.withLock { $0.devices[3] = ScheduledDevice(deviceID: 3, credentialID: 1, interval: 5) }
        world.events.yield(DeviceEvent(.deviceUpdated, deviceID: 3))
        try await run
        let (last, subscriptions) = world.state.withLock { ($0.jobs.suffix(20), $0.subscriptions) }
        #expect(Set(last.map(\.deviceID)) == [2, 3])
        #expect(subscriptions == 2)
        // It went on to the end.
        #expect(last.last!.scheduledAt > Date(timeIntervalSince1970: 1_764_000_000 + 590))
    }

    @Test func aLeaderThatReturnsDoesNotFireTheFleetAtOnce() async throws {
        let devices = (1...100).map { ScheduledDevice(deviceID: $0, credentialID: 1, interval: 60) }
        let world = World(devices: devices, seconds: 30)
        let scheduler = try await world.run()
        let restart = world.state.withLock { state in
            state.jobs = []
            state.now.addTimeInterval(3_600)
            state.finish = state.now.addingTimeInterval(30)
            return state.now
        }
        try await scheduler.run()
        let jobs = world.state.withLock { $0.jobs }
        #expect((30...70).contains(jobs.count))
        #expect(jobs.allSatisfy { $0.scheduledAt > restart.addingTimeInterval(-10) })
        #expect(scheduler.statistics.missedSlots == 0)
    }

    /// The old leader dies, and another begins some seconds later: every slot is published by one or both.
    @Test(arguments: [0.4, 3, 8]) func noSlotIsLostBetweenTwoLeaders(pause: Double) async throws {
        let devices = (1...300).map { ScheduledDevice(deviceID: $0, credentialID: 1, interval: $0 <= 100 ? 5 : 30) }
        let (old, new) = (World(devices: devices, seconds: 60), World(devices: devices, seconds: 120))
        _ = try await old.run()
        let begin = old.state.withLock { $0.now.addingTimeInterval(pause) }
        // It stood by while the other led.
        let standby = new.scheduler()
        new.state.withLock { $0.now = begin }
        try await standby.run()
        let jobs = [old, new].flatMap { world in world.state.withLock { $0.jobs } }
        for device in devices {
            let slots = Set(jobs.filter { $0.deviceID == device.deviceID }.map(\.scheduledAt)).sorted()
            let gaps = zip(slots, slots.dropFirst()).map { $1.timeIntervalSince($0) }
            // Of two slots that passed between the leaders, only the later is not too old.
            let most = Double(device.interval) * (pause > Double(device.interval) ? 2 : 1)
            #expect(gaps.allSatisfy { $0 < most + 0.01 }, "\(device.deviceID): \(gaps)")
        }
        // No job of the new leader is too old to be run.
        #expect(new.state.withLock { $0.attempts.allSatisfy { $0.at <= $0.job.scheduledAt + Double($0.job.interval) } })
    }

    /// The queue may have been restarted with it, and no longer know which jobs are done.
    @Test func aSchedulerThatHasJustStartedLeavesEarlierSlotsAlone() async throws {
        let devices = (1...100).map { ScheduledDevice(deviceID: $0, credentialID: 1, interval: 10) }
        let world = World(devices: devices, seconds: 30)
        let start = world.state.withLock { $0.now }
        let scheduler = try await world.run()
        #expect(world.state.withLock { state in state.jobs.allSatisfy { $0.scheduledAt > start } })
        // Nor does it go behind what it has published itself, when it leads again at once.
        let again = world.state.withLock { state in
            state.jobs = []
            state.finish = state.now.addingTimeInterval(30)
            return state.now
        }
        try await scheduler.run()
        #expect(world.state.withLock { state in state.jobs.allSatisfy { $0.scheduledAt > again - 2 } })
    }

    /// One publication at a time, ten seconds each: what can't be published in time is not published late.
    @Test func aQueueThatHangsMakesNoLateJobsAndHoldsUpNobody() async throws {
        var devices = (1...500).map { ScheduledDevice(deviceID: $0, credentialID: 1, interval: 60) }
        devices += (501...2_000).map { ScheduledDevice(deviceID: $0, credentialID: 1, interval: 3_600) }
        devices.append(ScheduledDevice(deviceID: 2_001, credentialID: 1, interval: 15))
        let world = World(devices: devices, seconds: 1_200)
        world.state.withLock { $0.hanging = 10 }
        var configuration = Scheduler.Configuration()
        configuration.publishConcurrency = 1
        let scheduler = world.scheduler(configuration: configuration)
        let run = Task { try await scheduler.run() }
        try await world.wait { $0.now >= $0.finish }
        let missed = scheduler.statistics.missedSlots
        run.cancel()
        try await run.value
        let attempts = world.state.withLock { state in state.attempts.filter { $0.at < state.finish } }
        #expect(attempts.count > 100)
        let late = attempts.filter { $0.at.timeIntervalSince($0.job.scheduledAt) > Double($0.job.interval) }
        #expect(late.isEmpty)
        // The one that can wait least has its turn at nearly each of its 80 slots.
        #expect(attempts.count { $0.job.deviceID == 2_001 } >= 40)
        // The slots of twenty minutes, less one each and those tried.
        #expect(missed > 8_000)
    }

    @Test func twoLeadersPublishTheSameJobs() async throws {
        let devices = (1...20).map { ScheduledDevice(deviceID: $0, credentialID: 1, interval: 10) }
        let (first, second) = (World(devices: devices, seconds: 60), World(devices: devices, seconds: 60))
        _ = try await first.run()
        _ = try await second.run()
        let ids = [first, second].map { world in world.state.withLock { Set($0.jobs.map(\.jobID)) } }
        #expect(ids[0] == ids[1])
        #expect(ids[0].count >= 100)
    }
}
