import Foundation
import Logging
import MetricsTestKit
import NMSCollectors
import NMSCore
import Synchronization
import Testing

@testable import NMSPoller

/// Queue, inventory and hosts in memory.
private final class World: PollJobSource, PollTargetSource, MetricsResultPublisher, Collector, AuthenticationGate,
    Sendable
{
    enum Behaviour: Sendable {
        case answers
        case fails(PollErrorCode)
        /// The way in is not open: whatever the code, another one may be.
        case failsConnecting(PollErrorCode)
        case stalls
        case lacksDescriptors
        case isNotInTheDatabaseInTime
        case lacksNetwork
        case reboots
        case countersReset
    }

    struct State {
        var behaviour: [Int: Behaviour] = [:]
        var results: [MetricsResult] = []
        var acknowledged: [String] = []
        var rejected: [String] = []
        var samples: [Int: Int] = [:]
        var publishFailures = 0
        var events: [String] = []
    }
    struct Refused: Error {}

    let state = Mutex(State())
    let stream: AsyncStream<Delivery<PollJob>>
    let jobs: AsyncStream<Delivery<PollJob>>.Continuation
    let credentials: [DecryptedCredential]

    init(credentials: [Int] = [1], ports: [Int] = []) {
        (self.stream, self.jobs) = AsyncStream.makeStream()
        self.credentials = credentials.enumerated().map { index, id in
            DecryptedCredential(
                credential: Credential(
                    id: id,
                    name: "c\(id)",
                    type: .winrmNTLM,
                    username: "u",
                    port: ports.indices.contains(index) ? ports[index] : nil,
                    createdAt: .now,
                    updatedAt: .now
                ),
                password: Secret("p")
            )
        }
    }

    func deliver(_ job: PollJob, deliveryCount: Int = 1) {
        self.jobs.yield(
            Delivery(
                message: job,
                deliveryCount: deliveryCount,
                acknowledge: {
                    self.state.withLock {
                        $0.acknowledged.append(job.jobID); $0.events.append("ack")
                    }
                },
                reject: { _ in self.state.withLock { $0.rejected.append(job.jobID) } },
                extend: {},
                bury: { _ in }
            )
        )
    }

    func pollJobs(maxOutstanding: Int) async throws -> PollJobIntake {
        PollJobIntake(deliveries: self.stream, add: { _ in }, remove: { _ in }, isConnected: { true })
    }

    func pollTarget(deviceID: Int) async throws -> PollTarget? {
        guard deviceID < 1000 else { return nil }
        if case .isNotInTheDatabaseInTime = self.state.withLock({ $0.behaviour[deviceID] }) {
            try await Task.sleep(for: .seconds(3600))
        }
        let device = Device(
            id: deviceID,
            ip: "127.1.0.1",
            status: .provisioned,
            pollingInterval: 60,
            createdAt: .now,
            updatedAt: .now
        )
        return PollTarget(device: device, credentials: self.credentials)
    }

    func publish(_ result: MetricsResult) async throws {
        try self.state.withLock { state in
            if state.publishFailures > 0 {
                state.publishFailures -= 1
                throw Refused()
            }
            state.results.append(result)
            state.events.append("result")
        }
    }

    func authenticate<Result: Sendable>(
        deviceID: Int,
        credentialID: Int,
        attempt: @Sendable () async throws -> Result
    ) async throws -> Result { try await attempt() }

    let name = "memory"
    func supports(_ type: CredentialType) -> Bool { true }
    func forget(deviceID: Int) async {}
    func forget(credentialID: Int) async {}
    func shutDown() async {}

    func sample(_ target: CollectorTarget, groups: Set<CounterGroup>) async throws -> RawSample {
        let (count, behaviour) = self.state.withLock { state in
            state.samples[target.deviceID, default: 0] += 1
            return (state.samples[target.deviceID]!, state.behaviour[target.deviceID] ?? .answers)
        }
        var boot = Date(timeIntervalSince1970: 1_764_000_000)
        var ticks = UInt64(count)
        var sample = RawSample()
        switch behaviour {
        case .fails(let code):
            if target.credential.credential.id == self.credentials[0].credential.id {
                throw PollFailure(code, "as told")
            }
        case .failsConnecting(let code):
            if target.credential.credential.id == self.credentials[0].credential.id {
                var failure = PollFailure(code, "as told")
                failure.next = .otherPort
                throw failure
            }
        case .lacksDescriptors: throw LocalShortage("Too many open files")
        case .stalls: try await Task.sleep(for: .seconds(3600))
        case .reboots: boot += Double(count) * 1000
        case .countersReset: ticks %= 100
        case .answers, .lacksNetwork, .isNotInTheDatabaseInTime: break
        }
        if groups.contains(.system) {
            sample.system = .success(
                SystemReading(memoryTotalBytes: 1000, memoryFreeBytes: 250, processCount: 7, bootTime: boot)
            )
            sample.disk = .success(DiskReading(totalBytes: 100, freeBytes: 50))
            sample.identity = HostIdentity(hostname: "h", os: "o", build: "b")
        }
        // One second a sample, a quarter of it busy.
        sample.processor = .success(
            ProcessorReading(idle100ns: ticks * 7_500_000, timestamp100ns: ticks * 10_000_000)
        )
        if case .lacksNetwork = behaviour {
            sample.network = .failure(PollFailure(.wmiError, "no such class"))
        } else {
            let interface = NetworkReading.Interface(
                name: "n",
                bytesReceived: ticks * 10,
                bytesSent: ticks * 20,
                timestamp: ticks * 1000,
                frequency: 1000
            )
            sample.network = .success(NetworkReading(interfaces: [interface]))
        }
        return sample
    }
}

/// Ports, all with the same answer.
private final class Doors: ReachProbe {
    let answer = Mutex(ReachAnswer.refused)
    let asked = Mutex<[Int]>([])

    func probe(_ address: IPAddress, port: Int, limit: Duration) async -> ReachAnswer {
        self.asked.withLock { $0.append(port) }
        return self.answer.withLock { $0 }
    }
}

@Suite(.timeLimit(.minutes(1))) struct PollerTests {
    private func poller(
        _ world: World,
        workers: Int = 4,
        timeout: Duration = .seconds(30),
        slowAfter: Duration = SlotLease.slowAfter,
        slowWaiters: Int = Poller.slowWaitersLimit,
        probe: (any ReachProbe)? = nil,
        metrics: TestMetrics = TestMetrics()
    ) -> Poller {
        var configuration = Poller.Configuration()
        configuration.workerCount = workers
        configuration.timeout = timeout
        configuration.slowAfter = slowAfter
        configuration.slowWaiters = slowWaiters
        configuration.secondSampleDelay = .milliseconds(1)
        return Poller(
            configuration: configuration,
            source: world,
            targets: world,
            collectors: CollectorRegistry([world]),
            gate: world,
            results: world,
            policy: TargetPolicy(),
            probe: probe,
            logger: Logger(label: "test"),
            metrics: PollMetrics(factory: metrics)
        )
    }

    private func job(_ device: Int, _ id: String = UUID().uuidString, age: Double = 0) -> PollJob {
        PollJob(
            jobID: id,
            deviceID: device,
            credentialID: 1,
            scheduledAt: Date(timeIntervalSinceNow: -age),
            interval: 60
        )
    }

    /// Delivers the jobs one after another, each when the one before is settled, then stops the poller.
    @discardableResult
    private func run(_ world: World, _ poller: Poller, jobs: [PollJob]) async throws -> [MetricsResult] {
        let running = Task { try await poller.run(drain: .milliseconds(200)) }
        for (index, job) in jobs.enumerated() {
            world.deliver(job)
            while world.state.withLock({ $0.acknowledged.count + $0.rejected.count }) <= index {
                try await Task.sleep(for: .milliseconds(1))
            }
        }
        poller.stop()
        try await running.value
        return world.state.withLock { $0.results }
    }

    @Test func theFirstRowIsAlreadyReal() async throws {
        let world = World()
        let results = try await self.run(world, self.poller(world), jobs: [self.job(1, "j1")])
        let metrics = try #require(results.first?.metrics)
        #expect(results.count == 1 && results[0].success && results[0].errorCode == nil)
        #expect(metrics.cpu.usagePercent == 25)
        #expect(metrics.network.bytesSentPerSec == 20 && metrics.network.bytesRecvPerSec == 10)
        #expect(metrics.memory.usedBytes == 750 && metrics.disk.usagePercent == 50 && metrics.processCount == 7)
        #expect(metrics.jobID == "j1" && metrics.timestamp == results[0].timestamp)
        #expect(results[0].identity == HostIdentity(hostname: "h", os: "o", build: "b"))
        #expect(world.state.withLock { $0.samples[1] } == 2)
    }

    @Test func aLaterPollTakesOneSample() async throws {
        let world = World()
        let results = try await self.run(world, self.poller(world), jobs: [self.job(1), self.job(1), self.job(1)])
        #expect(results.count == 3)
        #expect(results.allSatisfy { $0.metrics?.cpu.usagePercent == 25 })
        #expect(world.state.withLock { $0.samples[1] } == 4)
    }

    @Test func aRebootOrAResetGivesNullAndNeverASpike() async throws {
        for behaviour in [World.Behaviour.reboots, .countersReset] {
            let world = World()
            let poller = self.poller(world)
            world.state.withLock { $0.samples[1] = 500 }
            let running = Task { try await poller.run(drain: .milliseconds(200)) }
            world.deliver(self.job(1))
            while world.state.withLock({ $0.acknowledged.isEmpty }) { try await Task.sleep(for: .milliseconds(1)) }
            world.state.withLock { $0.behaviour[1] = behaviour }
            world.deliver(self.job(1))
            while world.state.withLock({ $0.acknowledged.count }) < 2 { try await Task.sleep(for: .milliseconds(1)) }
            poller.stop()
            try await running.value
            let last = try #require(world.state.withLock { $0.results.last?.metrics })
            #expect(last.cpu.usagePercent == nil)
            #expect(last.network.bytesSentPerSec == nil && last.network.utilizationPercent == nil)
            #expect(last.memory.usedBytes == 750)
        }
    }

    @Test func theJobIsAcknowledgedOnlyAfterItsResultIsStored() async throws {
        let world = World()
        world.state.withLock { $0.publishFailures = 2 }
        try await self.run(world, self.poller(world), jobs: [self.job(1)])
        #expect(world.state.withLock { $0.events } == ["result", "ack"])
    }

    @Test func aResultThatCannotBePublishedHandsTheJobBack() async throws {
        let world = World()
        world.state.withLock { $0.publishFailures = 1000 }
        try await self.run(world, self.poller(world), jobs: [self.job(1, "j")])
        #expect(world.state.withLock { $0.rejected } == ["j"])
        #expect(world.state.withLock { $0.acknowledged.isEmpty })
    }

    @Test func aJobThatFailsAgainAndAgainIsLeftToTheNextSlot() async throws {
        let world = World()
        world.state.withLock { $0.publishFailures = 1000 }
        let poller = self.poller(world)
        let running = Task { try await poller.run(drain: .milliseconds(200)) }
        world.deliver(self.job(1, "j"), deliveryCount: Poller.deliveries)
        while world.state.withLock({ $0.acknowledged.isEmpty }) { try await Task.sleep(for: .milliseconds(5)) }
        poller.stop()
        try await running.value
        #expect(world.state.withLock { $0.acknowledged } == ["j"])
        #expect(world.state.withLock { $0.rejected.isEmpty && $0.results.isEmpty })
    }

    /// What is counted is what is in the queue, by its code; what gave no result is counted apart.
    @Test func pollsAreCountedByTheirResult() async throws {
        let world = World()
        world.state.withLock { state in
            state.behaviour[2] = .fails(.timeout)
            state.behaviour[3] = .lacksNetwork
        }
        let metrics = TestMetrics()
        let poller = self.poller(world, metrics: metrics)
        let jobs = [1, 1, 2, 3, 5000].map { self.job($0) } + [self.job(1, age: 61)]
        let results = try await self.run(world, poller, jobs: jobs)
        #expect(results.count == 4)
        func polls(_ result: String) throws -> Int64 {
            try metrics.expectCounter("nmslite_polls_total", [("result", result)]).totalValue
        }
        #expect(try polls("success") == 2 && polls("timeout") == 1 && polls("counters_missing") == 1)
        // Every result is there from the start, at 0.
        for code in PollErrorCode.allCases where ![.timeout, .countersMissing].contains(code) {
            #expect(try polls(code.rawValue) == 0)
        }
        func dropped(_ reason: String) throws -> Int64 {
            try metrics.expectCounter("nmslite_poll_jobs_dropped_total", [("reason", reason)]).totalValue
        }
        #expect(try dropped("orphaned") == 1 && dropped("late") == 1)
        #expect(try dropped("overlapped") == 0 && dropped("returned") == 0)
        func durations(_ outcome: String) throws -> [Int64] {
            try metrics.expectTimer("nmslite_poll_duration_seconds", [("outcome", outcome)]).values
        }
        // A poll with a group missing is a good one: it gave a row.
        #expect(try durations("success").count == 3 && durations("failure").count == 1)
        #expect(try durations("success").allSatisfy { $0 > 0 && $0 < 30_000_000_000 })
    }

    /// A result that the queue did not take is no poll: its job comes again.
    @Test func aPollWhoseResultIsLostIsNotCounted() async throws {
        let world = World()
        world.state.withLock { $0.publishFailures = 100 }
        let metrics = TestMetrics()
        try await self.run(world, self.poller(world, metrics: metrics), jobs: [self.job(1)])
        #expect(metrics.counterTotal(label: "nmslite_polls_total") == 0)
        #expect(
            try metrics.expectCounter("nmslite_poll_jobs_dropped_total", [("reason", "returned")]).totalValue == 1
        )
    }

    /// Time counts from the moment the slot is had: a lookup that stalls must not keep others from it, either.
    @Test func aStalledLookupLeavesItsSlotToOthers() async throws {
        let world = World()
        world.state.withLock { $0.behaviour[1] = .isNotInTheDatabaseInTime }
        let poller = self.poller(world, workers: 1, slowAfter: .milliseconds(5))
        let running = Task { try await poller.run(drain: .milliseconds(50)) }
        world.deliver(self.job(1, "stalled"))
        world.deliver(self.job(2))
        while world.state.withLock({ $0.results.isEmpty }) { try await Task.sleep(for: .milliseconds(1)) }
        poller.stop()
        try await running.value
        #expect(world.state.withLock { $0.results.map(\.deviceID) == [2] && $0.rejected == ["stalled"] })
    }

    /// Hosts that stall for good keep the slow share; a device that was slow once is not left behind them for ever.
    @Test func aDeviceThatWaitedInVainIsTriedAsAnyOther() async throws {
        let world = World()
        for device in [1, 2] { world.state.withLock { $0.behaviour[device] = .stalls } }
        let poller = self.poller(
            world,
            workers: 4,
            timeout: .milliseconds(20),
            slowAfter: .milliseconds(5),
            slowWaiters: 0
        )
        let running = Task { try await poller.run(drain: .milliseconds(50)) }
        world.deliver(self.job(2))
        while world.state.withLock({ $0.acknowledged.isEmpty }) { try await Task.sleep(for: .milliseconds(5)) }
        world.state.withLock { $0.behaviour[2] = .answers }
        // No room for slow ones at all: dropped, and then tried.
        for id in ["dropped", "tried"] {
            world.deliver(self.job(2, id))
            while !world.state.withLock({ $0.acknowledged.contains(id) }) {
                try await Task.sleep(for: .milliseconds(1))
            }
        }
        poller.stop()
        try await running.value
        #expect(poller.statistics.stale == 1 && world.state.withLock { $0.results.last?.success } == true)
    }

    /// Stalled hosts may not fill the intake: beyond the bound their jobs are dropped, and healthy ones go on.
    @Test func slowDevicesBeyondTheBoundAreDroppedAsLate() async throws {
        let world = World()
        let slow = Array(1...8)
        world.state.withLock { state in for device in slow { state.behaviour[device] = .stalls } }
        // A poll that ends at its time-out leaves its device known as slow.
        let poller = self.poller(
            world,
            workers: 4,
            timeout: .milliseconds(20),
            slowAfter: .milliseconds(5),
            slowWaiters: 2
        )
        let running = Task { try await poller.run(drain: .milliseconds(50)) }
        for device in slow { world.deliver(self.job(device)) }
        while world.state.withLock({ $0.acknowledged.count }) < slow.count {
            try await Task.sleep(for: .milliseconds(5))
        }
        for device in slow { world.deliver(self.job(device)) }
        while poller.statistics.stale == 0 { try await Task.sleep(for: .milliseconds(1)) }
        world.deliver(self.job(20, "healthy"))
        while !world.state.withLock({ $0.acknowledged.contains("healthy") }) {
            try await Task.sleep(for: .milliseconds(1))
        }
        poller.stop()
        try await running.value
        // One runs, two wait; a few may pass the bound at once.
        #expect(
            poller.statistics.stale >= 1
                && world.state.withLock { $0.results.last { $0.deviceID == 20 }?.success == true }
        )
    }

    /// A host that is away costs a connection, not a poll; when its port opens the same job is a poll again.
    @Test func aHostThatIsAwayIsAskedCheaplyAndPolledAtOnceWhenItIsBack() async throws {
        let world = World()
        let doors = Doors()
        world.state.withLock { $0.behaviour[1] = .failsConnecting(.connectionRefused) }
        let poller = self.poller(world, probe: doors)
        let running = Task { try await poller.run(drain: .milliseconds(200)) }
        func turn(_ count: Int) async throws {
            world.deliver(self.job(1))
            while world.state.withLock({ $0.acknowledged.count }) < count {
                try await Task.sleep(for: .milliseconds(1))
            }
        }
        for count in 1...5 { try await turn(count) }
        #expect(world.state.withLock { $0.samples[1] } == 3)
        #expect(doors.asked.withLock { $0 } == [5985, 5985])
        #expect(world.state.withLock { $0.results.map(\.errorCode) } == Array(repeating: .connectionRefused, count: 5))
        #expect(world.state.withLock { $0.results.allSatisfy { !$0.success && $0.credentialID == 1 } })
        doors.answer.withLock { $0 = .localShortage("Too many open files") }
        world.deliver(self.job(1, "short"))
        while world.state.withLock({ $0.rejected }) != ["short"] { try await Task.sleep(for: .milliseconds(1)) }
        #expect(world.state.withLock { $0.results.count } == 5)

        doors.answer.withLock { $0 = .open }
        world.state.withLock { $0.behaviour[1] = .answers }
        try await turn(6)
        #expect(world.state.withLock { $0.results.last?.success } == true)
        try await turn(7)
        #expect(doors.asked.withLock { $0.count } == 4)
        poller.stop()
        try await running.value
    }

    /// A refused password is an answer: the host is there.
    @Test func onlyHostsThatWereNotReachedAreAskedFirst() async throws {
        let world = World()
        let doors = Doors()
        world.state.withLock { $0.behaviour[1] = .fails(.authFailed) }
        try await self.run(world, self.poller(world, probe: doors), jobs: (0..<5).map { _ in self.job(1) })
        #expect(doors.asked.withLock { $0.isEmpty } && world.state.withLock { $0.samples[1] } == 5)
    }

    /// Our own shortage says nothing about the device: no result, so neither its status nor its failures change.
    @Test func aShortageOfThisMachineHandsTheJobBack() async throws {
        let world = World()
        world.state.withLock { $0.behaviour[1] = .lacksDescriptors }
        let metrics = TestMetrics()
        let poller = self.poller(world, metrics: metrics)
        let results = try await self.run(world, poller, jobs: [self.job(1, "j")])
        #expect(results.isEmpty && world.state.withLock { $0.rejected } == ["j"])
        #expect(try metrics.expectCounter("nmslite_poll_local_shortages_total").totalValue == 1)
        #expect(metrics.counterTotal(label: "nmslite_polls_total") == 0)
        #expect(poller.statistics.failed == 0 && poller.statistics.returned == 1)
    }

    @Test func aWarningComesOnceAMinuteWithItsCount() {
        var pace = WarningPace()
        let start = ContinuousClock.now
        let said = [0, 1, 59, 60, 61, 121].map { pace.count(at: start + .seconds($0)) }
        #expect(said == [1, nil, nil, 3, nil, 2])
    }

    @Test func staleAndOrphanedJobsDoNothing() async throws {
        let world = World()
        let poller = self.poller(world)
        let results = try await self.run(world, poller, jobs: [self.job(1, age: 61), self.job(5000)])
        #expect(results.isEmpty)
        #expect(poller.statistics.stale == 1 && poller.statistics.orphaned == 1)
        #expect(world.state.withLock { $0.samples.isEmpty && $0.acknowledged.count == 2 })
    }

    @Test func overlappingJobsOfADeviceAreSkippedAndCounted() async throws {
        let world = World()
        world.state.withLock { $0.behaviour[1] = .stalls }
        let metrics = TestMetrics()
        let poller = self.poller(world, metrics: metrics)
        let running = Task { try await poller.run(drain: .milliseconds(50)) }
        world.deliver(self.job(1, "first"))
        while world.state.withLock({ $0.samples[1] }) == nil { try await Task.sleep(for: .milliseconds(1)) }
        world.deliver(self.job(1, "second"))
        while world.state.withLock({ $0.acknowledged }) != ["second"] { try await Task.sleep(for: .milliseconds(1)) }
        world.deliver(self.job(1, "first"))  // delivered again while it runs: left to the running one
        poller.stop()
        try await running.value
        #expect(poller.statistics.overlapping == 1)
        let dropped = "nmslite_poll_jobs_dropped_total"
        #expect(try metrics.expectCounter(dropped, [("reason", "overlapped")]).totalValue == 1)
        #expect(try metrics.expectCounter(dropped, [("reason", "returned")]).totalValue == 1)
        #expect(metrics.counterTotal(label: "nmslite_polls_total") == 0)
        // What was not finished within the drain time goes back to the queue.
        #expect(world.state.withLock { $0.rejected } == ["first"])
        #expect(world.state.withLock { $0.results.isEmpty })
    }

    @Test func aHostThatNeverAnswersIsATimeoutAndOthersGoOn() async throws {
        let world = World()
        world.state.withLock { $0.behaviour[1] = .stalls }
        let poller = self.poller(world, workers: 2, timeout: .seconds(5))
        let running = Task { try await poller.run() }
        world.deliver(self.job(1))
        for device in 2...20 { world.deliver(self.job(device)) }
        while world.state.withLock({ $0.results.count }) < 20 { try await Task.sleep(for: .milliseconds(5)) }
        poller.stop()
        try await running.value
        let results = world.state.withLock { $0.results }
        #expect(results.last?.deviceID == 1 && results.last?.errorCode == .timeout && results.last?.success == false)
        #expect(results.dropLast().allSatisfy { $0.success })
    }

    @Test func aMissingGroupLeavesTheOthers() async throws {
        let world = World()
        world.state.withLock { $0.behaviour[1] = .lacksNetwork }
        let results = try await self.run(world, self.poller(world), jobs: [self.job(1)])
        #expect(results[0].success && results[0].errorCode == .countersMissing)
        #expect(results[0].error == "network: no such class")
        #expect(results[0].metrics?.cpu.usagePercent == 25)
        #expect(results[0].metrics?.network == DeviceMetrics.Network())
    }

    @Test func aGroupThatFailedOnceIsComparedWithItsOlderReading() async throws {
        let world = World()
        let poller = self.poller(world)
        let running = Task { try await poller.run(drain: .milliseconds(200)) }
        for (index, behaviour) in [World.Behaviour.answers, .lacksNetwork, .answers].enumerated() {
            world.state.withLock { $0.behaviour[1] = behaviour }
            world.deliver(self.job(1))
            while world.state.withLock({ $0.acknowledged.count }) <= index {
                try await Task.sleep(for: .milliseconds(1))
            }
        }
        poller.stop()
        try await running.value
        let rates = world.state.withLock { $0.results.map { $0.metrics?.network.bytesSentPerSec } }
        #expect(rates == [20, nil, 20])
        #expect(world.state.withLock { $0.results.allSatisfy { $0.metrics?.cpu.usagePercent == 25 } })
        // Two for the first poll, then one each: nothing had to be asked twice.
        #expect(world.state.withLock { $0.samples[1] } == 4)
    }

    @Test(arguments: [PollErrorCode.timeout, .connectionReset, .quotaExceeded, .protocolError])
    func aHiccupDoesNotSendAnotherCredential(code: PollErrorCode) async throws {
        let world = World(credentials: [4, 9])
        world.state.withLock { $0.behaviour[1] = .fails(code) }
        let results = try await self.run(world, self.poller(world), jobs: [self.job(1)])
        #expect(!results[0].success && results[0].errorCode == code && results[0].credentialID == 4)
        #expect(world.state.withLock { $0.samples[1] } == 1)
    }

    /// A firewall that drops WinRM's port leaves a time-out behind, and WMI's port may still be open.
    @Test(arguments: [PollErrorCode.timeout, .protocolError])
    func aClosedPortLeadsToTheNextCredentialWithAnother(code: PollErrorCode) async throws {
        let world = World(credentials: [4, 9], ports: [5985, 135])
        world.state.withLock { $0.behaviour[1] = .failsConnecting(code) }
        let results = try await self.run(world, self.poller(world), jobs: [self.job(1)])
        #expect(results[0].success && results[0].credentialID == 9)
    }

    /// Behind the same closed port the other credential would only meet the next hiccup's end, and fail to sign in.
    @Test func aClosedPortIsNotTriedAgainWithAnotherCredential() async throws {
        let world = World(credentials: [4, 9], ports: [5985, 5985])
        world.state.withLock { $0.behaviour[1] = .failsConnecting(.timeout) }
        let results = try await self.run(world, self.poller(world), jobs: [self.job(1)])
        #expect(!results[0].success && results[0].credentialID == 4)
        #expect(world.state.withLock { $0.samples[1] } == 1)
    }

    @Test func theNextCredentialIsTriedAndTheFirstFailureIsReported() async throws {
        let world = World(credentials: [4, 9])
        world.state.withLock { $0.behaviour[1] = .fails(.accessDenied) }
        let good = try await self.run(world, self.poller(world), jobs: [self.job(1)])
        #expect(good[0].success && good[0].credentialID == 9)

        let alone = World(credentials: [4])
        alone.state.withLock { $0.behaviour[1] = .fails(.accessDenied) }
        let bad = try await self.run(alone, self.poller(alone), jobs: [self.job(1)])
        #expect(!bad[0].success && bad[0].errorCode == .accessDenied && bad[0].credentialID == 4)
        #expect(bad[0].metrics == nil)
    }
}
