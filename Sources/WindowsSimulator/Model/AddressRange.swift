/// IPv4 addresses at the same distance from one another; consecutive ones, unless told otherwise.
package struct AddressRange: Sendable, Hashable, CustomStringConvertible {
    package let base: IPv4
    package let count: Int
    /// From one address to the next.
    package let step: Int

    /// - Returns: nil if the range runs past the last address.
    package init?(base: IPv4, count: Int, step: Int = 1) {
        let room = UInt64(UInt32.max - base.value)
        guard count > 0, step > 0, UInt64(count - 1) <= room / UInt64(step) else { return nil }
        self.base = base
        self.count = count
        self.step = step
    }

    package subscript(_ index: Int) -> IPv4 { IPv4(value: self.base.value + UInt32(index * self.step)) }

    /// The index of an address, nil outside the fleet.
    package func index(of address: IPv4) -> Int? {
        guard address.value >= self.base.value else { return nil }
        let (index, rest) = Int(address.value - self.base.value).quotientAndRemainder(dividingBy: self.step)
        return rest == 0 && index < self.count ? index : nil
    }

    /// Indices of the addresses that lie in a range.
    package func indices(in range: ClosedRange<IPv4>) -> [Int] {
        let first = max(range.lowerBound, self.base)
        let last = min(range.upperBound, self[self.count - 1])
        guard first <= last else { return [] }
        let low = (Int(first.value - self.base.value) + self.step - 1) / self.step
        let high = Int(last.value - self.base.value) / self.step
        return low <= high ? Array(low...high) : []
    }

    package var description: String { "\(self.base)-\(self[self.count - 1])" }
}

/// An IPv4 address.
package struct IPv4: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// In host byte order.
    package let value: UInt32

    package init(value: UInt32) {
        self.value = value
    }

    /// Reads four decimal numbers with dots, without leading zeros.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var value: UInt32 = 0
        for part in parts {
            guard let number = UInt8(part), part == String(number) else { return nil }
            value = value << 8 | UInt32(number)
        }
        self.value = value
    }

    /// Reads one address, `first-last` or a CIDR block.
    package static func range(_ text: String) -> ClosedRange<IPv4>? {
        if let address = IPv4(text) { return address...address }
        let ends = text.split(separator: "-", omittingEmptySubsequences: false)
        if ends.count == 2, let first = IPv4(ends[0]), let last = IPv4(ends[1]), first <= last { return first...last }
        let block = text.split(separator: "/", omittingEmptySubsequences: false)
        guard block.count == 2, let address = IPv4(block[0]), let length = UInt32(block[1]), length <= 32 else {
            return nil
        }
        let hostBits: UInt32 = length == 0 ? .max : (1 << (32 - length)) - 1
        return IPv4(value: address.value & ~hostBits)...IPv4(value: address.value | hostBits)
    }

    package static func < (left: Self, right: Self) -> Bool { left.value < right.value }

    package var bytes: [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: self.value >> UInt32(24 - 8 * $0)) }
    }

    package var description: String { self.bytes.map(String.init).joined(separator: ".") }
}
