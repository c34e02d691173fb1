/// STRINGBINDING, [MS-DCOM] 2.2.19.3: one way to an object exporter.
package struct StringBinding: Sendable, Hashable {
    /// Tower identifiers of C706 appendix I that occur.
    package static let tcp: UInt16 = 0x07
    package static let namedPipe: UInt16 = 0x0F

    package var tower: UInt16
    /// `host`, `host[port]`, or a pipe's name; chosen by the server, who may be hostile.
    package var address: String

    package init(tower: UInt16, address: String) {
        self.tower = tower
        self.address = address
    }

    /// Host and port of a TCP binding; nil for other protocols and for what is neither `host` nor `host[port]`.
    ///
    /// An IPv6 literal may stand in brackets of its own: `[2001:db8::1][49152]`.
    package var tcpEndpoint: (host: String, port: Int?)? {
        guard self.tower == Self.tcp else { return nil }
        var host = self.address[...]
        var port: Int?
        if host.hasSuffix("]"), let open = host.lastIndex(of: "[") {
            let digits = host[host.index(after: open)...].dropLast()
            if digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) {
                guard let number = UInt16(digits), number > 0 else { return nil }
                port = Int(number)
                host = host[..<open]
            }
        }
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        guard !host.isEmpty, !host.contains("["), !host.contains("]") else { return nil }
        return (String(host), port)
    }
}

/// SECURITYBINDING, [MS-DCOM] 2.2.19.4: an authentication service that the exporter takes.
package struct SecurityBinding: Sendable, Hashable {
    package var authenticationService: UInt16
    /// Reserved; 0xFFFF.
    package var authorizationService: UInt16
    package var principalName: String

    package init(authenticationService: UInt16, authorizationService: UInt16 = 0xFFFF, principalName: String = "") {
        self.authenticationService = authenticationService
        self.authorizationService = authorizationService
        self.principalName = principalName
    }
}

/// DUALSTRINGARRAY, [MS-DCOM] 2.2.19: string bindings, then security bindings.
package struct DualStringArray: NDRCodable {
    package var stringBindings: [StringBinding]
    package var securityBindings: [SecurityBinding]

    package init(stringBindings: [StringBinding] = [], securityBindings: [SecurityBinding] = []) {
        self.stringBindings = stringBindings
        self.securityBindings = securityBindings
    }

    /// The form of NDR, with a conformance count before it.
    package init(from reader: inout NDRReader) throws(NDRError) {
        let room = try reader.count(ofElementSize: 2)
        let entries = Int(try reader.uint16())
        let securityOffset = Int(try reader.uint16())
        guard entries == room else {
            throw .invalid(offset: reader.offset, "\(entries) entries in a DUALSTRINGARRAY of \(room)")
        }
        try self.init(try reader.bytes(entries * 2), securityOffset: securityOffset)
    }

    /// The form of NDR, with a conformance count before it.
    package func encode(to writer: inout NDRWriter) {
        let (words, securityOffset) = self.words()
        writer.count(words.count)
        writer.uint16(UInt16(words.count))
        writer.uint16(UInt16(securityOffset))
        for word in words { writer.uint16(word) }
    }

    /// The form of object references, without a count before it ([MS-DCOM] 2.2.19.1).
    static func decodePacked(from reader: inout NDRReader) throws(NDRError) -> DualStringArray {
        let entries = Int(try reader.uint16())
        let securityOffset = Int(try reader.uint16())
        return try DualStringArray(try reader.bytes(entries * 2), securityOffset: securityOffset)
    }

    func encodePacked(to writer: inout NDRWriter) {
        let (words, securityOffset) = self.words()
        writer.uint16(UInt16(words.count))
        writer.uint16(UInt16(securityOffset))
        for word in words { writer.uint16(word) }
    }

    // MARK: - The array of words

    /// - Parameter bytes: `wNumEntries` words, already bounded by the message.
    private init(_ bytes: ArraySlice<UInt8>, securityOffset: Int) throws(NDRError) {
        let count = bytes.count / 2
        guard securityOffset <= count else {
            throw .invalid(offset: 0, "security bindings at \(securityOffset) of \(count) in a DUALSTRINGARRAY")
        }
        let middle = bytes.startIndex + securityOffset * 2
        var strings = WordScanner(bytes[bytes.startIndex..<middle])
        self.stringBindings = []
        // A zero, or the end of the room, ends the list.
        while let tower = strings.next(), tower != 0 {
            self.stringBindings.append(StringBinding(tower: tower, address: try strings.string()))
        }
        var security = WordScanner(bytes[middle...])
        self.securityBindings = []
        while let service = security.next(), service != 0 {
            guard let authorization = security.next() else {
                throw .invalid(offset: 0, "a security binding that ends after its first word")
            }
            self.securityBindings.append(
                SecurityBinding(
                    authenticationService: service,
                    authorizationService: authorization,
                    principalName: try security.string()
                )
            )
        }
    }

    /// More than 65,535 words cannot be described; bindings that would go beyond are left out.
    private func words() -> (words: [UInt16], securityOffset: Int) {
        var words: [UInt16] = []
        let limit = Int(UInt16.max) - 2
        for binding in self.stringBindings {
            let new = [binding.tower] + Array(binding.address.utf16) + [0]
            if words.count + new.count <= limit { words += new }
        }
        words.append(0)
        let securityOffset = words.count
        for binding in self.securityBindings {
            let name = Array(binding.principalName.utf16)
            let new = [binding.authenticationService, binding.authorizationService] + name + [0]
            if words.count + new.count <= limit { words += new }
        }
        words.append(0)
        return (words, securityOffset)
    }
}

/// Reads little-endian words and zero-terminated strings of them.
private struct WordScanner {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) {
        self.rest = bytes
    }

    mutating func next() -> UInt16? {
        guard self.rest.count >= 2 else { return nil }
        let first = self.rest.startIndex
        defer { self.rest = self.rest[(first + 2)...] }
        return UInt16(self.rest[first]) | UInt16(self.rest[first + 1]) << 8
    }

    mutating func string() throws(NDRError) -> String {
        var units: [UInt16] = []
        while let unit = self.next() {
            if unit == 0 { return String(decoding: units, as: UTF16.self) }
            units.append(unit)
        }
        throw .invalid(offset: 0, "a string without an end in a DUALSTRINGARRAY")
    }
}
