package import SSP

/// Signs and encrypts the fragments of one security context, either side ([MS-RPCE] 3.3.1.5.2).
///
/// Fragments must be handed over in the order in which they travel. With NTLM the signature always covers the whole
/// PDU but itself: header, body, padding and trailer, whether or not header signing was negotiated. Packet privacy
/// encrypts the stub and its padding.
package struct RPCSecurityContext: Sendable {
    package let type: RPCAuthType
    /// ``RPCAuthLevel/packetIntegrity`` or ``RPCAuthLevel/packetPrivacy``.
    package let level: RPCAuthLevel
    /// `auth_context_id` of the trailers.
    package let contextID: UInt32
    private(set) var session: NTLMSession

    /// Stubs are padded to this, as Windows does ([MS-RPCE] 2.2.2.11 asks for 4).
    static let alignment = 16
    /// What a verifier takes in bytes, without padding.
    static let verifierSize = RPCVerifier.trailerSize + NTLMSession.signatureSize

    /// - Parameter session: of the NTLM exchange that ended just now, on the side that is ours.
    package init(
        session: NTLMSession,
        type: RPCAuthType = .ntlm,
        level: RPCAuthLevel = .packetPrivacy,
        contextID: UInt32
    ) {
        precondition(level >= .packetIntegrity, "weaker levels have no verifier that could be checked")
        self.session = session
        self.type = type
        self.level = level
        self.contextID = contextID
    }

    /// Finishes a fragment that was just written: padding, encryption, trailer, signature, lengths.
    ///
    /// - Parameters:
    ///   - bytes: the fragment is what begins at `start`; its stub, without padding, ends with the array.
    ///   - start: where the fragment's header begins.
    ///   - stubStart: where its stub begins.
    package mutating func seal(
        _ bytes: inout [UInt8],
        from start: Int,
        stubStart: Int
    ) throws(NTLMError) {
        let padding = -(bytes.count - stubStart) & (Self.alignment - 1)
        bytes.append(contentsOf: repeatElement(0, count: padding))
        let stubEnd = bytes.count
        RPCVerifier(
            type: self.type,
            level: self.level,
            contextID: self.contextID,
            value: [],
            paddingLength: UInt8(padding)
        ).write(to: &bytes)
        let length = bytes.count - start + NTLMSession.signatureSize
        bytes.overwriteLittleEndian(UInt16(length), at: start + 8)
        bytes.overwriteLittleEndian(UInt16(NTLMSession.signatureSize), at: start + 10)
        let message = Array(bytes[start...])
        switch self.level {
        case .packetPrivacy:
            let (signature, ciphertext) = try self.session.seal(Array(bytes[stubStart..<stubEnd]), signedAs: message)
            bytes.replaceSubrange(stubStart..<stubEnd, with: ciphertext)
            bytes += signature
        default:
            bytes += try self.session.sign(message)
        }
    }

    /// Verifies a fragment of the peer, and decrypts its stub in place.
    ///
    /// Throws ``RPCSecurityError``; the context is of no use after `signature`.
    package mutating func open(_ fragment: inout RPCFragment) throws(RPCSecurityError) {
        guard let verifier = fragment.verifier else { throw .missingVerifier }
        guard verifier.type == self.type, verifier.level == self.level, verifier.contextID == self.contextID else {
            throw .otherContext(type: verifier.type, level: verifier.level, contextID: verifier.contextID)
        }
        let stubStart = fragment.stubStart
        let signatureStart = fragment.bytes.count - verifier.value.count
        let stubEnd = signatureStart - RPCVerifier.trailerSize
        guard stubStart <= stubEnd else { throw .missingStub }
        do throws(NTLMError) {
            switch self.level {
            case .packetPrivacy:
                var message = Array(fragment.bytes[..<signatureStart])
                _ = try self.session.unseal(
                    Array(fragment.bytes[stubStart..<stubEnd]),
                    signature: verifier.value,
                    message: { plaintext in
                        message.replaceSubrange(stubStart..<stubEnd, with: plaintext)
                        return message
                    }
                )
                fragment.bytes.replaceSubrange(stubStart..<stubEnd, with: message[stubStart..<stubEnd])
            default:
                try self.session.verify(Array(fragment.bytes[..<signatureStart]), signature: verifier.value)
            }
        } catch {
            throw .signature(error)
        }
    }
}

/// Why a fragment of the peer is not trusted.
package enum RPCSecurityError: Error, Sendable, Equatable {
    /// There is no verifier where one is due.
    case missingVerifier
    /// The verifier belongs to another security context, or is of another kind.
    case otherContext(type: RPCAuthType, level: RPCAuthLevel, contextID: UInt32)
    /// The verifier begins before the stub does, or the PDU is of a kind that is never signed.
    case missingStub
    /// The signature is wrong, or the PDU came twice or out of order.
    case signature(NTLMError)
}

extension RPCSecurityError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .missingVerifier: "the PDU has no verifier"
        case .otherContext(let type, let level, let contextID):
            "the verifier is of another context (type \(type.rawValue), level \(level.rawValue), id \(contextID))"
        case .missingStub: "the verifier begins before the stub"
        case .signature(let error): "\(error)"
        }
    }
}
