/// VERSION, [MS-NLMP] 2.2.2.10. For debugging and identification only; no decision may rest on it.
package struct NTLMVersion: Sendable, Equatable {
    /// Major version of the operating system, for example 10.
    package var major: UInt8
    /// Minor version of the operating system.
    package var minor: UInt8
    /// Build number, for example 17763.
    package var build: UInt16

    /// Builds a version from its parts.
    package init(major: UInt8, minor: UInt8, build: UInt16) {
        self.major = major
        self.minor = minor
        self.build = build
    }

    static let size = 8
    // NTLMSSP_REVISION_W2K3, the only revision in use.
    private static let revision: UInt8 = 0x0f

    var encoded: [UInt8] {
        [
            self.major, self.minor, UInt8(truncatingIfNeeded: self.build), UInt8(truncatingIfNeeded: self.build >> 8),
            0,
            0, 0, Self.revision,
        ]
    }
}
