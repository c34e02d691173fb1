import Foundation
import NMSCore
import Testing

@testable import NMSDiscovery

@Suite struct JobTrackerTests {
    private static let second: Instant = 1_000_000_000

    private static func host(_ number: Int) -> DiscoveredHost { DiscoveredHost(ip: "10.0.0.\(number)") }

    @Test func theCheckpointWaitsForTheSlowest() {
        var tracker = JobTracker(total: 5, resume: DiscoveryCheckpoint(), scanned: 0, at: 0)
        tracker.done(1, .closed)
        tracker.done(2, .windows, host: Self.host(2))
        let first = tracker.report(at: Self.second)
        #expect(first.progress.checkpoint == DiscoveryCheckpoint())
        #expect(first.progress.scanned == 2)
        #expect(first.hosts == [Self.host(2)])
        tracker.done(0, .silent)
        let second = tracker.report(at: 2 * Self.second)
        #expect(second.hosts.isEmpty)
        #expect(second.progress.checkpoint.index == 3)
        #expect(second.progress.checkpoint.counts[.windows] == 1)
        #expect(second.progress.checkpoint.counts.total == 3)
    }

    @Test func countsNothingTwice() {
        var tracker = JobTracker(total: 3, resume: DiscoveryCheckpoint(), scanned: 0, at: 0)
        tracker.done(1, .closed)
        tracker.done(1, .closed)
        tracker.done(0, .closed)
        tracker.done(0, .closed)
        #expect(tracker.progress.scanned == 2)
        #expect(tracker.progress.counts[.closed] == 2)
    }

    /// Killed at any report: what was stored and what comes afterwards make each address once, and progress grows.
    @Test func everyHostIsStoredWhereverItIsCut() {
        let total = 60
        var random = SplitMix(state: 3)
        for cut in 0..<12 {
            var stored: Set<String> = []
            var last = DiscoveryProgress(
                scanned: 0,
                total: total,
                counts: OutcomeCounts(),
                checkpoint: DiscoveryCheckpoint()
            )
            for run in 0..<2 {
                var tracker = JobTracker(total: total, resume: last.checkpoint, scanned: last.scanned, at: 0)
                let order = (tracker.start..<total).shuffled(using: &random)
                for (number, index) in order.enumerated() {
                    tracker.done(
                        index,
                        index % 3 == 0 ? .windows : .closed,
                        host: index % 3 == 0 ? Self.host(index) : nil
                    )
                    guard number % 5 == 4 || number == order.count - 1 else { continue }
                    let report = tracker.report(at: Instant(number) * Self.second)
                    #expect(report.progress.scanned >= last.scanned)
                    #expect(report.progress.checkpoint.index >= last.checkpoint.index)
                    for host in report.hosts { stored.insert(host.ip) }
                    last = report.progress
                    if run == 0, number >= cut * 5 { break }
                }
            }
            #expect(last.scanned == total)
            #expect(last.checkpoint.index == total)
            #expect(last.counts == last.checkpoint.counts)
            #expect(last.counts[.windows] == 20)
            #expect(stored.count == 20)
        }
    }

    @Test func tellsRateAndTimeToGo() throws {
        var tracker = JobTracker(total: 1_000, resume: DiscoveryCheckpoint(), scanned: 0, at: 0)
        #expect(tracker.progress.etaSeconds == nil)
        for index in 0..<100 { tracker.done(index, .closed) }
        let progress = tracker.report(at: Self.second).progress
        #expect(progress.rate == 100)
        #expect(progress.etaSeconds == 9)
        for index in 100..<1_000 { tracker.done(index, .closed) }
        #expect(tracker.report(at: 2 * Self.second).progress.etaSeconds == 0)
    }

    @Test func toleratesACheckpointFromElsewhere() {
        let tracker = JobTracker(total: 3, resume: DiscoveryCheckpoint(index: 99), scanned: 99, at: 0)
        #expect(tracker.start == 3)
        #expect(tracker.progress.scanned == 3)
    }

    @Test func progressIsJSON() throws {
        var counts = OutcomeCounts()
        counts[.windows] = 2
        let progress = DiscoveryProgress(
            scanned: 3,
            total: 9,
            counts: counts,
            checkpoint: DiscoveryCheckpoint(index: 3, counts: counts),
            rate: 1.5
        )
        let data = try JSONEncoder().encode(progress)
        #expect(try JSONDecoder().decode(DiscoveryProgress.self, from: data) == progress)
        let text = String(decoding: try JSONEncoder().encode(counts), as: UTF8.self)
        #expect(text.contains(#""not_windows":0"#) && text.contains(#""windows":2"#))
    }
}
