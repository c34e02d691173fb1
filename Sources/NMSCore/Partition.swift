/// The share of the fleet that a poll job belongs to.
///
/// The number of partitions is part of the wire contract: every instance must agree on it.
package enum Partition {
    /// How many partitions there are; their names are 0…63.
    package static let count = 64

    /// The partition of a device: the same on every instance and in every release.
    package static func of(deviceID: Int) -> Int {
        Int(stableHash(UInt64(bitPattern: Int64(deviceID))) % UInt64(count))
    }

    /// A hash that never changes (the finalizer of SplitMix64), unlike Swift's seeded `Hasher`.
    package static func stableHash(_ value: UInt64) -> UInt64 {
        var z = value &+ 0x9E37_79B9_7F4A_7C15
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
