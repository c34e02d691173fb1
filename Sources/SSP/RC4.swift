/// The RC4 stream cipher as [MS-NLMP] uses it (section 6, "RC4"): one continuous key stream per direction.
///
/// Encrypting and decrypting are the same operation; each call moves the key stream on.
struct RC4: Sendable {
    private var permutation: [UInt8]
    private var i: UInt8 = 0
    private var j: UInt8 = 0

    /// Schedules a key of 1 to 256 bytes.
    init(key: [UInt8]) {
        precondition((1...256).contains(key.count), "RC4 takes keys of 1 to 256 bytes")
        self.permutation = Array(0...255)
        var other = 0
        for index in 0..<256 {
            other = (other + Int(self.permutation[index]) + Int(key[index % key.count])) & 0xff
            self.permutation.swapAt(index, other)
        }
    }

    /// Applies the key stream to `data` where it lies.
    mutating func apply(to data: UnsafeMutableBufferPointer<UInt8>) {
        var i = self.i
        var j = self.j
        self.permutation.withUnsafeMutableBufferPointer { permutation in
            for index in data.indices {
                i &+= 1
                let first = permutation[Int(i)]
                j &+= first
                let second = permutation[Int(j)]
                permutation[Int(i)] = second
                permutation[Int(j)] = first
                data[index] ^= permutation[Int(first &+ second)]
            }
        }
        self.i = i
        self.j = j
    }

    /// Applies the key stream to an array in place.
    mutating func apply(to data: inout [UInt8]) {
        data.withUnsafeMutableBufferPointer { self.apply(to: $0) }
    }

    /// Applies the key stream to a copy.
    mutating func applied(to data: [UInt8]) -> [UInt8] {
        var copy = data
        self.apply(to: &copy)
        return copy
    }
}
