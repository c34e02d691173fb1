import NMSCore

/// Reads comma lists of CIDR blocks alone, as the real reader would; that one has tests of its own.
struct BlockTargets: DiscoveryTargetReader {
    static let maximumAddresses = 65_536

    let policy: TargetPolicy

    struct Blocks: DiscoveryTargetSet {
        let blocks: [CIDRBlock]
        var canonical: String { self.blocks.map(\.description).joined(separator: ",") }
        var count: Int { self.blocks.reduce(0) { $0 + (1 << ($1.network.bytes.count * 8 - $1.prefixLength)) } }

        func overlaps(canonical: String) -> Bool {
            let others = canonical.split(separator: ",").compactMap { CIDRBlock(String($0)) }
            return self.blocks.contains { block in
                others.contains { $0.contains(block.network) || block.contains($0.network) }
            }
        }
    }

    func read(_ subnet: String, excluding: [String]) throws(DiscoveryTargetRefusal) -> any DiscoveryTargetSet {
        var blocks: [CIDRBlock] = []
        for part in subnet.split(separator: ",", omittingEmptySubsequences: false).map(String.init) {
            guard let block = CIDRBlock(part), block.prefixLength > 8 else {
                throw DiscoveryTargetRefusal(part: part, message: "\(part) is no CIDR block; give one")
            }
            guard self.policy.permits(block.network) else {
                throw DiscoveryTargetRefusal(
                    isNotAllowed: true,
                    part: part,
                    message: "\(part) is outside targets.allow"
                )
            }
            blocks.append(block)
        }
        if let wrong = excluding.first(where: { CIDRBlock($0) == nil }) {
            throw DiscoveryTargetRefusal(field: "exclude", part: wrong, message: "\(wrong) is no CIDR block; give one")
        }
        let targets = Blocks(blocks: blocks)
        guard targets.count <= Self.maximumAddresses else {
            throw DiscoveryTargetRefusal(
                message: "more than \(Self.maximumAddresses) addresses; choose smaller subnets"
            )
        }
        return targets
    }
}
