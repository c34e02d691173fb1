import Testing

@testable import NMSAPI

@Suite struct TokenBucketsTests {
    private let start = ContinuousClock.now

    @Test func aBucketHoldsOneSecondAndRefills() {
        var buckets = TokenBuckets(rate: 4)
        for _ in 0..<4 { #expect(buckets.take(client: "a", now: self.start) == nil) }
        let wait = buckets.take(client: "a", now: self.start)
        #expect(wait == .milliseconds(250))
        #expect(buckets.take(client: "a", now: self.start + .milliseconds(250)) == nil)
        #expect(buckets.take(client: "a", now: self.start + .milliseconds(250)) != nil)
        for _ in 0..<4 { #expect(buckets.take(client: "a", now: self.start + .seconds(100)) == nil) }
        #expect(buckets.take(client: "a", now: self.start + .seconds(100)) != nil)
    }

    @Test func clientsAreIndependentAndAnIPv6NetworkIsOne() {
        var buckets = TokenBuckets(rate: 1)
        #expect(buckets.take(client: "192.0.2.1", now: self.start) == nil)
        #expect(buckets.take(client: "192.0.2.2", now: self.start) == nil)
        #expect(buckets.take(client: "2001:db8::1", now: self.start) == nil)
        #expect(buckets.take(client: "2001:db8::2", now: self.start) != nil)
        #expect(buckets.take(client: "2001:db8:0:1::2", now: self.start) == nil)
        #expect(buckets.take(client: "::ffff:192.0.2.1", now: self.start) != nil)
    }

    @Test func memoryIsBounded() {
        var buckets = TokenBuckets(rate: 1)
        for number in 0..<(TokenBuckets.maximumClients * 2) {
            _ = buckets.take(client: "c\(number)", now: self.start)
        }
        #expect(buckets.clientCount <= TokenBuckets.maximumClients)
        // A client that is over its rate is not forgotten in favour of idle ones.
        for _ in 0..<3 { _ = buckets.take(client: "busy", now: self.start + .seconds(9)) }
        for number in 0..<TokenBuckets.maximumClients {
            _ = buckets.take(client: "d\(number)", now: self.start + .seconds(10))
        }
        #expect(buckets.clientCount <= TokenBuckets.maximumClients)
    }
}
