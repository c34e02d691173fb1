import Crypto

/// Signing and sealing after authentication: two RC4 states and two sequence numbers, [MS-NLMP] 3.4.
///
/// A session belongs to one connection, and messages must be handed to it in the order in which they travel.
/// After any error from `unseal` or `verify` it refuses all further work with `sessionBroken`, because the cipher
/// states of the two sides have parted.
package struct NTLMSession: Sendable {
    /// Size of a NTLMSSP_MESSAGE_SIGNATURE, [MS-NLMP] 2.2.2.9.2.
    package static let signatureSize = 16

    /// ExportedSessionKey, 16 bytes. A secret.
    package let exportedSessionKey: [UInt8]

    private var outgoing: Half
    private var incoming: Half
    private var broken = false

    enum Role {
        case client
        case server
    }

    init(exportedSessionKey: [UInt8], role: Role) {
        let client = Half(exportedSessionKey: exportedSessionKey, .clientToServer)
        let server = Half(exportedSessionKey: exportedSessionKey, .serverToClient)
        self.exportedSessionKey = exportedSessionKey
        self.outgoing = role == .client ? client : server
        self.incoming = role == .client ? server : client
    }

    /// Encrypts and signs a message. Throws `sessionBroken` or `sequenceExhausted`.
    package mutating func seal(
        _ plaintext: [UInt8]
    ) throws(NTLMError) -> (signature: [UInt8], ciphertext: [UInt8]) {
        try self.seal(plaintext, signedAs: plaintext)
    }

    /// Encrypts `part`, and signs `message`, of which it is a part (packet privacy of DCE/RPC).
    ///
    /// Throws `sessionBroken` or `sequenceExhausted`.
    package mutating func seal(
        _ part: [UInt8],
        signedAs message: [UInt8]
    ) throws(NTLMError) -> (signature: [UInt8], ciphertext: [UInt8]) {
        try self.checkUsable()
        // [MS-NLMP] 3.4.3: the message takes its key stream before the checksum takes its own.
        var ciphertext = part
        self.outgoing.cipher.apply(to: &ciphertext)
        return (try self.outgoing.sign(message), ciphertext)
    }

    /// Decrypts a message and verifies its signature.
    ///
    /// Throws `signatureMismatch`, `sequenceMismatch` or `sessionBroken`.
    package mutating func unseal(_ ciphertext: [UInt8], signature: [UInt8]) throws(NTLMError) -> [UInt8] {
        try self.unseal(ciphertext, signature: signature, message: { $0 })
    }

    /// Decrypts `part`, and verifies the signature over the message that `message` builds around the plaintext.
    ///
    /// Throws `signatureMismatch`, `sequenceMismatch` or `sessionBroken`.
    package mutating func unseal(
        _ part: [UInt8],
        signature: [UInt8],
        message: (_ plaintext: [UInt8]) -> [UInt8]
    ) throws(NTLMError) -> [UInt8] {
        try self.checkUsable()
        var plaintext = part
        self.incoming.cipher.apply(to: &plaintext)
        try self.check(message(plaintext), signature: signature)
        return plaintext
    }

    /// Signs a message that travels in the clear. Throws `sessionBroken` or `sequenceExhausted`.
    package mutating func sign(_ message: [UInt8]) throws(NTLMError) -> [UInt8] {
        try self.checkUsable()
        return try self.outgoing.sign(message)
    }

    /// Verifies the signature of a message that travelled in the clear.
    ///
    /// Throws `signatureMismatch`, `sequenceMismatch` or `sessionBroken`.
    package mutating func verify(_ message: [UInt8], signature: [UInt8]) throws(NTLMError) {
        try self.checkUsable()
        try self.check(message, signature: signature)
    }

    private mutating func check(_ message: [UInt8], signature: [UInt8]) throws(NTLMError) {
        do throws(NTLMError) {
            try self.incoming.verify(message, signature: signature)
        } catch {
            self.broken = true
            throw error
        }
    }

    private func checkUsable() throws(NTLMError) {
        guard !self.broken else {
            throw .sessionBroken
        }
    }

    /// Puts the outgoing cipher back to its beginning, after a mechListMIC was made ([MS-SPNG] 3.3.5.1).
    ///
    /// Sequence numbers go on.
    mutating func resetOutgoingCipher() {
        self.outgoing.resetCipher()
    }

    /// Puts the incoming cipher back to its beginning, after a mechListMIC was verified ([MS-SPNG] 3.3.5.1).
    mutating func resetIncomingCipher() {
        self.incoming.resetCipher()
    }
}

extension NTLMSession: CustomStringConvertible, CustomReflectable {
    /// Says nothing: everything inside is secret.
    package var description: String {
        "NTLMSession"
    }

    package var customMirror: Mirror {
        Mirror(self, children: [])
    }
}

/// One direction of a session.
private struct Half: Sendable {
    private static let signatureVersion: UInt32 = 1
    private static let checksumSize = 8

    var cipher: RC4
    private let sealingKey: [UInt8]
    private let signingKey: SymmetricKey
    // One wider than on the wire, so that the last number can be told from none left.
    private var sequence: UInt64 = 0

    init(exportedSessionKey: [UInt8], _ direction: NTLMv2.Direction) {
        self.sealingKey = NTLMv2.sealingKey(exportedSessionKey: exportedSessionKey, direction)
        self.signingKey = SymmetricKey(
            data: NTLMv2.signingKey(exportedSessionKey: exportedSessionKey, direction)
        )
        self.cipher = RC4(key: self.sealingKey)
    }

    mutating func resetCipher() {
        self.cipher = RC4(key: self.sealingKey)
    }

    /// MAC with extended session security and key exchange, [MS-NLMP] 3.4.4.2; uses up one sequence number.
    mutating func sign(_ message: [UInt8]) throws(NTLMError) -> [UInt8] {
        guard let sequence = UInt32(exactly: self.sequence) else {
            throw .sequenceExhausted
        }
        self.sequence += 1
        var number: [UInt8] = []
        number.append(littleEndian: sequence)
        var function = HMAC<Insecure.MD5>(key: self.signingKey)
        function.update(data: number)
        function.update(data: message)
        var checksum = Array(function.finalize().prefix(Self.checksumSize))
        self.cipher.apply(to: &checksum)

        var signature: [UInt8] = []
        signature.reserveCapacity(NTLMSession.signatureSize)
        signature.append(littleEndian: Self.signatureVersion)
        signature += checksum
        signature += number
        return signature
    }

    mutating func verify(_ message: [UInt8], signature: [UInt8]) throws(NTLMError) {
        guard signature.count == NTLMSession.signatureSize else {
            throw .malformed("message signature: \(signature.count) bytes instead of \(NTLMSession.signatureSize)")
        }
        let received = signature.suffix(4).reversed().reduce(0) { $0 << 8 | UInt32($1) }
        guard UInt64(received) == self.sequence else {
            throw .sequenceMismatch(expected: UInt32(truncatingIfNeeded: self.sequence), received: received)
        }
        guard Digests.constantTimeEqual(try self.sign(message), signature) else {
            throw .signatureMismatch
        }
    }
}
