@testable import SSP

/// Reads hexadecimal digits; blanks and line ends are for the reader only.
func hex(_ text: String) -> [UInt8] {
    let digits = text.filter { !$0.isWhitespace }
    precondition(digits.count.isMultiple(of: 2), "odd number of hexadecimal digits")
    var bytes: [UInt8] = []
    var rest = digits[...]
    while !rest.isEmpty {
        guard let byte = UInt8(rest.prefix(2), radix: 16) else {
            preconditionFailure("not hexadecimal: \(rest.prefix(2))")
        }
        bytes.append(byte)
        rest = rest.dropFirst(2)
    }
    return bytes
}

func hexText(_ bytes: some Sequence<UInt8>) -> String {
    bytes.map { byte in
        let digits = String(byte, radix: 16)
        return digits.count == 1 ? "0" + digits : digits
    }.joined()
}

/// A small generator with a seed, so that a failing test fails again (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        self.state = seed
    }

    mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = self.state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

extension NTLMEnvironment {
    /// A clock that stands still, and randomness of one repeated byte per size, as [MS-NLMP] 4.2.1 has it.
    static func fixed(
        now: UInt64 = 0,
        challenge: [UInt8] = [UInt8](repeating: 0xaa, count: 8),
        sessionKey: [UInt8] = [UInt8](repeating: 0x55, count: 16)
    ) -> NTLMEnvironment {
        NTLMEnvironment(now: { now }, randomBytes: { $0 == 8 ? challenge : sessionKey })
    }
}

/// A client and a server that know each other, for tests that start from a working exchange.
struct Pair {
    static let user = "Ädmin"
    static let domain = "LAB"
    static let password = "pässwort-1"
    static let bindings = ChannelBindings.tlsServerEndPoint(certificateHash: [UInt8](repeating: 7, count: 32))

    var initiator: NTLMInitiator
    var acceptor: NTLMAcceptor

    init(
        password: String = Pair.password,
        clientBindings: ChannelBindings? = nil,
        serverBindings: ChannelBindings? = nil,
        offersTimestamp: Bool = true,
        requireMIC: Bool = true,
        acceptsUnboundClients: Bool = false
    ) {
        self.initiator = NTLMInitiator(
            credential: NTLMCredential(username: Self.user, password: password, domain: Self.domain, workstation: "WS"),
            channelBindings: clientBindings,
            targetName: "HTTP/srv.lab.example"
        )
        var configuration = NTLMAcceptor.Configuration(
            netbiosComputerName: "SRV",
            netbiosDomainName: "LAB",
            dnsComputerName: "srv.lab.example",
            dnsDomainName: "lab.example",
            dnsTreeName: "example",
            requiredChannelBindings: serverBindings,
            acceptsUnboundClients: acceptsUnboundClients,
            requireMIC: requireMIC
        )
        configuration.offersTimestamp = offersTimestamp
        self.acceptor = NTLMAcceptor(configuration: configuration)
    }

    static func lookup(user: String, domain: String) -> String? {
        user == Self.user && domain == Self.domain ? Self.password : nil
    }

    /// Runs the three messages; `alter` may change any of them on its way.
    mutating func authenticate(
        alter: (_ message: Int, _ bytes: [UInt8]) -> [UInt8] = { $1 }
    ) throws -> (client: NTLMSession, server: NTLMSession) {
        let negotiate = alter(1, self.initiator.negotiate())
        let challenge = alter(2, try self.acceptor.challenge(negotiate: negotiate))
        let (token, client) = try self.initiator.authenticate(challenge: challenge)
        let (user, domain, server) = try self.acceptor.accept(authenticate: alter(3, token), lookup: Self.lookup)
        precondition(user == Self.user && domain == Self.domain)
        return (client, server)
    }
}
