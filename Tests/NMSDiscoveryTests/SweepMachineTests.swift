import Foundation
import NMSCore
import Testing

@testable import NMSDiscovery

@Suite struct SweepMachineTests {
    private static let second: Instant = 1_000_000_000

    private static func machine(
        addresses: Int = 10,
        from start: Int = 0,
        ports: Int = 2,
        concurrency: Int = 4,
        rate: Double = 1e9
    ) -> SweepMachine {
        SweepMachine(
            addresses: addresses,
            from: start,
            ports: ports,
            limits: SweepMachine.Limits(concurrency: concurrency, rate: rate)
        )
    }

    @Test func dialsInOrderWithinTheConcurrency() {
        var machine = Self.machine()
        let expected = [(0, 0), (0, 1), (1, 0), (1, 1)].map { SweepProbe(index: $0, port: $1) }
        for probe in expected { #expect(machine.step(at: 0) == .dial(probe)) }
        #expect(machine.step(at: 0) == .waitForCompletion)
        #expect(machine.completed(expected[1], .state(.closed), at: 0) == nil)
        #expect(machine.step(at: 0) == .dial(SweepProbe(index: 2, port: 0)))
        #expect(
            machine.completed(expected[0], .state(.open), at: 0) == SweptAddress(index: 0, states: [.open, .closed])
        )
    }

    @Test func reportsEveryAddressOnce() {
        var machine = Self.machine(addresses: 50, from: 7, ports: 3, concurrency: 9)
        var random = SplitMix(state: 1)
        var flying: [SweepProbe] = []
        var reported: [Int] = []
        loop: while true {
            switch machine.step(at: 0) {
            case .dial(let probe): flying.append(probe)
            case .finished: break loop
            case .wait: Issue.record("there is nothing to wait for")
            case .waitForCompletion:
                #expect(flying.count == 9 || reported.count > 35)
                let probe = flying.remove(at: Int(random.next() % UInt64(flying.count)))
                if let done = machine.completed(probe, .state(.silent), at: 0) { reported.append(done.index) }
            }
        }
        #expect(reported.sorted() == Array(7..<50))
    }

    @Test func keepsTheRate() {
        let rate = 1_000.0
        var machine = Self.machine(addresses: 100_000, ports: 1, concurrency: .max, rate: rate)
        var dials: [Instant] = []
        var now: Instant = 5 * Self.second
        let end = now + 10 * Self.second
        while now < end {
            switch machine.step(at: now) {
            case .dial: dials.append(now)
            case .wait(let until):
                #expect(until > now)
                now = until
            default: Issue.record("neither dialled nor waited")
            }
        }
        #expect((9_990...10_060).contains(dials.count))
        for (index, instant) in dials.enumerated().dropFirst(1_100) {
            #expect(instant - dials[index - 1_100] >= Self.second, "more than a second's worth and a burst in a second")
        }
    }

    @Test func givesNoCreditForIdleTime() {
        var machine = Self.machine(addresses: 100_000, ports: 1, concurrency: .max, rate: 1_000)
        _ = machine.step(at: 0)
        var dials = 0
        while case .dial = machine.step(at: 3_600 * Self.second) { dials += 1 }
        #expect(dials == 50)
    }

    @Test func slowsDownAndRetriesWhenThisMachineRunsShort() {
        var machine = Self.machine(addresses: 100, ports: 1, concurrency: 8)
        let probes = (0..<8).map { SweepProbe(index: $0, port: 0) }
        for probe in probes { #expect(machine.step(at: 0) == .dial(probe)) }
        #expect(machine.completed(probes[7], .outOfResources, at: 0) == nil)
        #expect(machine.allowance == 4)
        for probe in probes.dropLast() { #expect(machine.completed(probe, .state(.closed), at: 0) != nil) }
        // A pause first, then what did not work comes first.
        #expect(machine.step(at: 0) == .wait(until: 10_000_000))
        #expect(machine.step(at: 10_000_000) == .dial(probes[7]))
        #expect(
            machine.completed(probes[7], .state(.closed), at: 10_000_000) == SweptAddress(index: 7, states: [.closed])
        )
        #expect(machine.allowance == 8)
    }

    @Test func neverCountsAShortageAsClosed() {
        var machine = Self.machine(addresses: 1, ports: 1)
        var now: Instant = 0
        var attempts = 0
        var result: SweptAddress?
        loop: while true {
            switch machine.step(at: now) {
            case .dial(let probe):
                attempts += 1
                result = machine.completed(probe, .outOfResources, at: now)
            case .wait(let until): now = until
            default: break loop
            }
        }
        #expect(result == SweptAddress(index: 0, states: [.failed]))
        #expect(attempts == SweepMachine.maximumAttempts)
        #expect(now > 3 * Self.second && now < 10 * Self.second)
        #expect(machine.step(at: now) == .finished)
    }

    @Test func dialsNothingOnceCancelled() {
        var machine = Self.machine()
        guard case .dial(let probe) = machine.step(at: 0) else { return }
        machine.cancel()
        #expect(machine.step(at: 0) == .waitForCompletion)
        _ = machine.completed(probe, .outOfResources, at: 0)
        #expect(machine.step(at: Self.second) == .finished)
    }

    @Test func isFinishedAtOnceWithNothingLeft() {
        var machine = Self.machine(addresses: 5, from: 5)
        #expect(machine.step(at: 0) == .finished)
    }

    @Test(arguments: [
        (ECONNREFUSED, SweepMachine.Outcome.state(.closed)), (ETIMEDOUT, .state(.silent)),
        (EHOSTUNREACH, .state(.unreachable)), (ENETUNREACH, .state(.unreachable)), (EACCES, .state(.unreachable)),
        (EMFILE, .outOfResources), (ENFILE, .outOfResources), (ENOBUFS, .outOfResources),
        (EADDRNOTAVAIL, .outOfResources), (EINVAL, .state(.failed)),
    ])
    func tellsErrorsApart(_ code: CInt, _ outcome: SweepMachine.Outcome) {
        #expect(DialError.outcome(ofCode: code) == outcome)
    }
}
