internal import NMSCore

extension AddressSpan {
    /// Bits of a block of addresses that one part of a text may name: 2¹⁶ addresses.
    static let maximumHostBits = 16

    /// Parts of a text that ``DiscoveryTargets`` reads as exactly these addresses.
    var texts: [String] {
        var texts: [String] = []
        var rest = self
        let most: UInt128 = 1 << UInt128(Self.maximumHostBits)
        while rest.countLessOne >= most, rest.blockText == nil {
            texts.append(Self(isIPv4: rest.isIPv4, first: rest.first, last: rest.first + most - 1).text)
            rest.first += most
        }
        return texts + [rest.text]
    }

    private var text: String { self.blockText ?? self.rangeText }

    /// CIDR notation, where it means these addresses once those of network and broadcast are skipped.
    private var blockText: String? {
        if self.countLessOne == 1, self.first % 2 == 0 { return self.block(from: self.first, hostBits: 1) }
        let end: UInt128 = self.isIPv4 ? UInt128(UInt32.max) : .max
        guard self.first > 0 else { return nil }
        let first = self.first - 1
        var last = self.last
        if self.isIPv4 {
            guard self.last < end else { return nil }
            last += 1
        }
        let size = last - first
        // All ones: a power of two less one.
        guard size != .max, size & (size + 1) == 0, first & size == 0 else { return nil }
        let hostBits = size.nonzeroBitCount
        return (2...Self.maximumHostBits).contains(hostBits) ? self.block(from: first, hostBits: hostBits) : nil
    }

    private func block(from first: UInt128, hostBits: Int) -> String {
        let network = Self(isIPv4: self.isIPv4, first: first, last: first).address(at: 0)
        return "\(network)/\((self.isIPv4 ? 32 : 128) - hostBits)"
    }

    private var rangeText: String {
        let first = self.address(at: 0)
        guard self.countLessOne > 0 else { return "\(first)" }
        let last = self.address(at: self.countLessOne)
        guard self.isIPv4, first.bytes.dropLast() == last.bytes.dropLast() else { return "\(first)-\(last)" }
        return "\(first)-\(last.bytes[3])"
    }
}
