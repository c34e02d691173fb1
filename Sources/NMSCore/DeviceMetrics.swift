package import struct Foundation.Date

/// One row of metrics; every value is an aggregate over the whole machine (specification §4.4).
///
/// nil means "not known", never zero; it is encoded as `null`.
package struct DeviceMetrics: Codable, Sendable, Equatable {
    package var deviceID: Int
    /// The server's clock when the last sample was complete.
    package var timestamp: Date
    package var cpu: CPU
    package var memory: Capacity
    package var disk: Capacity
    package var network: Network
    package var processCount: Int?
    /// From the start of the poll to its last answer, without the pause before a second sample.
    package var collectionDurationMs: Int?
    package var jobID: String?

    package init(
        deviceID: Int,
        timestamp: Date,
        cpu: CPU = CPU(),
        memory: Capacity = Capacity(),
        disk: Capacity = Capacity(),
        network: Network = Network(),
        processCount: Int? = nil,
        collectionDurationMs: Int? = nil,
        jobID: String? = nil
    ) {
        self.deviceID = deviceID
        self.timestamp = timestamp
        self.cpu = cpu
        self.memory = memory
        self.disk = disk
        self.network = network
        self.processCount = processCount
        self.collectionDurationMs = collectionDurationMs
        self.jobID = jobID
    }

    package struct CPU: Codable, Sendable, Equatable {
        /// 0…100.
        package var usagePercent: Double?

        package init(usagePercent: Double? = nil) { self.usagePercent = usagePercent }

        enum CodingKeys: String, CodingKey { case usagePercent = "usage_percent" }

        package func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(self.usagePercent, forKey: .usagePercent)
        }
    }

    /// Memory or disk: a size and how much of it is taken.
    package struct Capacity: Codable, Sendable, Equatable {
        package var totalBytes: Int64?
        package var usedBytes: Int64?
        /// 0…100.
        package var usagePercent: Double?

        package init(totalBytes: Int64? = nil, usedBytes: Int64? = nil, usagePercent: Double? = nil) {
            self.totalBytes = totalBytes
            self.usedBytes = usedBytes
            self.usagePercent = usagePercent
        }

        enum CodingKeys: String, CodingKey {
            case totalBytes = "total_bytes"
            case usedBytes = "used_bytes"
            case usagePercent = "usage_percent"
        }

        package func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(self.totalBytes, forKey: .totalBytes)
            try container.encode(self.usedBytes, forKey: .usedBytes)
            try container.encode(self.usagePercent, forKey: .usagePercent)
        }
    }

    package struct Network: Codable, Sendable, Equatable {
        package var bytesSentPerSec: Int64?
        package var bytesRecvPerSec: Int64?
        /// 0…100 of the bandwidth of the interfaces in use.
        package var utilizationPercent: Double?
        /// Cumulative since the interface came up, as are the next three.
        package var packetsSent: Int64?
        package var packetsRecv: Int64?
        package var errors: Int64?
        package var dropped: Int64?

        package init(
            bytesSentPerSec: Int64? = nil,
            bytesRecvPerSec: Int64? = nil,
            utilizationPercent: Double? = nil,
            packetsSent: Int64? = nil,
            packetsRecv: Int64? = nil,
            errors: Int64? = nil,
            dropped: Int64? = nil
        ) {
            self.bytesSentPerSec = bytesSentPerSec
            self.bytesRecvPerSec = bytesRecvPerSec
            self.utilizationPercent = utilizationPercent
            self.packetsSent = packetsSent
            self.packetsRecv = packetsRecv
            self.errors = errors
            self.dropped = dropped
        }

        enum CodingKeys: String, CodingKey {
            case bytesSentPerSec = "bytes_sent_per_sec"
            case bytesRecvPerSec = "bytes_recv_per_sec"
            case utilizationPercent = "utilization_percent"
            case packetsSent = "packets_sent"
            case packetsRecv = "packets_recv"
            case errors
            case dropped
        }

        package func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(self.bytesSentPerSec, forKey: .bytesSentPerSec)
            try container.encode(self.bytesRecvPerSec, forKey: .bytesRecvPerSec)
            try container.encode(self.utilizationPercent, forKey: .utilizationPercent)
            try container.encode(self.packetsSent, forKey: .packetsSent)
            try container.encode(self.packetsRecv, forKey: .packetsRecv)
            try container.encode(self.errors, forKey: .errors)
            try container.encode(self.dropped, forKey: .dropped)
        }
    }

    enum CodingKeys: String, CodingKey {
        case deviceID = "device_id"
        case timestamp
        case cpu
        case memory
        case disk
        case network
        case processCount = "process_count"
        case collectionDurationMs = "collection_duration_ms"
        case jobID = "job_id"
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(self.deviceID, forKey: .deviceID)
        try container.encode(self.timestamp, forKey: .timestamp)
        try container.encode(self.cpu, forKey: .cpu)
        try container.encode(self.memory, forKey: .memory)
        try container.encode(self.disk, forKey: .disk)
        try container.encode(self.network, forKey: .network)
        try container.encode(self.processCount, forKey: .processCount)
        try container.encode(self.collectionDurationMs, forKey: .collectionDurationMs)
        try container.encode(self.jobID, forKey: .jobID)
    }
}
