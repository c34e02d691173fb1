/// CHALLENGE_MESSAGE, [MS-NLMP] 2.2.1.2.
struct ChallengeMessage: Equatable {
    static let type: UInt32 = 2
    static let challengeSize = 8
    private static let name = "CHALLENGE_MESSAGE"
    // Everything before VERSION, which old servers leave out.
    private static let minimumHeaderSize = 48

    var flags: NegotiateFlags
    var serverChallenge: [UInt8]
    var targetName: String
    var targetInfo: AVPairs?
    var version: NTLMVersion?

    init(
        flags: NegotiateFlags,
        serverChallenge: [UInt8],
        targetName: String,
        targetInfo: AVPairs?,
        version: NTLMVersion?
    ) {
        self.flags = flags
        self.serverChallenge = serverChallenge
        self.targetName = targetName
        self.targetInfo = targetInfo
        self.version = version
    }

    init(parsing bytes: [UInt8]) throws(NTLMError) {
        let reader = try NTLMReader(bytes, type: Self.type, name: Self.name, minimumSize: Self.minimumHeaderSize)
        self.flags = NegotiateFlags(rawValue: try reader.uint32(at: 20))
        self.serverChallenge = Array(try reader.slice(at: 24, count: Self.challengeSize))
        let name = try reader.field(at: 12, "TargetName", payloadFrom: Self.minimumHeaderSize)
        // OEM strings have no declared code page: such a name is left out rather than guessed.
        self.targetName = self.flags.contains(.unicode) ? try reader.text(name, "TargetName") : ""
        self.version = self.flags.contains(.version) ? try reader.version(at: Self.minimumHeaderSize) : nil
        let info = try reader.field(at: 40, "TargetInfo", payloadFrom: Self.minimumHeaderSize)
        self.targetInfo = info.count > 0 ? try AVPairs(parsing: reader.payload(info), "\(Self.name).TargetInfo") : nil
    }

    func encoded() throws(NTLMError) -> [UInt8] {
        var writer = NTLMWriter(type: Self.type, headerSize: Self.minimumHeaderSize + NTLMVersion.size)
        writer.append(try writer.place([UInt8](utf16: self.targetName)))
        writer.append(self.flags.rawValue)
        writer.append(self.serverChallenge)
        writer.append([UInt8](repeating: 0, count: 8))
        writer.append(try writer.place(self.targetInfo?.encoded() ?? []))
        writer.append(self.version?.encoded ?? [UInt8](repeating: 0, count: NTLMVersion.size))
        return writer.message
    }
}
