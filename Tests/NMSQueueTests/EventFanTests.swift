import NMSCore
import SupervisionTesting
import Testing

@testable import NMSQueue

@Suite(.timeLimit(.minutes(1))) struct EventFanTests {
    @Test func eventsReachEveryInstance() async throws {
        try await QueueFixture.withServer { server in
            let first = try await NATSQueue.connect(server.queueOptions, logger: QueueFixture.logger)
            let second = try await NATSQueue.connect(server.queueOptions, logger: QueueFixture.logger)
            let streams = [
                try await first.deviceEvents(), try await first.deviceEvents(), try await second.deviceEvents(),
            ]
            let event = DeviceEvent(.credentialUpdated, credentialID: 7)
            try await first.publish(event)
            for stream in streams {
                var iterator = stream.makeAsyncIterator()
                #expect(await iterator.next() == event)
            }
            await first.shutDown()
            await second.shutDown()
            var ended = streams[0].makeAsyncIterator()
            #expect(await ended.next() == nil)
        }
    }

    @Test func aLostConnectionEndsTheStreamsOfEvents() async throws {
        try await QueueFixture.withQueue { queue, server in
            let streams = [try await queue.deviceEvents(), try await queue.deviceEvents()]
            let heard = DeviceEvent(.credentialUpdated, credentialID: 1)
            try await queue.publish(heard)
            #expect(await SupervisionTesting.eventually { queue.status.counts.eventsReceived == 1 })
            try QueueFixture.killServer(of: server)
            for stream in streams {
                var events: [DeviceEvent] = []
                for await event in stream { events.append(event) }
                #expect(events == [heard])
            }
            #expect(queue.status.isConnected && queue.status.reconnects == 1)
            let renewed = try await queue.deviceEvents()
            // From another instance, whose message reaches the server on another connection.
            let other = try await NATSQueue.connect(server.queueOptions, logger: QueueFixture.logger)
            let event = DeviceEvent(.deviceUpdated, deviceID: 7)
            try await other.publish(event)
            var iterator = renewed.makeAsyncIterator()
            #expect(await iterator.next() == event)
            await other.shutDown()
        }
    }

    @Test func aListenerThatLostAnEventIsTold() async throws {
        try await QueueFixture.withQueue { queue, _ in
            let slow = try await queue.deviceEvents()
            let event = DeviceEvent(.deviceUpdated, deviceID: 7)
            for _ in 0...QueueLimits.pendingEvents { try await queue.publish(event) }
            #expect(await SupervisionTesting.eventually { queue.status.counts.eventsDropped == 1 })
            let other = try await queue.deviceEvents()
            try await queue.publish(event)
            var count = 0
            for await _ in slow { count += 1 }
            #expect(count == QueueLimits.pendingEvents)
            // Nobody else is concerned.
            var iterator = other.makeAsyncIterator()
            #expect(await iterator.next() == event)
            #expect(queue.status.counts.eventsDropped == 1)
        }
    }
}
