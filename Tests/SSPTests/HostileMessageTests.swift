import Testing

@testable import SSP

@Suite("Hostile NTLM messages")
struct HostileMessageTests {
    static func messages() throws -> [[UInt8]] {
        var pair = Pair()
        let negotiate = pair.initiator.negotiate()
        let challenge = try pair.acceptor.challenge(negotiate: negotiate)
        let (token, _) = try pair.initiator.authenticate(challenge: challenge)
        return [negotiate, challenge, token, NTLMv2VectorTests.challengeMessage, NTLMv2VectorTests.authenticateMessage]
    }

    /// Parses by message type, down to the AV pairs.
    static func parse(_ bytes: [UInt8], type: UInt8) throws {
        switch type {
        case 1: _ = try NegotiateMessage(parsing: bytes)
        case 2: _ = try NTLMChallengeInfo.parse(bytes)
        default:
            let message = try AuthenticateMessage(parsing: bytes)
            _ = try AVPairs(parsing: message.ntResponse.dropFirst(44), "test")
        }
    }

    @Test("Each proper prefix throws, the whole does not")
    func prefixes() throws {
        for message in try Self.messages() {
            let type = message[8]
            try Self.parse(message, type: type)
            for count in 0..<message.count {
                #expect(throws: NTLMError.self, "type \(type), \(count) of \(message.count)") {
                    try Self.parse(Array(message.prefix(count)), type: type)
                }
            }
        }
    }

    // Where the eight bytes of each field lie, and the flags that make the field count.
    static let fields: [(type: UInt8, positions: [Int])] = [(2, [12, 40]), (3, [12, 20, 28, 36, 44, 52])]

    @Test(
        "Hostile lengths and offsets throw",
        arguments: [
            (0xffff, 0), (0xffff, 0xffff_ffff), (1, 0xffff_ffff), (2, 0x7fff_ffff), (2, 0x8000_0000), (2, 0),
            (2, 11), (16, 47), (0xfffe, 0x0000_0058),
        ] as [(Int, UInt32)]
    )
    func fields(length: Int, offset: UInt32) throws {
        for message in try Self.messages() {
            let type = message[8]
            for position in Self.fields.first(where: { $0.type == type })?.positions ?? [] {
                var altered = message
                altered[position] = UInt8(truncatingIfNeeded: length)
                altered[position + 1] = UInt8(truncatingIfNeeded: length >> 8)
                for byte in 0..<4 {
                    altered[position + 4 + byte] = UInt8(truncatingIfNeeded: offset >> (8 * UInt32(byte)))
                }
                #expect(throws: NTLMError.self, "type \(type), field at \(position)") {
                    try Self.parse(altered, type: type)
                }
            }
        }
    }

    @Test("A payload that ends exactly with the message is fine, one byte more is not")
    func lastByte() throws {
        var message = NTLMv2VectorTests.challengeMessage
        try Self.parse(message, type: 2)
        message[40] += 1
        #expect(throws: NTLMError.self) { try Self.parse(message, type: 2) }
    }

    @Test("Size limit, other types, other signatures")
    func frame() throws {
        let padding = [UInt8](repeating: 0, count: NTLMReader.maximumMessageSize)
        for message in try Self.messages() {
            let type = message[8]
            let limit = NTLMReader.maximumMessageSize
            try Self.parse(Array((message + padding).prefix(limit)), type: type)
            #expect(throws: NTLMError.tooLarge(size: limit + 1, limit: limit)) {
                try Self.parse(Array((message + padding).prefix(limit + 1)), type: type)
            }
            var other = message
            other[8] = type % 3 + 1
            #expect(throws: NTLMError.self) { try Self.parse(other, type: type) }
            other = message
            other[7] = 1
            #expect(throws: NTLMError.self) { try Self.parse(other, type: type) }
        }
    }

    @Test(
        "AV pairs that do not end, or say they are longer than they are",
        arguments: ["", "00", "0000", "000000", "01000200", "0100020041", "0100ffff4100", "01000200410000", "07000800"]
    )
    func avPairs(bytes: String) {
        #expect(throws: NTLMError.self) { try AVPairs(parsing: hex(bytes)[...], "test") }
    }

    @Test("AV pairs of the wrong size")
    func avPairSizes() throws {
        let pairs = try AVPairs(
            parsing: hex("0700 0400 01020304 0600 0200 0102 0100 0300 410042 00000000")[...],
            "test"
        )
        #expect(throws: NTLMError.self) { try pairs.timestamp() }
        #expect(throws: NTLMError.self) { try pairs.flags() }
        #expect(throws: NTLMError.self) { try pairs.text(AVPairs.Identifier.netbiosComputerName) }
    }

    @Test("Text of an odd number of bytes")
    func oddText() throws {
        var message = NTLMv2VectorTests.authenticateMessage
        message[36] -= 1
        #expect(throws: NTLMError.self) { try Self.parse(message, type: 3) }
    }

    @Test("Unpaired surrogates in names are read, not trapped on")
    func surrogates() throws {
        var message = NTLMv2VectorTests.authenticateMessage
        message.replaceSubrange(0x54..<0x56, with: [0x00, 0xd8])
        #expect(try AuthenticateMessage(parsing: message).username == "\u{fffd}ser")
    }

    @Test("What does not fit a 16-bit length is refused before it is sent")
    func tooLong() {
        let long = String(repeating: "x", count: 40_000)
        var initiator = NTLMInitiator(credential: NTLMCredential(username: long, password: "p"))
        _ = initiator.negotiate()
        #expect(throws: NTLMError.self) {
            try initiator.authenticate(challenge: NTLMv2VectorTests.challengeMessage)
        }
        var spn = NTLMInitiator(credential: NTLMCredential(username: "u", password: "p"), targetName: long)
        _ = spn.negotiate()
        #expect(throws: NTLMError.self) { try spn.authenticate(challenge: NTLMv2VectorTests.challengeMessage) }
    }

    @Test("Random mutations of good messages never trap and never log in", arguments: [1, 2, 3] as [UInt64])
    func mutations(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        for round in 0..<3_000 {
            var pair = Pair()
            let target = round % 3 + 1
            var changed = false
            let result = Result {
                try pair.authenticate { number, bytes in
                    guard number == target else {
                        return bytes
                    }
                    let mutated = mutate(bytes, &generator)
                    changed = mutated != bytes
                    return mutated
                }
            }
            if changed, case .success = result {
                Issue.record("seed \(seed), round \(round): an altered message \(target) was accepted")
            }
        }
    }
}

/// Changes a message in one to four places, as a fuzzer would.
func mutate(_ bytes: [UInt8], _ generator: inout some RandomNumberGenerator) -> [UInt8] {
    var result = bytes
    let interesting: [UInt8] = [0, 1, 0x7f, 0x80, 0xff, 0x30, 0xa0, 0x82, 0x84]
    for _ in 0..<Int.random(in: 1...4, using: &generator) where !result.isEmpty {
        let index = Int.random(in: 0..<result.count, using: &generator)
        switch Int.random(in: 0..<6, using: &generator) {
        case 0: result[index] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
        case 1: result[index] = interesting.randomElement(using: &generator) ?? 0
        case 2: result[index] = UInt8.random(in: .min ... .max, using: &generator)
        case 3: result.remove(at: index)
        case 4: result.insert(interesting.randomElement(using: &generator) ?? 0, at: index)
        default: result.removeLast(Int.random(in: 0..<result.count, using: &generator) / 4)
        }
    }
    return result
}
