/// Which security provider made a verifier ([MS-RPCE] 2.2.1.1.7).
package struct RPCAuthType: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt8

    package init(rawValue: UInt8) {
        self.rawValue = rawValue
    }

    /// SPNEGO, RPC_C_AUTHN_GSS_NEGOTIATE.
    package static let negotiate = RPCAuthType(rawValue: 9)
    /// NTLM, RPC_C_AUTHN_WINNT.
    package static let ntlm = RPCAuthType(rawValue: 10)
    /// RPC_C_AUTHN_GSS_KERBEROS.
    package static let kerberos = RPCAuthType(rawValue: 16)
}

/// What protects each PDU ([MS-RPCE] 2.2.1.1.8).
package enum RPCAuthLevel: UInt8, Sendable, Hashable, Comparable, CaseIterable {
    case none = 1
    case connect = 2
    case call = 3
    case packet = 4
    /// Each PDU is signed.
    case packetIntegrity = 5
    /// Each PDU is signed and its stub encrypted.
    case packetPrivacy = 6

    package static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}

/// The end of a PDU: `sec_trailer` and what it announces (C706, section 13.2.6.1; [MS-RPCE] 2.2.2.11).
package struct RPCVerifier: Hashable, Sendable {
    /// Size of `sec_trailer` in bytes.
    package static let trailerSize = 8

    package var type: RPCAuthType
    package var level: RPCAuthLevel
    /// Bytes between the PDU's body and the trailer.
    package var paddingLength: UInt8
    /// Tells the security contexts of one connection apart.
    package var contextID: UInt32
    /// A token while signing in, a signature afterwards.
    package var value: [UInt8]

    package init(
        type: RPCAuthType,
        level: RPCAuthLevel,
        contextID: UInt32,
        value: [UInt8],
        paddingLength: UInt8 = 0
    ) {
        self.type = type
        self.level = level
        self.paddingLength = paddingLength
        self.contextID = contextID
        self.value = value
    }

    /// Writes trailer and value.
    func write(to bytes: inout [UInt8]) {
        bytes += [self.type.rawValue, self.level.rawValue, self.paddingLength, 0]
        bytes.appendLittleEndian(self.contextID)
        bytes += self.value
    }
}
