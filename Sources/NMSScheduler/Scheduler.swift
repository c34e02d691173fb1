package import Foundation
package import Logging
package import Metrics
package import NMSCore
internal import Synchronization

/// Publishes a poll job for each device when it is due.
///
/// Only the leader runs one: whoever composes the process calls ``run()`` while it leads and cancels it otherwise.
package final class Scheduler: Sendable {
    package struct Configuration: Sendable {
        /// How often the whole schedule is read anew, in case an event was lost.
        package var reconcileInterval: Duration = .seconds(60)
        /// The longest sleep between two looks at the schedule: bounds how late a change takes effect.
        package var maximumSleep: Duration = .milliseconds(250)
        /// How long to wait before subscribing anew when the events ended or could not be had.
        package var resubscribeDelay: Duration = .seconds(1)
        /// Jobs that are published at once.
        package var publishConcurrency = 64
        /// How far back a new leader looks for slots that the one before may not have published. Longer than PostgreSQL
        /// takes to see that a leader's machine vanished (7 s) and another to ask for the lock; what was published is
        /// known to the queue by its job's id.
        package var lookBack: Duration = .seconds(10)
        /// After that no further job of a round is begun: what has become due meanwhile comes first if its interval is shorter.
        package var roundLimit: Duration = .seconds(5)

        package init() {}
    }

    package struct Statistics: Sendable, Equatable {
        package var published: UInt64 = 0
        /// Jobs that the queue did not take; the device is polled at its next slot.
        package var failed: UInt64 = 0
        /// Slots that passed unused, because the scheduler or the queue was late by more than an interval.
        package var missedSlots: UInt64 = 0
        package var devices = 0
    }

    private struct State {
        var schedule = PollSchedule()
        var statistics = Statistics()
        /// Polls that were given up before they were published.
        var expired: UInt64 = 0
        /// Up to when slots were seen to by this scheduler, or passed before there was one. A queue that was restarted with
        /// it no longer knows jobs that are done: their slots must not come again.
        var seenTo: Date
    }

    private let state: Mutex<State>
    private let configuration: Configuration
    private let source: any ScheduleSource
    private let publisher: any PollJobPublisher
    private let events: any DeviceEventSource
    private let now: @Sendable () -> Date
    private let sleep: @Sendable (Duration) async throws -> Void
    private let logger: Logger
    /// From a poll's slot until its job is in the queue.
    private let lag: Metrics.Timer

    package init(
        configuration: Configuration = Configuration(),
        source: any ScheduleSource,
        publisher: any PollJobPublisher,
        events: any DeviceEventSource,
        logger: Logger,
        metrics: any MetricsFactory = MetricsSystem.factory,
        now: @escaping @Sendable () -> Date = { Date() },
        sleep: @escaping @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) }
    ) {
        self.state = Mutex(State(seenTo: now()))
        self.configuration = configuration
        self.source = source
        self.publisher = publisher
        self.events = events
        self.logger = logger
        self.lag = Metrics.Timer(label: "nmslite_schedule_lag_seconds", factory: metrics)
        self.now = now
        self.sleep = sleep
    }

    package var statistics: Statistics {
        self.state.withLock { state in
            var statistics = state.statistics
            statistics.missedSlots = state.schedule.missedSlots + state.expired
            statistics.devices = state.schedule.count
            return statistics
        }
    }

    /// Schedules until the task is cancelled; throws only when the schedule can't be read at the start.
    ///
    /// May be called again when it has returned: each device then has its place after that call, less
    /// ``Configuration/lookBack``.
    package func run() async throws {
        // Due times of an earlier run passed while another instance led: the whole fleet would be due at once.
        let unseen = self.state.withLock { state in
            state.schedule.removeAll()
            return Duration.seconds(max(0, self.now().timeIntervalSince(state.seenTo)))
        }
        // Subscribed first: a change between reading the schedule and subscribing would be lost.
        let events = try await self.events.deviceEvents()
        try await self.reconcile(lookBack: min(self.configuration.lookBack, unseen))
        self.logger.info("scheduler started", metadata: ["devices": "\(self.statistics.devices)"])
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.follow(events) }
            group.addTask { await self.reconcilePeriodically() }
            group.addTask { await self.publishWhenDue() }
            await group.next()
            group.cancelAll()
        }
        self.logger.info("scheduler stopped")
    }

    private func publishWhenDue() async {
        var pending = PendingPolls()
        while !Task.isCancelled {
            let now = self.now()
            let (due, next) = self.state.withLock { state in
                state.seenTo = now
                return (state.schedule.takeDue(now: now), state.schedule.nextDue())
            }
            pending.add(due)
            if !pending.isEmpty { await self.publish(&pending) }
            guard pending.isEmpty else { continue }
            let wait = next.map { max($0.timeIntervalSince(self.now()), 0) } ?? .infinity
            let limit = self.configuration.maximumSleep
            do { try await self.sleep(wait < 3600 ? min(.milliseconds(Int(wait * 1000) + 1), limit) : limit) } catch {
                return
            }
        }
    }

    /// Publishes what is not too old, short intervals first, until the round's time is over: a queue that hangs must not
    /// keep the schedule from being looked at.
    private func publish(_ pending: inout PendingPolls) async {
        let start = self.now()
        let limit = self.configuration.roundLimit / .seconds(1)
        await withTaskGroup(of: Void.self) { group in
            var running = 0
            while !pending.isEmpty, !Task.isCancelled {
                if running >= self.configuration.publishConcurrency {
                    await group.next()
                    running -= 1
                }
                let now = self.now()
                // A clock that was set back ends the round as well.
                guard (0...limit).contains(now.timeIntervalSince(start)) else { return }
                guard let poll = pending.take(at: now) else { break }
                group.addTask { await self.publish(poll) }
                running += 1
            }
        }
        let expired = pending.takeExpired()
        if expired > 0 { self.state.withLock { $0.expired += expired } }
    }

    private func publish(_ poll: DuePoll) async {
        let job = PollJob(
            jobID: PollJob.scheduledID(deviceID: poll.deviceID, at: poll.scheduledAt, clockStep: poll.clockStep),
            deviceID: poll.deviceID,
            credentialID: poll.credentialID,
            scheduledAt: poll.scheduledAt,
            interval: poll.interval
        )
        do {
            try await self.publisher.publish(job)
            self.lag.recordSeconds(max(0, self.now().timeIntervalSince(poll.scheduledAt)))
            self.state.withLock { $0.statistics.published += 1 }
        } catch {
            // It leads no more: the next leader publishes it.
            if Task.isCancelled { return }
            let failed = self.state.withLock { state in
                state.statistics.failed += 1
                return state.statistics.failed
            }
            // The first and every hundredth: a queue that is away must not flood the log.
            if failed % 100 == 1 {
                self.logger.warning(
                    "poll job not published; the device is polled at its next slot",
                    metadata: [
                        "device_id": "\(poll.deviceID)", "job_id": "\(job.jobID)", "failed_in_all": "\(failed)",
                        "error": "\(error)",
                    ]
                )
            }
        }
    }

    /// Follows events until it is cancelled: a stream that ends is a loss of events, not the end of the schedule.
    private func follow(_ first: AsyncStream<DeviceEvent>) async {
        var events = first
        while true {
            for await event in events { await self.handle(event) }
            guard let next = await self.subscribeAnew() else { return }
            events = next
        }
    }

    /// nil when it is cancelled.
    private func subscribeAnew() async -> AsyncStream<DeviceEvent>? {
        while true {
            do { try await self.sleep(self.configuration.resubscribeDelay) } catch { return nil }
            do {
                let events = try await self.events.deviceEvents()
                // What was announced meanwhile was not heard.
                try await self.reconcile()
                self.logger.info("device events are followed anew")
                return events
            } catch {
                if Task.isCancelled { return nil }
                self.logger.warning("device events can't be followed", metadata: ["error": "\(error)"])
            }
        }
    }

    private func handle(_ event: DeviceEvent) async {
        switch event.event {
        case .deviceUpdated, .deviceDeleted:
            guard let id = event.deviceID else { return }
            await self.refresh(deviceID: id)
        case .statusChanged, .credentialUpdated, .metricsStored:
            return
        }
    }

    private func refresh(deviceID: Int) async {
        do {
            let device = try await self.source.scheduledDevice(id: deviceID)
            let now = self.now()
            self.state.withLock { state in
                if let device {
                    state.schedule.set(device, now: now)
                } else {
                    state.schedule.remove(deviceID: deviceID)
                }
            }
        } catch {
            self.logger.warning(
                "device not read; the next reconciliation brings it",
                metadata: ["device_id": "\(deviceID)", "error": "\(error)"]
            )
        }
    }

    private func reconcilePeriodically() async {
        while true {
            do { try await self.sleep(self.configuration.reconcileInterval) } catch { return }
            do { try await self.reconcile() } catch {
                self.logger.warning("schedule not read; the old one stays", metadata: ["error": "\(error)"])
            }
        }
    }

    private func reconcile(lookBack: Duration = .zero) async throws {
        let devices = try await self.source.schedule()
        let now = self.now()
        self.state.withLock { $0.schedule.replaceAll(devices, now: now, lookBack: lookBack / .seconds(1)) }
    }
}
