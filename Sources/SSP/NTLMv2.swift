/// The computations of NTLMv2, [MS-NLMP] 3.3.2 and 3.4.5.
enum NTLMv2 {
    static let proofSize = 16
    static let keySize = 16

    /// NTOWFv2: the key for all responses, from password, user and domain.
    static func responseKey(username: String, password: String, domain: String) -> [UInt8] {
        let passwordHash = MD4.hash([UInt8](utf16: password))
        return Digests.hmacMD5(key: passwordHash, [UInt8](utf16: Self.uppercase(username)), [UInt8](utf16: domain))
    }

    /// Uppercases as Windows does: unit by unit, so that no string changes its length.
    ///
    /// Full Unicode mapping would turn `ß` into `SS` and break the login. Windows' table also leaves alone the
    /// three letters whose uppercase has no way back: `µ`, `ı` and `ſ`.
    static func uppercase(_ text: String) -> String {
        var result = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            let mapped = scalar.properties.uppercaseMapping.unicodeScalars
            let hasNoWayBack = ["\u{b5}", "\u{131}", "\u{17f}"].contains(scalar)
            if let single = mapped.first, mapped.count == 1, scalar.value <= 0xffff, !hasNoWayBack {
                result.append(single)
            } else {
                result.append(scalar)
            }
        }
        return String(result)
    }

    /// NTLMv2_CLIENT_CHALLENGE, [MS-NLMP] 2.2.2.7, with the four zero bytes that end it on the wire ("temp").
    static func clientChallenge(timestamp: UInt64, challenge: [UInt8], targetInfo: [UInt8]) -> [UInt8] {
        // RespType, HiRespType, six reserved bytes.
        var blob: [UInt8] = [1, 1, 0, 0, 0, 0, 0, 0]
        blob.append(littleEndian: timestamp)
        blob += challenge
        blob += [0, 0, 0, 0]
        blob += targetInfo
        blob += [0, 0, 0, 0]
        return blob
    }

    /// Where the AV pairs begin inside the client challenge.
    static let clientChallengeHeaderSize = 28

    /// NTProofStr over the server's challenge and the client's blob.
    static func proof(responseKey: [UInt8], serverChallenge: [UInt8], clientChallenge: [UInt8]) -> [UInt8] {
        Digests.hmacMD5(key: responseKey, serverChallenge, clientChallenge)
    }

    /// LMv2 response, for servers so old that they send no timestamp.
    static func lmResponse(responseKey: [UInt8], serverChallenge: [UInt8], challenge: [UInt8]) -> [UInt8] {
        Digests.hmacMD5(key: responseKey, serverChallenge, challenge) + challenge
    }

    /// SessionBaseKey, which with NTLMv2 is the KeyExchangeKey too.
    static func sessionBaseKey(responseKey: [UInt8], proof: [UInt8]) -> [UInt8] {
        Digests.hmacMD5(key: responseKey, proof)
    }

    /// RC4K: encrypts the session key for transport, or decrypts it.
    static func rc4(key: [UInt8], _ data: [UInt8]) -> [UInt8] {
        var cipher = RC4(key: key)
        return cipher.applied(to: data)
    }

    /// MIC of the AUTHENTICATE_MESSAGE, [MS-NLMP] 3.1.5.1.2; the MIC inside `authenticate` must be zero.
    static func mic(
        exportedSessionKey: [UInt8],
        negotiate: [UInt8],
        challenge: [UInt8],
        authenticate: [UInt8]
    ) -> [UInt8] {
        Digests.hmacMD5(key: exportedSessionKey, negotiate, challenge, authenticate)
    }

    enum Direction: String {
        case clientToServer = "client-to-server"
        case serverToClient = "server-to-client"
    }

    /// SIGNKEY, [MS-NLMP] 3.4.5.2.
    static func signingKey(exportedSessionKey: [UInt8], _ direction: Direction) -> [UInt8] {
        Digests.md5(
            exportedSessionKey,
            Array("session key to \(direction.rawValue) signing key magic constant\0".utf8)
        )
    }

    /// SEALKEY with extended session security and 128 bits, [MS-NLMP] 3.4.5.3.
    static func sealingKey(exportedSessionKey: [UInt8], _ direction: Direction) -> [UInt8] {
        Digests.md5(
            exportedSessionKey,
            Array("session key to \(direction.rawValue) sealing key magic constant\0".utf8)
        )
    }
}
