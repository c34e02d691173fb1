internal import Dispatch
internal import Foundation
internal import Synchronization

/// Runs an actor's jobs one after another on a thread of its own, so that calls that block never hold a thread of Swift's
/// cooperative pool.
///
/// Not on a serial dispatch queue: those share the threads of one root queue, and where a dozen of them take work from
/// it at once, libdispatch lets them sleep for up to a tenth of a second at a time while the processor is idle.
final class BlockingExecutor: SerialExecutor {
    /// libpq and what Swift calls it with need far less.
    private static let stackSize = 1 << 20

    /// What the thread has of its executor, which it must not keep alive.
    private final class Work: Sendable {
        private let state = Mutex<(jobs: [(UnownedJob, BlockingExecutor)], isEnded: Bool)>(([], false))
        private let available = DispatchSemaphore(value: 0)

        func add(_ job: UnownedJob, _ executor: BlockingExecutor) {
            let isFirst = self.state.withLock { state in
                state.jobs.append((job, executor))
                return state.jobs.count == 1
            }
            if isFirst { self.available.signal() }
        }

        func end() {
            self.state.withLock { $0.isEnded = true }
            self.available.signal()
        }

        func run() {
            while true {
                self.available.wait()
                let (jobs, isEnded) = self.state.withLock { state in
                    defer { state.jobs = [] }
                    return (state.jobs, state.isEnded)
                }
                for (job, executor) in jobs { job.runSynchronously(on: executor.asUnownedSerialExecutor()) }
                // Nobody is left who could add more.
                if isEnded { return }
            }
        }
    }

    private let work = Work()

    init(label: String) {
        let work = self.work
        let thread = Thread { work.run() }
        thread.name = label
        thread.stackSize = Self.stackSize
        thread.start()
    }

    deinit { self.work.end() }

    func enqueue(_ job: consuming ExecutorJob) { self.work.add(UnownedJob(job), self) }
}
