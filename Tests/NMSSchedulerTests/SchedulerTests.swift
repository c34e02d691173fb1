import Foundation
import Logging
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
        var sleeps = 0
        var finish: Date
    }
    struct Refused: Error {}

    let state: Mutex<State>
    let stream: AsyncStream<DeviceEvent>
    let events: AsyncStream<DeviceEvent>.Continuation

    init(devices: [ScheduledDevice], seconds: Double) {
        var state = State(finish: Date(timeIntervalSince1970: 1_764_000_000 + seconds))
        for device in devices { state.devices[device.deviceID] = device }
        self.state = Mutex(state)
        (self.stream, self.events) = AsyncStream.makeStream()
    }

    func schedule() async throws -> [ScheduledDevice] { self.state.withLock { Array($0.devices.values) } }
    func scheduledDevice(id: Int) async throws -> ScheduledDevice? { self.state.withLock { $0.devices[id] } }
    func deviceEvents() async throws -> AsyncStream<DeviceEvent> { self.stream }
    func publish(_ job: PollJob) async throws {
        try self.state.withLock { state in
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

    func run() async throws -> Scheduler {
        let scheduler = Scheduler(
            source: self,
            publisher: self,
            events: self,
            logger: Logger(label: "test"),
            now: { self.state.withLock { $0.now } },
            sleep: { try await self.sleep($0) }
        )
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
            #expect((5...6).contains(own.count))
            #expect(own.allSatisfy { $0.credentialID == device.credentialID && $0.interval == 10 && !$0.manual })
        }
        #expect(scheduler.statistics.published == UInt64(jobs.count))
    }

    @Test func aQueueThatRefusesIsCountedAndDoesNotStopTheSchedule() async throws {
        let world = World(devices: [ScheduledDevice(deviceID: 1, credentialID: 1, interval: 5)], seconds: 30)
        world.state.withLock { $0.failing = true }
        let scheduler = try await world.run()
        #expect(scheduler.statistics.published == 0)
        #expect((5...6).contains(scheduler.statistics.failed))
    }

    @Test func anEventBringsANewDeviceAndTakesADeletedOneAway() async throws {
        let world = World(devices: [ScheduledDevice(deviceID: 1, credentialID: 1, interval: 5)], seconds: 600)
        let scheduler = Scheduler(
            source: world,
            publisher: world,
            events: world,
            logger: Logger(label: "test"),
            now: { world.state.withLock { $0.now } },
            sleep: { try await world.sleep($0) }
        )
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
}
