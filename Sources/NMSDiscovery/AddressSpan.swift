internal import NMSCore

/// Consecutive addresses of one family, both ends included.
struct AddressSpan: Sendable, Hashable {
    var isIPv4: Bool
    var first: UInt128
    var last: UInt128

    init(isIPv4: Bool, first: UInt128, last: UInt128) {
        self.isIPv4 = isIPv4
        self.first = first
        self.last = last
    }

    init(_ address: IPAddress) {
        let value = Self.value(address)
        self.init(isIPv4: address.isIPv4, first: value, last: value)
    }

    /// Every address of a block, network and broadcast addresses included.
    init(_ block: CIDRBlock) {
        let hostBits = block.network.bytes.count * 8 - block.prefixLength
        let mask: UInt128 = hostBits == 128 ? .max : (1 << UInt128(hostBits)) - 1
        let first = Self.value(block.network)
        self.init(isIPv4: block.network.isIPv4, first: first, last: first | mask)
    }

    /// Less one, so that the span of all IPv6 addresses fits, too.
    var countLessOne: UInt128 { self.last - self.first }

    func address(at offset: UInt128) -> IPAddress {
        let value = self.first + offset
        let width = self.isIPv4 ? 4 : 16
        let bytes = (0..<width).map { UInt8(truncatingIfNeeded: value >> UInt128(8 * (width - 1 - $0))) }
        guard let address = IPAddress(bytes: bytes) else { preconditionFailure("an address has 4 or 16 bytes") }
        return address
    }

    static func value(_ address: IPAddress) -> UInt128 { address.bytes.reduce(0) { $0 << 8 | UInt128($1) } }

    /// Whether this one begins before `other`; IPv4 comes first.
    private func precedes(_ other: Self) -> Bool {
        self.isIPv4 == other.isIPv4 ? self.first < other.first : self.isIPv4
    }

    // MARK: - Sets: sorted lists of spans that neither overlap nor touch

    static func union(_ spans: [AddressSpan]) -> [AddressSpan] {
        var merged: [AddressSpan] = []
        for span in spans.sorted(by: { $0.precedes($1) }) {
            guard let previous = merged.last, previous.isIPv4 == span.isIPv4,
                previous.last == .max || span.first <= previous.last + 1
            else {
                merged.append(span)
                continue
            }
            merged[merged.count - 1].last = max(previous.last, span.last)
        }
        return merged
    }

    /// What two sets have in common.
    static func intersection(_ left: [AddressSpan], _ right: [AddressSpan]) -> [AddressSpan] {
        var common: [AddressSpan] = []
        var (i, j) = (left.startIndex, right.startIndex)
        while i < left.endIndex, j < right.endIndex {
            let (a, b) = (left[i], right[j])
            guard a.isIPv4 == b.isIPv4 else {
                if a.isIPv4 { i += 1 } else { j += 1 }
                continue
            }
            let (first, last) = (max(a.first, b.first), min(a.last, b.last))
            if first <= last { common.append(AddressSpan(isIPv4: a.isIPv4, first: first, last: last)) }
            if a.last < b.last { i += 1 } else { j += 1 }
        }
        return common
    }

    /// What of one set is not in the other.
    static func subtraction(_ spans: [AddressSpan], _ removed: [AddressSpan]) -> [AddressSpan] {
        self.intersection(spans, self.complement(removed))
    }

    private static func complement(_ spans: [AddressSpan]) -> [AddressSpan] {
        var gaps: [AddressSpan] = []
        for isIPv4 in [true, false] {
            let end: UInt128 = isIPv4 ? UInt128(UInt32.max) : .max
            var next: UInt128? = 0
            for span in spans where span.isIPv4 == isIPv4 {
                if let start = next, span.first > start {
                    gaps.append(AddressSpan(isIPv4: isIPv4, first: start, last: span.first - 1))
                }
                next = span.last == end ? nil : span.last + 1
            }
            if let start = next { gaps.append(AddressSpan(isIPv4: isIPv4, first: start, last: end)) }
        }
        return gaps
    }
}
