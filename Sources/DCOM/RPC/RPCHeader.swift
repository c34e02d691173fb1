/// The kinds of PDU of the connection-oriented protocol (C706, section 12.6.1; [MS-RPCE] 2.2.2.10 for auth3).
package enum RPCPDUType: UInt8, Sendable, CaseIterable {
    case request = 0
    case response = 2
    case fault = 3
    case bind = 11
    case bindAck = 12
    case bindNak = 13
    case alterContext = 14
    case alterContextResponse = 15
    case auth3 = 16
    case shutdown = 17
    case cancel = 18
    case orphaned = 19
}

/// Flags of the common header (C706, section 12.6.3.1; [MS-RPCE] 2.2.2.3).
package struct RPCFlags: OptionSet, Hashable, Sendable {
    package let rawValue: UInt8

    package init(rawValue: UInt8) {
        self.rawValue = rawValue
    }

    package static let firstFragment = RPCFlags(rawValue: 0x01)
    package static let lastFragment = RPCFlags(rawValue: 0x02)
    /// On requests and what belongs to them.
    package static let pendingCancel = RPCFlags(rawValue: 0x04)
    /// The same bit on bind, alter_context and their answers: the header is covered by signatures.
    package static let supportsHeaderSigning = RPCFlags(rawValue: 0x04)
    package static let concurrentMultiplexing = RPCFlags(rawValue: 0x10)
    /// On faults: the call was certainly not executed.
    package static let didNotExecute = RPCFlags(rawValue: 0x20)
    package static let maybe = RPCFlags(rawValue: 0x40)
    package static let objectUUID = RPCFlags(rawValue: 0x80)

    /// A message in one fragment.
    package static let whole: RPCFlags = [.firstFragment, .lastFragment]
}

/// The header that all PDUs have in common (C706, section 12.6.3.1).
package struct RPCHeader: Hashable, Sendable {
    /// Size on the wire in bytes.
    package static let size = 16
    /// The major version of the protocol; minor versions are 0 and 1 (C706, section 12.6.3.1).
    package static let majorVersion: UInt8 = 5
    /// Little-endian integers, ASCII characters, IEEE floating point (C706, section 14.1).
    static let dataRepresentation: [UInt8] = [0x10, 0, 0, 0]

    package var minorVersion: UInt8
    package var type: RPCPDUType
    package var flags: RPCFlags
    /// The length of the fragment with header and verifier.
    package var fragmentLength: UInt16
    /// The length of the verifier's credentials, without the security trailer; 0 says that there is no verifier.
    package var authLength: UInt16
    package var callID: UInt32

    package init(
        type: RPCPDUType,
        flags: RPCFlags = .whole,
        fragmentLength: UInt16 = 0,
        authLength: UInt16 = 0,
        callID: UInt32,
        minorVersion: UInt8 = 0
    ) {
        self.minorVersion = minorVersion
        self.type = type
        self.flags = flags
        self.fragmentLength = fragmentLength
        self.authLength = authLength
        self.callID = callID
    }

    /// Reads and checks a header.
    ///
    /// - Parameters:
    ///   - bytes: 16 bytes or more.
    ///   - maximumFragment: the longest fragment that is accepted.
    package init(_ bytes: some RandomAccessCollection<UInt8>, maximumFragment: Int) throws(RPCDecodingError) {
        guard bytes.count >= Self.size else { throw .truncated("header") }
        func byte(_ offset: Int) -> UInt8 { bytes[bytes.index(bytes.startIndex, offsetBy: offset)] }
        guard byte(0) == Self.majorVersion, byte(1) <= 1 else { throw .version(major: byte(0), minor: byte(1)) }
        guard byte(4) == Self.dataRepresentation[0], byte(5) == Self.dataRepresentation[1] else {
            throw .dataRepresentation(byte(4), byte(5))
        }
        guard let type = RPCPDUType(rawValue: byte(2)) else { throw .type(byte(2)) }
        self.init(
            type: type,
            flags: RPCFlags(rawValue: byte(3)),
            fragmentLength: UInt16(byte(8)) | UInt16(byte(9)) << 8,
            authLength: UInt16(byte(10)) | UInt16(byte(11)) << 8,
            callID: UInt32(byte(12)) | UInt32(byte(13)) << 8 | UInt32(byte(14)) << 16 | UInt32(byte(15)) << 24,
            minorVersion: byte(1)
        )
        guard (Self.size...max(maximumFragment, Self.size)).contains(Int(self.fragmentLength)) else {
            throw .fragmentLength(Int(self.fragmentLength), limit: maximumFragment)
        }
        let trailer = self.authLength == 0 ? 0 : RPCVerifier.trailerSize + Int(self.authLength)
        guard Self.size + trailer <= Int(self.fragmentLength) else {
            throw .authLength(Int(self.authLength), fragmentLength: Int(self.fragmentLength))
        }
    }

    func write(to bytes: inout [UInt8]) {
        bytes += [Self.majorVersion, self.minorVersion, self.type.rawValue, self.flags.rawValue]
        bytes += Self.dataRepresentation
        bytes.appendLittleEndian(self.fragmentLength)
        bytes.appendLittleEndian(self.authLength)
        bytes.appendLittleEndian(self.callID)
    }
}

/// Why bytes are not a PDU of the connection-oriented protocol.
package enum RPCDecodingError: Error, Sendable, Hashable {
    case version(major: UInt8, minor: UInt8)
    /// Big-endian, EBCDIC or foreign floating point: the first two octets of the label.
    case dataRepresentation(UInt8, UInt8)
    case type(UInt8)
    /// Shorter than a header or longer than what was agreed on.
    case fragmentLength(Int, limit: Int)
    /// A verifier that does not fit into its fragment.
    case authLength(Int, fragmentLength: Int)
    /// Padding that reaches into the header.
    case padding(Int)
    /// The text names what ends too early.
    case truncated(String)
    /// A value that the protocol forbids; the text names it.
    case invalid(String)
}

extension RPCDecodingError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .version(let major, let minor): "version \(major).\(minor) of DCE/RPC; only 5.0 and 5.1 are spoken here"
        case .dataRepresentation(let first, let second):
            "data representation \(first), \(second); only little-endian, ASCII and IEEE (16, 0) are spoken here"
        case .type(let type): "PDU type \(type) is unknown"
        case .fragmentLength(let length, let limit):
            "a fragment of \(length) bytes; \(RPCHeader.size) to \(limit) are allowed"
        case .authLength(let length, let fragmentLength):
            "a verifier of \(length) bytes does not fit into a fragment of \(fragmentLength)"
        case .padding(let length): "\(length) bytes of authentication padding are more than the fragment has"
        case .truncated(let what): "\(what) ends too early"
        case .invalid(let what): what
        }
    }
}
