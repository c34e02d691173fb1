internal import Foundation
internal import NMSCore
internal import Postgres

/// A result that no later try could store.
struct UnstorableResult: Error, Equatable {
    let reason: String
}

/// A poll's result, checked and clamped to what the columns hold.
///
/// A class, since batches are sorted, filtered and cut in two, and a result has dozens of fields.
final class PreparedResult: Sendable, Equatable {
    static func == (left: PreparedResult, right: PreparedResult) -> Bool {
        left.jobID == right.jobID && left.result == right.result
    }

    /// A UUID in lower case.
    let jobID: String
    let deviceID: Int
    /// In whole milliseconds, as queue and API carry it.
    let timestamp: Date
    let month: MetricsMonth
    /// Message and identity cut to their columns' lengths.
    let result: MetricsResult

    /// `VARCHAR(255)`.
    private static let nameLength = 255
    /// `VARCHAR(50)`.
    private static let buildLength = 50
    /// Messages are written by our own code; this only bounds a mistake.
    private static let messageLength = 2000

    /// - Throws: ``UnstorableResult``.
    init(_ result: MetricsResult) throws {
        guard let jobID = Self.uuid(result.jobID) else { throw UnstorableResult(reason: "job_id is not a UUID") }
        self.jobID = jobID
        self.deviceID = result.deviceID
        self.timestamp = result.timestamp.roundedToMilliseconds
        guard let month = MetricsMonth(self.timestamp) else {
            throw UnstorableResult(
                reason:
                    "timestamp outside the years \(MetricsMonth.years.lowerBound) to \(MetricsMonth.years.upperBound)"
            )
        }
        self.month = month
        var result = result
        result.timestamp = self.timestamp
        result.error = Self.text(result.error, Self.messageLength)
        result.identity = result.identity.map { identity in
            HostIdentity(
                hostname: Self.text(identity.hostname, Self.nameLength),
                os: Self.text(identity.os, Self.nameLength),
                build: Self.text(identity.build, Self.buildLength)
            )
        }
        self.result = result
    }

    /// Whether the host itself answered, if only with a refusal.
    var hostAnswered: Bool {
        if self.result.success { return true }
        return switch self.result.errorCode {
        case .tlsFailed, .authFailed, .accessDenied, .encryptionRequired, .quotaExceeded, .wmiError, .countersMissing,
            .responseTooLarge, .protocolError:
            true
        case .timeout, .connectionRefused, .connectionReset, .hostUnreachable, .credentialSuspended, nil: false
        }
    }

    /// The columns of a row of `metrics`, in the order of ``append(to:)``.
    static let columns = """
        device_id, timestamp, cpu_usage_percent, memory_total_bytes, memory_used_bytes, memory_usage_percent, \
        disk_total_bytes, disk_used_bytes, disk_usage_percent, net_bytes_sent_per_sec, net_bytes_recv_per_sec, \
        net_utilization_percent, net_packets_sent, net_packets_recv, net_errors, net_dropped, process_count, \
        collection_duration_ms, job_id
        """

    /// Whether the result gives a row.
    var hasRow: Bool { self.result.success && self.result.metrics != nil }

    /// Appends the row, if the result gives one.
    func append(to buffer: inout PostgresCopyBuffer) throws {
        guard self.hasRow, let metrics = self.result.metrics else { return }
        try buffer.append(self.deviceID)
        try buffer.append(self.timestamp)
        try buffer.append(Self.percent(metrics.cpu.usagePercent))
        for capacity in [metrics.memory, metrics.disk] {
            try buffer.append(Self.count(capacity.totalBytes))
            try buffer.append(Self.count(capacity.usedBytes))
            try buffer.append(Self.percent(capacity.usagePercent))
        }
        try buffer.append(Self.count(metrics.network.bytesSentPerSec))
        try buffer.append(Self.count(metrics.network.bytesRecvPerSec))
        try buffer.append(Self.percent(metrics.network.utilizationPercent))
        try buffer.append(Self.count(metrics.network.packetsSent))
        try buffer.append(Self.count(metrics.network.packetsRecv))
        try buffer.append(Self.count(metrics.network.errors))
        try buffer.append(Self.count(metrics.network.dropped))
        try buffer.append(Self.integer(metrics.processCount))
        try buffer.append(Self.integer(metrics.collectionDurationMs))
        try buffer.append(self.jobID)
        buffer.endRow()
    }

    /// A UUID in lower case; nil for what is none.
    static func uuid(_ text: String) -> String? {
        let isPlain =
            text.utf8.count == 36
            && text.utf8.enumerated().allSatisfy { index, byte in
                switch index {
                case 8, 13, 18, 23: byte == UInt8(ascii: "-")
                default:
                    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                        || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
                }
            }
        return isPlain ? text : UUID(uuidString: text)?.uuidString.lowercased()
    }

    /// 0…100; what is not a number is not known. The column rounds to two decimals.
    static func percent(_ value: Double?) -> Double? {
        guard let value, !value.isNaN else { return nil }
        return min(max(value, 0), 100)
    }

    /// A BIGINT that counts something.
    static func count(_ value: Int64?) -> Int64? { value.map { max($0, 0) } }

    /// An INTEGER that counts something.
    static func integer(_ value: Int?) -> Int? { value.map { min(max($0, 0), Int(Int32.max)) } }

    /// Text without control characters, at most `length` characters; nil when nothing is left.
    static func text(_ value: String?, _ length: Int) -> String? {
        guard let value else { return nil }
        // Nearly every text: ASCII without control characters, and short enough.
        if value.utf8.count <= length, value.utf8.first != UInt8(ascii: " "), !value.isEmpty,
            value.utf8.allSatisfy({ (0x20..<0x7F).contains($0) })
        {
            return value
        }
        // The server counts Unicode scalars, not Swift's characters.
        let scalars = value.unicodeScalars.filter { $0.properties.generalCategory != .control }.prefix(length)
        let text = String(String.UnicodeScalarView(scalars))
        return text.allSatisfy(\.isWhitespace) ? nil : text
    }
}
