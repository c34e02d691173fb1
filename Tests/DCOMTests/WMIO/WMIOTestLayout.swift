import DCOM

/// Where the parts of an instance are, found without the decoder.
struct WMIOTestLayout {
    let classPart: Int
    let propertyCount: Int
    /// The instance's.
    let ndTable: Range<Int>

    init(_ bytes: [UInt8]) {
        func length(_ at: Int) -> Int { (0..<4).reduce(0) { $0 | Int(bytes[at + $1]) << (8 * $1) } }
        var position = 9
        if bytes[8] & WMIOFormat.decorationFlag != 0 {
            for _ in 0..<2 { position = (bytes[(position + 1)...].firstIndex(of: 0) ?? 0) + 1 }
        }
        self.classPart = position
        var lookup = position + WMIOFormat.classHeaderLength
        for _ in 0..<2 { lookup += length(lookup) }
        self.propertyCount = lookup
        let start = position + length(position) + 9
        self.ndTable = start..<start + WMIOFormat.ndTableLength(propertyCount: length(lookup))
    }
}
