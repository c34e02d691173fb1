// Any bytes as a SPNEGO token. What can be read can be written, and reads the same again.

import Driver
import Foundation
import SSP

exit(
    fuzz { data, size in
        let bytes = array(data, size)
        if let token = try? NegTokenInit(parsing: bytes) {
            precondition(token.mechTypes.count <= SPNEGO.maximumMechanisms)
            if !token.mechTypes.isEmpty, let again = try? NegTokenInit(parsing: token.encoded()) {
                precondition(again.mechTypes == token.mechTypes && again.mechToken == token.mechToken)
                precondition(again.mechListMIC == token.mechListMIC)
            }
        }
        if let token = try? NegTokenResp(parsing: bytes) {
            let again = try? NegTokenResp(parsing: token.encoded())
            precondition(again == token)
        }
        return 0
    }
)
