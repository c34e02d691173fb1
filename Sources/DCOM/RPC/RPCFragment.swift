/// One PDU as it travels: the bytes, with a header and lengths that were checked.
package struct RPCFragment: Hashable, Sendable {
    /// The longest fragment that Windows sends and offers to take, and so do we ([MS-RPCE] 3.3.1.5.2).
    package static let defaultMaximum = 5840
    /// Every implementation takes at least this much (C706, section 12.6.3.1, MustRecvFragSize).
    package static let requiredMaximum = 1432

    package let header: RPCHeader
    /// All of it, header and verifier included. The security context decrypts in place.
    package internal(set) var bytes: [UInt8]
    /// The security trailer and its value; nil without.
    package let verifier: RPCVerifier?
    /// Where the body ends, and its padding or the verifier begins.
    let bodyEnd: Int

    /// Takes exactly one PDU.
    package init(_ bytes: [UInt8], maximumFragment: Int = Int(UInt16.max)) throws(RPCDecodingError) {
        let header = try RPCHeader(bytes, maximumFragment: maximumFragment)
        guard bytes.count == Int(header.fragmentLength) else { throw .truncated("fragment") }
        self.header = header
        self.bytes = bytes
        guard header.authLength > 0 else {
            self.verifier = nil
            self.bodyEnd = bytes.count
            return
        }
        let valueStart = bytes.count - Int(header.authLength)
        let trailerStart = valueStart - RPCVerifier.trailerSize
        guard let level = RPCAuthLevel(rawValue: bytes[trailerStart + 1]) else {
            throw .invalid("authentication level \(bytes[trailerStart + 1]) is unknown")
        }
        let padding = bytes[trailerStart + 2]
        guard Int(padding) <= trailerStart - RPCHeader.size else { throw .padding(Int(padding)) }
        var contextID: UInt32 = 0
        for position in 0..<4 { contextID |= UInt32(bytes[trailerStart + 4 + position]) << UInt32(8 * position) }
        self.verifier = RPCVerifier(
            type: RPCAuthType(rawValue: bytes[trailerStart]),
            level: level,
            contextID: contextID,
            value: Array(bytes[valueStart...]),
            paddingLength: padding
        )
        self.bodyEnd = trailerStart - Int(padding)
    }

    /// What lies between the common header and the padding or the verifier.
    package var body: ArraySlice<UInt8> { self.bytes[RPCHeader.size..<self.bodyEnd] }

    /// Where the part begins that packet privacy encrypts: behind the fields that every PDU of the type has.
    var stubStart: Int {
        switch self.header.type {
        case .request:
            RPCRequest.headerSize + (self.header.flags.contains(.objectUUID) ? GUID.size : 0)
        case .response: RPCResponse.headerSize
        case .fault: RPCFault.headerSize
        default: self.bytes.count
        }
    }

    /// Takes PDUs apart that lie behind one another, as ``RPCFragmenter`` writes them.
    package static func split(_ bytes: [UInt8]) throws(RPCDecodingError) -> [RPCFragment] {
        var fragments: [RPCFragment] = []
        var start = 0
        while start < bytes.count {
            let length = Int(try RPCHeader(bytes[start...], maximumFragment: Int(UInt16.max)).fragmentLength)
            guard length <= bytes.count - start else { throw .truncated("fragment") }
            fragments.append(try RPCFragment(Array(bytes[start..<start + length])))
            start += length
        }
        return fragments
    }
}
