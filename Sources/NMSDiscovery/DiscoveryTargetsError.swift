/// What is wrong with the addresses of a discovery, and where.
package enum DiscoveryTargetsError: Error, Sendable, Hashable {
    case empty
    /// A part that is no block, address or range; empty for a comma too many.
    case malformed(part: String)
    /// A block or range of more than 65,536 addresses.
    case partTooLarge(part: String)
    case textTooLong(Int)
    case tooManyParts
    case tooManyAddresses(Int, limit: Int)
    /// Exclusions take everything away.
    case nothingLeft
    /// Every address is outside `targets.allow`.
    case notAllowed(part: String)

    /// Whether the answer is 403 `TARGET_NOT_ALLOWED`; otherwise it is 400 `VALIDATION_ERROR`.
    package var isTargetNotAllowed: Bool { if case .notAllowed = self { true } else { false } }

    /// The part concerned, shortened and without control characters; nil if it is the whole.
    package var part: String? {
        switch self {
        case .malformed(let part), .partTooLarge(let part), .notAllowed(let part):
            StrangersText.clean(part, limit: Self.maximumPartLength) ?? ""
        default: nil
        }
    }

    /// Characters of a part that are shown: the longest range of IPv6 addresses fits.
    private static let maximumPartLength = 80
}

extension DiscoveryTargetsError: CustomStringConvertible {
    package var description: String {
        let part = self.part ?? ""
        switch self {
        case .empty:
            return "no addresses are given; give a subnet such as 192.168.1.0/24"
        case .malformed where part.isEmpty:
            return "there is an empty part between or beside commas; remove the comma"
        case .malformed:
            return "\(part) is no CIDR block, address or range (192.168.1.0/24, 10.0.0.5, 10.0.0.5-9, "
                + "10.0.0.5-10.0.1.9, !10.0.0.7)"
        case .partTooLarge:
            return "\(part) is too large: a part may have 65,536 addresses (IPv4 /16, IPv6 /112) at most; split it"
        case .textTooLong(let length):
            return "the list of addresses has \(length) bytes, more than \(DiscoveryTargets.maximumTextLength)"
        case .tooManyParts:
            return "the list has more than \(DiscoveryTargets.maximumParts) parts; join them to blocks or ranges"
        case .tooManyAddresses(let count, let limit):
            return "\(count) addresses are more than \(limit) (discovery.max_addresses); choose smaller subnets"
        case .nothingLeft:
            return "no address is left: the exclusions cover everything"
        case .notAllowed:
            return "\(part) is outside targets.allow; widen it or choose other addresses"
        }
    }
}
