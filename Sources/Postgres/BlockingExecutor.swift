internal import Dispatch

/// Runs an actor's jobs on one serial dispatch queue, so that calls that block never hold a thread of Swift's
/// cooperative pool. A serial queue of its own targets the overcommitting root queue: each gets a thread when needed.
final class BlockingExecutor: SerialExecutor {
    private let queue: DispatchQueue

    init(label: String) { self.queue = DispatchQueue(label: label) }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        self.queue.async { job.runSynchronously(on: self.asUnownedSerialExecutor()) }
    }
}
