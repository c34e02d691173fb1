internal import NMSCore
internal import Synchronization

/// What is under way, by partition, and which partitions' jobs may begin.
final class PartitionWork: Sendable {
    private struct State {
        var held: Set<Int> = []
        var running: [Int: [UInt64: Task<Void, Never>]] = [:]
        var next: UInt64 = 0
        /// Devices that were polled here, by partition: their connections and samples are here.
        var devices: [Int: Set<Int>] = [:]
    }

    private let state = Mutex(State())

    func hold(_ partitions: Set<Int>) { self.state.withLock { $0.held.formUnion(partitions) } }

    /// From now on no job of these begins.
    func letGo(_ partitions: Set<Int>) { self.state.withLock { $0.held.subtract(partitions) } }

    /// Runs a job of a device; false, without running it, when its partition is not held.
    func run(deviceID: Int, _ body: @escaping @Sendable () async -> Void) async -> Bool {
        let partition = Partition.of(deviceID: deviceID)
        let started = self.state.withLock { state -> (UInt64, Task<Void, Never>)? in
            guard state.held.contains(partition) else { return nil }
            state.next += 1
            state.devices[partition, default: []].insert(deviceID)
            // A task of its own, which can be cancelled with those of its partition and no others.
            let task = Task { await body() }
            state.running[partition, default: [:]][state.next] = task
            return (state.next, task)
        }
        guard let (number, task) = started else { return false }
        await withTaskCancellationHandler {
            await task.value
        } onCancel: {
            task.cancel()
        }
        self.state.withLock { _ = $0.running[partition]?.removeValue(forKey: number) }
        return true
    }

    /// Those of `partitions` of which nothing is under way.
    func idle(_ partitions: Set<Int>) -> Set<Int> {
        self.state.withLock { state in partitions.filter { state.running[$0]?.isEmpty ?? true } }
    }

    /// Breaks off what is under way.
    func cancel(_ partitions: Set<Int>) {
        let tasks = self.state.withLock { state in partitions.flatMap { (state.running[$0] ?? [:]).values } }
        for task in tasks { task.cancel() }
    }

    /// The devices of these partitions that were polled here, which are then forgotten.
    func takeDevices(_ partitions: Set<Int>) -> [Int] {
        self.state.withLock { state in
            partitions.filter { !state.held.contains($0) }.flatMap { state.devices.removeValue(forKey: $0) ?? [] }
        }
    }
}
