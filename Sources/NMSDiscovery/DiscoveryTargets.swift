package import NMSCore

/// The addresses that a discovery looks at: a set in ascending order, IPv4 first, that costs no more than its text.
///
/// The text is a list with commas of
/// - blocks, `192.168.1.0/24`: IPv4 to /16, IPv6 to /112. Host bits are ignored. The addresses of network and broadcast
///   are skipped, except in /31 and /32 (RFC 3021); of IPv6, which knows no broadcast, only the subnet-router anycast
///   address (RFC 4291, section 2.6.1), except in /127 and /128 (RFC 6164);
/// - addresses, `10.0.0.5` or `2001:db8::5`;
/// - ranges, `10.0.0.5-9` or `10.0.0.5-10.0.1.9`, both ends included, of 65,536 addresses at most;
/// - exclusions, any of these behind `!`, which win wherever they stand. Blocks and ranges of exclusions may be of any
///   size, and nothing of them is skipped.
///
/// Spaces around parts do not matter. Addresses that several parts name count once.
package struct DiscoveryTargets: Sendable, Hashable {
    /// The default of `discovery.max_addresses`: an IPv4 /16.
    package static let defaultMaximumAddresses = 65_536
    /// Bytes of text, exclusions included.
    package static let maximumTextLength = 16_384
    /// Parts of a text, exclusions included.
    package static let maximumParts = 1_024

    let spans: [AddressSpan]
    /// Index of the first address of each span.
    private let starts: [Int]
    /// How many addresses there are.
    package let count: Int
    /// Addresses that were asked for, but are not among `targets.allow`; they are never dialled.
    package let notAllowed: Int

    /// - Parameters:
    ///   - text: see the type.
    ///   - exclusions: the same without `!`; each may be a list.
    ///   - maximumAddresses: `discovery.max_addresses`.
    ///   - policy: `targets.allow`.
    package init(
        parsing text: String,
        exclusions: [String] = [],
        maximumAddresses: Int = Self.defaultMaximumAddresses,
        policy: TargetPolicy = TargetPolicy()
    ) throws(DiscoveryTargetsError) {
        var length = text.utf8.count
        for exclusion in exclusions { length += exclusion.utf8.count }
        guard length <= Self.maximumTextLength else { throw .textTooLong(length) }
        var parser = TargetsParser()
        try parser.parse(text, excluding: false)
        for exclusion in exclusions { try parser.parse(exclusion, excluding: true) }

        let asked = AddressSpan.subtraction(AddressSpan.union(parser.included), AddressSpan.union(parser.excluded))
        guard !asked.isEmpty else { throw .nothingLeft }
        let spans = AddressSpan.intersection(asked, Self.permitted(by: policy))
        guard !spans.isEmpty else { throw .notAllowed(part: text) }
        // Parts have 65,536 addresses at most, and there are not many: the sum fits.
        let count = Self.count(spans)
        guard count <= maximumAddresses else { throw .tooManyAddresses(count, limit: maximumAddresses) }
        self.spans = spans
        self.count = count
        self.notAllowed = Self.count(asked) - count
        var starts: [Int] = []
        var start = 0
        for span in spans {
            starts.append(start)
            start += Int(span.countLessOne) + 1
        }
        self.starts = starts
    }

    /// A text that stands for exactly these addresses, the same for every text that does.
    package var canonical: String { self.spans.flatMap(\.texts).joined(separator: ",") }

    /// The address at an index from 0 to ``count`` less one; always the same for the same addresses.
    package subscript(index: Int) -> IPAddress {
        precondition((0..<self.count).contains(index), "an index within the targets")
        var (low, high) = (0, self.starts.count)
        while high - low > 1 {
            let middle = (low + high) / 2
            if self.starts[middle] <= index { low = middle } else { high = middle }
        }
        return self.spans[low].address(at: UInt128(index - self.starts[low]))
    }

    /// The addresses from an index on, one after another.
    package func addresses(from index: Int = 0) -> some Sequence<IPAddress> {
        (min(max(index, 0), self.count)..<self.count).lazy.map { self[$0] }
    }

    package func contains(_ address: IPAddress) -> Bool {
        !AddressSpan.intersection(self.spans, [AddressSpan(address)]).isEmpty
    }

    /// Whether an address is in both.
    package func overlaps(_ other: DiscoveryTargets) -> Bool {
        !AddressSpan.intersection(self.spans, other.spans).isEmpty
    }

    /// The same addresses, however they were asked for.
    package static func == (left: Self, right: Self) -> Bool { left.spans == right.spans }

    package func hash(into hasher: inout Hasher) { hasher.combine(self.spans) }

    private static func count(_ spans: [AddressSpan]) -> Int {
        spans.reduce(0) { $0 + Int($1.countLessOne) + 1 }
    }

    // MARK: - Policy

    /// What ``TargetPolicy/permits(_:)`` never permits.
    private static let neverPermitted = ["0.0.0.0/32", "224.0.0.0/4", "255.255.255.255/32", "::/128", "ff00::/8"]

    private static func permitted(by policy: TargetPolicy) -> [AddressSpan] {
        let everything = ["0.0.0.0/0", "::/0"].compactMap { CIDRBlock($0) }
        let allowed = policy.allowed.isEmpty ? everything : policy.allowed
        let never = self.neverPermitted.compactMap { CIDRBlock($0) }
        return AddressSpan.subtraction(
            AddressSpan.union(allowed.map { AddressSpan($0) }),
            AddressSpan.union(never.map { AddressSpan($0) })
        )
    }
}

/// Reads the parts of a text; sizes are bounded before anything is made of them.
private struct TargetsParser {
    var included: [AddressSpan] = []
    var excluded: [AddressSpan] = []

    mutating func parse(_ text: String, excluding: Bool) throws(DiscoveryTargetsError) {
        for raw in text.split(separator: ",", omittingEmptySubsequences: false) {
            var part = Self.trimmed(raw)
            guard !part.isEmpty else { throw text.allSatisfy(\.isWhitespace) ? .empty : .malformed(part: "") }
            guard self.included.count + self.excluded.count < DiscoveryTargets.maximumParts else {
                throw .tooManyParts
            }
            if part.first == "!" {
                part = Self.trimmed(part.dropFirst())
                self.excluded.append(try Self.span(part, shown: raw, excluding: true))
            } else if excluding {
                self.excluded.append(try Self.span(part, shown: raw, excluding: true))
            } else if let span = try Self.usable(part, shown: raw) {
                self.included.append(span)
            }
        }
    }

    private static func trimmed(_ text: Substring) -> Substring {
        var text = text.drop { $0.isWhitespace }
        while text.last?.isWhitespace == true { text.removeLast() }
        return text
    }

    /// A part that is to be looked at, nil if nothing of it is left.
    private static func usable(_ part: Substring, shown: Substring) throws(DiscoveryTargetsError) -> AddressSpan? {
        var span = try self.span(part, shown: shown, excluding: false)
        guard part.contains("/"), span.countLessOne > 1 else { return span }
        span.first += 1
        if span.isIPv4 { span.last -= 1 }
        return span
    }

    private static func span(
        _ part: Substring,
        shown: Substring,
        excluding: Bool
    ) throws(DiscoveryTargetsError) -> AddressSpan {
        let span: AddressSpan
        if part.contains("/") {
            guard let block = CIDRBlock(String(part)) else { throw .malformed(part: String(shown)) }
            span = AddressSpan(block)
        } else if let dash = part.firstIndex(of: "-") {
            guard let range = self.range(trimmed(part[..<dash]), trimmed(part[part.index(after: dash)...])) else {
                throw .malformed(part: String(shown))
            }
            span = range
        } else {
            guard let address = IPAddress(String(part)) else { throw .malformed(part: String(shown)) }
            span = AddressSpan(address)
        }
        guard excluding || span.countLessOne < 1 << UInt128(AddressSpan.maximumHostBits) else {
            throw .partTooLarge(part: String(shown))
        }
        return span
    }

    private static func range(_ first: Substring, _ last: Substring) -> AddressSpan? {
        guard let start = IPAddress(String(first)) else { return nil }
        let end: IPAddress
        if let address = IPAddress(String(last)) {
            end = address
        } else {
            // The last octet only.
            guard first.utf8.allSatisfy({ $0 != UInt8(ascii: ":") }), (1...3).contains(last.utf8.count),
                last.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let octet = UInt8(last),
                let address = IPAddress(bytes: start.bytes.dropLast() + [octet])
            else { return nil }
            end = address
        }
        guard start.isIPv4 == end.isIPv4 else { return nil }
        let (low, high) = (AddressSpan.value(start), AddressSpan.value(end))
        return low <= high ? AddressSpan(isIPv4: start.isIPv4, first: low, last: high) : nil
    }
}
