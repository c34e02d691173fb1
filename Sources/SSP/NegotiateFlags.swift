/// NEGOTIATE flags, [MS-NLMP] 2.2.2.5.
struct NegotiateFlags: OptionSet, Sendable {
    let rawValue: UInt32

    static let unicode = NegotiateFlags(rawValue: 0x0000_0001)
    static let oem = NegotiateFlags(rawValue: 0x0000_0002)
    static let requestTarget = NegotiateFlags(rawValue: 0x0000_0004)
    static let sign = NegotiateFlags(rawValue: 0x0000_0010)
    static let seal = NegotiateFlags(rawValue: 0x0000_0020)
    static let lmKey = NegotiateFlags(rawValue: 0x0000_0080)
    static let ntlm = NegotiateFlags(rawValue: 0x0000_0200)
    static let anonymous = NegotiateFlags(rawValue: 0x0000_0800)
    static let domainSupplied = NegotiateFlags(rawValue: 0x0000_1000)
    static let workstationSupplied = NegotiateFlags(rawValue: 0x0000_2000)
    static let alwaysSign = NegotiateFlags(rawValue: 0x0000_8000)
    static let targetTypeDomain = NegotiateFlags(rawValue: 0x0001_0000)
    static let targetTypeServer = NegotiateFlags(rawValue: 0x0002_0000)
    static let extendedSessionSecurity = NegotiateFlags(rawValue: 0x0008_0000)
    static let targetInfo = NegotiateFlags(rawValue: 0x0080_0000)
    static let version = NegotiateFlags(rawValue: 0x0200_0000)
    static let key128 = NegotiateFlags(rawValue: 0x2000_0000)
    static let keyExchange = NegotiateFlags(rawValue: 0x4000_0000)
    static let key56 = NegotiateFlags(rawValue: 0x8000_0000)

    /// What both sides must agree on; anything less is refused.
    static let required: NegotiateFlags = [.unicode, .sign, .seal, .extendedSessionSecurity, .key128, .keyExchange]

    /// What a client offers: the required, and what every server of this century sets as well.
    static let offered: NegotiateFlags = [.required, .requestTarget, .ntlm, .alwaysSign, .version]

    func checkRequired(in message: String) throws(NTLMError) {
        let names: [(NegotiateFlags, String)] = [
            (.unicode, "Unicode"), (.sign, "signing"), (.seal, "sealing"),
            (.extendedSessionSecurity, "extended session security"), (.key128, "128-bit keys"),
            (.keyExchange, "key exchange"),
        ]
        for (flag, name) in names where !self.contains(flag) {
            throw .unsupported("\(message) does not offer \(name)")
        }
    }
}
