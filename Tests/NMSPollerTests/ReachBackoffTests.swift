import NMSCore
import Testing

@testable import NMSPoller

@Suite struct ReachBackoffTests {
    @Test func aRefusalCountsUpToTheThresholdAndSilenceAtOnce() {
        var backoff = ReachBackoff(threshold: 3)
        var asked: [Bool] = []
        for _ in 0..<3 {
            backoff.record(deviceID: 1, unreached: .connectionRefused)
            asked.append(backoff.asksFirst(deviceID: 1))
        }
        #expect(asked == [false, false, true])
        backoff.record(deviceID: 2, unreached: .timeout)
        #expect(backoff.asksFirst(deviceID: 2) && !backoff.asksFirst(deviceID: 3))
    }

    @Test func anAnswerOrARemovalEndsItAndLeavesNothing() {
        var backoff = ReachBackoff(threshold: 1)
        for device in 1...100 { backoff.record(deviceID: device, unreached: .hostUnreachable) }
        #expect(backoff.count == 100)
        for device in 1...50 { backoff.record(deviceID: device, unreached: nil) }
        for device in 51...100 { backoff.forget(deviceID: device) }
        #expect(backoff.count == 0 && !backoff.asksFirst(deviceID: 1) && !backoff.asksFirst(deviceID: 51))
    }

    @Test func oneOpenPortIsEnoughAndTheFirstClosedOneIsReported() {
        #expect(ReachBackoff.failure([(5985, .silent), (135, .open)]) == nil)
        #expect(ReachBackoff.failure([]) == nil)
        #expect(ReachBackoff.failure([(5985, .silent), (135, .refused)])?.code == .timeout)
        #expect(ReachBackoff.failure([(5985, .refused), (135, .silent)])?.code == .connectionRefused)
        #expect(ReachBackoff.failure([(5985, .unreachable("x"))])?.code == .hostUnreachable)
    }
}
