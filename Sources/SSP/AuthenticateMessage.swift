/// AUTHENTICATE_MESSAGE, [MS-NLMP] 2.2.1.3.
struct AuthenticateMessage: Equatable {
    static let type: UInt32 = 3
    static let micSize = 16
    private static let name = "AUTHENTICATE_MESSAGE"
    // Signature, type, six fields, flags. VERSION and MIC follow when the payload leaves room for them.
    private static let fixedSize = 64

    var flags: NegotiateFlags
    var lmResponse: [UInt8]
    var ntResponse: [UInt8]
    var domain: String
    var username: String
    var workstation: String
    var encryptedSessionKey: [UInt8]
    var version: NTLMVersion?
    /// Where the MIC lies in the encoded message; nil when there is no room for one.
    var micOffset: Int?

    init(
        flags: NegotiateFlags,
        lmResponse: [UInt8],
        ntResponse: [UInt8],
        domain: String,
        username: String,
        workstation: String,
        encryptedSessionKey: [UInt8],
        version: NTLMVersion?,
        hasMIC: Bool
    ) {
        self.flags = flags
        self.lmResponse = lmResponse
        self.ntResponse = ntResponse
        self.domain = domain
        self.username = username
        self.workstation = workstation
        self.encryptedSessionKey = encryptedSessionKey
        self.version = version
        self.micOffset = hasMIC ? Self.fixedSize + NTLMVersion.size : nil
    }

    init(parsing bytes: [UInt8]) throws(NTLMError) {
        let reader = try NTLMReader(bytes, type: Self.type, name: Self.name, minimumSize: Self.fixedSize)
        self.flags = NegotiateFlags(rawValue: try reader.uint32(at: 60))
        guard self.flags.contains(.unicode) else {
            throw .unsupported("\(Self.name) with OEM strings")
        }
        let lm = try reader.field(at: 12, "LmChallengeResponse", payloadFrom: Self.fixedSize)
        let nt = try reader.field(at: 20, "NtChallengeResponse", payloadFrom: Self.fixedSize)
        let domain = try reader.field(at: 28, "DomainName", payloadFrom: Self.fixedSize)
        let user = try reader.field(at: 36, "UserName", payloadFrom: Self.fixedSize)
        let workstation = try reader.field(at: 44, "Workstation", payloadFrom: Self.fixedSize)
        let key = try reader.field(at: 52, "EncryptedRandomSessionKey", payloadFrom: Self.fixedSize)
        self.lmResponse = Array(reader.payload(lm))
        self.ntResponse = Array(reader.payload(nt))
        self.domain = try reader.text(domain, "DomainName")
        self.username = try reader.text(user, "UserName")
        self.workstation = try reader.text(workstation, "Workstation")
        self.encryptedSessionKey = Array(reader.payload(key))

        // Nothing in the header says whether VERSION and MIC are there: the first payload's offset does.
        let payloadStart = [lm, nt, domain, user, workstation, key].filter { $0.count > 0 }.map(\.offset).min()
        let room = (payloadStart ?? bytes.count) - Self.fixedSize
        switch room {
        case (NTLMVersion.size + Self.micSize)...: self.micOffset = Self.fixedSize + NTLMVersion.size
        case Self.micSize...: self.micOffset = Self.fixedSize
        default: self.micOffset = nil
        }
        let hasVersion = self.flags.contains(.version) && self.micOffset != Self.fixedSize && room >= NTLMVersion.size
        self.version = hasVersion ? try reader.version(at: Self.fixedSize) : nil
    }

    /// The message with zeros where the MIC goes, the form over which the MIC is computed.
    func encoded() throws(NTLMError) -> [UInt8] {
        let headerSize = Self.fixedSize + NTLMVersion.size + (self.micOffset == nil ? 0 : Self.micSize)
        var writer = NTLMWriter(type: Self.type, headerSize: headerSize)
        // Payloads in the order in which Windows lays them out; the fields of the header have another order.
        let domain = try writer.place([UInt8](utf16: self.domain))
        let user = try writer.place([UInt8](utf16: self.username))
        let workstation = try writer.place([UInt8](utf16: self.workstation))
        let lm = try writer.place(self.lmResponse)
        let nt = try writer.place(self.ntResponse)
        let key = try writer.place(self.encryptedSessionKey)
        for field in [lm, nt, domain, user, workstation, key] {
            writer.append(field)
        }
        writer.append(self.flags.rawValue)
        writer.append(self.version?.encoded ?? [UInt8](repeating: 0, count: NTLMVersion.size))
        if self.micOffset != nil {
            writer.append([UInt8](repeating: 0, count: Self.micSize))
        }
        return writer.message
    }
}
