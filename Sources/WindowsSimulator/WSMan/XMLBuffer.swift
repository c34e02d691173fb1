/// One answer's bytes, written in order.
///
/// WinRM's `XMLWriter` keeps a stack of names; answers here are made of fixed pieces, and the simulator shares its
/// processor with the server that it is there to measure.
struct XMLBuffer {
    private(set) var bytes: [UInt8] = []

    init(capacity: Int) {
        self.bytes.reserveCapacity(capacity)
    }

    /// Appends text that is well-formed already.
    mutating func raw(_ text: String) {
        self.bytes.append(contentsOf: text.utf8)
    }

    mutating func raw(_ other: [UInt8]) {
        self.bytes.append(contentsOf: other)
    }

    /// Appends character data, escaped.
    mutating func text(_ text: String) {
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "<"): self.raw("&lt;")
            case UInt8(ascii: ">"): self.raw("&gt;")
            case UInt8(ascii: "&"): self.raw("&amp;")
            case UInt8(ascii: "\""): self.raw("&quot;")
            case 0x0D: self.raw("&#13;")
            default: self.bytes.append(byte)
            }
        }
    }

    mutating func number(_ number: UInt64) {
        if number < 10 {
            self.bytes.append(UInt8(0x30 + number))
            return
        }
        let start = self.bytes.count
        var rest = number
        while rest > 0 {
            self.bytes.append(UInt8(0x30 + rest % 10))
            rest /= 10
        }
        self.bytes[start...].reverse()
    }

    /// A fresh `uuid:` in upper case, as Windows writes it.
    mutating func uuid() {
        self.raw(Self.freshUUID())
    }

    static func freshUUID() -> String {
        let high = UInt64.random(in: .min ... .max) & 0xFFFF_FFFF_FFFF_0FFF | 0x4000
        let low = UInt64.random(in: .min ... .max) & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
        let digits = Array("0123456789ABCDEF".utf8)
        var text = "uuid:"
        for position in 0..<32 {
            if [8, 12, 16, 20].contains(position) { text.append("-") }
            let word = position < 16 ? high : low
            text.unicodeScalars.append(Unicode.Scalar(digits[Int(word >> UInt64(60 - position % 16 * 4) & 15)]))
        }
        return text
    }
}
