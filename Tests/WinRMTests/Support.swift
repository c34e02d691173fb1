import Foundation
import NIOCore
import SSP
import WinRM

/// The bytes of a file in `Fixtures`.
func fixture(_ name: String) throws -> [UInt8] {
    let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Fixtures")
    return Array(try Data(contentsOf: folder.appending(path: name)))
}

/// All replies in `Fixtures`, by name.
let allFixtures = [
    "enumerate-all-at-once.xml", "enumerate-one-item.xml", "fault-access-denied.xml", "fault-provider.xml",
    "fault-quota.xml", "fault-timed-out.xml", "identify.xml", "pull-last.xml", "pull-middle.xml",
    "pull-select-star.xml",
]

extension String {
    var bytes: [UInt8] { Array(self.utf8) }
}

extension Array where Element == UInt8 {
    var text: String { String(decoding: self, as: UTF8.self) }
}

/// A generator that gives the same numbers each time (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var value = self.state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
