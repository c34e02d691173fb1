// Which poller polls which partition: the protocols between poller, storage and queue.

/// Who polls, and who holds which partition, as the store has it.
package struct PartitionRoster: Sendable, Equatable {
    /// An instance that polls.
    package struct Member: Sendable, Equatable {
        /// Names one run of one process.
        package var run: String
        /// How many partitions it holds.
        package var held: Int
        /// It gives up what it holds, and takes nothing.
        package var isLeaving: Bool

        package init(run: String, held: Int, isLeaving: Bool = false) {
            self.run = run
            self.held = held
            self.isLeaving = isLeaving
        }
    }

    /// Everybody who is taken for alive, whoever asks included.
    package var members: [Member]
    /// What whoever asks holds.
    package var mine: Set<Int>
    /// How many partitions nobody holds.
    package var free: Int

    package init(members: [Member], mine: Set<Int>, free: Int) {
        self.members = members
        self.mine = mine
        self.free = free
    }
}

/// Why a lease could not be renewed.
package enum PartitionLeaseError: Error, Sendable, Equatable {
    /// Nobody can reach the store: at this moment no lease changes hands.
    case storeIsDown(String)
    /// It did not answer; others may reach it.
    case noAnswer(String)
}

/// The leases of one run of one instance. A lease lasts for ``LeaseTiming/duration`` after each ``renew(leaving:)``.
package protocol PartitionLeaseStore: Sendable {
    /// Says that this run is alive, which renews all of its leases, and tells how things are.
    ///
    /// Whoever has not been heard of for a lease's duration loses its leases by this call, but only to a run that was
    /// itself heard without such a gap: when the store was away for all, each finds its leases again.
    /// - Throws: ``PartitionLeaseError``, `CancellationError`.
    func renew(leaving: Bool) async throws -> PartitionRoster
    /// Takes at most so many of the partitions that nobody holds.
    func claim(_ count: Int) async throws -> Set<Int>
    /// Gives back partitions of this run.
    func release(_ partitions: Set<Int>) async throws
    /// Gives back everything, and is no member any more.
    func leave() async throws
}

/// The times of leases.
package enum LeaseTiming {
    /// How long a lease lasts without being renewed. A poller that died is replaced after at most this and two
    /// intervals, which together are no longer than the shortest interval of a device: what became due meanwhile still
    /// runs then, and only what the dead one had begun is missed.
    package static let duration: Duration = .seconds(4)
    /// Between two renewals.
    package static let interval: Duration = .milliseconds(500)
    /// The same while partitions change hands.
    package static let changingInterval: Duration = .milliseconds(200)
    /// How long before its end a lease that was not renewed is taken for lost: for clocks that run apart, and for polls
    /// under way to be broken off.
    package static let margin: Duration = .seconds(1)
}

/// Poll jobs of a set of partitions that changes while they flow.
package struct PollJobIntake: Sendable {
    /// Ends when its reader is cancelled, or the queue is closed.
    package let deliveries: AsyncStream<Delivery<PollJob>>
    /// Pulls these partitions as well.
    package let add: @Sendable (_ partitions: Set<Int>) async throws -> Void
    /// Pulls these no more; when it returns, no job of theirs comes any more, and what nobody had read is handed back.
    package let remove: @Sendable (_ partitions: Set<Int>) async throws -> Void
    /// Whether the queue is reached.
    package let isConnected: @Sendable () -> Bool

    package init(
        deliveries: AsyncStream<Delivery<PollJob>>,
        add: @escaping @Sendable (Set<Int>) async throws -> Void,
        remove: @escaping @Sendable (Set<Int>) async throws -> Void,
        isConnected: @escaping @Sendable () -> Bool
    ) {
        self.deliveries = deliveries
        self.add = add
        self.remove = remove
        self.isConnected = isConnected
    }
}

extension PollJobSource {
    /// Jobs of partitions that stay the same.
    package func pollJobs(partitions: Set<Int>, maxOutstanding: Int) async throws -> AsyncStream<Delivery<PollJob>> {
        let intake = try await self.pollJobs(maxOutstanding: maxOutstanding)
        try await intake.add(partitions)
        return intake.deliveries
    }
}
