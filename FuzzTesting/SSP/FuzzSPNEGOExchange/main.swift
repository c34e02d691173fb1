// The peer's whole side of an exchange, against our acceptor and our initiator.
//
// Input: tokens, each behind its length in two bytes, big-endian; a length beyond the end means the rest.

import Driver
import Foundation
import SSP

private let environment = NTLMEnvironment(
    now: { 0 },
    randomBytes: { $0 == 8 ? [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef] : [UInt8](repeating: 0x55, count: $0) }
)
private let maximumTokens = 5

private func tokens(_ bytes: [UInt8]) -> [[UInt8]] {
    var rest = bytes[...]
    var tokens: [[UInt8]] = []
    while rest.count >= 2, tokens.count < maximumTokens {
        let count = rest.prefix(2).reduce(0) { $0 << 8 | Int($1) }
        rest = rest.dropFirst(2)
        tokens.append(Array(rest.prefix(count)))
        rest = rest.dropFirst(count)
    }
    return tokens
}

exit(
    fuzz { data, size in
        let tokens = tokens(array(data, size))
        var acceptor = SPNEGOAcceptor(
            ntlm: NTLMAcceptor(
                configuration: .init(
                    netbiosComputerName: "Server",
                    netbiosDomainName: "Domain",
                    dnsComputerName: "server",
                    dnsDomainName: "domain",
                    environment: environment
                )
            )
        )
        accepting: for token in tokens {
            guard let step = try? acceptor.step(token, lookup: { _, _ in "Password" }) else {
                break
            }
            if case .complete(_, _, _, var session) = step {
                _ = try! session.seal([1])  // a fresh session can seal
                break accepting
            }
        }
        for framing in [SPNEGOInitiator.Framing.raw, .spnego] {
            var initiator = SPNEGOInitiator(
                ntlm: NTLMInitiator(
                    credential: NTLMCredential(username: "User", password: "Password", domain: "Domain"),
                    environment: environment
                ),
                framing: framing
            )
            _ = try! initiator.start()  // fails only when called twice
            for token in tokens {
                guard case .continue = try? initiator.step(token) else {
                    break
                }
            }
        }
        return 0
    }
)
