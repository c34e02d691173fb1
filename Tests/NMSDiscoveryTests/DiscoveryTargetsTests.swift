import NMSCore
import Testing

@testable import NMSDiscovery

@Suite struct DiscoveryTargetsTests {
    private static func all(_ text: String, excluding: [String] = []) throws -> [String] {
        try DiscoveryTargets(parsing: text, exclusions: excluding).addresses().map(\.description)
    }

    @Test(arguments: [
        ("10.0.0.5", "10.0.0.5"),
        ("10.0.0.0/30", "10.0.0.1 10.0.0.2"),
        ("10.0.0.7/30", "10.0.0.5 10.0.0.6"),
        ("10.0.0.4/31", "10.0.0.4 10.0.0.5"),
        ("10.0.0.4/32", "10.0.0.4"),
        ("10.0.0.254-255", "10.0.0.254 10.0.0.255"),
        ("10.0.0.255-10.0.1.1", "10.0.0.255 10.0.1.0 10.0.1.1"),
        ("10.0.0.0/30,10.0.0.3", "10.0.0.1 10.0.0.2 10.0.0.3"),
        ("10.0.0.2-4,10.0.0.1-3", "10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4"),
        (" 10.0.0.9 , 10.0.0.1 ", "10.0.0.1 10.0.0.9"),
        ("10.0.0.1 - 2", "10.0.0.1 10.0.0.2"),
        ("10.0.0.0/29,!10.0.0.2-4", "10.0.0.1 10.0.0.5 10.0.0.6"),
        ("!10.0.0.0/30,10.0.0.0/29", "10.0.0.4 10.0.0.5 10.0.0.6"),
        ("10.0.0.1-2,! 10.0.0.2", "10.0.0.1"),
        ("2001:db8::/126", "2001:db8::1 2001:db8::2 2001:db8::3"),
        ("2001:db8::/127", "2001:db8:: 2001:db8::1"),
        ("2001:db8::ffff-2001:db8::1:0", "2001:db8::ffff 2001:db8::1:0"),
        ("2001:db8::5,10.0.0.5", "10.0.0.5 2001:db8::5"),
        ("::ffff:10.0.0.5", "10.0.0.5"),
        ("::ffff:10.0.0.0/126", "10.0.0.1 10.0.0.2"),
        ("10.0.0.1,!10.0.0.0/8,10.9.0.1,11.0.0.1", "11.0.0.1"),
    ])
    func reads(_ text: String, _ expected: String) throws {
        #expect(try Self.all(text).joined(separator: " ") == expected)
    }

    @Test func exclusionsMayStandApart() throws {
        #expect(try Self.all("10.0.0.1-5", excluding: ["10.0.0.2,10.0.0.4", "!10.0.0.5"]) == ["10.0.0.1", "10.0.0.3"])
    }

    @Test(arguments: [
        "", " ", ",", "10.0.0.1,", ",10.0.0.1", "10.0.0.1,,10.0.0.2", "10.0.0", "10.0.0.256", "010.0.0.1",
        "10.0.0.1/33",
        "10.0.0.1/", "/24", "10.0.0.1/-1", "10.0.0.1/+8", "10.0.0.1/ 24", "10.0.0.1/24/24", "10.0.0.5-4",
        "10.0.0.5-256", "10.0.0.5-",
        "-5", "10.0.0.5-0005", "10.0.0.5-+6", "10.0.0.5-6-7", "10.0.0.5-2001:db8::1", "2001:db8::1-5", "2001:db8::1-9",
        "::1%lo", "!",
        "!!10.0.0.1", "host.example", "10.0.0.1;10.0.0.2", "10.0.0.1 10.0.0.2", "１０.0.0.1", "10.0.0.5-٩",
        "10.0.0.1\u{0}",
        "10.0.0.1\u{0}/24", "0x0a000001", "167772161", "::ffff:10.0.0.5-6",
    ])
    func refuses(_ text: String) {
        #expect(throws: DiscoveryTargetsError.self) { try DiscoveryTargets(parsing: text) }
    }

    @Test(arguments: [
        "0.0.0.0/0", "10.0.0.0/15", "::/0", "2001:db8::/111", "2001:db8::/64", "10.0.0.0-10.1.0.0", "::1-ffff::",
        "0.0.0.0-255.255.255.255",
    ])
    func boundsPartsBeforeExpandingThem(_ text: String) {
        #expect(throws: DiscoveryTargetsError.partTooLarge(part: text)) { try DiscoveryTargets(parsing: text) }
    }

    @Test func takesTheLargestBlocks() throws {
        #expect(try DiscoveryTargets(parsing: "10.0.0.0/16").count == 65_534)
        #expect(try DiscoveryTargets(parsing: "2001:db8::/112").count == 65_535)
        #expect(try DiscoveryTargets(parsing: "10.0.0.0-10.0.255.255").count == 65_536)
    }

    @Test func limitsTheNumberOfAddresses() throws {
        #expect(throws: DiscoveryTargetsError.tooManyAddresses(254, limit: 253)) {
            try DiscoveryTargets(parsing: "10.0.0.0/24", maximumAddresses: 253)
        }
        #expect(try DiscoveryTargets(parsing: "10.0.0.0/24,!10.0.0.9", maximumAddresses: 253).count == 253)
        #expect(throws: DiscoveryTargetsError.tooManyAddresses(131_068, limit: 65_536)) {
            try DiscoveryTargets(parsing: "10.0.0.0/16,10.1.0.0/16")
        }
    }

    @Test func exclusionsMayCoverEverything() {
        #expect(throws: DiscoveryTargetsError.nothingLeft) { try DiscoveryTargets(parsing: "10.0.0.0/24,!0.0.0.0/0") }
        #expect(throws: DiscoveryTargetsError.nothingLeft) { try DiscoveryTargets(parsing: "!10.0.0.1") }
    }

    @Test func namesTheWrongPartCleaned() throws {
        let error = try #require(throws: DiscoveryTargetsError.self) {
            try DiscoveryTargets(parsing: "10.0.0.1,10.0.0.300\u{1B}[31m\u{202E}\(String(repeating: "x", count: 500))")
        }
        let part = try #require(error.part)
        #expect(part.hasPrefix("10.0.0.300 [31m x"))
        #expect(part.utf8.count <= 80)
        #expect(error.description.contains("10.0.0.300"))
        #expect(!error.isTargetNotAllowed)
    }

    @Test func boundsTheText() {
        let long = String(repeating: "10.0.0.1,", count: 2_000) + "10.0.0.1"
        #expect(throws: DiscoveryTargetsError.textTooLong(long.utf8.count)) { try DiscoveryTargets(parsing: long) }
        let many = String(repeating: "10.0.0.1,", count: 1_024) + "10.0.0.1"
        #expect(throws: DiscoveryTargetsError.tooManyParts) { try DiscoveryTargets(parsing: many) }
    }

    // MARK: - Policy

    private static func policy(_ blocks: String...) throws -> TargetPolicy {
        TargetPolicy(allowed: try blocks.map { try #require(CIDRBlock($0)) })
    }

    @Test func leavesOutWhatIsNotAllowed() throws {
        let targets = try DiscoveryTargets(
            parsing: "10.0.0.0/24,10.0.1.5",
            policy: try Self.policy("10.0.0.128/25", "192.168.0.0/16")
        )
        #expect(targets.addresses().allSatisfy { $0.bytes[2] == 0 && $0.bytes[3] >= 128 })
        #expect(targets.count == 127)
        #expect(targets.notAllowed == 128)
    }

    @Test(arguments: ["10.0.1.0/24", "2001:db8::/120", "10.0.1.1,10.0.1.2"])
    func refusesWhatIsWhollyOutside(_ text: String) throws {
        let error = try #require(throws: DiscoveryTargetsError.self) {
            try DiscoveryTargets(parsing: text, policy: try Self.policy("10.0.0.0/24"))
        }
        #expect(error.isTargetNotAllowed)
    }

    @Test(arguments: ["224.0.0.0/24", "255.255.255.255", "0.0.0.0", "::", "ff02::1", "239.255.255.0-255"])
    func neverTakesWhatNoPolicyPermits(_ text: String) throws {
        let open = try #require(throws: DiscoveryTargetsError.self) { try DiscoveryTargets(parsing: text) }
        #expect(open.isTargetNotAllowed)
        let everything = try Self.policy("0.0.0.0/0", "::/0")
        let wide = try #require(throws: DiscoveryTargetsError.self) {
            try DiscoveryTargets(parsing: text, policy: everything)
        }
        #expect(wide.isTargetNotAllowed)
    }

    @Test func agreesWithThePolicyAboutEveryAddress() throws {
        let policies = [
            TargetPolicy(), try Self.policy("10.0.0.0/29", "10.0.0.17/32", "2001:db8::/124"),
            try Self.policy("0.0.0.0/0"),
        ]
        let text = "10.0.0.0-40,223.255.255.240-223.255.255.255,224.0.0.0-9,255.255.255.250-255,2001:db8::-2001:db8::30"
        for policy in policies {
            let asked = try DiscoveryTargets(parsing: text, policy: policy)
            let everything = try DiscoveryTargets(parsing: "10.0.0.0-40,223.255.255.240-255,2001:db8::-2001:db8::30")
            for address in everything.addresses() { #expect(asked.contains(address) == policy.permits(address)) }
            #expect(asked.addresses().allSatisfy { policy.permits($0) })
        }
    }

    // MARK: - Canonical text, order, resumption

    @Test(arguments: [
        ("192.168.1.77/24", "192.168.1.0/24"),
        ("192.168.1.1-254", "192.168.1.0/24"),
        ("192.168.1.128/25,192.168.1.0/25", "192.168.1.0/25,192.168.1.128/25"),
        ("10.0.0.0-255", "10.0.0.0-255"),
        ("10.0.0.3,10.0.0.1", "10.0.0.1,10.0.0.3"),
        ("10.0.0.1,10.0.0.2,10.0.0.3", "10.0.0.1-3"),
        ("10.0.0.1,10.0.0.2", "10.0.0.0/30"),
        ("10.0.0.4/31", "10.0.0.4/31"),
        ("10.0.0.0/24,!10.0.0.7", "10.0.0.0/29,10.0.0.8-254"),
        ("10.0.0.9-10.0.1.9", "10.0.0.9-10.0.1.9"),
        ("2001:DB8:0::/120", "2001:db8::/120"),
        ("10.1.0.0/16", "10.1.0.0/16"),
        ("10.0.0.0-10.0.255.255", "10.0.0.0-10.0.255.255"),
    ])
    func hasOneTextForOneSet(_ text: String, _ expected: String) throws {
        let targets = try DiscoveryTargets(parsing: text)
        #expect(targets.canonical == expected)
        #expect(try DiscoveryTargets(parsing: expected).canonical == expected)
        #expect(try DiscoveryTargets(parsing: expected) == targets)
    }

    @Test func joinsMoreThanAPartMayName() throws {
        let text = "10.0.0.0-10.0.255.255,10.1.0.0-10.1.0.5"
        let targets = try DiscoveryTargets(parsing: text, maximumAddresses: 100_000)
        #expect(targets.canonical == "10.0.0.0-10.0.255.255,10.1.0.0-5")
        #expect(try DiscoveryTargets(parsing: targets.canonical, maximumAddresses: 100_000) == targets)
    }

    @Test func goesOnFromAnyIndex() throws {
        let targets = try DiscoveryTargets(parsing: "10.0.0.0/28,10.0.0.100-110,2001:db8::/124,!10.0.0.103")
        let all = Array(targets.addresses())
        #expect(all.count == targets.count)
        #expect(Set(all).count == all.count)
        #expect(all == all.sorted())
        for index in 0...targets.count { #expect(Array(targets.addresses(from: index)) == Array(all[index...])) }
        #expect(Array(targets.addresses(from: -5)) == all)
        #expect(Array(targets.addresses(from: .max)).isEmpty)
    }

    @Test func knowsOverlaps() throws {
        let targets = try DiscoveryTargets(parsing: "10.0.0.0/24")
        #expect(targets.overlaps(try DiscoveryTargets(parsing: "10.0.0.254-10.0.1.9")))
        #expect(!targets.overlaps(try DiscoveryTargets(parsing: "10.0.0.255,10.0.1.0/24,2001:db8::1")))
    }

    // MARK: - Hostile text

    /// Text of bits of right ones: every one is either refused, or means what its canonical text means, within limits.
    @Test func survivesHostileText() throws {
        var random = SplitMix(state: 42)
        let pieces = [
            "10.0.0.1", "10.0.0.0/24", "10.0.", "255.255.255.255", "0.0.0.0", "/", "/0", "/16", "/33", "/128", "-",
            "-5", "-255", ",", ",,",
            "!", "!!", " ", "\t", "::", "::1", "2001:db8::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::ffff:0:0",
            "/96", "/112", "%eth0",
            "\u{0}", "\u{202E}", "🖥", "-10.0.255.255", "99999999999999999999", "-2001:db8::ff", "224.0.0.0/4", "\n",
        ]
        var accepted = 0
        for _ in 0..<20_000 {
            let text = (0..<Int(1 + random.next() % 6)).map { _ in pieces[Int(random.next() % UInt64(pieces.count))] }
                .joined()
            guard let targets = try? DiscoveryTargets(parsing: text) else { continue }
            accepted += 1
            #expect((1...65_536).contains(targets.count))
            #expect(try DiscoveryTargets(parsing: targets.canonical) == targets, "\(text.debugDescription)")
            for index in [0, targets.count / 2, targets.count - 1] {
                #expect(TargetPolicy().permits(targets[index]), "\(text.debugDescription)")
            }
        }
        #expect(accepted > 300)
    }
}

/// SplitMix64, so that a failure can be repeated.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var z = self.state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
