/// What a simulated host is: everything about it that does not depend on the time.
///
/// A pure function of the fleet's seed, epoch and domain and of the host's index.
package final class HostProfile: Sendable {
    /// What all hosts of a fleet have in common.
    package struct Fleet: Sendable, Hashable {
        package var seed: UInt64
        /// Where the hosts' clocks of activity start; every boot lies before it.
        package var epoch: FileTime
        /// Whether rates and gauges stand still.
        package var isStatic: Bool
        /// The NetBIOS name of the domain.
        package var domain: String
        /// The DNS name of the domain.
        package var dnsDomain: String

        /// Hosts keep their boot times over restarts of the simulator within a month, hence an epoch that does too.
        package init(
            seed: UInt64,
            epoch: FileTime = FileTime.now().startOfMonth,
            isStatic: Bool = false,
            domain: String = "WINSIM",
            dnsDomain: String = "winsim.test"
        ) {
            self.seed = seed
            self.epoch = epoch
            self.isStatic = isStatic
            self.domain = domain
            self.dnsDomain = dnsDomain
        }
    }

    /// A volume with a drive letter, or without for a mount point.
    package struct Disk: Sendable, Hashable {
        /// `Win32_LogicalDisk.DriveType`.
        package enum Kind: Int, Sendable {
            case fixed = 3
            case network = 4
            case compactDisc = 5
        }

        package var letter: String
        package var label: String
        package var kind: Kind
        /// Bytes; nil for a drive without a medium.
        package var size: UInt64?
        /// Share of the size in use.
        package var used: Signal
    }

    /// A network interface as the performance counters name it.
    package struct Adapter: Sendable, Hashable {
        package enum Kind: Sendable {
            case physical
            /// Plugged out: no bandwidth and no traffic.
            case disconnected
            /// isatap, Teredo or loopback: left out of sums.
            case pseudo
        }

        package var name: String
        package var kind: Kind
        /// Bits per second.
        package var bandwidth: UInt64
        /// Bytes per second.
        package var received: Signal
        package var sent: Signal
        /// Mean bytes of a packet.
        package var receivedPacketSize: Double
        package var sentPacketSize: Double
        /// Errors and discards are this share of the packets.
        package var faultShare: Double
    }

    package let index: Int
    package let fleet: Fleet
    package let release: WindowsRelease
    package let computerName: String
    package let dnsHostName: String
    /// False for a host in a workgroup.
    package let isDomainMember: Bool
    package let bootTime: FileTime
    package let installTime: FileTime
    /// Minutes east of UTC.
    package let timeZoneMinutes: Int
    package let coreCount: Int
    /// Share of all cores that is busy, 0…1.
    package let load: Signal
    /// Core `i` is busy `coreSkew[i]` times the load; the mean of all is 1.
    package let coreSkew: [Double]
    package let memoryKiB: UInt64
    package let memoryUsed: Signal
    package let processes: Signal
    package let disks: [Disk]
    package let adapters: [Adapter]
    package let serialNumber: String

    package init(index: Int, fleet: Fleet) {
        var random = SplitMix64(seed: fleet.seed &+ UInt64(index) &* 0xD134_2543_DE82_EF95)
        func settle(_ signal: Signal) -> Signal { fleet.isStatic ? signal.frozen : signal }

        self.index = index
        self.fleet = fleet
        self.release = WindowsRelease.fleet[index % WindowsRelease.fleet.count]
        (self.computerName, self.dnsHostName) = Self.names(index: index, random: &random)
        self.isDomainMember = index % 5 != 3
        self.timeZoneMinutes = random.pick([0, 0, -300, -480, 60, 60, 120, 330, 540])
        self.bootTime = FileTime(
            ticks: fleet.epoch.ticks - Int64(random.double(in: 3_600...(40 * 86_400)) * 1e7) / 5_000_000 * 5_000_000
        )
        self.installTime = FileTime(
            ticks: self.bootTime.ticks - Int64(random.int(in: 90...900)) * 86_400 * FileTime.ticksPerSecond
        )
        self.coreCount = random.pick([2, 2, 4, 4, 8, 8, 16])
        self.load = settle(
            Signal(base: random.double(in: 0.05...0.5), swing: 0.6, periods: 120...1_800, random: &random)
        )
        // In pairs of opposite skew, so that the mean over all cores is the load itself.
        self.coreSkew = (0..<(self.coreCount / 2)).flatMap { _ in
            let skew = random.double(in: 0...0.1)
            return [1 + skew, 1 - skew]
        }
        let gibibytes = UInt64(random.pick([4, 8, 8, 16, 16, 32, 64, 128]))
        // Firmware and devices keep a little of it back.
        self.memoryKiB = gibibytes * 1_048_576 - UInt64(random.int(in: 300...900)) * 4
        self.memoryUsed = settle(
            Signal(base: random.double(in: 0.25...0.85), swing: 0.06, periods: 900...7_200, random: &random)
        )
        self.processes = settle(
            Signal(base: Double(random.int(in: 60...240)) + 0.5, swing: 0.05, periods: 600...3_600, random: &random)
        )
        self.disks = Self.disks(random: &random, settle: settle)
        self.adapters = Self.adapters(random: &random, settle: settle)
        self.serialNumber =
            "00454-\(random.int(in: 10_000...99_999))-\(random.int(in: 10_000...99_999))-AA\(random.int(in: 100...999))"
    }

    /// `Win32_ComputerSystem.Domain`.
    package var domain: String {
        self.isDomainMember ? self.fleet.dnsDomain : "WORKGROUP"
    }

    package var fullyQualifiedName: String {
        self.isDomainMember ? "\(self.dnsHostName).\(self.fleet.dnsDomain)" : self.dnsHostName
    }

    private static func names(index: Int, random: inout SplitMix64) -> (computer: String, dns: String) {
        if index % 8 == 6 {
            // Longer than NetBIOS allows: the computer name is cut to 15 characters, the DNS name is not.
            let digits = String(index)
            let dns = "app-accounting-" + String(repeating: "0", count: max(0, 5 - digits.count)) + digits
            return (String(dns.prefix(15)).uppercased(), dns)
        }
        let characters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
        let name = "WIN-" + String((0..<11).map { _ in random.pick(characters) })
        return (name, name)
    }

    private static func disks(random: inout SplitMix64, settle: (Signal) -> Signal) -> [Disk] {
        let count = random.int(in: 1...3)
        var disks = (0..<count).map { number in
            let clusters = UInt64(random.int(in: 15_000_000...250_000_000))
            return Disk(
                letter: ["C:", "D:", "E:"][number],
                label: ["", "Data", "Logs"][number],
                kind: .fixed,
                size: clusters * HostSnapshot.clusterSize,
                used: settle(
                    Signal(base: random.double(in: 0.2...0.85), swing: 0.03, periods: 7_200...86_400, random: &random)
                )
            )
        }
        disks.append(Disk(letter: "Y:", label: "", kind: .compactDisc, size: nil, used: Signal(base: 0)))
        disks.append(
            Disk(
                letter: "Z:",
                label: "Share",
                kind: .network,
                size: UInt64(random.int(in: 100_000_000...900_000_000)) * HostSnapshot.clusterSize,
                used: Signal(base: 0.5)
            )
        )
        return disks
    }

    private static func adapters(random: inout SplitMix64, settle: (Signal) -> Signal) -> [Adapter] {
        let names = [
            "Intel[R] 82574L Gigabit Network Connection", "vmxnet3 Ethernet Adapter",
            "Broadcom BCM5709C NetXtreme II GigE",
        ]
        let shift = random.int(in: 0...2)
        let count = random.int(in: 1...3)
        var adapters: [Adapter] = (0..<count).map { number in
            // A third adapter is plugged out.
            let isConnected = number < 2
            let megabits: UInt64 = random.pick([1_000, 1_000, 10_000])
            func traffic() -> Signal {
                // Logarithmic between 10 kB/s and 6 MB/s.
                let base = 10_000 * powerOfTwo(random.double(in: 0...9.2))
                return settle(Signal(base: base, swing: 0.5, periods: 120...1_800, random: &random))
            }
            let received = traffic()
            let sent = traffic()
            return Adapter(
                name: names[(shift + number) % names.count] + (number > 0 ? " _\(number + 1)" : ""),
                kind: isConnected ? .physical : .disconnected,
                bandwidth: isConnected ? megabits * 1_000_000 : 0,
                received: isConnected ? received : Signal(base: 0),
                sent: isConnected ? sent : Signal(base: 0),
                receivedPacketSize: random.double(in: 300...1_100),
                sentPacketSize: random.double(in: 300...1_100),
                faultShare: random.double(in: 0...0.00002)
            )
        }
        let pseudo = [
            (
                "isatap.{\(hexadecimal(random.next(), 8))-6F1B-4E63-9A55-\(hexadecimal(random.next(), 12))}",
                UInt64(100_000)
            ),
            ("Teredo Tunneling Pseudo-Interface", UInt64(100_000)),
            ("MS TCP Loopback interface", UInt64(1_073_741_824)),
        ]
        adapters += pseudo.map { name, bandwidth in
            // Traffic that a sum over all interfaces would show.
            Adapter(
                name: name,
                kind: .pseudo,
                bandwidth: bandwidth,
                received: Signal(base: 40_000),
                sent: Signal(base: 40_000),
                receivedPacketSize: 100,
                sentPacketSize: 100,
                faultShare: 0.001
            )
        }
        return adapters
    }
}

/// Two to a power between 0 and 16, by squaring and a square root, so that the result needs no platform's `pow`.
private func powerOfTwo(_ exponent: Double) -> Double {
    var result = 1.0
    var rest = exponent
    while rest >= 1 {
        result *= 2
        rest -= 1
    }
    var root = 2.0
    for _ in 0..<40 {
        root = root.squareRoot()
        rest *= 2
        if rest >= 1 {
            result *= root
            rest -= 1
        }
    }
    return result
}

private func hexadecimal(_ number: UInt64, _ width: Int) -> String {
    let digits = String(number, radix: 16, uppercase: true)
    return String((String(repeating: "0", count: 16) + digits).suffix(width))
}
