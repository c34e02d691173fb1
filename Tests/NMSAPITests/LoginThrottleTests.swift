import Testing

@testable import NMSAPI

@Suite struct LoginThrottleTests {
    private let start = ContinuousClock.now
    private var limits: LoginThrottle.Limits {
        var limits = LoginThrottle.Limits()
        limits.perUser = 3
        limits.perAddress = 5
        limits.window = .seconds(60)
        limits.concurrencyAllowance = 2
        limits.maximumKeys = 20
        return limits
    }

    private func fail(_ throttle: inout LoginThrottle, _ user: String, _ address: String = "a", at seconds: Int = 0)
        -> Bool
    {
        let now = self.start + .seconds(seconds)
        guard throttle.begin(user: user, address: address, now: now) == nil else { return false }
        throttle.finish(user: user, address: address, succeeded: false, now: now)
        return true
    }

    @Test func failuresOfOneUserBlockThatPairOnly() {
        var throttle = LoginThrottle(limits: self.limits)
        for _ in 0..<3 { #expect(self.fail(&throttle, "u")) }
        #expect(!self.fail(&throttle, "u"))
        #expect(throttle.begin(user: "u", address: "b", now: self.start) == nil)
        #expect(throttle.begin(user: "v", address: "a", now: self.start) == nil)
    }

    @Test func theWaitIsTheRestOfTheWindow() {
        var throttle = LoginThrottle(limits: self.limits)
        for second in 0..<3 { #expect(self.fail(&throttle, "u", at: second)) }
        #expect(throttle.begin(user: "u", address: "a", now: self.start + .seconds(10)) == .seconds(50))
        #expect(throttle.begin(user: "u", address: "a", now: self.start + .seconds(60)) == nil)
    }

    @Test func manyNamesFromOneAddressBlockTheAddress() {
        var throttle = LoginThrottle(limits: self.limits)
        for number in 0..<5 { #expect(self.fail(&throttle, "u\(number)")) }
        #expect(!self.fail(&throttle, "u9"))
        #expect(self.fail(&throttle, "u9", "b"))
    }

    @Test(arguments: [
        ("2001:db8::1", "2001:db8::ffff:2", true), ("2001:db8::1", "2001:db8:0:1::1", false),
        ("::ffff:192.0.2.1", "192.0.2.1", true), ("192.0.2.1", "192.0.2.2", false),
    ])
    func anIPv6NetworkIsOneClient(first: String, second: String, isOne: Bool) {
        var pair = LoginThrottle(limits: self.limits)
        for _ in 0..<3 { #expect(self.fail(&pair, "u", first)) }
        #expect(self.fail(&pair, "u", second) != isOne)
        var names = LoginThrottle(limits: self.limits)
        for number in 0..<5 { #expect(self.fail(&names, "u\(number)", first)) }
        #expect(self.fail(&names, "u9", second) != isOne)
    }

    // Behind a proxy on the same machine, everybody is there.
    @Test(arguments: ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
    func loopbackHasNoLimitPerAddress(address: String) {
        var throttle = LoginThrottle(limits: self.limits)
        for number in 0..<10 { #expect(self.fail(&throttle, "u\(number)", address)) }
        for _ in 0..<2 { #expect(self.fail(&throttle, "u0", address)) }
        #expect(!self.fail(&throttle, "u0", address))
        #expect(self.fail(&throttle, "u1", address))
    }

    @Test(arguments: ["::2", "128.0.0.1", "unknown"])
    func whatIsNotLoopbackHasALimitPerAddress(address: String) {
        var throttle = LoginThrottle(limits: self.limits)
        for number in 0..<5 { #expect(self.fail(&throttle, "u\(number)", address)) }
        #expect(!self.fail(&throttle, "u9", address))
    }

    @Test func successesDoNotCountAndClearThePair() {
        var throttle = LoginThrottle(limits: self.limits)
        for _ in 0..<50 {
            #expect(throttle.begin(user: "u", address: "a", now: self.start) == nil)
            throttle.finish(user: "u", address: "a", succeeded: true, now: self.start)
        }
        #expect(throttle.keyCount == 0)
        _ = self.fail(&throttle, "u")
        _ = self.fail(&throttle, "u")
        #expect(throttle.begin(user: "u", address: "a", now: self.start) == nil)
        throttle.finish(user: "u", address: "a", succeeded: true, now: self.start)
        // Two failures of the address are remembered, none of the pair.
        for _ in 0..<3 { #expect(self.fail(&throttle, "u")) }
        #expect(!self.fail(&throttle, "u"))
    }

    @Test func attemptsUnderWayAreBounded() {
        var throttle = LoginThrottle(limits: self.limits)
        var admitted = 0
        for _ in 0..<20 where throttle.begin(user: "u", address: "a", now: self.start) == nil { admitted += 1 }
        #expect(admitted == 5)
        for _ in 0..<admitted { throttle.finish(user: "u", address: "a", succeeded: nil, now: self.start) }
        #expect(throttle.keyCount == 0)
    }

    @Test func memoryIsBounded() {
        var throttle = LoginThrottle(limits: self.limits)
        for number in 0..<1_000 { _ = self.fail(&throttle, "u\(number)", "a\(number)") }
        #expect(throttle.keyCount <= 20)
        throttle.removeExpired(now: self.start + .seconds(61))
        #expect(throttle.keyCount == 0)
    }
}
