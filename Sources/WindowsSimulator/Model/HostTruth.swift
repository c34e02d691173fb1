/// The true state of a host, in the terms of NMSlite's metrics.
package struct HostTruth: Encodable, Sendable, Hashable {
    package var hostname: String
    package var os: String
    /// The instant that the gauges and counters are of.
    package var timestamp: String
    package var cpuUsagePercent: Double
    package var memoryTotalBytes: UInt64
    package var memoryUsedBytes: UInt64
    package var diskTotalBytes: UInt64
    package var diskUsedBytes: UInt64
    package var bytesSentPerSec: Double
    package var bytesRecvPerSec: Double
    package var utilizationPercent: Double?
    package var packetsSent: UInt64
    package var packetsRecv: UInt64
    package var errors: UInt64
    package var dropped: UInt64
    package var processCount: UInt32
    package var bootTime: String

    private enum CodingKeys: String, CodingKey {
        case hostname, os, timestamp, errors, dropped
        case cpuUsagePercent = "cpu_usage_percent"
        case memoryTotalBytes = "memory_total_bytes"
        case memoryUsedBytes = "memory_used_bytes"
        case diskTotalBytes = "disk_total_bytes"
        case diskUsedBytes = "disk_used_bytes"
        case bytesSentPerSec = "bytes_sent_per_sec"
        case bytesRecvPerSec = "bytes_recv_per_sec"
        case utilizationPercent = "utilization_percent"
        case packetsSent = "packets_sent"
        case packetsRecv = "packets_recv"
        case processCount = "process_count"
        case bootTime = "boot_time"
    }

    /// State at the snapshot's instant; rates are means since `start`, or of the instant itself without one.
    package init(_ snapshot: HostSnapshot, ratesSince start: FileTime? = nil) {
        let profile = snapshot.profile
        let epoch = profile.fleet.epoch
        let end = snapshot.time.seconds(since: epoch)
        let begin = start?.seconds(since: epoch) ?? end
        func rate(_ signal: Signal) -> Double { signal.mean(from: begin, to: end) }

        self.hostname = profile.fullyQualifiedName
        self.os = profile.release.caption
        self.timestamp = TimeText.rfc3339(snapshot.time)
        self.bootTime = TimeText.rfc3339(snapshot.bootTime)
        self.cpuUsagePercent = 100 * rate(profile.load)
        self.memoryTotalBytes = profile.memoryKiB * 1_024
        self.memoryUsedBytes = (profile.memoryKiB - snapshot.freeMemoryKiB) * 1_024
        self.processCount = snapshot.processCount

        self.diskTotalBytes = 0
        self.diskUsedBytes = 0
        for disk in profile.disks where disk.kind == .fixed {
            guard let size = disk.size, size > 0, let free = snapshot.freeSpace(of: disk) else { continue }
            self.diskTotalBytes += size
            self.diskUsedBytes += size - free
        }

        (self.bytesSentPerSec, self.bytesRecvPerSec) = (0, 0)
        (self.packetsSent, self.packetsRecv, self.errors, self.dropped) = (0, 0, 0, 0)
        var bandwidth: UInt64 = 0
        for adapter in profile.adapters where adapter.kind != .pseudo {
            let counters = snapshot.counters(of: adapter)
            self.bytesSentPerSec += rate(adapter.sent)
            self.bytesRecvPerSec += rate(adapter.received)
            self.packetsSent += counters.packetsSent
            self.packetsRecv += counters.packetsReceived
            self.errors += counters.receivedErrors + counters.outboundErrors
            self.dropped += counters.receivedDiscarded + counters.outboundDiscarded
            bandwidth += adapter.bandwidth
        }
        self.utilizationPercent =
            bandwidth == 0 ? nil : 800 * max(self.bytesSentPerSec, self.bytesRecvPerSec) / Double(bandwidth)
    }
}
