// Any bytes as a sealed body. What can be read can be written, and reads the same again.

import Driver
import Foundation
import WinRM

exit(
    fuzz { data, size in
        let bytes = array(data, size)
        guard let part = try? SealedMultipart.decode(bytes) else { return 0 }
        precondition(part.signature.count <= SealedMultipart.maximumSignatureLength)
        precondition(part.signature.count + part.ciphertext.count < bytes.count)
        let again = try? SealedMultipart.decode(part.encoded())
        precondition(again?.signature == part.signature && again?.ciphertext == part.ciphertext)
        return 0
    }
)
