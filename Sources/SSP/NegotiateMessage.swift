/// NEGOTIATE_MESSAGE, [MS-NLMP] 2.2.1.1.
struct NegotiateMessage: Equatable {
    static let type: UInt32 = 1
    private static let name = "NEGOTIATE_MESSAGE"
    // Signature, type, flags, two fields; then VERSION when its flag is set.
    private static let headerSize = 32

    var flags: NegotiateFlags
    var version: NTLMVersion?

    init(flags: NegotiateFlags, version: NTLMVersion?) {
        self.flags = flags
        self.version = version
    }

    init(parsing bytes: [UInt8]) throws(NTLMError) {
        let reader = try NTLMReader(bytes, type: Self.type, name: Self.name, minimumSize: Self.headerSize)
        self.flags = NegotiateFlags(rawValue: try reader.uint32(at: 12))
        self.version = self.flags.contains(.version) ? try reader.version(at: Self.headerSize) : nil
        // Domain and workstation are hints that nobody needs; only their bounds matter.
        if self.flags.contains(.domainSupplied) {
            _ = try reader.field(at: 16, "DomainName", payloadFrom: Self.headerSize)
        }
        if self.flags.contains(.workstationSupplied) {
            _ = try reader.field(at: 24, "Workstation", payloadFrom: Self.headerSize)
        }
    }

    func encoded() -> [UInt8] {
        var writer = NTLMWriter(type: Self.type, headerSize: Self.headerSize + NTLMVersion.size)
        writer.append(self.flags.rawValue)
        // No domain and no workstation: two empty fields.
        writer.append([UInt8](repeating: 0, count: 16))
        writer.append(self.version?.encoded ?? [UInt8](repeating: 0, count: NTLMVersion.size))
        return writer.message
    }
}
