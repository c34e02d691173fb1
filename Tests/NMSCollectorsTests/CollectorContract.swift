import Foundation
import NMSCore
import Synchronization
import Testing

@testable import NMSCollectors

/// What every collector must keep to, whatever it speaks. A new one runs it against its own host.
enum CollectorContract {
    /// Longer than any cancelled or late call may take.
    private static let patience: Duration = .seconds(3)

    /// - Parameter target: one that can be reached and signed in to, with the deadline that is asked for.
    static func check(
        _ collector: any Collector,
        _ target: @escaping @Sendable (_ deadline: Duration) -> CollectorTarget
    ) async throws {
        #expect(!collector.name.isEmpty && collector.name == collector.name.lowercased())
        #expect(collector.supports(target(.zero).credential.credential.type))
        try await self.readsWhatIsAskedFor(collector, target)
        await self.keepsToTheDeadline(collector, target)
        await self.endsWhenCancelled(collector, target)
        // What is forgotten is opened anew; closing twice is no harm.
        await collector.forget(deviceID: target(.zero).deviceID)
        await collector.forget(credentialID: target(.zero).credential.credential.id)
        #expect(try await collector.sample(target(.seconds(20)), groups: [.system]).system != nil)
        await collector.shutDown()
        await collector.shutDown()
    }

    private static func readsWhatIsAskedFor(
        _ collector: any Collector,
        _ target: @Sendable (Duration) -> CollectorTarget
    ) async throws {
        let all = Set(CounterGroup.allCases)
        let first = try await collector.sample(target(.seconds(20)), groups: all)
        let second = try await collector.sample(target(.seconds(20)), groups: all)
        #expect(first.failures.isEmpty, "\(first.failures)")
        #expect(first.identity.hostname?.isEmpty == false)
        // Raw counters and the host's own clock: neither goes back.
        let (before, after) = (try #require(try first.processor?.get()), try #require(try second.processor?.get()))
        #expect(after.idle100ns >= before.idle100ns && after.timestamp100ns >= before.timestamp100ns)
        let system = try #require(try second.system?.get())
        #expect(try #require(system.memoryTotalBytes) >= (try #require(system.memoryFreeBytes)))
        let disk = try #require(try second.disk?.get())
        #expect(disk.totalBytes >= disk.freeBytes && disk.totalBytes > 0)
        #expect(second.network != nil)

        let one = try await collector.sample(target(.seconds(20)), groups: [.disk])
        #expect(one.disk != nil)
        #expect(one.system == nil && one.processor == nil && one.network == nil)
    }

    private static func keepsToTheDeadline(
        _ collector: any Collector,
        _ target: @Sendable (Duration) -> CollectorTarget
    ) async {
        let began = ContinuousClock.now
        await #expect(throws: PollFailure.self) {
            _ = try await collector.sample(target(.seconds(-1)), groups: [.system])
        }
        #expect(began.duration(to: .now) < self.patience)
    }

    private static func endsWhenCancelled(
        _ collector: any Collector,
        _ target: @escaping @Sendable (Duration) -> CollectorTarget
    ) async {
        let began = ContinuousClock.now
        let task = Task {
            while !Task.isCancelled { await Task.yield() }
            _ = try await collector.sample(target(.seconds(20)), groups: Set(CounterGroup.allCases))
        }
        task.cancel()
        if case .failure(let error) = await task.result {
            #expect(error is CancellationError || error is PollFailure, "\(error)")
        } else {
            Issue.record("a poll that was cancelled before it began told of success")
        }
        #expect(began.duration(to: .now) < self.patience)
    }
}

@Suite struct ExampleCollectorTests {
    private struct OpenGate: AuthenticationGate {
        func authenticate<Result: Sendable>(
            deviceID: Int,
            credentialID: Int,
            attempt: @Sendable () async throws -> Result
        ) async throws -> Result { try await attempt() }
    }

    @Test func theExampleKeepsTheContract() async throws {
        let credential = Credential(
            id: 7,
            name: "example",
            type: .winrmBasic,
            username: "nobody",
            port: 1,
            createdAt: Date(timeIntervalSince1970: 0),
            updatedAt: Date(timeIntervalSince1970: 0)
        )
        let address = try #require(IPAddress("127.0.0.1"))
        try await CollectorContract.check(ExampleCollector()) { deadline in
            CollectorTarget(
                deviceID: 1,
                address: address,
                hostname: nil,
                credential: DecryptedCredential(credential: credential, password: Secret("none")),
                deadline: .now + deadline,
                gate: OpenGate()
            )
        }
    }
}
