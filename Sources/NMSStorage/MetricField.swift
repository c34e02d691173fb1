/// A number in a row of metrics; the raw value is its column.
package enum MetricField: String, Sendable, Hashable, CaseIterable {
    case cpuUsagePercent = "cpu_usage_percent"
    case memoryTotalBytes = "memory_total_bytes"
    case memoryUsedBytes = "memory_used_bytes"
    case memoryUsagePercent = "memory_usage_percent"
    case diskTotalBytes = "disk_total_bytes"
    case diskUsedBytes = "disk_used_bytes"
    case diskUsagePercent = "disk_usage_percent"
    case netBytesSentPerSec = "net_bytes_sent_per_sec"
    case netBytesRecvPerSec = "net_bytes_recv_per_sec"
    case netUtilizationPercent = "net_utilization_percent"
    case netPacketsSent = "net_packets_sent"
    case netPacketsRecv = "net_packets_recv"
    case netErrors = "net_errors"
    case netDropped = "net_dropped"
    case processCount = "process_count"

    /// Whether the column has decimals; the others are integers.
    package var isPercent: Bool {
        switch self {
        case .cpuUsagePercent, .memoryUsagePercent, .diskUsagePercent, .netUtilizationPercent: true
        case .memoryTotalBytes, .memoryUsedBytes, .diskTotalBytes, .diskUsedBytes, .netBytesSentPerSec,
            .netBytesRecvPerSec, .netPacketsSent, .netPacketsRecv, .netErrors, .netDropped, .processCount:
            false
        }
    }

    var column: String { self.rawValue }
}
