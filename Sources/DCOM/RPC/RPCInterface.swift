/// An interface or a transfer syntax with its version: `p_syntax_id_t` (C706, section 12.6.3.1).
package struct RPCInterface: Hashable, Sendable {
    package let uuid: GUID
    package let major: UInt16
    package let minor: UInt16

    /// Size on the wire in bytes.
    static let size = 20

    package init(_ uuid: GUID, major: UInt16 = 0, minor: UInt16 = 0) {
        self.uuid = uuid
        self.major = major
        self.minor = minor
    }

    /// NDR 2.0, the only transfer syntax spoken here (C706, appendix I).
    package static let ndr = RPCInterface("8a885d04-1ceb-11c9-9fe8-08002b104860", major: 2)
    /// NDR64 1.0 ([MS-RPCE] 2.2.4.12); offered by Windows' clients, never accepted here.
    package static let ndr64 = RPCInterface("71710533-beba-4937-8319-b5dbef9ccc36", major: 1)

    /// Whether this is the pseudo syntax of bind time feature negotiation ([MS-RPCE] 2.2.2.14).
    package var isBindTimeFeatureNegotiation: Bool {
        self.uuid.data1 == 0x6CB7_1C2C && self.uuid.data2 == 0x9812 && self.uuid.data3 == 0x4540
    }
}

extension RPCInterface: CustomStringConvertible {
    package var description: String { "\(self.uuid) \(self.major).\(self.minor)" }
}
