/// The `multipart/encrypted` body that carries one sealed message ([MS-WSMV] 2.2.9.1).
///
/// ```
/// --Encrypted Boundary
/// Content-Type: application/HTTP-SPNEGO-session-encrypted
/// OriginalContent: type=application/soap+xml;charset=UTF-8;Length=N
/// --Encrypted Boundary
/// Content-Type: application/octet-stream
/// <signature length, 32 bits little-endian><signature><ciphertext>--Encrypted Boundary--
/// ```
///
/// It is not MIME to the letter: there is no empty line after the headers and no line end before the closing boundary,
/// and the ciphertext may contain anything, the boundary included. So it is sliced by the lengths that it states.
package struct SealedMultipart: Sendable, Hashable {
    /// The boundary that Windows uses and expects, with the space in it.
    package static let boundary = "Encrypted Boundary"
    /// The protocol of sealing with the security context of `Negotiate`.
    package static let spnegoProtocol = "application/HTTP-SPNEGO-session-encrypted"
    /// The value of the HTTP header `Content-Type` around it.
    package static let contentType =
        "multipart/encrypted;protocol=\"\(Self.spnegoProtocol)\";boundary=\"\(Self.boundary)\""
    /// The content type of what is sealed.
    package static let soapContentType = "application/soap+xml;charset=UTF-8"

    /// A signature is 16 bytes with NTLM and about 60 with Kerberos.
    package static let maximumSignatureLength = 256
    /// The header lines of both parts; real ones are about 200 bytes.
    package static let maximumHeaderLength = 1024

    /// The content type of the plaintext, as `OriginalContent` states it.
    package var originalType: String
    package var signature: [UInt8]
    package var ciphertext: [UInt8]

    package init(originalType: String = Self.soapContentType, signature: [UInt8], ciphertext: [UInt8]) {
        self.originalType = originalType
        self.signature = signature
        self.ciphertext = ciphertext
    }

    /// The body's bytes. The lengths of plaintext and ciphertext are the same, as they are with NTLM.
    ///
    /// Header lines begin with a tab, as Windows writes them: hosts take them with and without, well-known Python
    /// clients only with it.
    package func encoded() -> [UInt8] {
        let head = """
            --\(Self.boundary)\r
            \tContent-Type: \(Self.spnegoProtocol)\r
            \tOriginalContent: type=\(self.originalType);Length=\(self.ciphertext.count)\r
            --\(Self.boundary)\r
            \tContent-Type: application/octet-stream\r

            """
        var bytes: [UInt8] = []
        bytes.reserveCapacity(head.utf8.count + 4 + self.signature.count + self.ciphertext.count + 32)
        bytes.append(contentsOf: head.utf8)
        let length = UInt32(self.signature.count)
        for shift in stride(from: 0, to: 32, by: 8) { bytes.append(UInt8(truncatingIfNeeded: length >> UInt32(shift))) }
        bytes.append(contentsOf: self.signature)
        bytes.append(contentsOf: self.ciphertext)
        bytes.append(contentsOf: "--\(Self.boundary)--\r\n".utf8)
        return bytes
    }

    /// Whether an HTTP `Content-Type` announces a sealed body.
    package static func isSealed(contentType: String) -> Bool {
        contentType.prefix { $0 != ";" }.lowercased().trimmed == "multipart/encrypted"
    }

    /// Reads a body with exactly one sealed message.
    ///
    /// Header lines may begin with white space and the final line end may be missing, as hosts differ in both.
    ///
    /// - Throws: ``MultipartError`` that says which part is wrong.
    package static func decode(_ bytes: [UInt8]) throws(MultipartError) -> SealedMultipart {
        if let (start, length) = Self.usualHead(of: bytes) {
            return try Self.decodePayload(bytes, at: start, originalType: Self.soapContentType, length: length)
        }
        var reader = LineReader(bytes: bytes)
        try reader.expectBoundary()
        let first = try reader.headers()
        guard let type = first["content-type"] else { throw .missing("Content-Type of the first part") }
        guard type.lowercased() == Self.spnegoProtocol.lowercased() else { throw .unsupportedProtocol }
        guard let original = first["originalcontent"] else { throw .missing("OriginalContent") }
        let (originalType, length) = try Self.parseOriginalContent(original)
        let second = try reader.headers(whole: false)
        guard second["content-type"]?.lowercased() == "application/octet-stream" else {
            throw .missing("Content-Type of the second part")
        }
        return try Self.decodePayload(bytes, at: reader.position, originalType: originalType, length: length)
    }

    private static let usualStart = Array(
        "--\(Self.boundary)\r\n\tContent-Type: \(Self.spnegoProtocol)\r\n\tOriginalContent: type=\(Self.soapContentType);Length="
            .utf8
    )
    private static let usualEnd = Array("\r\n--\(Self.boundary)\r\n\tContent-Type: application/octet-stream\r\n".utf8)

    /// The head as Windows writes it to the letter: where the payload begins, and the length of the plaintext.
    ///
    /// nil for every other head, be it good or bad.
    private static func usualHead(of bytes: [UInt8]) -> (start: Int, length: Int)? {
        guard bytes.starts(with: Self.usualStart) else { return nil }
        var position = Self.usualStart.count
        var length = 0
        while position < bytes.count, (0x30...0x39).contains(bytes[position]) {
            length = length * 10 + Int(bytes[position] - 0x30)
            position += 1
            guard position - Self.usualStart.count <= 9 else { return nil }
        }
        guard position > Self.usualStart.count, bytes[position...].starts(with: Self.usualEnd) else { return nil }
        return (position + Self.usualEnd.count, length)
    }

    private static func decodePayload(
        _ bytes: [UInt8],
        at start: Int,
        originalType: String,
        length: Int
    ) throws(MultipartError) -> SealedMultipart {
        guard bytes.count - start >= 4 else { throw .truncated }
        let signatureLength = (0..<4).reduce(0) { $0 | Int(bytes[start + $1]) << (8 * $1) }
        guard (1...Self.maximumSignatureLength).contains(signatureLength) else {
            throw .invalidLength("signature", signatureLength)
        }
        let signatureStart = start + 4
        guard bytes.count - signatureStart >= signatureLength else { throw .truncated }
        let ciphertextStart = signatureStart + signatureLength
        guard bytes.count - ciphertextStart >= length else { throw .truncated }
        let end = ciphertextStart + length
        var tail = bytes[end...]
        if tail.starts(with: [0x0D, 0x0A]) { tail = tail.dropFirst(2) }
        let closing = Array("--\(Self.boundary)--".utf8)
        guard tail.starts(with: closing) else {
            throw tail.starts(with: closing.dropLast(2)) ? .severalMessages : .missing("the closing boundary")
        }
        guard tail.dropFirst(closing.count).allSatisfy({ $0 == 0x0D || $0 == 0x0A }) else { throw .severalMessages }
        return SealedMultipart(
            originalType: originalType,
            signature: Array(bytes[signatureStart..<ciphertextStart]),
            ciphertext: Array(bytes[ciphertextStart..<end])
        )
    }

    /// Takes `type=application/soap+xml;charset=UTF-8;Length=1234` apart.
    private static func parseOriginalContent(_ value: String) throws(MultipartError) -> (type: String, length: Int) {
        var type: [Substring] = []
        var length: Int?
        for parameter in value.split(separator: ";") {
            let pair = parameter.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = String(pair[0]).trimmed.lowercased()
            if name == "length", pair.count == 2 {
                let text = String(pair[1]).trimmed
                guard length == nil, (1...10).contains(text.utf8.count),
                    text.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
                    let value = Int(text)
                else { throw .invalidLength("OriginalContent", -1) }
                length = value
            } else {
                type.append(name == "type" && pair.count == 2 ? pair[1] : parameter)
            }
        }
        guard let length else { throw .missing("Length") }
        return (type.joined(separator: ";"), length)
    }
}

/// A `multipart/encrypted` body that cannot be read.
package enum MultipartError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The body ends before its stated lengths do.
    case truncated
    /// A header, parameter or boundary is not where it must be.
    case missing(StaticString)
    /// A length is absurd; -1 if it is not even a number.
    case invalidLength(StaticString, Int)
    /// The header lines are longer than ``SealedMultipart/maximumHeaderLength`` or not ASCII.
    case invalidHeader
    /// Sealed, but not by the context of `Negotiate`.
    case unsupportedProtocol
    /// More than one sealed message in one body.
    case severalMessages

    package var description: String {
        switch self {
        case .truncated: "the sealed body ends too early"
        case .missing(let what): "the sealed body lacks \(what)"
        case .invalidLength(let what, let value): "the sealed body states an impossible length (\(what): \(value))"
        case .invalidHeader: "the sealed body has unreadable part headers"
        case .unsupportedProtocol: "the body is sealed by a protocol other than \(SealedMultipart.spnegoProtocol)"
        case .severalMessages: "the sealed body carries more than one message"
        }
    }

    package static func == (left: Self, right: Self) -> Bool {
        left.description == right.description
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(self.description)
    }
}

/// Reads boundary and header lines from the front of a body.
private struct LineReader {
    let bytes: [UInt8]
    var position = 0

    private mutating func line() throws(MultipartError) -> String {
        let limit = min(self.bytes.count, SealedMultipart.maximumHeaderLength)
        var end = self.position
        while end < limit, self.bytes[end] != 0x0A { end += 1 }
        guard end < limit else { throw limit == self.bytes.count ? .truncated : .invalidHeader }
        let line = self.bytes[self.position..<end]
        guard line.allSatisfy({ $0 < 0x80 && ($0 >= 0x20 || $0 == 0x09 || $0 == 0x0D) }) else { throw .invalidHeader }
        self.position = end + 1
        return String(decoding: line, as: UTF8.self).trimmed
    }

    mutating func expectBoundary() throws(MultipartError) {
        guard try self.line() == "--" + SealedMultipart.boundary else { throw .missing("the opening boundary") }
    }

    /// Headers up to the next boundary, with names in lower case; with `whole: false` only the one line that comes
    /// before the payload.
    mutating func headers(whole: Bool = true) throws(MultipartError) -> [String: String] {
        var headers: [String: String] = [:]
        while true {
            let line = try self.line()
            if whole, line == "--" + SealedMultipart.boundary { return headers }
            if line.isEmpty { continue }
            guard let colon = line.firstIndex(of: ":") else { throw .invalidHeader }
            let name = String(line[..<colon]).trimmed.lowercased()
            let value = String(line[line.index(after: colon)...]).trimmed
            guard headers.updateValue(value, forKey: name) == nil else { throw .invalidHeader }
            if !whole { return headers }
        }
    }
}

extension String {
    /// Without spaces, tabs and carriage returns at either end.
    fileprivate var trimmed: String {
        var slice = self[...].utf8
        while let first = slice.first, first == 0x20 || first == 0x09 || first == 0x0D { slice.removeFirst() }
        while let last = slice.last, last == 0x20 || last == 0x09 || last == 0x0D { slice.removeLast() }
        return String(Substring(slice))
    }
}
