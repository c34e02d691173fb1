/// The schemes that a host offers in `WWW-Authenticate` (RFC 9110, section 11.6.1).
struct HTTPChallenges: Hashable, Sendable {
    /// Names of the schemes as written, each once, in order.
    private(set) var schemes: [String] = []
    /// What came with `Negotiate`, decoded.
    private(set) var negotiateToken: [UInt8]?

    /// Header values beyond this many are not looked at.
    private static let maximumValues = 16
    /// No scheme's name is longer.
    private static let maximumSchemeLength = 32

    /// - Parameter values: the header's values, one per line; hosts do not put several challenges on one.
    init(_ values: some Sequence<some StringProtocol>) {
        for value in values.prefix(Self.maximumValues) {
            let words = value.split(separator: " ", maxSplits: 1)
            guard let scheme = words.first, scheme.utf8.count <= Self.maximumSchemeLength,
                scheme.utf8.allSatisfy({ (0x21...0x7E).contains($0) && $0 != UInt8(ascii: ",") })
            else { continue }
            if !self.offers(String(scheme)) { self.schemes.append(String(scheme)) }
            if scheme.lowercased() == "negotiate", words.count == 2, self.negotiateToken == nil {
                self.negotiateToken = Base64.decode(String(words[1].filter { $0 != " " }))
            }
        }
    }

    /// Whether a scheme is among those offered, without regard to case.
    func offers(_ scheme: String) -> Bool {
        self.schemes.contains { $0.lowercased() == scheme.lowercased() }
    }
}
