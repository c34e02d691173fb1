/// COMVERSION, [MS-DCOM] 2.2.11: the version of the object protocol that a side speaks.
package struct COMVersion: NDRCodable, Comparable {
    package var major: UInt16
    package var minor: UInt16

    /// The version of this implementation, that of all supported Windows.
    package static let current = COMVersion(major: 5, minor: 7)

    package init(major: UInt16, minor: UInt16) {
        self.major = major
        self.minor = minor
    }

    package init(from reader: inout NDRReader) throws(NDRError) {
        self.major = try reader.uint16()
        self.minor = try reader.uint16()
    }

    package func encode(to writer: inout NDRWriter) {
        writer.uint16(self.major)
        writer.uint16(self.minor)
    }

    package static func < (left: Self, right: Self) -> Bool {
        (left.major, left.minor) < (right.major, right.minor)
    }

    /// The version to use with a peer: the lower minor of the same major; nil with another major.
    package func negotiated(with peer: COMVersion) -> COMVersion? {
        self.major == peer.major ? min(self, peer) : nil
    }
}
