#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// Clock and randomness, injected so that tests can pin both.
package struct NTLMEnvironment: Sendable {
    /// The time now as a FILETIME: units of 100 ns since 1601-01-01 00:00 UTC ([MS-DTYP] 2.3.3).
    package var now: @Sendable () -> UInt64
    /// Exactly as many bytes as asked for, unpredictable.
    package var randomBytes: @Sendable (Int) -> [UInt8]

    /// Builds an environment from a clock and a source of randomness.
    package init(now: @escaping @Sendable () -> UInt64, randomBytes: @escaping @Sendable (Int) -> [UInt8]) {
        self.now = now
        self.randomBytes = randomBytes
    }

    // Seconds from the FILETIME epoch to the UNIX epoch.
    private static let secondsFrom1601To1970: Double = 11_644_473_600
    private static let ticksPerSecond: Double = 10_000_000

    /// The machine's clock and the system's random number generator.
    package static let system = NTLMEnvironment(
        now: {
            UInt64((Date().timeIntervalSince1970 + Self.secondsFrom1601To1970) * Self.ticksPerSecond)
        },
        randomBytes: { count in
            var generator = SystemRandomNumberGenerator()
            // Every number that is asked for is a call of the system: eight bytes of it at a time.
            var bytes: [UInt8] = []
            bytes.reserveCapacity(count + 7)
            while bytes.count < count {
                withUnsafeBytes(of: generator.next() as UInt64) { bytes.append(contentsOf: $0) }
            }
            bytes.removeLast(bytes.count - count)
            return bytes
        }
    )
}
