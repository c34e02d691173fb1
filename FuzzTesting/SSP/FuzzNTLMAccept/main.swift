// Any bytes as the AUTHENTICATE_MESSAGE. The published example of [MS-NLMP] 4.2.4 is among the seeds and is accepted.

import Driver
import Foundation
import SSP

private let environment = NTLMEnvironment(
    now: { 0 },
    randomBytes: { $0 == 8 ? [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef] : [UInt8](repeating: 0x55, count: $0) }
)
private let negotiate: [UInt8] = {
    var initiator = NTLMInitiator(credential: NTLMCredential(username: "User", password: ""), environment: environment)
    return initiator.negotiate()
}()
private let challenged: NTLMAcceptor = {
    var acceptor = NTLMAcceptor(
        configuration: .init(
            netbiosComputerName: "Server",
            netbiosDomainName: "Domain",
            dnsComputerName: "server",
            dnsDomainName: "domain",
            environment: environment
        )
    )
    _ = try! acceptor.challenge(negotiate: negotiate)  // both sides are ours
    return acceptor
}()

exit(
    fuzz { data, size in
        var acceptor = challenged
        let accepted = try? acceptor.accept(authenticate: array(data, size)) { user, domain in
            user == "User" && domain == "Domain" ? "Password" : nil
        }
        if let accepted {
            precondition(accepted.user == "User" && accepted.domain == "Domain")
            precondition(accepted.session.exportedSessionKey.count == 16)
        }
        return 0
    }
)
