// Any bytes as the first message at a server, as the challenge at a client, and as a challenge to be looked at.

import Driver
import Foundation
import SSP

private let environment = NTLMEnvironment(now: { 0 }, randomBytes: { [UInt8](repeating: 0xaa, count: $0) })

exit(
    fuzz { data, size in
        let bytes = array(data, size)
        var acceptor = NTLMAcceptor(
            configuration: .init(
                netbiosComputerName: "SRV",
                netbiosDomainName: "LAB",
                dnsComputerName: "srv.lab.example",
                dnsDomainName: "lab.example",
                environment: environment
            )
        )
        if let challenge = try? acceptor.challenge(negotiate: bytes) {
            _ = try! NTLMChallengeInfo.parse(challenge)  // what we wrote we can read
        }
        var initiator = NTLMInitiator(
            credential: NTLMCredential(username: "User", password: "Password", domain: "Domain"),
            environment: environment
        )
        _ = initiator.negotiate()
        let info = try? NTLMChallengeInfo.parse(bytes)
        if (try? initiator.authenticate(challenge: bytes)) != nil {
            precondition(info != nil && initiator.challengeInfo == info)
        }
        return 0
    }
)
