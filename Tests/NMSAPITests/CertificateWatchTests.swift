import Testing

@testable import NMSAPI

@Suite struct CertificateWatchTests {
    private let old: [UInt8] = [1]
    private let half: [UInt8] = [2]
    private let new: [UInt8] = [3]

    @Test func theSameContentsAreNotTriedUnlessAskedFor() {
        var watch = CertificateWatch(current: self.old)
        #expect(watch.shouldTry(self.old, isForced: false) == false)
        #expect(watch.shouldTry(self.old, isForced: true) == true)
        #expect(watch.shouldTry(self.new, isForced: false) == true)
        watch.succeeded(self.new)
        #expect(watch.shouldTry(self.new, isForced: false) == false)
        #expect(watch.shouldTry(self.old, isForced: false) == true)
    }

    // Certificate and key are replaced one after the other.
    @Test func whatFailsForOneLookIsNotToldOf() {
        var watch = CertificateWatch(current: self.old)
        #expect(watch.failed(self.half, isForced: false) == false)
        #expect(watch.shouldTry(self.new, isForced: false) == true)
        watch.succeeded(self.new)
        #expect(watch.failed(self.half, isForced: false) == false)
    }

    @Test func whatFailsAgainIsToldOfOnce() {
        var watch = CertificateWatch(current: self.old)
        let told = (0..<5).map { _ in watch.failed(self.half, isForced: false) }
        #expect(told == [false, true, false, false, false])
        // Tried all the same: it may become valid by time alone.
        #expect(watch.shouldTry(self.half, isForced: false) == true)
        #expect(watch.failed(self.new, isForced: false) == false)
        #expect(watch.failed(self.new, isForced: false) == true)
        // The old contents are back: the next failure is a new one.
        #expect(watch.shouldTry(self.old, isForced: false) == false)
        #expect((0..<3).map { _ in watch.failed(self.new, isForced: false) } == [false, true, false])
    }

    @Test func whoAsksIsToldEveryTime() {
        var watch = CertificateWatch(current: self.old)
        #expect(watch.failed(self.half, isForced: true) == true)
        #expect(watch.failed(self.half, isForced: false) == false)
        #expect(watch.failed(self.half, isForced: true) == true)
    }
}
