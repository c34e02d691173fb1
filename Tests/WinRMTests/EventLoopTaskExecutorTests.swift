import NIOCore
import NIOPosix
import Testing

@testable import WinRM

@Suite struct EventLoopTaskExecutorTests {
    /// A request that waits for the event loop goes on there afterwards; so does an actor's method.
    @Test func tasksRunOnTheirEventLoop() async throws {
        actor Counter {
            var count = 0
            func add(on eventLoop: any EventLoop) -> Bool {
                self.count += 1
                return eventLoop.inEventLoop
            }
        }
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        let counter = Counter()
        let places = try await withTaskExecutorPreference(EventLoopTaskExecutor(eventLoop)) {
            var places = [eventLoop.inEventLoop]
            try await eventLoop.makeSucceededVoidFuture().get()
            places.append(eventLoop.inEventLoop)
            places.append(await counter.add(on: eventLoop))
            return places
        }
        #expect(places == [true, true, true])
        #expect(await counter.count == 1)
        #expect(!eventLoop.inEventLoop)
    }
}
