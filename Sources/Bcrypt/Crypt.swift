internal import CLibcrypt
internal import Glibc

/// The C boundary: crypt_r(3) and crypt_gensalt_ra(3), synchronous and slow.
enum Crypt {
    /// The prefix of hashes that are made here; `$2a$` and `$2y$` are read as well.
    static let prefix = "$2b$"
    /// A bcrypt hash: prefix, two digits of cost, `$`, 22 characters of salt and 31 of hash.
    static let hashLength = 60

    /// Hashes with a fresh random salt from the operating system.
    static func hash(_ password: inout [UInt8], cost: Int) throws(BcryptError) -> String {
        guard let setting = crypt_gensalt_ra(self.prefix, UInt(cost), nil, 0) else {
            throw .failed(errno: errno)
        }
        defer { free(setting) }
        guard let hash = self.crypt(&password, setting: setting) else { throw .failed(errno: errno) }
        return String(decoding: hash, as: UTF8.self)
    }

    /// Whether `password` gives `hash`, compared in constant time.
    static func verify(_ password: inout [UInt8], against hash: String) -> Bool {
        guard self.isHash(hash) else { return false }
        guard let computed = hash.withCString({ self.crypt(&password, setting: $0) }) else { return false }
        return self.constantTimeEqual(computed, Array(hash.utf8))
    }

    /// The cost in a hash; nil when it is none of bcrypt's.
    static func cost(of hash: String) -> Int? {
        guard self.isHash(hash) else { return nil }
        return Int(hash.dropFirst(4).prefix(2))
    }

    static func isHash(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        guard bytes.count == self.hashLength, ["$2a$", "$2b$", "$2y$"].contains(String(text.prefix(4))) else {
            return false
        }
        let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
        guard digits.contains(bytes[4]), digits.contains(bytes[5]), bytes[6] == UInt8(ascii: "$") else { return false }
        return bytes[7...].allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), digits,
                UInt8(ascii: "."), UInt8(ascii: "/"):
                true
            default: false
            }
        }
    }

    /// Takes as long whatever differs, and wherever.
    static func constantTimeEqual(_ lhs: [UInt8], _ rhs: [UInt8]) -> Bool {
        guard lhs.count == rhs.count else { return false }
        var difference: UInt8 = 0
        for (a, b) in zip(lhs, rhs) { difference |= a ^ b }
        return difference == 0
    }

    /// - Parameter password: without a terminating NUL; overwritten with zeros before this returns.
    private static func crypt(_ password: inout [UInt8], setting: UnsafePointer<CChar>) -> [UInt8]? {
        // One buffer with its final size, so that no copy of the password is left behind by growing.
        let phrase = UnsafeMutableRawBufferPointer.allocate(byteCount: password.count + 1, alignment: 1)
        phrase.copyBytes(from: password)
        phrase[password.count] = 0
        password.withUnsafeMutableBytes { self.wipe($0) }
        let data = UnsafeMutablePointer<crypt_data>.allocate(capacity: 1)
        memset(data, 0, MemoryLayout<crypt_data>.size)
        defer {
            self.wipe(phrase)
            phrase.deallocate()
            self.wipe(UnsafeMutableRawBufferPointer(start: data, count: MemoryLayout<crypt_data>.size))
            data.deallocate()
        }
        guard let text = phrase.baseAddress?.assumingMemoryBound(to: CChar.self),
            let result = crypt_r(text, setting, data)
        else { return nil }
        let hash = UnsafeBufferPointer(start: result, count: strlen(result)).map { UInt8(bitPattern: $0) }
        // crypt_r reports a failure as `*0` or `*1`.
        return hash.count == self.hashLength ? hash : nil
    }

    /// Zeros that the optimizer must not leave out.
    private static func wipe(_ buffer: UnsafeMutableRawBufferPointer) {
        if let start = buffer.baseAddress { explicit_bzero(start, buffer.count) }
    }
}
