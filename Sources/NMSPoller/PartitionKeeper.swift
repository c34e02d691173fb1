package import Logging
package import NMSCore
internal import Synchronization

/// Keeps this instance's share of the fleet: renews its leases, takes what is free, hands over what is others', and
/// has the poller pull exactly what is held.
package final class PartitionKeeper: Sendable {
    /// How long an instance without a connection to the queue keeps its leases: it can't poll, others might. A restart
    /// of the queue must not make the fleet change hands.
    static let queueGrace: Duration = .seconds(10)
    /// Between two looks at what time has brought.
    static let tick: Duration = .milliseconds(250)

    /// What an instance holds.
    package struct Status: Sendable, Equatable {
        /// Partitions that it pulls.
        package var held = 0
        /// Partitions that it hands over.
        package var handingOver = 0
        /// Instances that poll, this one included.
        package var members = 0
    }

    private enum Event: Sendable {
        /// What is ours by the store, what of it others should have, and what was given back before.
        case confirmed(mine: Set<Int>, give: Set<Int>, others: Int, asked: Duration, released: Set<Int>)
        /// Leases that have ended; nothing of theirs is under way any more.
        case lost(Set<Int>)
    }

    private struct State {
        var machine = PartitionMachine()
        var isLeaving = false
        var isChanging = false
        /// What was confirmed last is not performed yet. Until then leases are renewed and nothing else is done, so
        /// that nothing is given back that is still pulled.
        var isPerforming = false
        /// Why the last renewal failed, for one line in the log and not hundreds.
        var trouble: String?
    }

    private let store: any PartitionLeaseStore
    private let run: String
    private let clock: any Clock<Duration>
    private let start = ContinuousClock.now
    private let state = Mutex(State())
    private let logger: Logger

    /// - Parameter run: as which the store knows this run.
    package init(
        store: any PartitionLeaseStore,
        run: String,
        clock: any Clock<Duration> = ContinuousClock(),
        logger: Logger
    ) {
        self.store = store
        self.run = run
        self.clock = clock
        self.logger = logger
    }

    package var status: Status {
        self.state.withLock { state in
            Status(
                held: state.machine.held.count,
                handingOver: state.machine.giving.count,
                members: state.machine.others + (state.isLeaving ? 0 : 1)
            )
        }
    }

    /// Takes nothing more, and gives back what nothing is under way of.
    func prepareToLeave() { self.state.withLock { $0.isLeaving = true } }

    /// Gives back everything at once. To be called when nothing is under way any more.
    func leave() async {
        do { try await self.store.leave() } catch {
            self.logger.warning("partitions not given back; others take them soon", metadata: ["error": "\(error)"])
        }
        self.state.withLock { $0.machine = PartitionMachine() }
    }

    /// Keeps the share until it is cancelled.
    ///
    /// - Parameter forget: is told of devices that are polled elsewhere from now on.
    func run(intake: PollJobIntake, work: PartitionWork, forget: @escaping @Sendable ([Int]) async -> Void) async {
        // A run before this one of the same process may have ended with its connection to the queue.
        self.state.withLock { $0.machine = PartitionMachine() }
        let (events, continuation) = AsyncStream.makeStream(of: Event.self)
        await withDiscardingTaskGroup { group in
            group.addTask { await self.renew(intake: intake, work: work) { continuation.yield($0) } }
            group.addTask { await self.watch(work: work) { continuation.yield($0) } }
            for await event in events {
                let gone = await self.handle(event, intake: intake, work: work)
                let devices = work.takeDevices(gone)
                if !devices.isEmpty { group.addTask { await forget(devices) } }
            }
        }
    }

    /// Ends what must not go on, even while the store or the queue keep others waiting.
    private func watch(work: PartitionWork, tell: (Event) -> Void) async {
        while (try? await self.clock.sleep(for: Self.tick)) != nil {
            let (lost, overdue) = self.state.withLock { state in
                (state.machine.expire(at: self.now), state.machine.overdue(at: self.now))
            }
            work.letGo(lost)
            work.cancel(lost.union(overdue))
            guard !lost.isEmpty else { continue }
            self.logger.warning(
                "partitions are polled no more: their leases were not renewed in time",
                metadata: ["partitions": "\(lost.count)"]
            )
            tell(.lost(lost))
        }
    }

    // MARK: - Talking to the store

    /// Renews until it is cancelled. On its own, since a store that hangs must not keep leases from ending in time.
    private func renew(intake: PollJobIntake, work: PartitionWork, tell: (Event) -> Void) async {
        var lastConnected = self.now
        while !Task.isCancelled {
            if intake.isConnected() { lastConnected = self.now }
            if self.now - lastConnected < Self.queueGrace { await self.renewOnce(work: work, tell: tell) }
            let isChanging = self.state.withLock { $0.isChanging }
            let pause = isChanging ? LeaseTiming.changingInterval : LeaseTiming.interval
            do { try await self.clock.sleep(for: pause) } catch { return }
        }
    }

    private func renewOnce(work: PartitionWork, tell: (Event) -> Void) async {
        let asked = self.now
        let (leaving, giving, isPerforming) = self.state.withLock { state in
            (state.isLeaving, Set(state.machine.giving.keys), state.isPerforming)
        }
        do {
            let roster = try await self.store.renew(leaving: leaving)
            if isPerforming {
                return self.state.withLock { $0.machine.renewed(mine: roster.mine, asked: asked) }
            }
            let share = PartitionShare(of: self.run, in: roster, giving: giving)
            var mine = roster.mine
            if share.claim > 0 { mine.formUnion(try await self.store.claim(share.claim)) }
            // Only what is pulled no more, and only what is still to be given.
            let done = work.idle(giving.intersection(share.give).intersection(mine))
            if !done.isEmpty { try await self.store.release(done) }
            let others = roster.members.count { $0.run != self.run }
            self.noteTrouble(nil)
            self.state.withLock { $0.isPerforming = true }
            tell(
                .confirmed(
                    mine: mine.subtracting(done),
                    give: share.give.subtracting(done),
                    others: others,
                    asked: asked,
                    released: done
                )
            )
        } catch is CancellationError {
            return
        } catch {
            if case PartitionLeaseError.storeIsDown = error {
                self.state.withLock { $0.machine.storeWasDown(asked: asked) }
            }
            self.noteTrouble("\(error)")
        }
    }

    private func noteTrouble(_ text: String?) {
        let (before, others) = self.state.withLock { state in
            defer { state.trouble = text }
            return (state.trouble, state.machine.others)
        }
        if let text, before == nil {
            let consequence = others == 0 ? "polling goes on" : "polling ends before another instance takes over"
            self.logger.warning(
                "the partitions' leases were not renewed; \(consequence)",
                metadata: ["error": "\(text)"]
            )
        } else if text == nil, before != nil {
            self.logger.info("the partitions' leases are renewed again")
        }
    }

    // MARK: - Following

    /// - Returns: partitions that are polled elsewhere from now on.
    private func handle(_ event: Event, intake: PollJobIntake, work: PartitionWork) async -> Set<Int> {
        switch event {
        case .confirmed(let mine, let give, let others, let asked, let released):
            let steps = self.state.withLock { state in
                state.machine.released(released)
                return state.machine.confirmed(mine: mine, give: give, others: others, asked: asked, now: self.now)
            }
            await self.perform(steps, intake: intake, work: work)
            self.state.withLock { state in
                // Others are to take what is given, or this one is to take what others give.
                let share = Partition.count / max(others + (state.isLeaving ? 0 : 1), 1)
                state.isChanging = !state.machine.giving.isEmpty || !state.isLeaving && state.machine.held.count < share
                state.isPerforming = false
            }
            return released.union(steps.abandon)
        case .lost(let partitions):
            // Begun anew meanwhile, if the store was back soon.
            let gone = self.state.withLock { partitions.subtracting($0.machine.held) }
            await self.perform(PartitionMachine.Steps(abandon: gone), intake: intake, work: work)
            return gone
        }
    }

    private func perform(_ steps: PartitionMachine.Steps, intake: PollJobIntake, work: PartitionWork) async {
        let ended = steps.end.union(steps.abandon)
        if !ended.isEmpty {
            work.letGo(ended)
            work.cancel(steps.abandon)
            do { try await intake.remove(ended) } catch {
                self.logger.warning(
                    "the queue went away while partitions were given up",
                    metadata: ["error": "\(error)"]
                )
            }
        }
        if !steps.begin.isEmpty {
            work.hold(steps.begin)
            do { try await intake.add(steps.begin) } catch {
                work.letGo(steps.begin)
                self.state.withLock { $0.machine.failedToBegin(steps.begin) }
                self.logger.warning("jobs can't be pulled yet", metadata: ["error": "\(error)"])
            }
        }
        guard steps != PartitionMachine.Steps() else { return }
        let status = self.status
        self.logger.info(
            "partitions changed hands",
            metadata: [
                "taken": "\(steps.begin.count)", "handing_over": "\(steps.end.count)",
                "lost": "\(steps.abandon.count)", "held": "\(status.held)", "pollers": "\(status.members)",
            ]
        )
    }

    private var now: Duration { self.start.duration(to: .now) }
}
