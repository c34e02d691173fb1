/// The MD4 message digest, RFC 1320. Broken as a hash; NTLM needs it for the one-way function of a password.
enum MD4 {
    static let digestSize = 16
    private static let blockSize = 64

    static func hash(_ message: [UInt8]) -> [UInt8] {
        // RFC 1320 section 3.1 and 3.2: a 1 bit, zeros, then the length in bits.
        var padded = message
        padded.append(0x80)
        while padded.count % Self.blockSize != 56 {
            padded.append(0)
        }
        padded.append(littleEndian: UInt64(message.count) &* 8)

        var state: (a: UInt32, b: UInt32, c: UInt32, d: UInt32) = (0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476)
        var words = [UInt32](repeating: 0, count: 16)
        for block in stride(from: 0, to: padded.count, by: Self.blockSize) {
            for word in 0..<16 {
                let at = block + word * 4
                words[word] =
                    UInt32(padded[at]) | UInt32(padded[at + 1]) << 8 | UInt32(padded[at + 2]) << 16
                    | UInt32(padded[at + 3]) << 24
            }
            Self.compress(&state, words)
        }

        var digest: [UInt8] = []
        digest.reserveCapacity(Self.digestSize)
        for word in [state.a, state.b, state.c, state.d] {
            digest.append(littleEndian: word)
        }
        return digest
    }

    // RFC 1320 section 3.4: three rounds of sixteen steps; what differs are function, constant, order and shifts.
    private static let rounds: [(constant: UInt32, order: [Int], shifts: [UInt32])] = [
        (0, Array(0..<16), [3, 7, 11, 19]),
        (0x5a82_7999, [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15], [3, 5, 9, 13]),
        (0x6ed9_eba1, [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15], [3, 9, 11, 15]),
    ]

    private static func compress(
        _ state: inout (a: UInt32, b: UInt32, c: UInt32, d: UInt32),
        _ words: [UInt32]
    ) {
        var (a, b, c, d) = state
        for (round, parameters) in Self.rounds.enumerated() {
            for step in 0..<16 {
                let mixed: UInt32 =
                    switch round {
                    case 0: (b & c) | (~b & d)
                    case 1: (b & c) | (b & d) | (c & d)
                    default: b ^ c ^ d
                    }
                let sum = a &+ mixed &+ words[parameters.order[step]] &+ parameters.constant
                let shift = parameters.shifts[step % 4]
                (a, d, c, b) = (d, c, b, sum << shift | sum >> (32 - shift))
            }
        }
        state = (state.a &+ a, state.b &+ b, state.c &+ c, state.d &+ d)
    }
}
