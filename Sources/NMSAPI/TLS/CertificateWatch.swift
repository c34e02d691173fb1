/// Decides which contents of certificate and key are tried, and which failures are told; pure.
///
/// Two files are replaced one after the other: between the two they don't belong together. So a failure is told only
/// when the next look finds the same contents, and then once.
struct CertificateWatch: Sendable {
    /// What is served.
    private var current: [UInt8]
    /// What failed at the last look, and whether that was told.
    private var failed: (digest: [UInt8], isTold: Bool)?

    /// - Parameter current: digest of what is served at the start.
    init(current: [UInt8]) { self.current = current }

    /// Whether to try contents: new ones, or any when someone asked for it.
    mutating func shouldTry(_ digest: [UInt8], isForced: Bool) -> Bool {
        if digest == self.current { self.failed = nil }
        return isForced || digest != self.current
    }

    mutating func succeeded(_ digest: [UInt8]) {
        self.current = digest
        self.failed = nil
    }

    /// Takes note of a failure; returns whether to tell of it.
    mutating func failed(_ digest: [UInt8], isForced: Bool) -> Bool {
        let seenBefore = self.failed.map { $0.digest == digest } ?? false
        let isTold = seenBefore && (self.failed?.isTold ?? false)
        let tell = isForced || seenBefore && !isTold
        self.failed = (digest, isTold || tell)
        return tell
    }
}
