import Testing

@testable import SSP

@Suite("MD4, RC4 and comparison")
struct DigestTests {
    /// RFC 1320 section A.5.
    @Test(arguments: [
        ("", "31d6cfe0d16ae931b73c59d7e0c089c0"),
        ("a", "bde52cb31de33e46245e05fbdbd6fb24"),
        ("abc", "a448017aaf21d8525fc10ae87aa6729d"),
        ("message digest", "d9130a8164549fe818874806e1c7014b"),
        ("abcdefghijklmnopqrstuvwxyz", "d79e1c308aa5bbcdeea8ed63df412da9"),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "043f8582f241db351ce627e153e7f0e4"),
        (
            "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
            "e33b4ddc9c38f2199c3e7b164fcc0536"
        ),
    ])
    func md4OfRFC1320(message: String, digest: String) {
        #expect(hexText(MD4.hash(Array(message.utf8))) == digest)
    }

    /// RFC 6229 section 2, for keys of 40, 128 and 256 bits.
    @Test(arguments: [
        (
            "0102030405",
            [
                (0, "b2396305f03dc027ccc3524a0a1118a8"), (16, "6982944f18fc82d589c403a47a0d0919"),
                (240, "28cb1132c96ce286421dcaadb8b69eae"), (1008, "45129048e6a0ed0b56b490338f078da5"),
                (4096, "ff25b58995996707e51fbdf08b34d875"),
            ]
        ),
        (
            "0102030405060708090a0b0c0d0e0f10",
            [
                (0, "9ac7cc9a609d1ef7b2932899cde41b97"), (16, "5248c4959014126a6e8a84f11d1a9e1c"),
                (240, "065902e4b620f6cc36c8589f66432f2b"), (1008, "e7a72574f8782ae26aabcf9ebcd66065"),
                (4096, "a36a4c301ae8ac13610ccbc12256cacc"),
            ]
        ),
        (
            "1ada31d5cf688221c109163908ebe51debb46227c6cc8b37641910833222772a",
            [
                (0, "dd5bcb0018e922d494759d7c395d02d3"), (16, "c8446f8f77abf737685353eb89a1c9eb"),
                (240, "af3e30f9c095045938151575c3fb9098"), (1008, "5f40d59ec1b03b33738efa60b2255d31"),
                (4096, "370b1c1fe655916d97fd0d47ca1d72b8"),
            ]
        ),
    ])
    func rc4OfRFC6229(key: String, expected: [(Int, String)]) {
        var cipher = RC4(key: hex(key))
        let stream = cipher.applied(to: [UInt8](repeating: 0, count: 4112))
        for (offset, bytes) in expected {
            #expect(hexText(stream[offset..<offset + 16]) == bytes, "at offset \(offset)")
        }
    }

    @Test("The key stream goes on from call to call, and a copy has a stream of its own")
    func rc4Continues() {
        let key = hex("0102030405060708090a0b0c0d0e0f10")
        var whole = RC4(key: key)
        let expected = whole.applied(to: [UInt8](repeating: 0, count: 700))

        var parts = RC4(key: key)
        var stream: [UInt8] = []
        var copy = parts
        for size in [0, 1, 2, 3, 250, 444] {
            stream += parts.applied(to: [UInt8](repeating: 0, count: size))
        }
        #expect(stream == expected)
        #expect(copy.applied(to: [0, 0, 0]) == Array(expected.prefix(3)))
    }

    @Test func comparison() {
        #expect(Digests.constantTimeEqual([1, 2, 3], [1, 2, 3]))
        #expect(!Digests.constantTimeEqual([1, 2, 3], [1, 2, 4]))
        #expect(!Digests.constantTimeEqual([0x81], [0x01]))
        #expect(!Digests.constantTimeEqual([1, 2, 3], [1, 2]))
        #expect(Digests.constantTimeEqual([UInt8](), [UInt8]()))
    }
}
