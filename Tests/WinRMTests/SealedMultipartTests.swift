import Testing
import WinRM

@Suite struct SealedMultipartTests {
    private static let signature = Array(1...16) as [UInt8]
    private static let ciphertext = "\r\n--Encrypted Boundary--\r\n\0\u{7F}x".bytes

    /// A body as hosts write it, put together by hand.
    private static func body(
        tab: String = "\t",
        length: String = "\(SealedMultipartTests.ciphertext.count)",
        signatureLength: [UInt8] = [16, 0, 0, 0],
        tail: String = "--Encrypted Boundary--\r\n"
    ) -> [UInt8] {
        let head = """
            --Encrypted Boundary\r
            \(tab)Content-Type: application/HTTP-SPNEGO-session-encrypted\r
            \(tab)OriginalContent: type=application/soap+xml;charset=UTF-8;Length=\(length)\r
            --Encrypted Boundary\r
            \(tab)Content-Type: application/octet-stream\r

            """
        return head.bytes + signatureLength + Self.signature + Self.ciphertext + tail.bytes
    }

    private static func failure(_ bytes: [UInt8]) -> MultipartError? {
        do throws(MultipartError) {
            _ = try SealedMultipart.decode(bytes)
            return nil
        } catch {
            return error
        }
    }

    @Test func writesWhatWindowsExpects() {
        let part = SealedMultipart(signature: Self.signature, ciphertext: Self.ciphertext)
        #expect(part.encoded() == Self.body(tab: "\t"))
        #expect(
            SealedMultipart.contentType
                == #"multipart/encrypted;protocol="application/HTTP-SPNEGO-session-encrypted";boundary="Encrypted Boundary""#
        )
    }

    @Test(
        arguments: ["\t", "", " "],
        ["--Encrypted Boundary--\r\n", "--Encrypted Boundary--", "\r\n--Encrypted Boundary--\r\n"]
    )
    func readsWhatHostsWrite(tab: String, tail: String) throws {
        let part = try SealedMultipart.decode(Self.body(tab: tab, tail: tail))
        #expect(part.originalType == "application/soap+xml;charset=UTF-8")
        #expect(part.signature == Self.signature)
        #expect(part.ciphertext == Self.ciphertext)
    }

    @Test func refusesEveryTruncation() {
        let body = Self.body(tail: "--Encrypted Boundary--")
        for length in 0..<body.count {
            #expect(Self.failure(Array(body[..<length])) != nil, "accepted \(length) bytes")
        }
    }

    @Test(arguments: ["", "-1", "x", "4294967296", "99999999999999999999", "0x10", "1 1", "29;Length=29"])
    func refusesAbsurdLengths(length: String) {
        #expect(Self.failure(Self.body(length: length)) != nil)
    }

    /// Found by fuzzing: a parameter that is nothing but `=` trapped.
    @Test(arguments: ["29;=", "29;==;=x;", "29;;;"])
    func takesEmptyParameters(length: String) throws {
        #expect(try SealedMultipart.decode(Self.body(length: length)).ciphertext == Self.ciphertext)
    }

    @Test(arguments: [[0, 0, 0, 0], [0xFF, 0xFF, 0xFF, 0xFF], [0, 0, 0, 0x80], [1, 1, 0, 0]] as [[UInt8]])
    func refusesAbsurdSignatureLengths(length: [UInt8]) {
        guard case .invalidLength? = Self.failure(Self.body(signatureLength: length)) else {
            Issue.record("accepted \(length)")
            return
        }
    }

    @Test func refusesALengthThatDoesNotEndAtTheBoundary() {
        #expect(Self.failure(Self.body(length: "\(Self.ciphertext.count - 1)")) == .missing("the closing boundary"))
        #expect(Self.failure(Self.body(length: "\(Self.ciphertext.count + 1)")) != nil)
    }

    @Test func refusesSeveralMessages() {
        let body = Self.body(tail: "")
        #expect(Self.failure(body + Self.body()) == .severalMessages)
        #expect(Self.failure(Self.body() + Self.body()) == .severalMessages)
    }

    @Test func refusesOtherProtocols() {
        let body = Self.body().text.replacing("SPNEGO", with: "Kerberos")
        #expect(Self.failure(body.bytes) == .unsupportedProtocol)
    }

    @Test func boundsTheHeaders() {
        let long = "--Encrypted Boundary\r\nX: " + String(repeating: "x", count: 100_000)
        #expect(Self.failure(long.bytes) == .invalidHeader)
        #expect(Self.failure(Array(repeating: 0x0A, count: 100_000)) != nil)
    }

    @Test func recognisesSealedBodies() {
        #expect(SealedMultipart.isSealed(contentType: SealedMultipart.contentType))
        #expect(SealedMultipart.isSealed(contentType: "Multipart/Encrypted ; protocol=x"))
        #expect(!SealedMultipart.isSealed(contentType: "multipart/encryptedx"))
        #expect(!SealedMultipart.isSealed(contentType: "application/soap+xml"))
    }
}
