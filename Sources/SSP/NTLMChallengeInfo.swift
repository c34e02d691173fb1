/// What a server tells about itself in its CHALLENGE_MESSAGE, before anyone has logged in.
///
/// None of it is authenticated; good for discovery and for messages, not for decisions.
package struct NTLMChallengeInfo: Sendable, Equatable {
    /// The target's name: its NetBIOS domain, or the computer when it is in none.
    package var targetName: String?
    /// NetBIOS name of the computer.
    package var netbiosComputerName: String?
    /// NetBIOS name of the domain.
    package var netbiosDomainName: String?
    /// Fully qualified name of the computer.
    package var dnsComputerName: String?
    /// DNS name of the domain.
    package var dnsDomainName: String?
    /// DNS name of the forest.
    package var dnsTreeName: String?
    /// The server's clock as a FILETIME (100 ns since 1601, UTC).
    package var timestamp: UInt64?
    /// Version and build of the operating system.
    package var version: NTLMVersion?

    /// Reads a CHALLENGE_MESSAGE. Throws `malformed`, `tooLarge` or `unexpectedMessage`.
    package static func parse(_ bytes: [UInt8]) throws(NTLMError) -> Self {
        try Self(ChallengeMessage(parsing: bytes))
    }

    init(_ message: ChallengeMessage) throws(NTLMError) {
        let info = message.targetInfo ?? AVPairs()
        self.targetName = message.targetName.isEmpty ? nil : message.targetName
        self.netbiosComputerName = try info.text(AVPairs.Identifier.netbiosComputerName)
        self.netbiosDomainName = try info.text(AVPairs.Identifier.netbiosDomainName)
        self.dnsComputerName = try info.text(AVPairs.Identifier.dnsComputerName)
        self.dnsDomainName = try info.text(AVPairs.Identifier.dnsDomainName)
        self.dnsTreeName = try info.text(AVPairs.Identifier.dnsTreeName)
        self.timestamp = try info.timestamp()
        self.version = message.version
    }
}
