import Crypto

/// HMAC-MD5 and MD5 in the form that [MS-NLMP] section 6 uses them, and the one comparison that secrets may meet.
enum Digests {
    static func md5(_ parts: [UInt8]...) -> [UInt8] {
        var function = Insecure.MD5()
        for part in parts {
            function.update(data: part)
        }
        return Array(function.finalize())
    }

    static func hmacMD5(key: [UInt8], _ parts: [UInt8]...) -> [UInt8] {
        var function = HMAC<Insecure.MD5>(key: SymmetricKey(data: key))
        for part in parts {
            function.update(data: part)
        }
        return Array(function.finalize())
    }

    /// Compares without a branch that depends on the content; only the lengths may show.
    static func constantTimeEqual(_ left: some Collection<UInt8>, _ right: some Collection<UInt8>) -> Bool {
        guard left.count == right.count else {
            return false
        }
        var difference: UInt8 = 0
        for (a, b) in zip(left, right) {
            difference |= a ^ b
        }
        return difference == 0
    }
}
