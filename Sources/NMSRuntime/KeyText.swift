import Foundation

/// The two ways in which a 256-bit key is written.
enum KeyText {
    /// Bytes of an AES-256 key (specification §8.3).
    static let keySize = 32

    /// 32 bytes from base64 (padded, standard or URL alphabet) or 64 hexadecimal digits; nil for anything else.
    static func bytes(of text: String) -> [UInt8]? {
        if text.utf8.count == 2 * self.keySize, let bytes = self.hexadecimal(text) { return bytes }
        let standard = text.replacingOccurrences(of: "-", with: "+").replacingOccurrences(of: "_", with: "/")
        guard let data = Data(base64Encoded: standard), data.count == self.keySize else { return nil }
        return Array(data)
    }

    static func base64(_ bytes: [UInt8]) -> String { Data(bytes).base64EncodedString() }

    private static func hexadecimal(_ text: String) -> [UInt8]? {
        let digits = text.utf8.map { byte -> UInt8? in
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
            default: nil
            }
        }
        guard !digits.contains(nil) else { return nil }
        let values = digits.compactMap { $0 }
        return stride(from: 0, to: values.count, by: 2).map { values[$0] << 4 | values[$0 + 1] }
    }
}
