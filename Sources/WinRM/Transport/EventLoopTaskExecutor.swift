package import NIOCore

/// Runs tasks on an event loop.
///
/// A request costs little but the way between two threads, there and back. A task that prefers the executor of its
/// connection's event loop does not go that way: it seals, sends, unseals and decodes where the socket is read.
package final class EventLoopTaskExecutor: TaskExecutor {
    private let eventLoop: any EventLoop

    package init(_ eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
    }

    package func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        self.eventLoop.execute { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}
