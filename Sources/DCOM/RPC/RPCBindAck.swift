/// What became of one offered presentation context (C706, section 12.6.3.1, p_result_t; [MS-RPCE] 2.2.2.4).
package struct RPCContextResult: Hashable, Sendable {
    package enum Outcome: UInt16, Sendable {
        case acceptance = 0
        case userRejection = 1
        case providerRejection = 2
        /// The answer to bind time feature negotiation; `reason` holds the features' bits.
        case negotiateAck = 3
    }

    /// Why a provider rejects (C706, section 12.6.3.1, p_provider_reason_t).
    package enum Reason: UInt16, Sendable {
        case notSpecified = 0
        case abstractSyntaxNotSupported = 1
        case transferSyntaxesNotSupported = 2
        case localLimitExceeded = 3
    }

    /// One of ``Outcome``, or something newer.
    package var result: UInt16
    package var reason: UInt16
    /// The accepted syntax; zeros on a rejection.
    package var transferSyntax: RPCInterface

    static let size = 4 + RPCInterface.size

    package init(result: UInt16, reason: UInt16, transferSyntax: RPCInterface) {
        self.result = result
        self.reason = reason
        self.transferSyntax = transferSyntax
    }

    package static func accepted(_ syntax: RPCInterface = .ndr) -> Self {
        Self(result: Outcome.acceptance.rawValue, reason: 0, transferSyntax: syntax)
    }

    package static func rejected(_ reason: Reason) -> Self {
        Self(
            result: Outcome.providerRejection.rawValue,
            reason: reason.rawValue,
            transferSyntax: RPCInterface(.null)
        )
    }

    /// - Parameter features: bits of [MS-RPCE] 2.2.2.14.
    package static func negotiateAck(features: UInt16) -> Self {
        Self(result: Outcome.negotiateAck.rawValue, reason: features, transferSyntax: RPCInterface(.null))
    }

    package var isAccepted: Bool { self.result == Outcome.acceptance.rawValue }
}

extension RPCContextResult: CustomStringConvertible {
    package var description: String {
        switch Outcome(rawValue: self.result) {
        case .acceptance: "accepted with \(self.transferSyntax)"
        case .userRejection: "rejected by the service (reason \(self.reason))"
        case .negotiateAck: "features negotiated (\(self.reason))"
        case .providerRejection:
            switch Reason(rawValue: self.reason) {
            case .abstractSyntaxNotSupported: "rejected: the endpoint does not offer this interface"
            case .transferSyntaxesNotSupported: "rejected: none of the transfer syntaxes is supported"
            case .localLimitExceeded: "rejected: a limit of the host is exceeded"
            case .notSpecified, nil: "rejected (reason \(self.reason))"
            }
        case nil: "answered with the unknown result \(self.result)"
        }
    }
}

/// The body of bind_ack and alter_context_resp (C706, sections 12.6.4.4 and 12.6.4.2).
package struct RPCBindAck: Hashable, Sendable {
    /// The longest fragment that the server sends, in bytes.
    package var maximumTransmit: UInt16
    /// The longest fragment that the server takes, in bytes.
    package var maximumReceive: UInt16
    package var associationGroup: UInt32
    /// The port as text, or the name of a pipe; without the terminating zero. Empty in alter_context_resp.
    package var secondaryAddress: String
    /// In the order of the contexts that were offered.
    package var results: [RPCContextResult]

    package init(
        maximumTransmit: UInt16 = UInt16(RPCFragment.defaultMaximum),
        maximumReceive: UInt16 = UInt16(RPCFragment.defaultMaximum),
        associationGroup: UInt32,
        secondaryAddress: String = "",
        results: [RPCContextResult]
    ) {
        self.maximumTransmit = maximumTransmit
        self.maximumReceive = maximumReceive
        self.associationGroup = associationGroup
        self.secondaryAddress = secondaryAddress
        self.results = results
    }

    init(_ reader: inout NDRReader) throws(NDRError) {
        self.maximumTransmit = try reader.uint16()
        self.maximumReceive = try reader.uint16()
        self.associationGroup = try reader.uint32()
        let addressLength = Int(try reader.uint16())
        let address = try reader.bytes(addressLength)
        self.secondaryAddress = String(decoding: address.prefix { $0 != 0 }, as: UTF8.self)
        try reader.align(to: 4)
        let count = Int(try reader.uint8())
        try reader.skip(3)
        guard count * RPCContextResult.size <= reader.remaining else {
            throw .countTooLarge(
                offset: reader.offset,
                count: UInt32(count),
                elementSize: RPCContextResult.size,
                remaining: reader.remaining
            )
        }
        self.results = []
        self.results.reserveCapacity(count)
        for _ in 0..<count {
            self.results.append(
                RPCContextResult(
                    result: try reader.uint16(),
                    reason: try reader.uint16(),
                    transferSyntax: try RPCInterface(&reader)
                )
            )
        }
    }

    func write(to writer: inout NDRWriter) {
        precondition(self.results.count <= Int(UInt8.max), "at most 255 results fit into an answer")
        writer.uint16(self.maximumTransmit)
        writer.uint16(self.maximumReceive)
        writer.uint32(self.associationGroup)
        let address = Array(self.secondaryAddress.utf8)
        writer.uint16(address.isEmpty ? 0 : UInt16(address.count + 1))
        if !address.isEmpty {
            writer.bytes(address)
            writer.uint8(0)
        }
        writer.align(to: 4)
        writer.uint8(UInt8(self.results.count))
        writer.zeros(3)
        for result in self.results {
            writer.uint16(result.result)
            writer.uint16(result.reason)
            result.transferSyntax.write(to: &writer)
        }
    }
}

/// The body of bind_nak (C706, section 12.6.4.5; [MS-RPCE] 2.2.2.5 and 2.2.2.9).
package struct RPCBindNak: Hashable, Sendable {
    package struct Reason: RawRepresentable, Hashable, Sendable {
        package let rawValue: UInt16

        package init(rawValue: UInt16) {
            self.rawValue = rawValue
        }

        package static let notSpecified = Reason(rawValue: 0)
        package static let temporaryCongestion = Reason(rawValue: 1)
        package static let localLimitExceeded = Reason(rawValue: 2)
        package static let protocolVersionNotSupported = Reason(rawValue: 4)
        package static let authenticationTypeNotRecognized = Reason(rawValue: 8)
        package static let invalidChecksum = Reason(rawValue: 9)
    }

    package struct Version: Hashable, Sendable {
        package var major: UInt8
        package var minor: UInt8

        package init(major: UInt8, minor: UInt8) {
            self.major = major
            self.minor = minor
        }
    }

    package var reason: Reason
    /// Versions that the server speaks; Windows always names 5.0.
    package var versions: [Version]

    package init(reason: Reason, versions: [Version] = [Version(major: 5, minor: 0)]) {
        self.reason = reason
        self.versions = versions
    }

    init(_ reader: inout NDRReader) throws(NDRError) {
        self.reason = Reason(rawValue: try reader.uint16())
        self.versions = []
        // Some servers leave the list out.
        guard reader.remaining > 0 else { return }
        let count = Int(try reader.uint8())
        guard 2 * count <= reader.remaining else {
            throw .countTooLarge(
                offset: reader.offset,
                count: UInt32(count),
                elementSize: 2,
                remaining: reader.remaining
            )
        }
        self.versions.reserveCapacity(count)
        for _ in 0..<count {
            self.versions.append(Version(major: try reader.uint8(), minor: try reader.uint8()))
        }
    }

    func write(to writer: inout NDRWriter) {
        precondition(self.versions.count <= Int(UInt8.max), "at most 255 versions fit into a refusal")
        writer.uint16(self.reason.rawValue)
        writer.uint8(UInt8(self.versions.count))
        for version in self.versions {
            writer.uint8(version.major)
            writer.uint8(version.minor)
        }
    }
}

extension RPCBindNak.Reason: CustomStringConvertible {
    package var description: String {
        switch self {
        case .notSpecified: "no reason given"
        case .temporaryCongestion: "temporary congestion"
        case .localLimitExceeded: "a limit of the host is exceeded"
        case .protocolVersionNotSupported: "protocol version not supported"
        case .authenticationTypeNotRecognized: "authentication type not recognized"
        case .invalidChecksum: "invalid checksum"
        default: "reason \(self.rawValue)"
        }
    }
}
