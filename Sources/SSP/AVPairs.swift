/// A list of AV_PAIR structures, [MS-NLMP] 2.2.2.1: names and facts of the server, later extended by the client.
struct AVPairs: Sendable, Equatable {
    enum Identifier {
        static let end: UInt16 = 0
        static let netbiosComputerName: UInt16 = 1
        static let netbiosDomainName: UInt16 = 2
        static let dnsComputerName: UInt16 = 3
        static let dnsDomainName: UInt16 = 4
        static let dnsTreeName: UInt16 = 5
        static let flags: UInt16 = 6
        static let timestamp: UInt16 = 7
        static let targetName: UInt16 = 9
        static let channelBindings: UInt16 = 10
    }

    /// MsvAvFlags: the AUTHENTICATE_MESSAGE carries a MIC.
    static let micPresent: UInt32 = 0x2

    struct Pair: Sendable, Equatable {
        var identifier: UInt16
        var value: [UInt8]
    }

    var pairs: [Pair] = []

    init() {}

    /// Reads up to and including MsvAvEOL; what follows is not looked at.
    init(parsing bytes: ArraySlice<UInt8>, _ label: String) throws(NTLMError) {
        var rest = bytes
        while true {
            guard let identifier = rest.takeUInt16(), let count = rest.takeUInt16() else {
                throw .malformed("\(label): the list of AV pairs does not end")
            }
            guard identifier != Identifier.end else {
                return
            }
            guard Int(count) <= rest.count else {
                throw .malformed("\(label): AV pair \(identifier) is longer than the list")
            }
            self.pairs.append(Pair(identifier: identifier, value: Array(rest.prefix(Int(count)))))
            rest = rest.dropFirst(Int(count))
        }
    }

    /// The pairs and MsvAvEOL. Throws `tooLarge` when a value does not fit a 16-bit length.
    func encoded() throws(NTLMError) -> [UInt8] {
        var bytes: [UInt8] = []
        for pair in self.pairs {
            guard let count = UInt16(exactly: pair.value.count) else {
                throw .tooLarge(size: pair.value.count, limit: Int(UInt16.max))
            }
            bytes.append(littleEndian: pair.identifier)
            bytes.append(littleEndian: count)
            bytes += pair.value
        }
        bytes.append(littleEndian: UInt32(0))
        return bytes
    }

    subscript(identifier: UInt16) -> [UInt8]? {
        get {
            self.pairs.first { $0.identifier == identifier }?.value
        }
        set {
            self.pairs.removeAll { $0.identifier == identifier }
            if let newValue {
                self.pairs.append(Pair(identifier: identifier, value: newValue))
            }
        }
    }

    func text(_ identifier: UInt16) throws(NTLMError) -> String? {
        guard let value = self[identifier] else {
            return nil
        }
        guard let text = String(utf16LittleEndian: value) else {
            throw .malformed("AV pair \(identifier): odd number of bytes in UTF-16")
        }
        return text
    }

    /// MsvAvTimestamp, a FILETIME.
    func timestamp() throws(NTLMError) -> UInt64? {
        guard let value = self[Identifier.timestamp] else {
            return nil
        }
        guard value.count == 8 else {
            throw .malformed("MsvAvTimestamp: \(value.count) bytes instead of 8")
        }
        return value.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// MsvAvFlags, 0 when absent.
    func flags() throws(NTLMError) -> UInt32 {
        guard let value = self[Identifier.flags] else {
            return 0
        }
        guard value.count == 4 else {
            throw .malformed("MsvAvFlags: \(value.count) bytes instead of 4")
        }
        return value.reversed().reduce(0) { $0 << 8 | UInt32($1) }
    }
}

extension ArraySlice<UInt8> {
    fileprivate mutating func takeUInt16() -> UInt16? {
        guard self.count >= 2 else {
            return nil
        }
        let low = self.removeFirst()
        let high = self.removeFirst()
        return UInt16(low) | UInt16(high) << 8
    }
}
