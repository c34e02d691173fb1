/// Why a password could not be hashed or checked; never holds the password.
package enum BcryptError: Error, Sendable, Equatable, CustomStringConvertible {
    /// bcrypt reads ``PasswordHasher/maximumPasswordBytes`` bytes and ignores the rest: longer ones are refused.
    case passwordTooLong(bytes: Int)
    /// crypt(3) ends a password at a NUL, so that what follows it would not count.
    case passwordContainsNUL
    case passwordEmpty
    /// bcrypt's cost is the base-2 logarithm of its rounds, 4…31.
    case unsupportedCost(Int)
    /// As many hashes as permitted are waiting already: try again in a few seconds.
    case busy
    /// libxcrypt gave no result; `errno` tells why.
    case failed(errno: Int32)

    package var description: String {
        switch self {
        case .passwordTooLong(let bytes):
            "the password has \(bytes) bytes in UTF-8; at most \(PasswordHasher.maximumPasswordBytes) are possible"
        case .passwordContainsNUL: "the password contains a NUL character"
        case .passwordEmpty: "the password is empty"
        case .unsupportedCost(let cost): "bcrypt cost \(cost) is outside 4…31"
        case .busy: "too many password checks are waiting; try again in a few seconds"
        case .failed(let errno): "libxcrypt failed with errno \(errno)"
        }
    }
}
