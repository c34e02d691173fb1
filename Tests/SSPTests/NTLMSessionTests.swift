import Testing

@testable import SSP

@Suite("Signing and sealing")
struct NTLMSessionTests {
    var client = NTLMSession(exportedSessionKey: Array(0..<16), role: .client)
    var server = NTLMSession(exportedSessionKey: Array(0..<16), role: .server)

    @Test("Many messages both ways, signed and sealed mixed")
    mutating func both() throws {
        for round in 0..<50 {
            let message = (0..<round * 37).map { UInt8(truncatingIfNeeded: $0 &* 7) }
            let (signature, ciphertext) = try self.client.seal(message)
            #expect(try self.server.unseal(ciphertext, signature: signature) == message)
            try self.client.verify(message, signature: self.server.sign(message))
            let (back, answer) = try self.server.seal(message)
            #expect(try self.client.unseal(answer, signature: back) == message)
        }
    }

    @Test("DCE/RPC: a part is sealed, the whole is signed")
    mutating func part() throws {
        let header: [UInt8] = [1, 2, 3]
        let trailer: [UInt8] = [9]
        let stub: [UInt8] = Array("stub data".utf8)
        let (signature, ciphertext) = try self.client.seal(stub, signedAs: header + stub + trailer)
        #expect(ciphertext.count == stub.count)
        let plaintext = try self.server.unseal(ciphertext, signature: signature) { header + $0 + trailer }
        #expect(plaintext == stub)

        let (next, more) = try self.client.seal(stub, signedAs: header + stub + trailer)
        #expect(throws: NTLMError.signatureMismatch) {
            try self.server.unseal(more, signature: next) { [0, 2, 3] + $0 + trailer }
        }
    }

    @Test("Every altered bit of a sealed message or its signature is found, and the session is over")
    func altered() throws {
        let plaintext = Array("every bit counts".utf8)
        for bit in 0..<(plaintext.count + 16) * 8 {
            var client = self.client
            var server = self.server
            let (signature, ciphertext) = try client.seal(plaintext)
            var whole = signature + ciphertext
            whole[bit / 8] ^= 1 << (bit % 8)
            #expect(throws: NTLMError.self, "bit \(bit)") {
                try server.unseal(Array(whole.dropFirst(16)), signature: Array(whole.prefix(16)))
            }
            let (good, sealed) = try client.seal(plaintext)
            #expect(throws: NTLMError.sessionBroken) { try server.unseal(sealed, signature: good) }
            #expect(throws: NTLMError.sessionBroken) { try server.seal(plaintext) }
        }
    }

    @Test("A replayed message is refused")
    mutating func replayed() throws {
        let (signature, ciphertext) = try self.client.seal([1, 2, 3])
        _ = try self.server.unseal(ciphertext, signature: signature)
        #expect(throws: NTLMError.sequenceMismatch(expected: 1, received: 0)) {
            try self.server.unseal(ciphertext, signature: signature)
        }
    }

    @Test("A replayed message with a corrected number is refused")
    mutating func replayedWithNumber() throws {
        let (signature, ciphertext) = try self.client.seal([1, 2, 3])
        _ = try self.server.unseal(ciphertext, signature: signature)
        var forged = signature
        forged[12] = 1
        #expect(throws: NTLMError.signatureMismatch) {
            try self.server.unseal(ciphertext, signature: forged)
        }
    }

    @Test("A message left out is noticed")
    mutating func skipped() throws {
        _ = try self.client.seal([1])
        let (signature, ciphertext) = try self.client.seal([2])
        #expect(throws: NTLMError.sequenceMismatch(expected: 0, received: 1)) {
            try self.server.unseal(ciphertext, signature: signature)
        }
    }

    @Test("A message sent back to its sender is refused")
    mutating func reflected() throws {
        let (signature, ciphertext) = try self.client.seal([1, 2, 3])
        #expect(throws: NTLMError.signatureMismatch) {
            try self.client.unseal(ciphertext, signature: signature)
        }
    }

    @Test("A signature of another size is refused", arguments: [0, 1, 15, 17, 60])
    func signatureSize(count: Int) {
        var server = self.server
        #expect(throws: NTLMError.self) {
            try server.verify([1], signature: [UInt8](repeating: 0, count: count))
        }
    }

    @Test("Nothing secret in descriptions")
    func descriptions() {
        let credential = NTLMCredential(username: "u", password: "hush-hush", domain: "D")
        let initiator = NTLMInitiator(credential: credential)
        var dumped = ""
        dump(initiator, to: &dumped)
        dump(credential, to: &dumped)
        dump(self.client, to: &dumped)
        dumped += "\(credential) \(initiator) \(String(reflecting: credential)) \(self.client)"
        #expect(!dumped.contains("hush"))
        #expect(!dumped.contains("exportedSessionKey"))
        #expect(dumped.contains("D\\u"))
    }
}
